"""Ollama's messages in OpenAI's format: tool calls get ids, tool results are matched to their calls.

Ollama identifies a tool result by the tool's name, or not at all; OpenAI requires the id of the call. A call without an
id gets one that the caller does not use, and a result without an id belongs to the first call of its name that has no
result yet. OpenAI allows images in user messages only, so those of other messages follow in a user message.
"""

import json
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from pydantic import BaseModel

from ai_gateway.translate.extra_fields import send_back
from ai_gateway.translate.images import data_url
from gateway_contract.ollama.models import OllamaChatMessage, OllamaToolCall
from gateway_contract.openai import models

type Message = (
    models.ChatCompletionRequestDeveloperMessage
    | models.ChatCompletionRequestSystemMessage
    | models.ChatCompletionRequestUserMessage
    | models.ChatCompletionRequestAssistantMessage
    | models.ChatCompletionRequestToolMessage
    | models.ChatCompletionRequestFunctionMessage
)


def conversation(messages: Sequence[OllamaChatMessage]) -> tuple[list[Message], list[str]]:
    """The messages, and the paths of the dropped fields."""
    result = _Conversation(_free_ids(messages))
    for message in messages:
        result.add(message)
    result.flush_images()
    return result.messages, sorted(result.dropped)


def user_message(text: str, images: Sequence[str]) -> models.ChatCompletionRequestUserMessage:
    """A user message with a text and images."""
    if not images:
        return models.ChatCompletionRequestUserMessage(role="user", content=text)
    parts = [models.ChatCompletionRequestMessageContentPartText(type="text", text=text)] if text else []
    return models.ChatCompletionRequestUserMessage(role="user", content=[*parts, *map(_image, images)])


def _image(image: str) -> models.ChatCompletionRequestMessageContentPartImage:
    url = models.ChatCompletionRequestMessageContentPartImageImageUrl(url=data_url(image))
    return models.ChatCompletionRequestMessageContentPartImage(type="image_url", image_url=url)


def _free_ids(messages: Sequence[OllamaChatMessage]) -> Iterator[str]:
    """Ids that no call and no result of the conversation has."""
    used = {call.id for message in messages for call in message.tool_calls or []}
    used |= {message.tool_call_id for message in messages}
    return (call_id for call_id in map("call_{}".format, count()) if call_id not in used)


def _older_name(message: OllamaChatMessage) -> str:
    """A tool's name in `name`, as OpenAI's clients send it and Ollama's older ones did."""
    name = (message.model_extra or {}).get("name")
    return name if message.role == "tool" and not message.tool_name and isinstance(name, str) else ""


@dataclass(slots=True)
class _Called:
    """A call that still needs a result."""

    call_id: str
    name: str
    answered: bool = False


class _Waiting:
    """The calls without a result, found by id, by name, or in their order: conversations have thousands of either."""

    def __init__(self) -> None:
        self._in_order: deque[_Called] = deque()
        self._by_id: dict[str, deque[_Called]] = defaultdict(deque)
        self._by_name: dict[str, deque[_Called]] = defaultdict(deque)

    def add(self, call_id: str, name: str) -> None:
        """Add a call."""
        call = _Called(call_id, name)
        for queue in (self._in_order, self._by_id[call_id], self._by_name[name]):
            queue.append(call)

    def take(self, call_id: str | None, name: str | None) -> str | None:
        """The id of the first call with this id, or else of this name, or else of all; it waits no more."""
        by_name = self._by_name.get(name) if name else self._in_order
        queue = self._by_id.get(call_id) if call_id else by_name
        while queue:
            call = queue.popleft()
            if not call.answered:  # it may have been taken by another index
                call.answered = True
                return call.call_id
        return None


class _Conversation:
    def __init__(self, free_ids: Iterator[str]) -> None:
        self.messages: list[Message] = []
        self.dropped: set[str] = set()
        self._pending = _Waiting()
        self._free_ids = free_ids
        self._interrupted = False  # whether a user or system message came after the newest calls
        self._images: list[str] = []

    def add(self, message: OllamaChatMessage) -> None:
        """Add the next message."""
        if message.role != "tool":
            self.flush_images()  # tool results have to follow their calls directly, so images wait for the last one
        self._interrupted = self._interrupted or message.role not in {"assistant", "tool"}
        if message.role != "user":
            self._images += message.images or []
        self.messages.append(self._translated(message))
        if message.model_extra and message.role != "assistant":  # without a counterpart in OpenAI's messages
            read = {"name"} if _older_name(message) else set()
            self.dropped |= {f"messages.{name}" for name in message.model_extra.keys() - read}
        self.dropped |= {"messages.thinking"} if message.thinking else set()

    def flush_images(self) -> None:
        """Add the collected images of messages that cannot have any in OpenAI's format."""
        if self._images:
            self.messages.append(user_message("", self._images))
            self._images = []

    def _translated(self, message: OllamaChatMessage) -> Message:
        text = message.content or ""
        match message.role:
            case "system":
                return models.ChatCompletionRequestSystemMessage(role="system", content=text)
            case "user":
                return user_message(text, message.images or [])
            case "assistant":
                answer = self._answer(text, message.tool_calls or [])
                return self._sent_back(message, answer, "messages")
            case "tool":
                call_id = self._match_call(message.tool_call_id, message.tool_name or _older_name(message))
                return models.ChatCompletionRequestToolMessage(role="tool", content=text, tool_call_id=call_id)

    def _answer(self, text: str, calls: Sequence[OllamaToolCall]) -> models.ChatCompletionRequestAssistantMessage:
        if not calls:
            return models.ChatCompletionRequestAssistantMessage(role="assistant", content=text)
        if self._interrupted:  # earlier calls will not get a result any more
            self._pending = _Waiting()
        self._interrupted = False
        return models.ChatCompletionRequestAssistantMessage(
            role="assistant", content=text or None, tool_calls=[self._call(call) for call in calls]
        )

    def _call(self, call: OllamaToolCall) -> models.ChatCompletionMessageToolCall:
        call_id = call.id or next(self._free_ids)
        self._pending.add(call_id, call.function.name)
        arguments = json.dumps(call.function.arguments or {}, separators=(",", ":"), ensure_ascii=False)
        function = models.ChatCompletionMessageToolCallFunction(name=call.function.name, arguments=arguments)
        self._sent_back(call.function, function, "messages.tool_calls.function")
        translated = models.ChatCompletionMessageToolCall(id=call_id, type="function", function=function)
        return self._sent_back(call, translated, "messages.tool_calls")

    def _sent_back[Model: BaseModel](self, said: BaseModel, translated: Model, path: str) -> Model:
        """The translation with the extra fields of an earlier reply: its upstream may need them again."""
        self.dropped |= {f"{path}.{name}" for name in send_back(said, translated)}
        return translated

    def _match_call(self, call_id: str | None, name: str | None) -> str:
        """The id of the call that a result belongs to."""
        # A result without a call: the provider decides about it.
        return self._pending.take(call_id, name) or call_id or next(self._free_ids)

"""A conversation on Ollama's wire as one on OpenAI's: tool calls get ids, results find their calls, images their place.

Ollama tells tool results apart by the tool's name, or not at all; OpenAI's wire wants the id of the call. A call that
came without an id gets one that the caller does not use, and a result without an id belongs to the first call of its
name that has no result yet. Images stand in user messages only there, so those of other messages follow in one of
their own.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import count

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


def conversation(said: Sequence[OllamaChatMessage]) -> tuple[list[Message], list[str]]:
    """The messages, and the names of what had to be left out."""
    told = _Conversation(_free_ids(said))
    for message in said:
        told.take(message)
    told.show_images()
    return told.messages, sorted(told.dropped)


def user_message(text: str, images: Sequence[str]) -> models.ChatCompletionRequestUserMessage:
    """A question, with the pictures it is about."""
    if not images:
        return models.ChatCompletionRequestUserMessage(role="user", content=text)
    words = [models.ChatCompletionRequestMessageContentPartText(type="text", text=text)] if text else []
    return models.ChatCompletionRequestUserMessage(role="user", content=[*words, *map(_picture, images)])


def _picture(image: str) -> models.ChatCompletionRequestMessageContentPartImage:
    url = models.ChatCompletionRequestMessageContentPartImageImageUrl(url=data_url(image))
    return models.ChatCompletionRequestMessageContentPartImage(type="image_url", image_url=url)


def _free_ids(said: Sequence[OllamaChatMessage]) -> Iterator[str]:
    """Ids that the caller uses for no call, before or after."""
    taken = {call.id for message in said for call in message.tool_calls or []}
    taken |= {message.tool_call_id for message in said}
    return (ident for ident in map("call_{}".format, count()) if ident not in taken)


def _older_name(message: OllamaChatMessage) -> str:
    """A tool's name as OpenAI's clients say it, and Ollama's older ones did."""
    name = (message.model_extra or {}).get("name")
    return name if message.role == "tool" and not message.tool_name and isinstance(name, str) else ""


class _Conversation:
    def __init__(self, free_ids: Iterator[str]) -> None:
        self.messages: list[Message] = []
        self.dropped: set[str] = set()
        self._unanswered: list[tuple[str, str]] = []  # id and name of each call that has no result yet
        self._free_ids = free_ids
        self._left = False  # whether somebody else has spoken since the newest calls
        self._images: list[str] = []

    def take(self, message: OllamaChatMessage) -> None:
        """Say one more message."""
        if message.role != "tool":
            self.show_images()  # results have to follow their calls at once, so images wait until all are there
        self._left = self._left or message.role not in {"assistant", "tool"}
        if message.role != "user":
            self._images += message.images or []
        self.messages.append(self._said(message))
        # What OpenAI's messages have no word for.
        read = {"name"} if _older_name(message) else set()
        self.dropped |= {f"messages.{name}" for name in (message.model_extra or {}).keys() - read}
        self.dropped |= {"messages.thinking"} if message.thinking else set()

    def show_images(self) -> None:
        """Say the images that stood where OpenAI's wire takes none."""
        if self._images:
            self.messages.append(user_message("", self._images))
            self._images = []

    def _said(self, message: OllamaChatMessage) -> Message:
        text = message.content or ""
        match message.role:
            case "system":
                return models.ChatCompletionRequestSystemMessage(role="system", content=text)
            case "user":
                return user_message(text, message.images or [])
            case "assistant":
                return self._answer(text, message.tool_calls or [])
            case "tool":
                ident = self._answered(message.tool_call_id, message.tool_name or _older_name(message))
                return models.ChatCompletionRequestToolMessage(role="tool", content=text, tool_call_id=ident)

    def _answer(self, text: str, calls: Sequence[OllamaToolCall]) -> models.ChatCompletionRequestAssistantMessage:
        if not calls:
            return models.ChatCompletionRequestAssistantMessage(role="assistant", content=text)
        if self._left:  # what nobody answered before stays without an answer
            self._unanswered = []
        self._left = False
        return models.ChatCompletionRequestAssistantMessage(
            role="assistant", content=text or None, tool_calls=[self._call(call) for call in calls]
        )

    def _call(self, call: OllamaToolCall) -> models.ChatCompletionMessageToolCall:
        ident = call.id or next(self._free_ids)
        self._unanswered.append((ident, call.function.name))
        arguments = json.dumps(call.function.arguments or {}, separators=(",", ":"), ensure_ascii=False)
        function = models.ChatCompletionMessageToolCallFunction(name=call.function.name, arguments=arguments)
        return models.ChatCompletionMessageToolCall(id=ident, type="function", function=function)

    def _answered(self, ident: str | None, name: str | None) -> str:
        """The id of the call that a result belongs to."""
        for call in self._unanswered:
            if call[0] == ident if ident else name in {None, "", call[1]}:
                self._unanswered.remove(call)
                return call[0]
        return ident or next(self._free_ids)  # of no call we know: whoever answers has to say what it thinks of that

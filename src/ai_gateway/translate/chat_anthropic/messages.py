"""OpenAI's messages as the Messages API's system prompt and turns.

The API expects turns that alternate and begin with the user's, rejects blank text, and requires every tool result at
the start of the turn right after the call (docs.anthropic.com "Tool use"). OpenAI's API requires none of that, so
consecutive messages of one role are merged into one turn, in order.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from ai_gateway.contract.strict_json import read_json
from ai_gateway.errors import InvalidRequest, UnsupportedValue
from ai_gateway.translate.chat_anthropic.content import Block, blocks, text
from ai_gateway.translate.chat_anthropic.tools import check_name
from ai_gateway.translate.chat_request import Message, drop_unknown
from gateway_contract.openai import models

SystemMessage = models.ChatCompletionRequestSystemMessage | models.ChatCompletionRequestDeveloperMessage

# A conversation that begins with the assistant needs a user turn in front.
OPENING = "(The conversation begins.)"
_ID = re.compile(r"[A-Za-z0-9_-]+")
# Extra fields of calls that the API accepts: docs.anthropic.com, "Programmatic tool calling" and "Prompt caching".
_OF_CALLS = ("caller", "cache_control")
_THOUGHTS = {"thinking": {"type", "thinking", "signature"}, "redacted_thinking": {"type", "data"}}


@dataclass(slots=True)
class Turn:
    """One turn. Tool results come first, regardless of the order of the messages."""

    role: str
    other: list[Block] = field(default_factory=list)
    results: list[Block] = field(default_factory=list)

    @property
    def content(self) -> list[Block]:
        """All blocks of the turn."""
        return [*self.results, *self.other]

    def has(self, kind: str) -> bool:
        """Whether it has a block of this type."""
        return any(block["type"] == kind for block in self.content)


@dataclass(slots=True)
class Conversation:
    """The system prompt, the turns, and the names of the functions called in them."""

    system: list[Block] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    called_functions: dict[str, None] = field(default_factory=dict)

    @property
    def lacks_thinking(self) -> bool:
        """Whether the assistant's turn to be continued does not begin with its thinking.

        The API then rejects thinking with a budget: docs.anthropic.com "Extended thinking", preserving thinking blocks.
        """
        last = next((turn for turn in reversed(self.turns) if turn.role == "assistant"), None)
        if last is None or not (last is self.turns[-1] or last.has("tool_use")):
            return False
        return str(last.content[0]["type"]) not in _THOUGHTS


def conversation(messages: Sequence[Message], dropped: set[str]) -> Conversation:
    """The messages as system prompt and turns; `dropped` collects what they cannot express.

    System and developer messages at the beginning are the system prompt. A later one keeps its place: it becomes text
    of the user's turn between `<system>` tags. Raises InvalidRequest for what the API would reject and cannot be
    repaired.
    """
    result = Conversation()
    leading = 0
    while leading < len(messages) and isinstance(message := messages[leading], SystemMessage):
        result.system += _content(message, leading, dropped)
        leading += 1
    turns = _Turns(result, dropped)
    for at, message in enumerate(messages[leading:], leading):
        turns.add(message, at)
    turns.finish(messages, leading)
    return result


class _Turns:
    """Adds messages to a conversation, one by one. `_pending` are the calls without a result yet, by their id."""

    def __init__(self, result: Conversation, dropped: set[str]) -> None:
        self._result = result
        self._dropped = dropped
        self._pending: dict[str, str] = {}
        self._called_at = 0
        self._used: dict[str, int] = {}

    def add(self, message: Message, at: int) -> None:
        match message:
            case models.ChatCompletionRequestAssistantMessage():
                self._require_results()
                self._add("assistant", self._assistant(message, at))
            case models.ChatCompletionRequestToolMessage():
                self._add_result(message, at)
            case models.ChatCompletionRequestFunctionMessage():
                raise UnsupportedValue(
                    "This provider takes no function messages: send tool calls and tool messages.",
                    param=f"messages[{at}].role",
                )
            case models.ChatCompletionRequestUserMessage():
                self._add("user", _content(message, at, self._dropped))
            case _:
                content = _content(message, at, self._dropped)
                self._add("user", [block | {"text": f"<system>\n{block['text']}\n</system>"} for block in content])

    def finish(self, messages: Sequence[Message], leading: int) -> None:
        """Check and complete the conversation as a whole."""
        self._require_results()
        result = self._result
        if not result.turns and leading == len(messages):  # system messages alone become the user's turn
            self._add("user", result.system)
            result.system = []
        if not result.turns or (result.turns[-1].role == "assistant" and messages[-1].role != "assistant"):
            path = f"messages[{len(messages) - 1}].content"
            raise InvalidRequest("The last message says nothing.", param=path, code="invalid_value")
        if result.turns[0].role == "assistant":
            result.turns.insert(0, Turn("user", text(OPENING)))
        _strip_end(result.turns[-1])

    def _add(self, role: str, content: list[Block]) -> None:
        if not content:
            return
        if not self._result.turns or self._result.turns[-1].role != role:
            self._result.turns.append(Turn(role))
        self._result.turns[-1].other += content

    def _assistant(self, message: models.ChatCompletionRequestAssistantMessage, at: int) -> list[Block]:
        path = f"messages[{at}]"
        if message.function_call is not None:
            raise UnsupportedValue(
                "This provider takes no `function_call`: send `tool_calls`.", param=f"{path}.function_call"
            )
        if message.audio is not None:
            raise UnsupportedValue("This provider has no audio to go back to.", param=f"{path}.audio")
        thoughts = _thoughts(message, path, self._dropped)
        read = ["thinking_blocks", *(["reasoning_content"] if thoughts else [])]
        drop_unknown(message, "messages", self._dropped, *read)
        _drop_name(message.name, self._dropped)
        content = blocks(message.content, f"{path}.content", self._dropped)
        calls = [self._call(call, f"{path}.tool_calls[{index}]") for index, call in enumerate(message.tool_calls or ())]
        self._called_at = at
        return [*thoughts, *content, *text(message.refusal or ""), *calls]

    def _call(
        self, call: models.ChatCompletionMessageToolCall | models.ChatCompletionMessageCustomToolCall, path: str
    ) -> Block:
        if not isinstance(call, models.ChatCompletionMessageToolCall):
            raise UnsupportedValue("This provider has no custom tools: use functions.", param=path)
        if call.id in self._pending:
            raise InvalidRequest("Two calls have one id.", param=f"{path}.id", code="invalid_value")
        check_name(call.function.name, f"{path}.function.name")
        self._pending[call.id] = self._unique_id(call.id)
        self._result.called_functions[call.function.name] = None
        # The index is left over from a stream.
        drop_unknown(call, "messages.tool_calls", self._dropped, "index", *_OF_CALLS)
        drop_unknown(call.function, "messages.tool_calls.function", self._dropped)
        value = arguments(call.function.arguments, f"{path}.function.arguments")
        own = {name: held for name, held in (call.model_extra or {}).items() if name in _OF_CALLS and held}
        return {"type": "tool_use", "id": self._pending[call.id], "name": call.function.name, "input": value, **own}

    def _unique_id(self, call_id: str) -> str:
        """An id that the API accepts, unique in the conversation: some clients number their calls per turn."""
        valid = call_id if _ID.fullmatch(call_id) else f"call_{hashlib.sha256(call_id.encode()).hexdigest()[:24]}"
        unique = valid
        while unique in self._used:
            self._used[valid] += 1
            unique = f"{valid}_{self._used[valid]}"
        self._used[unique] = 1
        return unique

    def _add_result(self, message: models.ChatCompletionRequestToolMessage, at: int) -> None:
        path = f"messages[{at}]"
        if message.tool_call_id not in self._pending:
            raise InvalidRequest(
                "No call before this message waits for this result.",
                param=f"{path}.tool_call_id",
                code="invalid_value",
            )
        drop_unknown(
            message, "messages", self._dropped, "cache_control", "is_error", "name"
        )  # the call already has the name
        block: Block = {"type": "tool_result", "tool_use_id": self._pending.pop(message.tool_call_id)}
        content = blocks(message.content, f"{path}.content", self._dropped)
        if isinstance(own := (message.model_extra or {}).get("cache_control"), dict):
            block["cache_control"] = own
        if (message.model_extra or {}).get("is_error") is True:
            block["is_error"] = True
        if content:
            block["content"] = message.content if isinstance(message.content, str) else content
        if self._result.turns[-1].role == "assistant":
            self._result.turns.append(Turn("user"))
        self._result.turns[-1].results.append(block)

    def _require_results(self) -> None:
        if self._pending:
            raise InvalidRequest(
                "Every tool call needs a tool message with its result before the conversation goes on.",
                param=f"messages[{self._called_at}].tool_calls",
                code="invalid_value",
            )


def arguments(json: str, path: str) -> dict[str, object]:
    """The arguments of a call as an object; a blank text means an empty one."""
    if not json.strip():
        return {}
    try:
        value = read_json(json.encode())
    except ValueError:
        raise InvalidRequest("The arguments are not JSON.", param=path, code="invalid_value") from None
    if not isinstance(value, dict):
        raise InvalidRequest("The arguments are not a JSON object.", param=path, code="invalid_value")
    return value


def _content(
    message: models.ChatCompletionRequestUserMessage | SystemMessage, at: int, dropped: set[str]
) -> list[Block]:
    """The content of a user, system or developer message."""
    drop_unknown(message, "messages", dropped)
    _drop_name(message.name, dropped)
    return blocks(message.content, f"messages[{at}].content", dropped)


def _drop_name(name: str | None, dropped: set[str]) -> None:
    if name:
        dropped.add("messages.name")


def _thoughts(message: models.ChatCompletionRequestAssistantMessage, path: str, dropped: set[str]) -> list[Block]:
    """The `thinking_blocks` of an earlier response, if the client sent them back."""
    sent = (message.model_extra or {}).get("thinking_blocks") or []
    path = f"{path}.thinking_blocks"
    if not isinstance(sent, list):
        raise InvalidRequest("This is a list.", param=path, code="invalid_type")
    return [_thought(block, f"{path}[{at}]", dropped) for at, block in enumerate(sent)]


def _thought(block: object, path: str, dropped: set[str]) -> Block:
    kind = block.get("type") if isinstance(block, dict) else None
    fields = _THOUGHTS.get(kind, set()) if isinstance(kind, str) else set()
    if not isinstance(block, dict) or not fields or not all(isinstance(block.get(one), str) for one in fields):
        raise InvalidRequest("Send thinking back as it came.", param=path, code="invalid_value")
    if "cache_control" in block and block["cache_control"] is not None:  # not accepted on thinking
        dropped.add("messages.thinking_blocks.cache_control")
    return {name: value for name, value in block.items() if value is not None and name != "cache_control"}


def _strip_end(turn: Turn) -> None:
    """A final assistant turn must not end in white space: the API rejects it."""
    last = turn.other[-1] if turn.other else {}
    if turn.role == "assistant" and isinstance(content := last.get("text"), str):
        last["text"] = content.rstrip()

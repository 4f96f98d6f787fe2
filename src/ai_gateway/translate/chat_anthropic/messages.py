"""A conversation of messages as the Messages API's system prompt and turns.

The API wants turns that alternate and begin with the user's, every result of a call at the head of the turn right after
the call, and text with something in it. Clients of OpenAI's API owe none of that, so turns are put together here:
neighbours of one role become one turn, in order.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from ai_gateway.contract.strict_json import read_json
from ai_gateway.errors import InvalidRequest, UnsupportedValue
from ai_gateway.translate.chat_anthropic.content import Block, blocks, text
from ai_gateway.translate.chat_anthropic.tools import check_name
from ai_gateway.translate.chat_request import Message, drop_unread
from gateway_contract.openai import models

SystemMessage = models.ChatCompletionRequestSystemMessage | models.ChatCompletionRequestDeveloperMessage

# A conversation that the assistant opened needs a turn of the user's in front.
OPENING = "(The conversation begins.)"
_ID = re.compile(r"[A-Za-z0-9_-]+")
_THOUGHTS = {"thinking": {"type", "thinking", "signature"}, "redacted_thinking": {"type", "data"}}


@dataclass(slots=True)
class Turn:
    """One turn in the making: results of calls stand at its head, whenever they came."""

    role: str
    said: list[Block] = field(default_factory=list)
    results: list[Block] = field(default_factory=list)

    @property
    def content(self) -> list[Block]:
        """All of its blocks."""
        return [*self.results, *self.said]

    def has(self, kind: str) -> bool:
        """Whether a block of this type is in it."""
        return any(block["type"] == kind for block in self.content)


@dataclass(slots=True)
class Conversation:
    """What `conversation` found: the system prompt, the turns, and which functions were called on the way."""

    system: list[Block] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    called: dict[str, None] = field(default_factory=dict)

    @property
    def unsigned(self) -> bool:
        """Whether the assistant's turn that is to be continued lacks the thinking it began with.

        The API then refuses to think on, where thinking has a budget.
        """
        last = next((turn for turn in reversed(self.turns) if turn.role == "assistant"), None)
        if last is None or not (last is self.turns[-1] or last.has("tool_use")):
            return False
        return str(last.content[0]["type"]) not in _THOUGHTS


def conversation(messages: Sequence[Message], dropped: set[str]) -> Conversation:
    """The messages as system prompt and turns; what finds no place is named in `dropped`.

    System and developer messages that lead are the system prompt. A later one keeps its place: it becomes text of the
    user's turn between `<system>` tags. Raises InvalidRequest for what the API would refuse and nobody could mend.
    """
    found = Conversation()
    leading = 0
    while leading < len(messages) and isinstance(message := messages[leading], SystemMessage):
        found.system += _said(message, leading, dropped)
        leading += 1
    turns = _Turns(found, dropped)
    for at, message in enumerate(messages[leading:], leading):
        turns.add(message, at)
    turns.end(messages, leading)
    return found


class _Turns:
    """Adds messages to a conversation, one by one. `waiting` holds the calls that still lack a result."""

    def __init__(self, found: Conversation, dropped: set[str]) -> None:
        self._found = found
        self._dropped = dropped
        self._waiting: dict[str, str] = {}
        self._called_at = 0
        self._used: dict[str, int] = {}

    def add(self, message: Message, at: int) -> None:
        match message:
            case models.ChatCompletionRequestAssistantMessage():
                self._all_answered()
                self._turn("assistant", self._assistant(message, at))
            case models.ChatCompletionRequestToolMessage():
                self._result(message, at)
            case models.ChatCompletionRequestFunctionMessage():
                raise UnsupportedValue(
                    "This provider takes no function messages: send tool calls and tool messages.",
                    param=f"messages[{at}].role",
                )
            case models.ChatCompletionRequestUserMessage():
                self._turn("user", _said(message, at, self._dropped))
            case _:
                said = _said(message, at, self._dropped)
                self._turn("user", [one | {"text": f"<system>\n{one['text']}\n</system>"} for one in said])

    def end(self, messages: Sequence[Message], leading: int) -> None:
        """What can be told only when all is said."""
        self._all_answered()
        found = self._found
        if not found.turns and leading == len(messages):  # instructions and nothing else are what the user says
            self._turn("user", found.system)
            found.system = []
        if not found.turns or (found.turns[-1].role == "assistant" and messages[-1].role != "assistant"):
            where = f"messages[{len(messages) - 1}].content"
            raise InvalidRequest("The last message says nothing.", param=where, code="invalid_value")
        if found.turns[0].role == "assistant":
            found.turns.insert(0, Turn("user", text(OPENING)))
        _end_cleanly(found.turns[-1])

    def _turn(self, role: str, said: list[Block]) -> None:
        if not said:
            return
        if not self._found.turns or self._found.turns[-1].role != role:
            self._found.turns.append(Turn(role))
        self._found.turns[-1].said += said

    def _assistant(self, message: models.ChatCompletionRequestAssistantMessage, at: int) -> list[Block]:
        where = f"messages[{at}]"
        if message.function_call is not None:
            raise UnsupportedValue(
                "This provider takes no `function_call`: send `tool_calls`.", param=f"{where}.function_call"
            )
        if message.audio is not None:
            raise UnsupportedValue("This provider has no audio to go back to.", param=f"{where}.audio")
        thoughts = _thoughts(message, where)
        read = ["thinking_blocks", *(["reasoning_content"] if thoughts else [])]
        drop_unread(message, "messages", self._dropped, *read)
        _drop_name(message.name, self._dropped)
        said = blocks(message.content, f"{where}.content", self._dropped)
        calls = [
            self._call(call, f"{where}.tool_calls[{index}]") for index, call in enumerate(message.tool_calls or ())
        ]
        self._called_at = at
        return [*thoughts, *said, *text(message.refusal or ""), *calls]

    def _call(
        self, call: models.ChatCompletionMessageToolCall | models.ChatCompletionMessageCustomToolCall, where: str
    ) -> Block:
        if not isinstance(call, models.ChatCompletionMessageToolCall):
            raise UnsupportedValue("This provider has no custom tools: use functions.", param=where)
        if call.id in self._waiting:
            raise InvalidRequest("Two calls have one id.", param=f"{where}.id", code="invalid_value")
        check_name(call.function.name, f"{where}.function.name")
        self._waiting[call.id] = self._wire_id(call.id)
        self._found.called[call.function.name] = None
        drop_unread(call, "messages.tool_calls", self._dropped, "index")  # of a stream, where the order says it now
        drop_unread(call.function, "messages.tool_calls.function", self._dropped)
        given = arguments(call.function.arguments, f"{where}.function.arguments")
        return {"type": "tool_use", "id": self._waiting[call.id], "name": call.function.name, "input": given}

    def _wire_id(self, given: str) -> str:
        """An id that the API takes, and takes once: some clients count their calls anew in every turn."""
        plain = given if _ID.fullmatch(given) else f"call_{hashlib.sha256(given.encode()).hexdigest()[:24]}"
        found = plain
        while found in self._used:
            self._used[plain] += 1
            found = f"{plain}_{self._used[plain]}"
        self._used[found] = 1
        return found

    def _result(self, message: models.ChatCompletionRequestToolMessage, at: int) -> None:
        where = f"messages[{at}]"
        if message.tool_call_id not in self._waiting:
            raise InvalidRequest(
                "No call before this message waits for this result.",
                param=f"{where}.tool_call_id",
                code="invalid_value",
            )
        drop_unread(message, "messages", self._dropped, "cache_control", "name")  # the call has the name already
        block: Block = {"type": "tool_result", "tool_use_id": self._waiting.pop(message.tool_call_id)}
        said = blocks(message.content, f"{where}.content", self._dropped)
        if isinstance(own := (message.model_extra or {}).get("cache_control"), dict):
            block["cache_control"] = own
        if said:
            block["content"] = message.content if isinstance(message.content, str) else said
        if self._found.turns[-1].role == "assistant":
            self._found.turns.append(Turn("user"))
        self._found.turns[-1].results.append(block)

    def _all_answered(self) -> None:
        if self._waiting:
            raise InvalidRequest(
                "Every tool call needs a tool message with its result before the conversation goes on.",
                param=f"messages[{self._called_at}].tool_calls",
                code="invalid_value",
            )


def arguments(given: str, where: str) -> dict[str, object]:
    """The arguments of a call as an object; nothing at all is an empty one."""
    if not given.strip():
        return {}
    try:
        value = read_json(given.encode())
    except ValueError:
        raise InvalidRequest("The arguments are not JSON.", param=where, code="invalid_value") from None
    if not isinstance(value, dict):
        raise InvalidRequest("The arguments are not a JSON object.", param=where, code="invalid_value")
    return value


def _said(message: models.ChatCompletionRequestUserMessage | SystemMessage, at: int, dropped: set[str]) -> list[Block]:
    """What a message of somebody else than the assistant says."""
    drop_unread(message, "messages", dropped)
    _drop_name(message.name, dropped)
    return blocks(message.content, f"messages[{at}].content", dropped)


def _drop_name(name: str | None, dropped: set[str]) -> None:
    if name:
        dropped.add("messages.name")


def _thoughts(message: models.ChatCompletionRequestAssistantMessage, where: str) -> list[Block]:
    """The thinking that the reply's `thinking_blocks` gave the client, if it sent it back."""
    given = (message.model_extra or {}).get("thinking_blocks") or []
    where = f"{where}.thinking_blocks"
    if not isinstance(given, list):
        raise InvalidRequest("This is a list.", param=where, code="invalid_type")
    return [_thought(block, f"{where}[{at}]") for at, block in enumerate(given)]


def _thought(block: object, where: str) -> Block:
    kind = block.get("type") if isinstance(block, dict) else None
    fields = _THOUGHTS.get(kind, set()) if isinstance(kind, str) else set()
    if not isinstance(block, dict) or not fields or not all(isinstance(block.get(one), str) for one in fields):
        raise InvalidRequest("Send thinking back as it came.", param=where, code="invalid_value")
    return {name: block[name] for name in block if name in fields}


def _end_cleanly(turn: Turn) -> None:
    """What the assistant is to continue must not end in white space."""
    last = turn.said[-1] if turn.said else {}
    if turn.role == "assistant" and isinstance(said := last.get("text"), str):
        last["text"] = said.rstrip()

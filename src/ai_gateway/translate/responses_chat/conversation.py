"""The items of a Responses request as chat messages.

Chat completions require all calls of a turn in one assistant message, directly followed by their results; items may be
in any order. So adjacent calls and texts of the assistant become one message, and every output is looked up by its
call, wherever it is.
"""

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import orjson
from pydantic import BaseModel, JsonValue

from ai_gateway.errors import GatewayError, InvalidRequest, UnsupportedValue
from ai_gateway.translate.carriers import SEALED_FIELDS
from ai_gateway.translate.chat_request import Message, text_message
from ai_gateway.translate.responses_chat import parts
from ai_gateway.translate.responses_chat.envelope import SEALED, Sealer
from ai_gateway.translate.responses_chat.offered import Offered
from ai_gateway.translate.responses_chat.outputs import Output, is_output, output_parts, ran_before
from ai_gateway.translate.responses_chat.tools import ClientTool, ToolKind
from gateway_contract.openai import models as openai
from gateway_contract.openai_responses import models as responses

type Item = BaseModel
"""An input item; the contract has no name for the union of its kinds."""

# Server-run calls without a result in the items; the following answer contains it.
_RAN_ELSEWHERE: Final = frozenset(
    {"web_search_call", "file_search_call", "image_generation_call", "code_interpreter_call", "mcp_call"}
    | {"mcp_list_tools", "mcp_approval_request"}
)
_BEFORE = "previous_response_id"
_SUMMARY = "What was said before, in summary:\n"


@dataclass(slots=True)
class _Turn:
    """A run of assistant items. `replayed` is reasoning that precedes the text or call it led to.

    `results` are those of server-run calls, by id.
    """

    texts: list[tuple[list[parts.AssistantPart], dict[str, JsonValue]]] = field(default_factory=list)
    calls: list[openai.ChatCompletionMessageToolCall] = field(default_factory=list)
    replayed: dict[str, JsonValue] = field(default_factory=dict)
    results: dict[str, str] = field(default_factory=dict)


class Conversation:
    """Converts items one after the other to messages.

    `provider` is the target, which gets its own reasoning back; `sealer` opens data sealed for the caller. Raises
    InvalidRequest or UnsupportedValue, which name the item.
    """

    def __init__(self, offered: Offered, sealer: Sealer, provider: str) -> None:
        self.messages: list[Message] = []
        self.dropped: set[str] = set()
        self._offered = offered
        self._sealer = sealer
        self._provider = provider
        self._turn = _Turn()
        self._outputs = _Outputs()
        self._ids: dict[str, int] = {}

    def add_all(self, items: Sequence[Item], *, skipped: int = 0) -> None:
        """Add all items; each output needs a call among them. The first `skipped` are of earlier responses."""
        placed = [(f"input[{at}]" if at >= 0 else _BEFORE, item) for at, item in enumerate(items, -skipped)]
        try:
            self._add_placed(placed)
        except GatewayError as error:
            if error.param is None or not error.param.startswith(f"{_BEFORE}."):
                raise
            raise error.changed(param=_BEFORE) from None  # the caller did not write its items

    def _add_placed(self, placed: Sequence[tuple[str, Item]]) -> None:
        for at, item in placed:
            if is_output(item):
                self._outputs.add(item, at)
        for at, item in placed:
            self._add(item, at)
        self._end_turn()
        self._outputs.require_none()

    def _add(self, item: Item, at: str) -> None:
        match item:
            case responses.EasyInputMessage() | responses.InputMessage() | responses.OutputMessage():
                self._add_message(item, at)
            case responses.ReasoningItem():
                self._add_reasoning(item)
            case (
                responses.FunctionToolCall()
                | responses.CustomToolCall()
                | responses.ToolSearchCallItemParam()
                | responses.LocalShellToolCall()
                | responses.FunctionShellCallItemParam()
                | responses.ApplyPatchToolCallItemParam()
            ):
                self._add_call(item)
            case responses.ToolSearchOutputItemParam() | responses.AdditionalToolsItemParam():
                self._offered.add_found(item.tools)
                self._end_turn()
            case responses.CompactionSummaryItemParam():
                self._add_summary(item, at)
            case _ if is_output(item):
                self._end_turn()
            case _:
                self._add_other(item, at)

    def _add_message(
        self, item: responses.EasyInputMessage | responses.InputMessage | responses.OutputMessage, at: str
    ) -> None:
        if item.role == "assistant":
            self._end_ran()
            new_parts: list[parts.AssistantPart]
            if isinstance(item.content, str):
                new_parts = [parts.text_part(item.content)]
            else:
                new_parts = parts.assistant_parts(item.content, f"{at}.content")
            self._turn.texts.append((new_parts, self._take_replayed()))
            return
        self._end_turn()
        read = parts.user_parts if item.role == "user" else parts.system_parts
        made = item.content if isinstance(item.content, str) else parts.plain(read(item.content, f"{at}.content"))
        if isinstance(made, str):
            self.messages.append(text_message(item.role, made))
        elif item.role == "user":
            self.messages.append(openai.ChatCompletionRequestUserMessage(role="user", content=made))
        elif item.role == "developer":
            self.messages.append(openai.ChatCompletionRequestDeveloperMessage(role="developer", content=made))
        else:
            self.messages.append(openai.ChatCompletionRequestSystemMessage(role="system", content=made))

    def _add_reasoning(self, item: responses.ReasoningItem) -> None:
        """Reasoning for its own provider is sent back; others get its readable text."""
        self._end_ran()
        text = "".join(part.text for part in item.content or ()) or "\n\n".join(part.text for part in item.summary)
        carried: dict[str, JsonValue] = {"reasoning_content": text} if text else {}
        opened = self._sealer.open(item.encrypted_content)
        if opened is not None and opened[0] == self._provider:
            carried |= opened[1]
        if opened is not None and isinstance(kept := opened[1].get(SEALED_FIELDS), dict):
            carried[SEALED_FIELDS] = [{"provider": opened[0], **kept}]
        _add_carried(carried, self._turn.replayed)

    def _take_replayed(self) -> dict[str, JsonValue]:
        replayed, self._turn.replayed = self._turn.replayed, {}
        return replayed

    def _add_call(self, item: Item) -> None:
        tool, arguments = _called(item)
        name = self._offered.names.add(tool)
        call_id: str = getattr(item, "call_id", None) or f"call_{len(self._ids)}"
        output = self._outputs.take(call_id, getattr(item, "id", None) or call_id)
        if output is None and tool.kind is ToolKind.TOOL_SEARCH:  # results of a tool search need not name their call
            output = self._outputs.take("", "")
        called = openai.ChatCompletionMessageToolCallFunction(name=name, arguments=arguments)
        call = openai.ChatCompletionMessageToolCall(id=self._unique(call_id), type="function", function=called)
        if output is not None:
            self._outputs.answer(call, output)
        self._turn.calls.append(call)

    def _unique(self, call_id: str) -> str:
        """A unique id: some agents send two calls with the same id."""
        count = self._ids[call_id] = self._ids.get(call_id, 0) + 1
        return call_id if count == 1 else self._unique(f"{call_id}_{count}")

    def _add_summary(self, item: responses.CompactionSummaryItemParam, at: str) -> None:
        summary = _summary(item.encrypted_content, self._sealer)
        if summary is None:
            raise InvalidRequest(
                "This compaction was not made here, or for another project: it cannot be read here. Send the items.",
                param=f"{at}.encrypted_content",
                code="invalid_value",
            )
        self._end_turn()
        self.messages.append(openai.ChatCompletionRequestUserMessage(role="user", content=summary))

    def _add_other(self, item: Item, at: str) -> None:
        if (ran := ran_before(item, self._offered.names.ran)) is not None:
            self._add_ran(*ran)
            return
        kind = getattr(item, "type", None) or "item_reference"
        if isinstance(item, responses.MCPListTools) and item.server_label in self._labels():
            return  # its tools are offered
        if kind in _RAN_ELSEWHERE:
            self.dropped.add(f"input.{kind}")
            return
        if kind == "item_reference":
            raise InvalidRequest(
                "There is no stored item with this id: send the item itself.", param=f"{at}.id", code="invalid_value"
            )
        raise UnsupportedValue(f"No provider of chat completions knows a {kind}: leave it out.", param=f"{at}.type")

    def _labels(self) -> set[str]:
        return {name.server for name in self._offered.names.ran.names.values()}

    def _add_ran(self, call_id: str, name: str, arguments: str, result: str) -> None:
        """A server-run call and its result, as a call and its tool message."""
        called = openai.ChatCompletionMessageToolCallFunction(name=name, arguments=arguments)
        own = self._unique(call_id)
        self._turn.calls.append(openai.ChatCompletionMessageToolCall(id=own, type="function", function=called))
        self._turn.results[own] = result

    def _end_ran(self) -> None:
        if self._turn.results:
            self._end_turn()

    def _end_turn(self) -> None:
        """End the turn: the assistant's messages, and the results of its calls."""
        turn = self._turn
        if not (turn.texts or turn.calls or turn.replayed):
            return
        self._turn = _Turn()
        if not turn.calls:
            if turn.texts and SEALED_FIELDS in turn.replayed:  # sealed fields follow what they belong to
                _add_carried({SEALED_FIELDS: turn.replayed.pop(SEALED_FIELDS)}, turn.texts[-1][1])
            for content, carried in turn.texts:
                self.messages.append(_answer(content, [], carried))
            if turn.replayed:  # reasoning without a following item: a truncated answer
                self.dropped.add("input.reasoning")
            return
        content = [part for parts_of, _ in turn.texts for part in parts_of]
        replayed: dict[str, JsonValue] = {}
        for carried in (*(each for _, each in turn.texts), turn.replayed):
            _add_carried(carried, replayed)
        self.messages.append(_answer(content, turn.calls, replayed))
        self._add_results(turn)

    def _add_results(self, turn: _Turn) -> None:
        for call in turn.calls:
            if (result := turn.results.get(call.id)) is not None:
                message = openai.ChatCompletionRequestToolMessage(role="tool", content=result, tool_call_id=call.id)
                self.messages.append(message)
            elif (output := self._outputs.of(call)) is not None:
                self.messages.append(_result(call.id, output_parts(*output)))


class _Outputs:
    """The outputs without a call so far, in order for each id."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[tuple[Output, str]]] = defaultdict(deque)
        self._answers: dict[str, tuple[Output, str]] = {}

    def add(self, output: Output, at: str) -> None:
        call_id: object = getattr(output, "call_id", None)
        if isinstance(output, responses.LocalShellToolCallOutput) and not isinstance(call_id, str):
            call_id = output.id  # OpenAI's document requires `call_id`, but describes `id` as that of the call
        self._waiting[call_id if isinstance(call_id, str) else ""].append((output, at))

    def take(self, call_id: str, item_id: str) -> tuple[Output, str] | None:
        """Take the first output of a call."""
        waiting = self._waiting.get(call_id) or self._waiting.get(item_id)
        return waiting.popleft() if waiting else None

    def answer(self, call: openai.ChatCompletionMessageToolCall, output: tuple[Output, str]) -> None:
        self._answers[call.id] = output

    def of(self, call: openai.ChatCompletionMessageToolCall) -> tuple[Output, str] | None:
        return self._answers.get(call.id)

    def require_none(self) -> None:
        """Raise InvalidRequest for an output without a call."""
        for waiting in self._waiting.values():
            for output, at in waiting:
                if isinstance(output, responses.ToolSearchOutputItemParam):
                    continue  # its found tools are offered already
                raise InvalidRequest(
                    "No call with this id is in the request: send the call as well, before its output.",
                    param=f"{at}.call_id",
                    code="invalid_value",
                )


def _summary(sealed: str | None, sealer: Sealer) -> str | None:
    """The summary in a compaction; None for one that the gateway did not make."""
    opened = sealer.open(sealed)
    summary = opened[1].get("summary") if opened is not None else None
    return _SUMMARY + summary if isinstance(summary, str) else None


def is_sealed(item: object) -> bool:
    """Whether an item has data sealed by the gateway, which upstreams of this API cannot read."""
    return isinstance(item, dict) and str(item.get("encrypted_content") or "").startswith(SEALED)


def unsealed(item: JsonValue, sealer: Sealer) -> list[JsonValue]:
    """The items that replace it for any upstream: a compaction's summary, and none for reasoning.

    Reasoning is of another provider. One that cannot be opened stays unchanged, for the upstream to refuse.
    """
    if not is_sealed(item) or not isinstance(item, dict):
        return [item]
    sealed = str(item["encrypted_content"])
    if item.get("type") == "reasoning":
        return []
    if item.get("type") == "compaction" and (summary := _summary(sealed, sealer)) is not None:
        return [{"type": "message", "role": "user", "content": summary}]
    return [item]


def _add_carried(more: Mapping[str, JsonValue], carried: dict[str, JsonValue]) -> None:
    """Merge carriers of one message: lists and texts are appended."""
    for name, value in more.items():
        before = carried.get(name)
        if isinstance(before, list) and isinstance(value, list):
            carried[name] = before + value
        elif isinstance(before, str) and isinstance(value, str):
            carried[name] = f"{before}\n\n{value}"
        else:
            carried[name] = value


def _answer(
    texts: list[parts.AssistantPart],
    calls: list[openai.ChatCompletionMessageToolCall],
    replayed: Mapping[str, JsonValue],
) -> Message:
    message = openai.ChatCompletionRequestAssistantMessage(role="assistant", content=parts.plain(texts) or None)
    if calls:
        message.tool_calls = [*calls]
    elif message.content is None:
        message.content = ""
    return message.model_copy(update=dict(replayed)) if replayed else message


def _result(call_id: str, content: list[parts.UserPart]) -> openai.ChatCompletionRequestToolMessage:
    """The result of a call. Images in it are moved after it for providers that take none there."""
    message = openai.ChatCompletionRequestToolMessage(role="tool", content="", tool_call_id=call_id)
    return message.model_copy(update={"content": parts.plain(content)})


def _called(item: Item) -> tuple[ClientTool, str]:
    """The tool of a call, and its arguments as a function's."""
    match item:
        case responses.FunctionToolCall():
            # Servers parse arguments as JSON; an empty string is invalid.
            return ClientTool(ToolKind.FUNCTION, item.name, item.namespace), item.arguments or "{}"
        case responses.CustomToolCall():
            return ClientTool(ToolKind.CUSTOM, item.name, item.namespace), _json({"input": item.input})
        case responses.ToolSearchCallItemParam():
            return ClientTool(ToolKind.TOOL_SEARCH, "tool_search"), _json(_fields(item.arguments))
        case responses.LocalShellToolCall():
            action = _fields(item.action)
            action.pop("type", None)
            return ClientTool(ToolKind.LOCAL_SHELL, "local_shell"), _json(action)
        case responses.FunctionShellCallItemParam():
            return ClientTool(ToolKind.SHELL, "shell"), _json(_fields(item.action))
        case responses.ApplyPatchToolCallItemParam():
            return ClientTool(ToolKind.APPLY_PATCH, "apply_patch"), _json(_fields(item.operation))
        case _:
            raise TypeError(f"{type(item).__name__} is no call")


def _fields(model: BaseModel) -> dict[str, JsonValue]:
    return model.model_dump(exclude_unset=True, exclude_none=True)


def _json(fields: dict[str, JsonValue]) -> str:
    return orjson.dumps(fields).decode()

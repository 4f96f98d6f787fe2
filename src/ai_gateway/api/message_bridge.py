"""Bridges a chat stream to the events of a message: content blocks, stop reason and usage."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, cast, override

from pydantic import BaseModel, JsonValue

from ai_gateway.api.chat_bridge import ChatBridge
from ai_gateway.conform.message_events import Fields, MessageEvents, MessageHead
from ai_gateway.conform.turn import CallHead, outside
from ai_gateway.contract.call import Call
from ai_gateway.contract.stream import Continued, Item
from ai_gateway.contract.write import to_fields
from ai_gateway.tools.citations import Cited, annotations
from ai_gateway.tools.tool import Citation
from ai_gateway.translate.anthropic_chat.ids import CallIds, ToolNames
from ai_gateway.translate.anthropic_chat.ran import RanCalls
from ai_gateway.translate.anthropic_chat.reply import (
    call_block,
    refusal_details,
    valid_blocks,
    valid_citations,
)
from ai_gateway.translate.anthropic_chat.seal import sealed
from ai_gateway.translate.anthropic_chat.stream_extras import StreamExtras
from ai_gateway.translate.anthropic_chat.tokens import counted, of_text
from ai_gateway.translate.anthropic_chat.usage import (
    NATIVE,
    estimated,
    require_answer,
    stop_reason,
    stopped_by,
    usage,
)
from ai_gateway.translate.carriers import KEPT
from ai_gateway.translate.extra_fields import (
    Fields as ExtraFields,
    carry,
)
from ai_gateway.translate.gateway_tools import McpName
from gateway_contract.anthropic import models as anthropic
from gateway_contract.openai import models as openai

_CUT: Final = frozenset({"length", "content_filter"})
_AT_THE_END: Final = frozenset(anthropic.AnthropicMessageDeltaUsage.model_fields)
_OF_CALLS: Final = frozenset({"caller", "index", "custom", *KEPT})
_PER_EXTRA_BYTE: Final = 8  # an object of a few bytes takes hundreds


@dataclass(frozen=True, slots=True)
class MessageContext:
    """The facts of a request that its stream needs: model name, tool names and stop sequences.

    `mcp` are the names of MCP servers and their tools, by function name. `input_tokens` is an estimate, for the first
    event, and for replies without usage.
    """

    model: str
    names: ToolNames
    stop_sequences: Collection[str] = ()
    input_tokens: int = 0
    mcp: Mapping[str, McpName] = field(default_factory=dict)


class MessageBridge(ChatBridge):
    """One chat stream to a client of the Messages API."""

    def __init__(self, call: Call, context: MessageContext) -> None:
        self._beside = StreamExtras(self._charge)
        self._head = MessageHead(call.request_id, context.model, estimated(context.input_tokens, 0), self._beside.head)
        self._ran = RanCalls(context.mcp)
        self._message = MessageEvents(self._head, self._block, _valid, (self._ran.blocks, self._cited))
        super().__init__(call, self._message, KEPT)
        self._context = context
        self._ids = CallIds(context.names.called)
        self._sent_ids: dict[str, str] = {}

    def _block(self, head: CallHead) -> Fields:
        ident = self._sent_ids[head.id] = self._ids.of(head.id)
        more = self.turn.kept_of_calls.get(head.id, {})
        made = call_block(ident, self._context.names.to_client(head.name), {}, more.get("caller"))
        extras: ExtraFields = {name: value for name, value in more.items() if name not in _OF_CALLS}
        return json_of(carry(extras, made) if extras else made)

    @override
    def feed(self, item: Item[openai.CreateChatCompletionStreamResponse] | Continued) -> bytes:
        written = super().feed(item)
        if not isinstance(item, Continued):
            self._beside.note(item.model)
        return written

    def _cited(self, text: str) -> Sequence[Fields]:
        sources = [
            Cited(number, Citation(str(each["url"]), str(each["title"]))) for number, each in self._ran.sources.items()
        ]
        return self._ran.citations(link["url_citation"]["url"] for link in annotations(text, sources))

    @override
    def _begun(self, chunk: openai.CreateChatCompletionStreamResponse) -> bytes:
        self._head.id = chunk.id
        self._beside.begin(chunk)
        return self._message.begin()

    def _charge(self, size: int) -> None:
        self.call.allocation.charge_at_most(size * _PER_EXTRA_BYTE, "replies")

    @override
    def _ended(self, finish: str) -> bytes:
        turn, message = self.turn, self._message
        calls = {self._sent_ids[ident]: more for ident, more in turn.kept_of_calls.items() if ident in self._sent_ids}
        data = sealed(self.call.notes.provider, {**self._beside.kept, **turn.kept}, calls)
        written = message.close(cut=finish in _CUT) + (message.keep(data) if data else b"")
        require_answer(finish, is_empty=message.is_empty)
        choice = turn.end_choice
        ended_by = stopped_by(choice, self._context.stop_sequences) if choice is not None else None
        native = (choice.model_extra or {}).get(NATIVE) if choice is not None else None
        reason = stop_reason(finish, native, called=message.calls > 0, refused=message.refusal is not None)
        more = cast("dict[str, JsonValue]", self._beside.collected())
        if reason == "refusal" and choice is not None:
            more["stop_details"] = json_of(refusal_details(message.refusal, choice))
        if reason == "end_turn" and ended_by is not None:
            reason, more["stop_sequence"] = "stop_sequence", ended_by
        known = {name: value for name, value in self._took().items() if value is not None or name in _AT_THE_END}
        return written + message.stopped(reason, known, more)

    def _took(self) -> Fields:
        served, turn = self._ran.usage(), self.turn
        if turn.usage is None and turn.tier is None and served is None:
            return estimated(self._context.input_tokens, of_text(outside(self._message.sent_texts)))
        took = turn.usage or counted(self._context.input_tokens, of_text(outside(self._message.sent_texts)))
        return json_of(usage(took, turn.tier, served))


def _valid(field: str, values: Sequence[JsonValue]) -> Sequence[JsonValue]:
    found: Sequence[BaseModel] = (valid_citations(values) or ()) if field == "citations" else valid_blocks(values)
    return [json_of(each) for each in found]


def json_of(model: BaseModel) -> dict[str, JsonValue]:
    """The model's wire form as JSON values."""
    return cast("dict[str, JsonValue]", to_fields(model))

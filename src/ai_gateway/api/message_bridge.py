"""A chat's stream as the events of a message on Anthropic's wire: its blocks, why it ended, and what it took."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, cast, override

from pydantic import MISSING, BaseModel, JsonValue

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
    STOPPED,
    call_block,
    extra_of,
    extra_of_call,
    refusal_details,
    valid_blocks,
    valid_citations,
)
from ai_gateway.translate.anthropic_chat.seal import sealed
from ai_gateway.translate.anthropic_chat.tokens import counted, of_text
from ai_gateway.translate.anthropic_chat.usage import stop_reason, stopped_by, usage
from ai_gateway.translate.carriers import KEPT
from ai_gateway.translate.extra_fields import (
    Fields as ExtraFields,
    carry,
    extra_fields,
    is_same,
    merge,
    names_of,
    place,
)
from ai_gateway.translate.gateway_tools import McpName
from gateway_contract.anthropic import models as anthropic
from gateway_contract.openai import models as openai

_CUT: Final = frozenset({"length", "content_filter"})
_AT_THE_END: Final = frozenset(anthropic.AnthropicMessageDeltaUsage.model_fields)
_HEAD: Final = names_of(anthropic.AnthropicMessage)
_DELTA: Final = names_of(anthropic.AnthropicMessageDelta)
_OF_CALLS: Final = frozenset({"caller", "index", "custom", *KEPT})
_LISTS: Final = frozenset({"annotations", "images"})  # of which each chunk has more
_PADDING: Final = "p"  # hides how long the texts are: docs.mistral.ai/resources/changelogs


@dataclass(frozen=True, slots=True)
class AskedMessage:
    """What a stream needs of its request: the model's name there, its tools' names and its stop sequences.

    `mcp` are the names of what servers of the Model Context Protocol have, by their functions.
    `input_tokens` is an estimate, for clients that want to know at once, and where nobody counts.
    """

    model: str
    names: ToolNames
    stop_sequences: Collection[str] = ()
    input_tokens: int = 0
    mcp: Mapping[str, McpName] = field(default_factory=dict)


class MessageBridge(ChatBridge):
    """One chat on its way to a client of the Messages API."""

    def __init__(self, call: Call, asked: AskedMessage) -> None:
        estimated = usage(counted(asked.input_tokens, 0))
        self._head = MessageHead(call.request_id, asked.model, json_of(estimated))
        self._ran = RanCalls(asked.mcp)
        self._message = MessageEvents(self._head, self._block, _valid, (self._ran.told, self._cited))
        super().__init__(call, self._message, KEPT)
        self._asked = asked
        self._ids = CallIds(asked.names.called)
        self._told_ids: dict[str, str] = {}
        self._beside: ExtraFields = {}
        self._kept: ExtraFields = {}

    def _block(self, head: CallHead) -> Fields:
        ident = self._told_ids[head.id] = self._ids.of(head.id)
        more = self.turn.kept_of_calls.get(head.id, {})
        made = call_block(ident, self._asked.names.here(head.name), {}, more.get("caller"))
        extras: ExtraFields = {name: value for name, value in more.items() if name not in _OF_CALLS}
        return json_of(carry(extras, made) if extras else made)

    @override
    def feed(self, item: Item[openai.CreateChatCompletionStreamResponse] | Continued) -> bytes:
        if isinstance(item, Continued):
            return super().feed(item)
        is_first = not self._message.has_begun
        written = super().feed(item)
        self._note(item.model, is_first=is_first)
        return written

    def _note(self, chunk: openai.CreateChatCompletionStreamResponse, *, is_first: bool) -> None:
        """Remember what the chunk has that no document names, and this wire no event for: the end tells it."""
        if chunk.model_extra and not is_first:
            merge({name: value for name, value in extra_fields(chunk).items() if name != _PADDING}, self._beside)
        for choice in chunk.choices:
            if choice.index == 0:
                if choice.model_extra:
                    merge(extra_fields(choice, *STOPPED), self._beside)
                if choice.delta.model_extra:
                    self._note_delta(choice.delta, choice.delta.model_extra)
                if choice.delta.tool_calls is not MISSING:
                    for call in choice.delta.tool_calls:
                        self._note_call(call)

    def _note_delta(self, delta: openai.ChatCompletionStreamResponseDelta, extra: Mapping[str, object]) -> None:
        for name in KEPT & extra.keys():
            if isinstance(kept := extra[name], dict):
                merge({name: kept}, self._kept)
        said = extra_of(delta)
        for name in _LISTS & said.keys():
            if isinstance(more := said[name], list) and isinstance(told := self._beside.setdefault(name, []), list):
                told += more
                del said[name]
        merge(said, self._beside)

    def _note_call(self, call: openai.ChatCompletionMessageToolCallChunk) -> None:
        if call.model_extra and call.id is MISSING:  # else its block has them
            merge(extra_of_call(call), self._beside)
        if call.function is not MISSING and call.function.model_extra:
            merge(extra_fields(call.function), self._beside)

    def _cited(self, text: str) -> Sequence[Fields]:
        sources = [
            Cited(number, Citation(str(each["url"]), str(each["title"]))) for number, each in self._ran.sources.items()
        ]
        return self._ran.citations(link["url_citation"]["url"] for link in annotations(text, sources))

    @override
    def _begun(self, chunk: openai.CreateChatCompletionStreamResponse) -> bytes:
        self._head.id = chunk.id
        if chunk.model_extra:
            place(
                {name: each for name, each in extra_fields(chunk).items() if name != _PADDING}, self._head.more, _HEAD
            )
        return self._message.begin()

    def _told_beside(self) -> dict[str, JsonValue]:
        """What was remembered, as fields of the last event, without what the first one has told already."""
        first, told = self._head.more, cast("dict[str, JsonValue]", {})
        new = {name: each for name, each in self._beside.items() if name not in first or not is_same(first[name], each)}
        place(new, cast("ExtraFields", told), _DELTA)
        return told

    @override
    def _ended(self, finish: str) -> bytes:
        turn, told = self.turn, self._message
        calls = {self._told_ids[ident]: more for ident, more in turn.kept_of_calls.items() if ident in self._told_ids}
        data = sealed(self.call.notes.provider, {**self._kept, **turn.kept}, calls)
        written = told.close(cut=finish in _CUT) + (told.keep(data) if data else b"")
        took = turn.usage or counted(self._asked.input_tokens, of_text(outside(told.said)))
        choice = turn.end_choice
        ended_by = stopped_by(choice, self._asked.stop_sequences) if choice is not None else None
        reason = stop_reason(finish, called=told.calls > 0, refused=told.refusal is not None)
        more = self._told_beside()
        if reason == "refusal" and choice is not None:
            more["stop_details"] = json_of(refusal_details(told.refusal, choice))
        if reason == "end_turn" and ended_by is not None:
            reason, more["stop_sequence"] = "stop_sequence", ended_by
        counts = json_of(usage(took, turn.tier, self._ran.usage()))
        known = {name: value for name, value in counts.items() if value is not None or name in _AT_THE_END}
        return written + told.stopped(reason, known, more)


def _valid(field: str, values: Sequence[JsonValue]) -> Sequence[JsonValue]:
    found: Sequence[BaseModel] = (valid_citations(values) or ()) if field == "citations" else valid_blocks(values)
    return [json_of(each) for each in found]


def json_of(model: BaseModel) -> dict[str, JsonValue]:
    """The model's wire form as JSON values."""
    return cast("dict[str, JsonValue]", to_fields(model))

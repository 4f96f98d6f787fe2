"""A chat's stream as the events of a message on Anthropic's wire: its blocks, why it ended, and what it took."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, cast, override

from pydantic import BaseModel, JsonValue

from ai_gateway.api.chat_bridge import ChatBridge
from ai_gateway.conform.message_events import Fields, MessageEvents, MessageHead
from ai_gateway.conform.turn import CallHead, outside
from ai_gateway.contract.call import Call
from ai_gateway.contract.write import to_fields
from ai_gateway.tools.citations import Cited, annotations
from ai_gateway.tools.tool import Citation
from ai_gateway.translate.anthropic_chat.ids import ToolNames, call_id
from ai_gateway.translate.anthropic_chat.ran import RanCalls
from ai_gateway.translate.anthropic_chat.reply import call_block, refusal_details, valid_blocks, valid_citations
from ai_gateway.translate.anthropic_chat.seal import KEPT, sealed
from ai_gateway.translate.anthropic_chat.tokens import counted, of_text
from ai_gateway.translate.anthropic_chat.usage import stop_reason, stopped_by, usage
from ai_gateway.translate.gateway_tools import McpName
from gateway_contract.anthropic import models as anthropic
from gateway_contract.openai import models as openai

_CUT: Final = frozenset({"length", "content_filter"})
_AT_THE_END: Final = frozenset(anthropic.AnthropicMessageDeltaUsage.model_fields)


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

    def _block(self, head: CallHead) -> Fields:
        caller = self.turn.kept_of_calls.get(head.id, {}).get("caller")
        return json_of(call_block(head.id, self._asked.names.here(head.name), {}, caller))

    def _cited(self, text: str) -> Sequence[Fields]:
        sources = [
            Cited(number, Citation(str(each["url"]), str(each["title"]))) for number, each in self._ran.sources.items()
        ]
        return self._ran.citations(link["url_citation"]["url"] for link in annotations(text, sources))

    @override
    def _begun(self, chunk: openai.CreateChatCompletionStreamResponse) -> bytes:
        self._head.id = chunk.id
        return self._message.begin()

    @override
    def _ended(self, finish: str) -> bytes:
        turn, told = self.turn, self._message
        calls = {call_id(ident): fields for ident, fields in turn.kept_of_calls.items()}
        data = sealed(self.call.notes.provider, turn.kept, calls)
        written = told.close(cut=finish in _CUT) + (told.keep(data) if data else b"")
        took = turn.usage or counted(self._asked.input_tokens, of_text(outside(told.said)))
        choice = turn.end_choice
        ended_by = stopped_by(choice, self._asked.stop_sequences) if choice is not None else None
        reason = stop_reason(finish, called=told.calls > 0, refused=told.refusal is not None)
        more: dict[str, JsonValue] = {}
        if reason == "refusal" and choice is not None:
            more["stop_details"] = json_of(refusal_details(told.refusal, choice))
        if reason == "end_turn" and ended_by is not None:
            reason, more["stop_sequence"] = "stop_sequence", ended_by
        counts = json_of(usage(took, turn.tier, self._ran.usage()))
        return written + told.stopped(
            reason, {name: value for name, value in counts.items() if name in _AT_THE_END}, **more
        )


def _valid(field: str, values: Sequence[JsonValue]) -> Sequence[JsonValue]:
    found: Sequence[BaseModel] = (valid_citations(values) or ()) if field == "citations" else valid_blocks(values)
    return [json_of(each) for each in found]


def json_of(model: BaseModel) -> dict[str, JsonValue]:
    """The model's wire form as JSON values."""
    return cast("dict[str, JsonValue]", to_fields(model))

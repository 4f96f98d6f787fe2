"""From what the gateway answers to what goes out on Anthropic's wire, whole or event by event."""

import secrets
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, JsonValue

from ai_gateway.api.chat_bridge import bridged
from ai_gateway.api.message_bridge import CallersEvents, Ended, MessageBridge, Told
from ai_gateway.conform.message_events import MessageHead
from ai_gateway.contract.call import Call
from ai_gateway.contract.stream import Stream
from ai_gateway.contract.write import to_fields
from ai_gateway.translate.anthropic_chat.ids import call_id
from ai_gateway.translate.anthropic_chat.reply import blocks_text, message, valid_blocks, valid_citations
from ai_gateway.translate.anthropic_chat.request import TranslatedRequest
from ai_gateway.translate.anthropic_chat.seal import KEPT, sealed
from ai_gateway.translate.anthropic_chat.tokens import counted, of_body, of_text
from ai_gateway.translate.anthropic_chat.usage import stop, usage
from gateway_contract.anthropic import models
from gateway_contract.openai.models import CompletionUsage, CreateChatCompletionResponse

type Fields = dict[str, Any]
_IN_DELTA = frozenset(models.AnthropicMessageDeltaUsage.model_fields)
_BYTES_PER_TOKEN = 3


def whole(
    call: Call, body: models.AnthropicCreateMessageParams, asked: TranslatedRequest, reply: CreateChatCompletionResponse
) -> models.AnthropicMessage:
    """The message that a whole reply is. Its model is the one that the caller named."""
    known = reply.usage if isinstance(reply.usage, CompletionUsage) else None
    made = message(
        reply,
        known or counted(0, 0),
        asked.names,
        provider=call.notes.provider,
        stop_sequences=body.stop_sequences or (),
    )
    if known is None:  # nobody has counted, and the contract wants counts
        made.usage.input_tokens = of_body(body)
        made.usage.output_tokens = of_text(blocks_text(made.content))
    made.model = body.model
    return made


def streamed(  # noqa: PLR0913, PLR0917 - a call, what was asked and what came of it, and what is known before
    call: Call,
    body: models.AnthropicCreateMessageParams,
    asked: TranslatedRequest,
    opened: Callable[[], AsyncGenerator[Any]],
    prompt: int,
    answered: Callable[[], None],
) -> Stream[models.AnthropicMessageStreamEvent]:
    """The events of the message as it is made; `prompt` are its input tokens, about, until its upstream has counted.

    `opened` opens the chat, and `answered` is called once it is known who answers.
    """
    told = Told(
        call=lambda identifier, name: (call_id(identifier), asked.names.here(name)),
        blocks=lambda blocks: _plain(valid_blocks(blocks)),
        citations=lambda citations: _plain(valid_citations(citations)),
        stop=lambda ended: _stopped(ended, body.stop_sequences or ()),
        sealed=lambda said, calls: _sealed(call, said, calls),
        kept=KEPT,
    )
    start = _usage(counted(prompt, 0))
    events = CallersEvents(MessageHead(f"msg_{secrets.token_hex(12)}", body.model, start), told)

    def took(known: CompletionUsage | None) -> dict[str, JsonValue]:
        guessed = counted(prompt, -(-call.notes.text_bytes // _BYTES_PER_TOKEN))
        return {name: value for name, value in _usage(known or guessed).items() if name in _IN_DELTA}

    call.bridge = bridge = MessageBridge(call, events, took, told)
    return bridged(opened(), bridge, answered)


def _usage(known: CompletionUsage) -> dict[str, JsonValue]:
    return usage(known).model_dump(by_alias=True, exclude_unset=True)


def _plain(found: Sequence[BaseModel]) -> list[JsonValue]:
    return [each.model_dump(by_alias=True, exclude_unset=True) for each in found]


def _stopped(ended: Ended, wanted: Sequence[str]) -> Fields:
    reason, sequence, details = stop(ended.finish, ended.beside, wanted, called=ended.called, refusal=ended.refusal)
    return {
        "reason": reason,
        "stop_sequence": sequence,
        "stop_details": to_fields(details) if details is not None else None,
    }


def _sealed(call: Call, said: Fields, calls: Mapping[str, Fields]) -> Fields | None:
    data = sealed(call.notes.provider, said, {call_id(identifier): each for identifier, each in calls.items()})
    return {"type": "redacted_thinking", "data": data} if data is not None else None

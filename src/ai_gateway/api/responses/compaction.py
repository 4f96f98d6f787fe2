"""Compaction: a conversation summarised by its model, and sealed; clients then send it in place of the items."""

import secrets
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any, Final, cast

from pydantic_core import from_json

from ai_gateway.api.responses.adopted import AdoptedEvents, AdoptedWhole
from ai_gateway.api.responses.dropped import note_dropped
from ai_gateway.api.responses.making import Maker, Prepared, written
from ai_gateway.api.responses.queueing import queue_stream, queue_whole
from ai_gateway.conform.response_events import ResponseEvents, ResponseHead
from ai_gateway.contract.call import Call
from ai_gateway.contract.stream import Framed, Item as Written, Stream
from ai_gateway.errors import UpstreamInvalidResponse
from ai_gateway.operations import CHAT
from ai_gateway.routing.resolver import Resolution
from ai_gateway.translate.responses_chat import outline
from ai_gateway.translate.responses_chat.request import TranslatedRequest
from ai_gateway.translate.responses_chat.tools import Fields
from gateway_contract.openai import models as openai
from gateway_contract.openai_responses import models

COMPACTION = replace(CHAT, name="compactResponse")
SUM_UP: Final = (
    "Sum up the conversation so far for a model that goes on with it and sees only your summary: what is asked for, "
    "what has been decided and why, what has been done and what came of it, which files, names and values matter, and "
    "what is left to do. Write the summary alone."
)
_NO_USAGE: Final[Fields] = {
    "input_tokens": 0,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 0,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 0,
}


_OF_AN_ANSWER: Final = ("tools", "tool_choice", "parallel_tool_calls", "response_format", "verbosity", "stream")


async def compacted(
    maker: Maker, call: Call, body: models.CompactResponseMethodPublicBody
) -> tuple[Sequence[Fields], Fields]:
    """The items to continue with, and the usage."""
    request, resolution = await maker.conversation(call, body)
    item, usage = await _summed_up(maker, call, request, resolution)
    return [item], usage or _NO_USAGE


def is_compaction(body: models.CreateResponse) -> bool:
    """Whether a request is only for compaction of its input: by its last item."""
    items = body.input if isinstance(body.input, list) else []
    return bool(items) and isinstance(items[-1], models.CompactionTriggerItemParam)


async def compaction_response(
    maker: Maker, call: Call, body: models.CreateResponse
) -> Written[models.Response] | Stream[models.ResponseStreamEvent]:
    """The response to such a request: its output is the compaction."""
    kept = body.input[:-1] if isinstance(body.input, list) else []
    request = await maker.prepared(call, body.model_copy(update={"input": kept}))
    for name in _OF_AN_ANSWER:
        setattr(request.translated.request, name, None)
        request.translated.request.model_fields_set.discard(name)
    request.translated.request.stream_options = None
    if body.background:
        return await _queued(maker, call, request)
    events, final = await _compaction(maker, call, request)
    if request.stored:
        await maker.keep(call, request, from_json(final))
    return Stream(_events_of(events)) if body.stream else Written(written(models.Response, {}).model, final)


async def _queued(
    maker: Maker, call: Call, request: Prepared
) -> Written[models.Response] | Stream[models.ResponseStreamEvent]:
    """The same in the background."""

    def whole(own: Call) -> AdoptedWhole:
        async def make() -> Fields:
            _, final = await _compaction(maker, own, request)
            return cast("Fields", from_json(final))

        return AdoptedWhole(request, make)

    def events(own: Call) -> AdoptedEvents:
        async def stream() -> AsyncGenerator[Any]:
            data, _ = await _compaction(maker, own, request)
            yield Framed(data)

        return AdoptedEvents(request, Stream(stream()))

    if request.body.stream:
        return await queue_stream(maker, call, request, events)
    return await queue_whole(maker, call, request, whole)


async def _events_of(data: bytes) -> AsyncGenerator[Any]:
    yield Framed(data)


async def _compaction(maker: Maker, call: Call, request: Prepared) -> tuple[bytes, bytes]:
    """The events of a response that is a compaction, and the response."""
    item, usage = await _summed_up(maker, call, request.translated, request.resolution)
    head = ResponseHead(request.id, request.created_at, request.body.model, request.echo)
    events = ResponseEvents(head, request.translated.offered.names)
    return events.begin() + events.whole(item) + events.completed(usage), events.final


async def _summed_up(
    maker: Maker, call: Call, request: TranslatedRequest, resolution: Resolution
) -> tuple[Fields, Fields | None]:
    """The sealed summary of a conversation as an item, and the usage."""
    request.request.messages.append(openai.ChatCompletionRequestUserMessage(role="user", content=SUM_UP))
    reply = (await maker.gateway.run(call, COMPACTION, request.request, resolution)).model
    note_dropped(call, request.dropped)
    summary = reply.choices[0].message.content if reply.choices else None
    if not summary:
        raise UpstreamInvalidResponse("The provider's reply holds no summary.")
    sealed = maker.sealer(call).seal(call.notes.provider, {"summary": summary})
    item: Fields = {"type": "compaction", "id": f"cmp_{secrets.token_hex(24)}", "encrypted_content": sealed}
    return item, outline.usage(reply.usage)

"""Responses of upstreams that speak this API: the request is relayed.

Earlier items are sent and not referred to by id: upstreams store responses for the gateway's key, which all callers
share, and only the gateway knows their owners.
"""

from collections.abc import Mapping
from typing import Any

import structlog
from pydantic_core import from_json

from ai_gateway.api.responses.adopted import AdoptedEvents, AdoptedWhole
from ai_gateway.api.responses.dropped import note_dropped, refuse_unknown
from ai_gateway.api.responses.making import Maker, Prepared, Promised
from ai_gateway.api.responses.queueing import queue_stream, queue_whole
from ai_gateway.api.responses.translated import TranslatedWhole
from ai_gateway.contract.call import Call
from ai_gateway.contract.item_ids import response_of
from ai_gateway.contract.native import CREATE_RESPONSE
from ai_gateway.contract.stream import Item, Stream
from ai_gateway.errors import Unavailable
from ai_gateway.observability.trace_names import Step
from ai_gateway.relay import Relay, relay, relay_stream, unparsed_item
from ai_gateway.routing.resolver import Resolution
from ai_gateway.translate.responses_chat import outline
from ai_gateway.translate.responses_chat.conversation import is_sealed, unsealed
from ai_gateway.translate.responses_chat.request import items_of
from ai_gateway.translate.responses_chat.tools import Fields
from gateway_contract.openai_responses import models

_log = structlog.get_logger(__name__)


async def relayed(
    maker: Maker, call: Call, body: models.CreateResponse, resolved: tuple[str, Resolution]
) -> Item[models.Response] | Stream[models.ResponseStreamEvent]:
    """The upstream's response, or a translated chat if the upstream turns out not to have this API."""
    model, resolution = resolved
    refuse_unknown(call, resolution.targets[0].provider, body)
    keeper = _Keeper(maker, call, body)
    keep = keeper.keep if keeper.keeps and not body.background else None
    fields = await keeper.fields()
    relay_request = Relay(CREATE_RESPONSE, model, resolution, fields, keep, frozenset(keeper.dropped))
    if body.background:
        note_dropped(call, keeper.dropped)
        return await _queued(maker, call, body, relay_request)
    if body.stream:

        async def streamed() -> Stream[models.ResponseStreamEvent]:
            return maker.streamed(call, await maker.prepared(call, body, resolved))

        return relay_stream(maker.gateway, call, relay_request, streamed)

    async def whole() -> Item[models.Response]:
        return await maker.whole(call, await maker.prepared(call, body, resolved))

    reply = await relay(maker.gateway, call, relay_request, whole)
    return unparsed_item(models.Response, reply) if isinstance(reply, bytes) else reply


async def _queued(
    maker: Maker, call: Call, body: models.CreateResponse, relay_request: Relay
) -> Item[models.Response] | Stream[models.ResponseStreamEvent]:
    """The same in the background: the upstream is called in the foreground, and its response is adopted."""
    request = Promised(body=body, echo=outline.echo(body, stored=True, background=True))

    async def prepared(own: Call) -> Prepared:
        translated_request = await maker.prepared(own, body)
        translated_request.id, translated_request.created_at = request.id, request.created_at
        return translated_request

    def events(own: Call) -> AdoptedEvents:
        async def streamed() -> Stream[models.ResponseStreamEvent]:
            return maker.bridged(own, await prepared(own))[0]

        return AdoptedEvents(request, relay_stream(maker.gateway, own, relay_request, streamed))

    def whole(own: Call) -> AdoptedWhole:
        fallbacks: list[TranslatedWhole] = []

        async def translated() -> Fields:
            fallbacks.append(TranslatedWhole(maker, own, await prepared(own)))
            return await fallbacks[0].make()

        async def fetch() -> Fields:
            reply = await relay(maker.gateway, own, relay_request, translated)
            return from_json(reply) if isinstance(reply, bytes) else reply

        return AdoptedWhole(request, fetch, lambda: [item for each in fallbacks for item in each.so_far()])

    if body.stream:
        return await queue_stream(maker, call, request, events)
    return await queue_whole(maker, call, request, whole)


class _Keeper:
    """Inserts earlier items into the upstream's request, and stores the response. `dropped` names removed fields."""

    def __init__(self, maker: Maker, call: Call, body: models.CreateResponse) -> None:
        self._maker = maker
        self._call = call
        self._body = body
        self._may_keep = maker.state.may_keep(call.caller)
        self.keeps = self._may_keep and body.store is not False
        self.dropped: set[str] = set()

    async def fields(self) -> Mapping[str, object]:
        """The request's fields without references to the gateway's data, not to be stored. Raises InvalidRequest."""
        fields, previous = dict(self._call.parsed or {}), self._body.previous_response_id
        if self._body.background:
            self._maker.check_kept(self._call, self._body)
            del fields["background"]  # an upstream's own background response could not be followed or billed
        if not self._may_keep:
            if self._body.store:
                self.dropped.add("store")
            fields["store"] = False
        before = [] if previous is None else await self._maker.history_json(self._call, previous)
        now = fields.get("input")
        if isinstance(now, list):
            fields["input"] = now = self._unsealed(await self._with_stored_items(now))
        if previous is not None:
            del fields["previous_response_id"]
            new_items = (
                now if isinstance(now, list) else [{"type": "message", "role": "user", "content": now}] if now else []
            )
            fields["input"] = [*self._unsealed(before), *new_items]
        return fields

    def _unsealed(self, items: list[Any]) -> list[Any]:
        """The items with the gateway's seals opened."""
        if not any(map(is_sealed, items)):
            return items
        sealer = self._maker.sealer(self._call)
        readable = [(item, unsealed(item, sealer)) for item in items]
        self.dropped |= {f"input.{item['type']}" for item, read in readable if not read}
        return [each for _, read in readable for each in read]

    async def _with_stored_items(self, given: list[Any]) -> list[Any]:
        """The items with references to the gateway's items replaced by these."""
        ids = [item["id"] for item in given if _is_reference(item) and response_of(item["id"]) is not None]
        if not ids:
            return given
        found = await self._maker.state.items(self._call, ids)
        return [found.get(item["id"], item) if _is_reference(item) else item for item in given]

    async def keep(self, response: Mapping[str, Any]) -> None:
        """Store it for its caller. A failure is only logged, since the answer exists and has been paid for."""
        given, previous = items_of(self._body.input), self._body.previous_response_id
        if not isinstance(response.get("id"), str):
            _log.error("relayed response not stored", response=None, reason="it has no id")
            return
        try:
            with self._call.step(Step.STORE, {}):
                await self._maker.state.put(
                    self._call.caller, dict(response), given, previous, status=str(response.get("status"))
                )
        except Unavailable as error:
            _log.error("relayed response not stored", response=response.get("id"), reason=error.message)


def _is_reference(item: object) -> bool:
    """Whether it is an item reference, whose type may be missing."""
    if not isinstance(item, dict) or not isinstance(item.get("id"), str):
        return False
    return item.get("type") == "item_reference" or (item.get("type") is None and "role" not in item)

"""The handlers of the Responses API, for providers of any wire.

Imported at the first request, since it loads the models of the contract.
"""

import secrets
import time
from collections.abc import Callable
from typing import Final, override

from pydantic import BaseModel
from pydantic_core import from_json

from ai_gateway.accounts.directory import Directory
from ai_gateway.api.access import Access
from ai_gateway.api.boundary import ModelBoundary
from ai_gateway.api.responses import items
from ai_gateway.api.responses.background import Background
from ai_gateway.api.responses.compaction import compacted, compaction_response, is_compaction
from ai_gateway.api.responses.counting import counted_tokens
from ai_gateway.api.responses.dropped import in_terms_of_responses, note_dropped
from ai_gateway.api.responses.following import Follower
from ai_gateway.api.responses.making import Maker, written
from ai_gateway.api.responses.relayed import relayed
from ai_gateway.api.responses.state import State
from ai_gateway.api.responses.translated import queued
from ai_gateway.contract.body import BodyLimits
from ai_gateway.contract.call import Call
from ai_gateway.contract.native import CREATE_RESPONSE
from ai_gateway.contract.open_lists import UnknownKinds
from ai_gateway.contract.route import ContractRouter
from ai_gateway.contract.stream import Item, Reply, Stream
from ai_gateway.contract.wire import RESPONSES
from ai_gateway.contract.write_stream import LateHeads
from ai_gateway.errors import InvalidRequest
from ai_gateway.gateway import Gateway
from ai_gateway.relay import is_shared
from ai_gateway.translate.gateway_tools import has_own
from ai_gateway.translate.responses_chat.open_kinds import read_open
from ai_gateway.translate.responses_chat.tools import Fields
from gateway_contract.openai_responses import models
from gateway_contract.openai_responses.routes import Handlers, build_router

_LAST_NUMBER: Final = 2**53  # larger than the number of any event


class ResponsesHandlers(ModelBoundary, Handlers):
    def __init__(self, maker: Maker, access: Access, body_limits: BodyLimits) -> None:
        super().__init__(RESPONSES, access, body_limits, maker.gateway)
        self._maker = maker

    @override
    def read_open[Model: BaseModel](
        self, model: type[Model], value: object, error: InvalidRequest
    ) -> tuple[Model, UnknownKinds] | None:
        return read_open(model, value, error)

    @override
    async def create_response(
        self, call: Call, body: models.CreateResponse
    ) -> Reply[models.Response] | Stream[models.ResponseStreamEvent]:
        with in_terms_of_responses():
            resolved = None
            if not has_own(body.tools):
                resolved = await self._maker.gateway.resolve(call, body.model)
                if is_shared(CREATE_RESPONSE, resolved[1]):
                    return await relayed(self._maker, call, body, resolved)
            if is_compaction(body):
                return await compaction_response(self._maker, call, body)
            request = await self._maker.prepared(call, body, resolved)
            if body.background:
                return await queued(self._maker, call, request)
            if body.stream:
                return self._maker.streamed(call, request)
            return await self._maker.whole(call, request)

    @override
    async def count_input_tokens(self, call: Call, body: models.TokenCountsBody) -> Reply[models.TokenCountsResource]:
        with in_terms_of_responses():
            tokens, dropped = await counted_tokens(self._maker, call, body)
        note_dropped(call, dropped)
        return models.TokenCountsResource(object="response.input_tokens", input_tokens=tokens)

    @override
    async def compact_response(
        self, call: Call, body: models.CompactResponseMethodPublicBody
    ) -> Reply[models.CompactResource]:
        with in_terms_of_responses():
            output, usage = await compacted(self._maker, call, body)
        fields: Fields = {
            "id": f"resp_{secrets.token_hex(24)}",
            "object": "response.compaction",
            "created_at": int(time.time()),
            "output": [*output],
            "usage": usage,
        }
        return written(models.CompactResource, fields)

    @override
    async def get_response(
        self, call: Call, response_id: str, query: models.GetResponseQuery
    ) -> Reply[models.Response] | Stream[models.ResponseStreamEvent]:
        if query.stream:
            return await self._followed(call, response_id, query.starting_after)
        found = await self._maker.state.get(call.caller, response_id)
        return Item(written(models.Response, {}).model, found.body.encode())

    async def _followed(self, call: Call, response_id: str, after: int | None) -> Stream[models.ResponseStreamEvent]:
        known = await self._maker.state.run_state(call.caller, response_id)
        if not known.has_events:
            raise InvalidRequest(
                "Only a response that was created with `background` and `stream` has events: leave `stream` out.",
                param="stream",
                code="invalid_value",
            )
        number = 0 if after is None else min(max(after, -1), _LAST_NUMBER) + 1
        events = self._maker.background.events(response_id)
        follower = Follower(self._maker.state, call, response_id, events, number)
        return Stream(follower.events(), broken=follower.broken)

    @override
    async def delete_response(self, call: Call, response_id: str) -> Reply[models.DeletedResponse]:
        await self._maker.state.delete(call.caller, response_id)
        self._maker.background.cancel(response_id)
        return models.DeletedResponse(id=response_id, object="response", deleted=True)

    @override
    async def cancel_response(self, call: Call, response_id: str) -> Reply[models.Response]:
        state = self._maker.state
        found = await state.get(call.caller, response_id)
        fields: Fields = from_json(found.body)
        if not fields.get("background"):
            raise InvalidRequest(
                "Only a response in the background can be cancelled.", param="response_id", code="invalid_value"
            )
        if found.runs:
            await state.cancel(call.caller, response_id)
            self._maker.background.cancel(response_id)
            found = await state.ended(call.caller, response_id)
        return Item(written(models.Response, {}).model, found.body.encode())

    @override
    async def list_input_items(
        self, call: Call, response_id: str, query: models.ListInputItemsQuery
    ) -> Reply[models.ResponseItemList]:
        found = await self._maker.state.input_items(call, response_id)
        page = items.page(found, limit=query.limit, order=query.order or "desc", after=query.after)
        return written(models.ResponseItemList, page)


def responses_router(  # noqa: PLR0913 - what the door leads to
    gateway: Gateway,
    access: Access,
    limits: BodyLimits,
    *,
    late_heads: LateHeads,
    sealing: Callable[[str], bytes],
    background: Background,
    directory: Directory | None,
) -> ContractRouter:
    """The operations of the Responses API."""
    maker = Maker(gateway, State(background.stored, directory, background.makes), background, sealing)
    handlers = ResponsesHandlers(maker, access, limits)
    handlers.late_heads = late_heads
    return build_router(handlers)

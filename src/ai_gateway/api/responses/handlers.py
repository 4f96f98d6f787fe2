"""The Responses API's operations, in front of whatever the gateway leads to."""

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NoReturn, override

from pydantic import BaseModel
from pydantic_core import to_json

from ai_gateway.api.access import Access
from ai_gateway.api.boundary import WireBoundary, with_default_model
from ai_gateway.api.chat_bridge import bridged
from ai_gateway.api.response_bridge import ResponseBridge
from ai_gateway.api.responses.dropped import in_terms_of_responses, note_dropped, refuse_unknown
from ai_gateway.conform.response_events import ResponseEvents, ResponseHead
from ai_gateway.contract.body import BodyLimits
from ai_gateway.contract.call import Call
from ai_gateway.contract.stream import Item, Reply, Stream
from ai_gateway.contract.wire import RESPONSES
from ai_gateway.errors import NotImplementedHere
from ai_gateway.gateway import Gateway
from ai_gateway.operations import CHAT, CHAT_STREAM
from ai_gateway.routing.resolver import Resolution
from ai_gateway.translate.responses_chat import outline, reply
from ai_gateway.translate.responses_chat.envelope import Sealer
from ai_gateway.translate.responses_chat.request import Asked, Whom, asked
from gateway_contract.openai_responses import models
from gateway_contract.openai_responses.routes import Handlers

RESPONSE = replace(CHAT, name="createResponse")
RESPONSE_STREAM = replace(CHAT_STREAM, name="createResponse")
_ENCRYPTED = "reasoning.encrypted_content"


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A request as it goes on, and who is to be called for it."""

    asked: Asked
    resolution: Resolution
    sealer: Sealer


class ResponsesHandlers(WireBoundary, Handlers):
    """`sealing` is the key of what clients keep unread and send back."""

    def __init__(self, gateway: Gateway, access: Access, body_limits: BodyLimits, sealing: bytes) -> None:
        super().__init__(RESPONSES, access, body_limits)
        self.gateway = gateway
        self._sealing = sealing

    @override
    def complete(self, provider: str | None, value: object) -> object:
        return with_default_model(self.gateway.routing.rules.default_model, provider, value)

    @override
    async def create_response(
        self, call: Call, body: models.CreateResponse
    ) -> Reply[models.Response] | Stream[models.ResponseStreamEvent]:
        created = int(time.time())
        if body.stream:
            return await self._streamed(call, body, created)
        with in_terms_of_responses():
            prepared = await self._prepared(call, body)
            chat = prepared.asked.request
            whole = (await self.gateway.run(call, RESPONSE, chat, prepared.resolution)).model
        note_dropped(call, prepared.asked.dropped)
        fields = reply.response(
            whole,
            response_id=f"resp_{secrets.token_hex(24)}",
            created_at=created,
            model=whole.model or body.model,
            echo=outline.echo(body),
            names=prepared.asked.offered.names,
            seal=self._seal(call, body, prepared.sealer),
        )
        return _written(models.Response, fields)

    async def _streamed(
        self, call: Call, body: models.CreateResponse, created: int
    ) -> Stream[models.ResponseStreamEvent]:
        with in_terms_of_responses():
            prepared = await self._prepared(call, body)
        asked = prepared.asked
        head = ResponseHead(f"resp_{secrets.token_hex(24)}", created, body.model, outline.echo(body))
        events = ResponseEvents(head, asked.offered.names, self._seal(call, body, prepared.sealer))
        call.bridge = bridge = ResponseBridge(call, events)
        chunks = self.gateway.stream(call, RESPONSE_STREAM, asked.request, prepared.resolution)
        return bridged(chunks, bridge, lambda: note_dropped(call, asked.dropped), in_terms_of_responses)

    async def _prepared(self, call: Call, body: models.CreateResponse) -> _Prepared:
        model, resolution = await self.gateway.resolve(call, body.model)
        provider = resolution.targets[0].provider
        refuse_unknown(provider, body)
        sealer = Sealer(self._sealing, call.caller.project_id)
        return _Prepared(asked(body, Whom(model, provider.name, sealer)), resolution, sealer)

    @staticmethod
    def _seal(call: Call, body: models.CreateResponse, sealer: Sealer) -> reply.Seal:
        wanted = _ENCRYPTED in (body.include or ())
        return reply.sealed_by(lambda payload: sealer.seal(call.notes.provider, payload), wanted=wanted)

    @override
    async def count_input_tokens(self, call: Call, body: models.TokenCountsBody) -> Reply[models.TokenCountsResource]:
        _not_yet()

    @override
    async def compact_response(
        self, call: Call, body: models.CompactResponseMethodPublicBody
    ) -> Reply[models.CompactResource]:
        _not_yet()

    @override
    async def get_response(
        self, call: Call, response_id: str, query: models.GetResponseQuery
    ) -> Reply[models.Response]:
        _not_yet()

    @override
    async def delete_response(self, call: Call, response_id: str) -> Reply[models.DeletedResponse]:
        _not_yet()

    @override
    async def cancel_response(self, call: Call, response_id: str) -> Reply[models.Response]:
        _not_yet()

    @override
    async def list_input_items(
        self, call: Call, response_id: str, query: models.ListInputItemsQuery
    ) -> Reply[models.ResponseItemList]:
        _not_yet()


def _written[Model: BaseModel](model: type[Model], fields: Mapping[str, object]) -> Item[Model]:
    """A reply that is JSON already: nobody reads its model."""
    return Item(model.model_construct(), to_json(fields))


def _not_yet() -> NoReturn:
    raise NotImplementedHere("The gateway does not serve this operation yet: use chat completions.")

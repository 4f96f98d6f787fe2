"""The handlers of Anthropic's API, for providers of any wire.

Imported at the first request, since it loads the models of the contract.
"""

from dataclasses import replace
from functools import partial
from typing import Final, override

from pydantic import BaseModel

from ai_gateway.api.access import Access
from ai_gateway.api.anthropic.answer import streamed, whole
from ai_gateway.api.boundary import ModelBoundary
from ai_gateway.api.dropped import FieldNames
from ai_gateway.api.model_list import listed_models, retrieved_model
from ai_gateway.contract.anthropic_wire import ANTHROPIC
from ai_gateway.contract.body import BodyLimits
from ai_gateway.contract.budget import UNCHARGED
from ai_gateway.contract.call import Call
from ai_gateway.contract.native import COUNT_TOKENS, CREATE_MESSAGE
from ai_gateway.contract.open_lists import UnknownKinds
from ai_gateway.contract.route import ContractRouter
from ai_gateway.contract.stream import Item, Stream
from ai_gateway.contract.write_stream import LateHeads
from ai_gateway.errors import InvalidRequest, ThreadNotFound
from ai_gateway.gateway import Gateway
from ai_gateway.operations import CHAT, CHAT_STREAM
from ai_gateway.providers.base import Provider
from ai_gateway.relay import Relay, is_shared, relay, relay_stream, unparsed_item
from ai_gateway.routing.resolver import Resolution
from ai_gateway.translate.anthropic_chat import models as listed
from ai_gateway.translate.anthropic_chat.hosted import servers_requested
from ai_gateway.translate.anthropic_chat.open_kinds import read_open
from ai_gateway.translate.anthropic_chat.policies import (
    ADDED_FIELDS,
    ANTHROPIC_NAMES,
    METRIC_LABELS,
    dropped_fields,
    unknown_fields,
)
from ai_gateway.translate.anthropic_chat.request import TranslatedRequest, chat, translated_size
from ai_gateway.translate.anthropic_chat.tokens import estimate
from ai_gateway.translate.gateway_tools import has_own
from gateway_contract.anthropic import models
from gateway_contract.anthropic.routes import Handlers, build_router

MESSAGE: Final = replace(CHAT, name="createMessage")
MESSAGE_STREAM: Final = replace(CHAT_STREAM, name="createMessage")
_FIELD_NAMES: Final = FieldNames(ANTHROPIC_NAMES, ADDED_FIELDS, METRIC_LABELS)

_KEPT: Final = frozenset({"thread"})
_NONE: Final[frozenset[str]] = frozenset()


class AnthropicHandlers(ModelBoundary, Handlers):
    def __init__(self, gateway: Gateway, access: Access, body_limits: BodyLimits) -> None:
        super().__init__(ANTHROPIC, access, body_limits, gateway)

    @override
    def read_open[Model: BaseModel](
        self, model: type[Model], value: object, error: InvalidRequest
    ) -> tuple[Model, UnknownKinds] | None:
        return read_open(model, value, error)

    @override
    async def create_message(
        self, call: Call, header: models.CreateMessageHeaders, body: models.AnthropicCreateMessageParams
    ) -> Item[models.AnthropicMessage] | models.AnthropicMessage | Stream[models.AnthropicMessageStreamEvent]:
        model, resolution = await self.gateway.resolve(call, body.model)
        _refuse_unknown(call, resolution.targets[0].provider, body)
        kept = _refuse_thread(body)
        if has_own(body.tools) or not is_shared(CREATE_MESSAGE, resolution):
            return await self._translated(call, body, model, resolution)
        fields = call.parsed or {}
        if kept:
            fields = {name: value for name, value in fields.items() if name not in kept}
        relayed = Relay(CREATE_MESSAGE, model, resolution, fields, dropped=kept)
        if body.stream:
            return relay_stream(self.gateway, call, relayed, partial(self._streamed, call, body, model, resolution))
        reply = await relay(self.gateway, call, relayed, partial(self._translated, call, body, model, resolution))
        return unparsed_item(models.AnthropicMessage, reply) if isinstance(reply, bytes) else reply

    async def _translated(
        self, call: Call, body: models.AnthropicCreateMessageParams, model: str, resolution: Resolution
    ) -> models.AnthropicMessage | Stream[models.AnthropicMessageStreamEvent]:
        if body.stream:
            return await self._streamed(call, body, model, resolution)
        request = await self._chat_request(call, body, model, resolution)
        reply = (await self.gateway.run_chat(call, request.request, resolution, MESSAGE)).model
        return whole(call, body, request, reply, _FIELD_NAMES)

    async def _streamed(
        self, call: Call, body: models.AnthropicCreateMessageParams, model: str, resolution: Resolution
    ) -> Stream[models.AnthropicMessageStreamEvent]:
        request = await self._chat_request(call, body, model, resolution)
        chunks = self.gateway.stream_chat(call, request.request, resolution, MESSAGE_STREAM)
        return await streamed(call, body, request, chunks, _FIELD_NAMES)

    async def _chat_request(
        self, call: Call, body: models.AnthropicCreateMessageParams, model: str, resolution: Resolution
    ) -> TranslatedRequest:
        """The message request as a chat request."""
        if call.unknown is not None and call.unknown.others:
            raise call.unknown.error
        call.allocation.charge_translation(translated_size(body) if call.allocation.size > UNCHARGED else 0)
        knows_efforts = all("efforts" in target.provider.carriers for target in resolution.targets)
        if body.tools or body.mcp_servers:
            runs = self.gateway.tools_for(call, resolution)
            servers = servers_requested(body, runs)
            if servers is None or servers:
                await runs.query_servers(servers)
            request = chat(body, model, runs, knows_efforts=knows_efforts)
        else:
            request = chat(body, model, knows_efforts=knows_efforts)
        if call.unknown is not None:
            request.dropped.extend(call.unknown.fields)
        return request

    @override
    async def count_message_tokens(
        self, call: Call, header: models.CountMessageTokensHeaders, body: models.AnthropicCountMessageTokensParams
    ) -> models.AnthropicCountMessageTokensResponse | Item[models.AnthropicCountMessageTokensResponse]:
        model, resolution = await self.gateway.resolve(call, body.model)
        _refuse_unknown(call, resolution.targets[0].provider, body)

        async def estimated() -> models.AnthropicCountMessageTokensResponse:
            lacking = call.unknown.fields if call.unknown is not None else ()
            _FIELD_NAMES.note(call, [*dropped_fields(body), *unknown_fields(body), *lacking])
            return models.AnthropicCountMessageTokensResponse(input_tokens=await estimate(body, call.size))

        if not is_shared(COUNT_TOKENS, resolution):
            return await estimated()
        relayed = Relay(COUNT_TOKENS, model, resolution, call.parsed or {})
        reply = await relay(self.gateway, call, relayed, estimated)
        return unparsed_item(models.AnthropicCountMessageTokensResponse, reply) if isinstance(reply, bytes) else reply

    @override
    async def list_models(
        self, call: Call, query: models.ListModelsQuery, header: models.ListModelsHeaders
    ) -> models.AnthropicListResponseModelInfo:
        found = await listed_models(self.gateway, call)
        listing = found.model if isinstance(found, Item) else found
        return listed.page(listing.data, query.limit, after=query.after_id, before=query.before_id)

    @override
    async def retrieve_model(
        self, call: Call, model: str, header: models.RetrieveModelHeaders
    ) -> models.AnthropicModelInfo:
        described = await retrieved_model(self.gateway, call, model)
        return listed.shown(described.model if isinstance(described, Item) else described)


def _refuse_unknown(
    call: Call,
    provider: Provider,
    body: models.AnthropicCreateMessageParams | models.AnthropicCountMessageTokensParams,
) -> None:
    """Raise InvalidRequest for unknown fields if the provider's `unknown_params` is `reject`.

    The built-in provider has no upstream that could know more kinds than the contract.
    """
    if call.unknown is not None and not provider.is_remote:
        raise call.unknown.error
    if provider.parameters.unknown("createChatCompletion") != "reject":
        return
    if call.unknown is not None:
        raise call.unknown.error
    if unknown := unknown_fields(body):
        raise InvalidRequest(
            "The gateway is set to refuse fields that the contract does not name.",
            param=unknown[0],
            code="unknown_parameter",
        )


def _refuse_thread(body: models.AnthropicCreateMessageParams) -> frozenset[str]:
    """The field, if any, by which the API would keep the conversation. Raises ThreadNotFound to go on with a kept one.

    An upstream would keep it for the gateway's key, which all callers share, and not where the next target could read
    it. One that does not know the field would answer the newest messages alone.
    """
    thread = (body.__pydantic_extra__ or {}).get("thread")
    if thread is None:
        return _NONE
    if isinstance(thread, dict) and "previous_message_id" in thread:
        raise ThreadNotFound.kept_nowhere()
    return _KEPT


def messages_router(gateway: Gateway, access: Access, limits: BodyLimits, late_heads: LateHeads) -> ContractRouter:
    """The operations of the Messages API."""
    handlers = AnthropicHandlers(gateway, access, limits)
    handlers.late_heads = late_heads
    return build_router(handlers)

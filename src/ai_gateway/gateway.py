"""The spine: find out who answers, then let that provider, or one after the other, do it."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from copy import copy
from typing import TypedDict

import structlog

from ai_gateway.conform.embeddings import conform_embeddings
from ai_gateway.conform.stream import MANNERS, ChatChunk, CompletionChunk, StreamState, conform_stream, prompt_count
from ai_gateway.conform.tool_calls import Report
from ai_gateway.conform.whole import conform_choices
from ai_gateway.contract.call import Call
from ai_gateway.contract.stream import Stream
from ai_gateway.errors import UpstreamInvalidResponse
from ai_gateway.providers.base import Provider
from ai_gateway.resilience.attempts import Resilience
from ai_gateway.routing.public_models import Menu, entry
from ai_gateway.routing.registry import Registry
from ai_gateway.routing.resolver import Route, Routing
from gateway_contract.openai import models

_log = structlog.get_logger(__name__)

type Chat = models.CreateChatCompletionResponse | Stream[models.CreateChatCompletionStreamResponse]
type Completion = models.CreateCompletionResponse | Stream[models.CreateCompletionStreamResponse]
type Streamed = models.CreateChatCompletionRequest | models.CreateCompletionRequest
type Request = Streamed | models.CreateEmbeddingRequest


class Gateway:
    """Every operation on models, for whichever provider the call leads to.

    `routing` can be replaced at any time: a call reads it once, and keeps what it has read.
    """

    def __init__(self, routing: Routing, resilience: Resilience | None = None) -> None:
        self.routing = routing
        self.resilience = resilience or Resilience()
        self._menu = Menu()

    @property
    def registry(self) -> Registry:
        """The configured providers."""
        return self.routing.registry

    async def chat(self, call: Call, body: models.CreateChatCompletionRequest) -> Chat:
        if body.stream:
            return Stream(await self._stream(call, body, _chat_chunks))
        return await self._reply(call, body, lambda provider, sent: _chat(call, provider, sent))

    async def complete(self, call: Call, body: models.CreateCompletionRequest) -> Completion:
        if body.stream:
            return Stream(await self._stream(call, body, _completion_chunks))
        return await self._reply(call, body, lambda provider, sent: _completion(call, provider, sent))

    async def embed(self, call: Call, body: models.CreateEmbeddingRequest) -> models.CreateEmbeddingResponse:
        return await self._reply(call, body, lambda provider, sent: _embeddings(call, provider, sent))

    async def providers_for(self, call: Call, model: str) -> list[Provider]:
        """Who would be asked for a model, one after the other. Raises ProviderNotFound or ModelNotFound."""
        return [route.provider for route in (await self.routing.resolve(call.provider, model)).options]

    async def list_models(self, call: Call) -> models.ListModelsResponse:
        """One provider's models or, through `/v1`, everybody's, under ids that lead back to them."""
        routing = self.routing
        if call.provider is not None:
            provider = routing.registry.get(call.provider)
            _name(call, Route(provider, ""), "")
            return await provider.list_models(call)
        shown, silent = await self._menu.read(routing)
        if silent:
            call.reply_headers["x-gateway-models-missing"] = ",".join(silent)
        return models.ListModelsResponse(object="list", data=shown)

    async def retrieve_model(self, call: Call, model: str) -> models.Model:
        """What is known of it here, or else what its provider says; who asks it in its own words is answered by it."""
        routing = self.routing
        route = (await routing.resolve(call.provider, model)).options[0]
        _name(call, route, model)
        if call.provider is not None:
            return await route.provider.retrieve_model(call, route.model)
        known = entry(routing, model)
        if known is not None and call.native is None:
            return known
        found = await route.provider.retrieve_model(call, route.model)
        return found.model_copy(update={"id": routing.public_id(route.provider.name, found.id)})

    async def _reply[Body: Request, Reply](
        self, call: Call, body: Body, ask: Callable[[Provider, Body], Awaitable[Reply]]
    ) -> Reply:
        routes = await self.routing.resolve(call.provider, body.model)
        return await self.resilience.reply(
            call, routes.options, lambda route: ask(route.provider, _sent(call, route, copy(body)))
        )

    async def _stream[Body: Streamed, Chunk](
        self, call: Call, body: Body, ask: Callable[[Call, Provider, Body], AsyncGenerator[Chunk]]
    ) -> AsyncGenerator[Chunk]:
        routes = await self.routing.resolve(call.provider, body.model)
        return await self.resilience.stream(
            call, routes.options, lambda route: ask(call, route.provider, _sent(call, route, copy(body)))
        )

    async def aclose(self) -> None:
        """Close every provider, whatever the one before it did."""
        await self.routing.catalogue.aclose()
        for provider in self.registry:
            await close_quietly(provider)


async def close_quietly(provider: Provider) -> None:
    """Close it; one that fails to close must not keep the others open."""
    try:
        await provider.aclose()
    except Exception as error:  # whatever it is, there is nobody left to tell but the log
        _log.warning("provider did not close", provider=provider.name, exc_info=error)


def _sent[Body: Request](call: Call, route: Route, body: Body) -> Body:
    """The body as the provider gets it: the model under its name there, without fields that are of no use there."""
    _name(call, route, body.model)
    if route.model != body.model:
        body.model = route.model
    route.provider.parameters.apply(call, body)
    return body


def _name(call: Call, route: Route, asked: str) -> None:
    """Say in the reply who answers, and under which name the model is called there if that is another."""
    call.reply_headers["x-gateway-provider"] = route.provider.name
    if route.model != asked:
        call.called(route.model)


def _chat_chunks(
    call: Call, provider: Provider, body: models.CreateChatCompletionRequest
) -> AsyncGenerator[models.CreateChatCompletionStreamResponse]:
    state = StreamState[ChatChunk](body.n or 1, **_stream_terms(call, provider, body))
    return conform_stream(provider.stream_chat_completion(call, body), state, observe=provider.conformance == "observe")


def _completion_chunks(
    call: Call, provider: Provider, body: models.CreateCompletionRequest
) -> AsyncGenerator[models.CreateCompletionStreamResponse]:
    choices = prompt_count(body) * (body.n or 1)
    state = StreamState[CompletionChunk](choices, **_stream_terms(call, provider, body))
    return conform_stream(provider.stream_completion(call, body), state, observe=provider.conformance == "observe")


async def _chat(
    call: Call, provider: Provider, body: models.CreateChatCompletionRequest
) -> models.CreateChatCompletionResponse:
    reply = await provider.create_chat_completion(call, body)
    if provider.conformance == "observe":
        return reply
    reply, repairs = conform_choices(reply)
    _told(call, provider, repairs)
    return reply


async def _completion(
    call: Call, provider: Provider, body: models.CreateCompletionRequest
) -> models.CreateCompletionResponse:
    reply = await provider.create_completion(call, body)
    if provider.conformance == "observe":
        return reply
    reply, repairs = conform_choices(reply)
    _told(call, provider, repairs)
    return reply


async def _embeddings(
    call: Call, provider: Provider, body: models.CreateEmbeddingRequest
) -> models.CreateEmbeddingResponse:
    reply = await provider.create_embeddings(call, body)
    if provider.conformance == "observe":
        return reply
    reply, repairs = conform_embeddings(reply, body)
    _told(call, provider, repairs)
    return reply


def _told(call: Call, provider: Provider, repairs: list[str]) -> None:
    report = _reporter(call, provider)
    for rule in repairs:
        report(rule)


class _Terms(TypedDict):
    include_usage: bool
    report: Report
    terminated: Callable[[], bool]
    request_id: str


def _stream_terms(call: Call, provider: Provider, body: Streamed) -> _Terms:
    options = body.stream_options
    return {
        "include_usage": bool(options and options.include_usage),
        "report": _reporter(call, provider),
        "terminated": lambda: call.terminated,
        "request_id": call.request_id,
    }


def _reporter(call: Call, provider: Provider) -> Report:
    """What is to happen for each rule that a reply of the provider takes."""

    def report(rule: str) -> None:
        if provider.conformance == "enforce" and rule not in MANNERS:
            raise UpstreamInvalidResponse.off_contract(detail=rule)
        call.repaired(provider.name, [rule])

    return report

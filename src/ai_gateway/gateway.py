"""The spine: resolve the route, then let the provider answer."""

import asyncio
from dataclasses import replace
from typing import TypedDict

import structlog

from ai_gateway.conform.embeddings import conform_embeddings
from ai_gateway.conform.stream import ChatChunk, CompletionChunk, Report, StreamState, conform_stream, prompt_count
from ai_gateway.contract.call import Call
from ai_gateway.contract.stream import Stream
from ai_gateway.errors import UpstreamInvalidResponse
from ai_gateway.providers.base import Provider
from ai_gateway.routing.registry import BUILT_IN, Registry
from ai_gateway.routing.resolver import Resolver
from gateway_contract.openai import models

_log = structlog.get_logger(__name__)
# One silent provider must not keep the list of all others back.
_LIST_TIMEOUT_S = 5.0

type Chat = models.CreateChatCompletionResponse | Stream[models.CreateChatCompletionStreamResponse]
type Completion = models.CreateCompletionResponse | Stream[models.CreateCompletionStreamResponse]
type Request = models.CreateChatCompletionRequest | models.CreateCompletionRequest | models.CreateEmbeddingRequest


class Gateway:
    """Every operation on models, for whichever provider the call leads to."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._resolver = Resolver(registry)

    async def chat(self, call: Call, body: models.CreateChatCompletionRequest) -> Chat:
        provider = self._route(call, body)
        if body.stream:
            state = StreamState[ChatChunk](body.n or 1, **_stream_terms(call, provider, body))
            chunks = provider.stream_chat_completion(call, body)
            return Stream(conform_stream(chunks, state, observe=provider.conformance == "observe"))
        return await provider.create_chat_completion(call, body)

    async def complete(self, call: Call, body: models.CreateCompletionRequest) -> Completion:
        provider = self._route(call, body)
        if body.stream:
            state = StreamState[CompletionChunk](
                prompt_count(body) * (body.n or 1), **_stream_terms(call, provider, body)
            )
            chunks = provider.stream_completion(call, body)
            return Stream(conform_stream(chunks, state, observe=provider.conformance == "observe"))
        return await provider.create_completion(call, body)

    async def embed(self, call: Call, body: models.CreateEmbeddingRequest) -> models.CreateEmbeddingResponse:
        provider = self._route(call, body)
        reply = await provider.create_embeddings(call, body)
        if provider.conformance == "observe":
            return reply
        reply, repairs = conform_embeddings(reply, body)
        for rule in repairs:
            _reporter(call, provider)(rule)
        return reply

    async def provider_for(self, call: Call, model: str) -> Provider:
        """Who would answer for a model; nothing is asked of anybody. Raises ProviderNotFound or ModelNotFound."""
        return self._resolver.resolve(call.provider, model).provider

    async def list_models(self, call: Call) -> models.ListModelsResponse:
        """One provider's models or, through `/v1`, everybody's, under ids that lead back to them."""
        if call.provider is not None:
            return await self._named(call, self.registry.get(call.provider)).list_models(call)
        found = await asyncio.gather(*(self._listed(call, provider) for provider in self.registry))
        silent = [provider.name for provider, listed in zip(self.registry, found, strict=True) if listed is None]
        if silent:
            call.reply_headers["x-gateway-models-missing"] = ",".join(silent)
        return models.ListModelsResponse(object="list", data=[model for listed in found for model in listed or ()])

    async def _listed(self, call: Call, provider: Provider) -> list[models.Model] | None:
        """What one provider lists; None when it cannot say, which must not hide what the others have."""
        own = replace(call, reply_headers={}, repairs=set())  # headers of one upstream say nothing about the union
        try:
            async with asyncio.timeout(_LIST_TIMEOUT_S):
                found = (await provider.list_models(own)).data
        except Exception as error:  # whatever is wrong with one must not hide the others
            _log.warning("models not listed", provider=provider.name, reason=repr(error))
            return None
        return [model.model_copy(update={"id": self._public_id(provider, model.id)}) for model in found]

    async def retrieve_model(self, call: Call, model: str) -> models.Model:
        route = self._resolver.resolve(call.provider, model)
        found = await self._named(call, route.provider).retrieve_model(call, route.model)
        if call.provider is not None:
            return found
        return found.model_copy(update={"id": self._public_id(route.provider, found.id)})

    def _public_id(self, provider: Provider, model: str) -> str:
        plain = provider.name == BUILT_IN and self.registry.only_built_in
        return model if plain else f"{provider.name}/{model}"

    def _route(self, call: Call, body: Request) -> Provider:
        """Who answers; the body's model becomes what it is called there, and fields of no use there go."""
        route = self._resolver.resolve(call.provider, body.model)
        if route.model != body.model:
            body.model = route.model
        provider = self._named(call, route.provider)
        provider.parameters.apply(call, body)
        return provider

    @staticmethod
    def _named(call: Call, provider: Provider) -> Provider:
        call.reply_headers["x-gateway-provider"] = provider.name
        return provider

    async def aclose(self) -> None:
        """Close every provider, whatever the one before it did."""
        for provider in self.registry:
            try:
                await provider.aclose()
            except Exception as error:  # one that fails to close must not keep the others open
                _log.warning("provider did not close", provider=provider.name, exc_info=error)


class _Terms(TypedDict):
    include_usage: bool
    report: Report


def _stream_terms(
    call: Call, provider: Provider, body: models.CreateChatCompletionRequest | models.CreateCompletionRequest
) -> _Terms:
    options = body.stream_options
    return {"include_usage": bool(options and options.include_usage), "report": _reporter(call, provider)}


def _reporter(call: Call, provider: Provider) -> Report:
    """What is to happen for each rule that a reply of the provider takes."""

    def report(rule: str) -> None:
        if provider.conformance == "enforce":
            raise UpstreamInvalidResponse("The provider's reply does not follow the contract.", detail=rule)
        call.repaired(provider.name, [rule])

    return report

"""The spine: resolve the route, then let the provider answer."""

import asyncio

import structlog

from ai_gateway.contract.call import Call
from ai_gateway.contract.stream import Stream
from ai_gateway.errors import GatewayError
from ai_gateway.providers.base import Provider
from ai_gateway.routing.registry import BUILT_IN, Registry
from ai_gateway.routing.resolver import Resolver
from gateway_contract.openai import models

_log = structlog.get_logger(__name__)

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
            return Stream(provider.stream_chat_completion(call, body))
        return await provider.create_chat_completion(call, body)

    async def complete(self, call: Call, body: models.CreateCompletionRequest) -> Completion:
        provider = self._route(call, body)
        if body.stream:
            return Stream(provider.stream_completion(call, body))
        return await provider.create_completion(call, body)

    async def embed(self, call: Call, body: models.CreateEmbeddingRequest) -> models.CreateEmbeddingResponse:
        return await self._route(call, body).create_embeddings(call, body)

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
        try:
            found = (await provider.list_models(call)).data
        except GatewayError as error:
            _log.warning("models not listed", provider=provider.name, reason=error.message, detail=error.detail)
            return None
        return [model.model_copy(update={"id": self._public_id(provider, model.id)}) for model in found]

    async def retrieve_model(self, call: Call, model: str) -> models.Model:
        route = self._resolver.resolve(call.provider, model)
        return await self._named(call, route.provider).retrieve_model(call, route.model)

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

"""OpenAI's operations, bound to the gateway."""

from typing import override

from ai_gateway.api.access import Access
from ai_gateway.api.boundary import OpenAIBoundary
from ai_gateway.contract.body import BodyLimits
from ai_gateway.contract.call import Call
from ai_gateway.gateway import Chat, Completion, Gateway
from ai_gateway.routing.model_tags import listed_id
from gateway_contract.openai import models
from gateway_contract.openai.routes import Handlers


class OpenAIHandlers(OpenAIBoundary, Handlers):
    def __init__(self, gateway: Gateway, access: Access, body_limits: BodyLimits) -> None:
        super().__init__(access, body_limits)
        self.gateway = gateway

    @override
    def fill_in(self, call: Call, value: object) -> object:
        """Where the model decides who answers, a request without one gets the default, if the operator has set one."""
        default = self.gateway.routing.rules.default_model
        if default and call.provider is None and isinstance(value, dict) and value.get("model") in (None, ""):
            call.called(default)
            return {**value, "model": default}
        return value

    @override
    async def create_chat_completion(self, call: Call, body: models.CreateChatCompletionRequest) -> Chat:
        body.model = await self._id(call, body.model)
        return await self.gateway.chat(call, body)

    @override
    async def create_completion(self, call: Call, body: models.CreateCompletionRequest) -> Completion:
        body.model = await self._id(call, body.model)
        return await self.gateway.complete(call, body)

    @override
    async def create_embedding(self, call: Call, body: models.CreateEmbeddingRequest) -> models.CreateEmbeddingResponse:
        body.model = await self._id(call, body.model)
        return await self.gateway.embed(call, body)

    @override
    async def list_models(self, call: Call) -> models.ListModelsResponse:
        return await self.gateway.list_models(call)

    @override
    async def retrieve_model(self, call: Call, model: str) -> models.Model:
        return await self.gateway.retrieve_model(call, await self._id(call, model))

    async def _id(self, call: Call, name: str) -> str:
        """Where the model decides who answers, names that Ollama's clients were told are known as well."""
        if call.provider is not None:
            return name
        found = await listed_id(self.gateway.routing, name)
        if found != name:
            call.called(found)
        return found

"""OpenAI's operations, bound to the gateway."""

from collections.abc import Mapping
from typing import override

from starlette.types import Scope

from ai_gateway.api.access import Access
from ai_gateway.contract.body import BodyLimits
from ai_gateway.contract.call import Call
from ai_gateway.contract.render import openai_envelope
from ai_gateway.contract.route import Security
from ai_gateway.errors import GatewayError
from ai_gateway.gateway import Chat, Completion, Gateway
from gateway_contract.openai import models
from gateway_contract.openai.routes import Handlers


class OpenAIHandlers(Handlers):
    def __init__(self, gateway: Gateway, access: Access, body_limits: BodyLimits) -> None:
        self.gateway = gateway
        self.access = access
        self.body_limits = body_limits

    @override
    def authorize(self, scope: Scope, headers: Mapping[str, str], security: Security) -> bool:
        return self.access.authorize(scope, headers, security)

    @override
    def render(self, error: GatewayError) -> bytes:
        return openai_envelope(error)

    @override
    async def create_chat_completion(self, call: Call, body: models.CreateChatCompletionRequest) -> Chat:
        return await self.gateway.chat(call, body)

    @override
    async def create_completion(self, call: Call, body: models.CreateCompletionRequest) -> Completion:
        return await self.gateway.complete(call, body)

    @override
    async def create_embedding(self, call: Call, body: models.CreateEmbeddingRequest) -> models.CreateEmbeddingResponse:
        return await self.gateway.embed(call, body)

    @override
    async def list_models(self, call: Call) -> models.ListModelsResponse:
        return await self.gateway.list_models(call)

    @override
    async def retrieve_model(self, call: Call, model: str) -> models.Model:
        return await self.gateway.retrieve_model(call, model)

"""OpenAI's operations, bound to the gateway."""

from collections.abc import Coroutine
from typing import override

from pydantic import BaseModel

from ai_gateway.api.access import Access
from ai_gateway.api.boundary import ModelBoundary
from ai_gateway.api.model_list import listed_models, retrieved_model
from ai_gateway.contract.body import BodyLimits
from ai_gateway.contract.call import Call
from ai_gateway.contract.open_lists import UnknownKinds, read_open
from ai_gateway.contract.stream import Reply
from ai_gateway.contract.wire import OPENAI
from ai_gateway.errors import InvalidRequest
from ai_gateway.gateway import Chat, Completion, Gateway
from gateway_contract.openai import models
from gateway_contract.openai.routes import Handlers


class OpenAIHandlers(ModelBoundary, Handlers):
    def __init__(self, gateway: Gateway, access: Access, body_limits: BodyLimits) -> None:
        super().__init__(OPENAI, access, body_limits, gateway)

    @override
    def read_open[Model: BaseModel](
        self, model: type[Model], value: object, error: InvalidRequest
    ) -> tuple[Model, UnknownKinds] | None:
        """Upstreams of this wire have more kinds than it lists: the provider's policy decides about them."""
        return read_open(model, value, error)

    @override
    def create_chat_completion(
        self, call: Call, body: models.CreateChatCompletionRequest
    ) -> Coroutine[None, None, Chat]:
        return self.gateway.chat(call, body)

    @override
    def create_completion(self, call: Call, body: models.CreateCompletionRequest) -> Coroutine[None, None, Completion]:
        return self.gateway.complete(call, body)

    @override
    async def create_embedding(
        self, call: Call, body: models.CreateEmbeddingRequest
    ) -> Reply[models.CreateEmbeddingResponse]:
        return await self.gateway.embed(call, body)

    @override
    async def list_models(self, call: Call) -> Reply[models.ListModelsResponse]:
        return await listed_models(self.gateway, call)

    @override
    async def retrieve_model(self, call: Call, model: str) -> Reply[models.Model]:
        return await retrieved_model(self.gateway, call, model)

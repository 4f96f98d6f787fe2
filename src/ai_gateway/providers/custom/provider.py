"""The built-in mock provider: deterministic, offline, and complete for every operation of the contract."""

from collections.abc import AsyncGenerator
from functools import partial
from typing import Final, override

from ai_gateway.config.settings import UnknownParams
from ai_gateway.conform.usage import tokens_of
from ai_gateway.contract.call import Attempt
from ai_gateway.errors import ModelNotFound
from ai_gateway.providers.base import Provider
from ai_gateway.providers.custom import chat, chat_stream, completion, embeddings, faults
from ai_gateway.providers.custom.parameters import POLICIES
from ai_gateway.translate.carriers import EVERY
from gateway_contract.openai import models

MODELS: Final = ("custom-chat", "custom-completion", "custom-embedding")
"""The listed ids; any other works the same. Fault models are not listed, so that no client picks one by accident."""

_CREATED = 1_767_225_600  # 2026-01-01T00:00:00Z: a constant, so that the list is the same everywhere


class CustomProvider(Provider):
    """A public test double: the same request gets the same response, on every operation and option.

    It is not remote, so it is never retried: its faults have to reach the client.
    """

    is_remote = False
    carriers = EVERY

    def __init__(self, name: str = "custom", unknown_params: UnknownParams = "forward", *, pace_s: float = 0) -> None:
        super().__init__(name, POLICIES, unknown_params)
        self._pace_s = pace_s

    @override
    async def list_models(self, attempt: Attempt) -> models.ListModelsResponse:
        return models.ListModelsResponse(object="list", data=[_model(id_) for id_ in MODELS])

    @override
    async def retrieve_model(self, attempt: Attempt, model: str) -> models.Model:
        if model not in MODELS and (faults.find(model) is faults.NO_FAULT or model == faults.NOT_FOUND):
            raise ModelNotFound(
                f"The built-in provider answers any model, but lists only {', '.join(MODELS)}.", param="model"
            )
        return _model(model)

    @override
    async def create_chat_completion(
        self, attempt: Attempt, body: models.CreateChatCompletionRequest
    ) -> models.CreateChatCompletionResponse:
        await faults.raise_fault(body.model)
        return chat.reply(body)

    @override
    def stream_chat_completion(
        self, attempt: Attempt, body: models.CreateChatCompletionRequest
    ) -> AsyncGenerator[models.CreateChatCompletionStreamResponse]:
        return faults.paced(body.model, chat_stream.chunks(body, partial(_note, attempt)), self._pace_s)

    @override
    async def create_completion(
        self, attempt: Attempt, body: models.CreateCompletionRequest
    ) -> models.CreateCompletionResponse:
        await faults.raise_fault(body.model)
        return completion.reply(body)

    @override
    def stream_completion(
        self, attempt: Attempt, body: models.CreateCompletionRequest
    ) -> AsyncGenerator[models.CreateCompletionStreamResponse]:
        return faults.paced(body.model, completion.chunks(body, partial(_note, attempt)), self._pace_s)

    @override
    async def create_embeddings(
        self, attempt: Attempt, body: models.CreateEmbeddingRequest
    ) -> models.CreateEmbeddingResponse:
        await faults.raise_fault(body.model)
        return await embeddings.reply(body)


def _note(attempt: Attempt, usage: models.CompletionUsage) -> None:
    """Note the usage for accounts, also if the caller has not requested it."""
    attempt.notes.tokens = tokens_of(usage)


def _model(model: str) -> models.Model:
    return models.Model(id=model, object="model", created=_CREATED, owned_by="ai-gateway")

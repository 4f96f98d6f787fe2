"""What a provider is: the whole interface a newcomer reads.

Requests and replies are the generated models; a stream is an async generator of generated chunks. A provider
overrides what it can do; the rest answers 400 `unsupported_operation`. Failures are raised from the tree in
`ai_gateway.errors`; one raised before the first chunk of a stream keeps its HTTP status, a later one becomes an
error event.
"""

import math
from abc import ABC
from collections.abc import AsyncGenerator
from typing import ClassVar, NoReturn

from ai_gateway.config.settings import Conformance, UnknownParams
from ai_gateway.contract.call import Call
from ai_gateway.providers.parameters import Parameters, not_offered
from gateway_contract.openai import models
from gateway_contract.openai.parameters import Policies


class Provider(ABC):  # noqa: B024 - every operation has a truthful default: this provider does not offer it
    """One upstream, or one thing that answers like one. `name` is its path segment.

    `policies` decide about every request field of the contract, and are applied before the provider is called.
    `conformance` says what becomes of replies that do not follow the contract. A provider that `is_remote` can be out
    of reach, so it is asked again and left alone as its failures suggest, within `deadline_s`: the seconds in which a
    reply must be whole, or a stream have begun. `wire` is "ollama" for one that speaks Ollama's wire itself: what
    callers of that wire say reaches it as `call.native`, beside the translation.
    """

    wire: ClassVar[str] = "openai"
    is_remote: ClassVar[bool] = True
    deadline_s: float = math.inf

    def __init__(
        self,
        name: str,
        policies: Policies,
        unknown_params: UnknownParams = "forward",
        conformance: Conformance = "repair",
    ) -> None:
        self.name = name
        self.parameters = Parameters(name, policies, unknown_params)
        self.conformance = conformance

    async def list_models(self, call: Call) -> models.ListModelsResponse:
        self._unsupported(call)

    async def retrieve_model(self, call: Call, model: str) -> models.Model:
        self._unsupported(call)

    async def create_chat_completion(
        self, call: Call, body: models.CreateChatCompletionRequest
    ) -> models.CreateChatCompletionResponse:
        self._unsupported(call)

    async def stream_chat_completion(
        self, call: Call, body: models.CreateChatCompletionRequest
    ) -> AsyncGenerator[models.CreateChatCompletionStreamResponse]:
        self._unsupported(call)
        yield  # type: ignore[unreachable] # makes this an async generator, as those that override it are

    async def create_completion(
        self, call: Call, body: models.CreateCompletionRequest
    ) -> models.CreateCompletionResponse:
        self._unsupported(call)

    async def stream_completion(
        self, call: Call, body: models.CreateCompletionRequest
    ) -> AsyncGenerator[models.CreateCompletionStreamResponse]:
        self._unsupported(call)
        yield  # type: ignore[unreachable] # as above

    async def create_embeddings(
        self, call: Call, body: models.CreateEmbeddingRequest
    ) -> models.CreateEmbeddingResponse:
        self._unsupported(call)

    async def aclose(self) -> None:  # noqa: B027 - most providers hold nothing
        """Release connections. Called once, at shutdown."""

    def _unsupported(self, call: Call) -> NoReturn:
        raise not_offered(self.name, call.operation)

"""What a provider is: the whole interface a newcomer reads.

Requests are the generated models. A reply is the model too, or the JSON bytes an upstream sent, or fields made for the
model: whatever the provider has (`Received`); a stream is an async generator of such chunks. A provider overrides what
it can do; the rest answers 400 `unsupported_operation`. Failures are raised from the tree in `ai_gateway.errors`; one
raised before the first chunk of a stream keeps its HTTP status, a later one becomes an error event.
"""

import math
from abc import ABC
from collections.abc import AsyncGenerator, Mapping
from typing import ClassVar, NoReturn

from ai_gateway.config.settings import Conformance, UnknownParams
from ai_gateway.contract.call import Attempt
from ai_gateway.contract.native import NativeOperation
from ai_gateway.contract.stream import Arrived, Done, Packet, Received
from ai_gateway.errors import GatewayError
from ai_gateway.providers.http.pool import Connections
from ai_gateway.providers.parameters import Parameters, not_offered
from ai_gateway.translate.carriers import Carrier
from gateway_contract.openai import models
from gateway_contract.openai.parameters import Policies


class Provider(ABC):  # noqa: B024 - every operation has a truthful default: this provider does not offer it
    """One upstream, or one thing that answers like one. `name` is its path segment.

    `policies` decide about every request field of the contract, and are applied before the provider is called.
    `conformance` says what becomes of replies that do not follow the contract. A provider that `is_remote` can be out
    of reach, so it is retried and guarded by a breaker as its failures suggest, within `deadline_s`: the seconds in
    which a reply must be whole, or a stream have begun. `wires` are the client wires that it speaks itself: what
    callers of one of them said reaches it by `attempt.native(wire)`, beside the translation, or by `relay`. One that
    `forwards_bodies` sends what callers of its wire have sent (`Call.parsed`), so that it may hold kinds of tools and
    parts that the contract does not list. `carriers` are what it takes beyond the contract from other wires.
    """

    wires: frozenset[str] = frozenset({"openai"})
    carriers: frozenset[Carrier] = frozenset({"reasoning_content"})
    is_remote: ClassVar[bool] = True
    forwards_bodies: ClassVar[bool] = False
    deadline_s: float = math.inf
    certificates_checked: bool | None = None
    """Whether its server has to show one that is trusted; None where it is not called by TLS."""

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
        self._lacks: set[str] = set()

    def speaks(self, operation: NativeOperation) -> bool:
        """Whether it speaks the operation's wire itself and, as far as is known, has the operation."""
        return operation.wire in self.wires and operation.path not in self._lacks

    def unlearn(self, operation: NativeOperation) -> None:
        """It has turned out that there is no such operation: what comes next is translated."""
        self._lacks.add(operation.path)

    async def list_models(self, attempt: Attempt) -> Received[models.ListModelsResponse]:
        self._unsupported(attempt)

    async def retrieve_model(self, attempt: Attempt, model: str) -> Received[models.Model]:
        self._unsupported(attempt)

    async def create_chat_completion(
        self, attempt: Attempt, body: models.CreateChatCompletionRequest
    ) -> Received[models.CreateChatCompletionResponse]:
        self._unsupported(attempt)

    async def stream_chat_completion(
        self, attempt: Attempt, body: models.CreateChatCompletionRequest
    ) -> AsyncGenerator[Arrived[models.CreateChatCompletionStreamResponse]]:
        self._unsupported(attempt)
        yield  # type: ignore[unreachable] # makes this an async generator, as those that override it are

    async def create_completion(
        self, attempt: Attempt, body: models.CreateCompletionRequest
    ) -> Received[models.CreateCompletionResponse]:
        self._unsupported(attempt)

    async def stream_completion(
        self, attempt: Attempt, body: models.CreateCompletionRequest
    ) -> AsyncGenerator[Arrived[models.CreateCompletionStreamResponse]]:
        self._unsupported(attempt)
        yield  # type: ignore[unreachable] # as above

    async def create_embeddings(
        self, attempt: Attempt, body: models.CreateEmbeddingRequest
    ) -> Received[models.CreateEmbeddingResponse]:
        self._unsupported(attempt)

    async def relay(self, attempt: Attempt, operation: NativeOperation, fields: Mapping[str, object]) -> bytes:
        """The reply to a request of a wire that callers and upstream share, as it came.

        `fields` are the caller's own but for the model. Raises UpstreamWrongAddress where there is no such operation.
        """
        self._unsupported(attempt)

    async def relay_stream(
        self, attempt: Attempt, operation: NativeOperation, fields: Mapping[str, object]
    ) -> AsyncGenerator[Packet | Done]:
        """The same as a stream. DONE says that the upstream has said that there is no more."""
        self._unsupported(attempt)
        yield  # type: ignore[unreachable] # as above

    def error_in(self, value: object) -> GatewayError | None:
        """The error that a JSON value is, where an upstream sent it in place of a reply or chunk."""
        return None

    @property
    def connections(self) -> Connections | None:
        """Those to its upstream; None where there were none so far."""
        return None

    async def aclose(self) -> None:  # noqa: B027 - most providers hold nothing
        """Release connections. Called once, at shutdown."""

    def _unsupported(self, attempt: Attempt) -> NoReturn:
        raise not_offered(self.name, attempt.operation)

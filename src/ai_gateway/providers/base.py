"""The provider interface.

Requests are the generated models. A reply is a model, the JSON bytes that an upstream sent, or a mapping of fields
(`Received`); a stream is an async generator of such chunks. A provider overrides what it can do; the rest answers 400
`unsupported_operation`. Failures are raised from the tree in `ai_gateway.errors`; one raised before the first chunk of
a stream keeps its HTTP status, a later one becomes an error event.
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
    """The adapter for one upstream. `name` is its path segment.

    `policies` decide about every request field of the contract, and are applied before the provider is called.
    `conformance` is the mode for replies that violate the contract. A provider that `is_remote` is retried and guarded
    by a circuit breaker, within `deadline_s`: the seconds in which a reply must be whole, or a stream have begun.
    `wires` are the client wires that its upstream speaks: requests of their callers are available as
    `attempt.native(wire)`, beside the translation, or are passed to `relay`. One that `forwards_bodies` sends the
    caller's own JSON (`Call.parsed`), which may have unknown kinds of tools and parts. `carriers` are the fields beyond
    the contract that it takes from other wires.
    """

    wires: frozenset[str] = frozenset({"openai"})
    carriers: frozenset[Carrier] = frozenset({"reasoning_content"})
    is_remote: ClassVar[bool] = True
    forwards_bodies: ClassVar[bool] = False
    deadline_s: float = math.inf
    certificates_checked: bool | None = None
    """Whether the upstream's certificate is verified; None for plain HTTP."""

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
        """Whether the upstream speaks the operation's wire and, as far as is known, has the operation."""
        return operation.wire in self.wires and operation.path not in self._lacks

    def unlearn(self, operation: NativeOperation) -> None:
        """Remember that the upstream lacks the operation, so that later requests are translated."""
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
        """The upstream's reply, unchanged, to a request of a wire that it shares with the caller.

        `fields` are the caller's, except the model. Raises UpstreamWrongAddress if there is no such operation.
        """
        self._unsupported(attempt)

    async def relay_stream(
        self, attempt: Attempt, operation: NativeOperation, fields: Mapping[str, object]
    ) -> AsyncGenerator[Packet | Done]:
        """The same as a stream. DONE is yielded when the upstream has sent the terminator."""
        self._unsupported(attempt)
        yield  # type: ignore[unreachable] # as above

    def error_in(self, value: object) -> GatewayError | None:
        """The error if a JSON value, sent as a reply or chunk, is one."""
        return None

    @property
    def connections(self) -> Connections | None:
        """The state of the connection pool; None before the first connection."""
        return None

    async def aclose(self) -> None:  # noqa: B027 - most providers hold nothing
        """Release connections. Called once, at shutdown."""

    def _unsupported(self, attempt: Attempt) -> NoReturn:
        raise not_offered(self.name, attempt.operation)

"""Rounds of a tool loop: each is an ordinary call of a model, settled and recorded before the next one."""

import time
from collections.abc import AsyncGenerator, Callable
from typing import Protocol, override

from ai_gateway.accounts.accounting import Accounting
from ai_gateway.contract.call import Call
from ai_gateway.contract.outcome import Outcome
from ai_gateway.contract.stream import Conformed, Item
from ai_gateway.operations import Operation, Streaming
from ai_gateway.routing.resolver import Resolution
from ai_gateway.tools.loop import Rounds
from gateway_contract.openai import models

_INCLUDE_COST = "x-gateway-include-cost"

type Body = models.CreateChatCompletionRequest
type ChatOperation = Operation[Body, models.CreateChatCompletionResponse]
type ChatStreaming = Streaming[Body, models.CreateChatCompletionStreamResponse]


class Calls(Protocol):
    """The part of the gateway that rounds use."""

    accounting: Accounting | None

    async def run(
        self, call: Call, operation: ChatOperation, body: Body, resolution: Resolution
    ) -> Item[models.CreateChatCompletionResponse]: ...

    def stream(
        self, call: Call, operation: ChatStreaming, body: Body, resolution: Resolution
    ) -> AsyncGenerator[Conformed[models.CreateChatCompletionStreamResponse]]: ...


class GatewayRounds(Rounds):
    """The rounds of one request, at the targets that its model was resolved to."""

    def __init__(self, calls: Calls, resolution: Resolution, operations: tuple[ChatOperation, ChatStreaming]) -> None:
        self._calls = calls
        self._resolution = resolution
        self._whole, self._streamed = operations

    @override
    async def reply(self, call: Call, body: Body) -> Item[models.CreateChatCompletionResponse]:
        return await self._calls.run(call, self._whole, body, self._resolution)

    @override
    def chunks(self, call: Call, body: Body) -> AsyncGenerator[Conformed[models.CreateChatCompletionStreamResponse]]:
        return self._calls.stream(call, self._streamed, body, self._resolution)

    @override
    def cost(self, call: Call) -> int | None:
        cost = cost_of(call)
        return cost() if cost is not None else None

    @override
    async def over(self, call: Call, started: float, *, stream: bool) -> None:
        await call.settle()
        if self._calls.accounting is None:
            return
        outcome = Outcome(call.request_id, "POST", "", started, call, 200)
        outcome.operation, outcome.wire = call.operation, call.wire.name
        outcome.ended = time.perf_counter()
        notes = call.notes
        outcome.first_byte = started + max(0.0, notes.answered - notes.started) if stream else outcome.ended
        self._calls.accounting.ended(outcome)


def cost_of(call: Call) -> Callable[[], int | None] | None:
    """The function that gives the cost of a reply so far, if the caller requested it by a header."""
    if call.reservation is None or call.headers.get(_INCLUDE_COST, "").lower() != "true":
        return None
    return call.reservation.cost

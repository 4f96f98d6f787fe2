"""Calls that are relayed: caller and upstream speak the same wire, and get each other's words.

Only the model is mapped on the way there. On the way back a reply is metered, and a stream that breaks off is told as
broken: see `conform.relayed`.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

from pydantic_core import from_json

from ai_gateway.accounts.bounds import relayed_bound
from ai_gateway.accounts.wanted import Wanted
from ai_gateway.conform.relayed import Relayed, relayed
from ai_gateway.contract.call import Attempt, Call
from ai_gateway.contract.framing import EVENTS
from ai_gateway.contract.native import NativeOperation
from ai_gateway.contract.stream import Framed, Packet, Stream
from ai_gateway.errors import GatewayError, UpstreamInvalidResponse, UpstreamStreamTruncated, UpstreamWrongAddress
from ai_gateway.gateway import Gateway
from ai_gateway.providers.base import Provider
from ai_gateway.resilience.peek import PendingStream
from ai_gateway.routing.resolver import Resolution, Target


def is_shared(operation: NativeOperation, resolution: Resolution) -> bool:
    """Whether everybody who may answer the call speaks the operation's wire, as far as is known."""
    return all(target.provider.speaks(operation) for target in resolution.targets)


async def relay[Reply](  # noqa: PLR0913, PLR0917 - what is relayed to whom, and what to do instead
    gateway: Gateway,
    call: Call,
    operation: NativeOperation,
    model: str,
    resolution: Resolution,
    instead: Callable[[], Awaitable[Reply]],
) -> bytes | Reply:
    """The JSON of the reply, as it came.

    Where it turns out that the upstream has no such operation, what `instead` gives, which is to translate.
    """
    await _reserve(gateway, call, model, resolution, stream=False)
    try:
        return await gateway.resilience.reply(call, resolution.targets, partial(_reply, operation))
    except UpstreamWrongAddress:
        if is_shared(operation, resolution):
            raise
        return await instead()


def relay_stream(  # noqa: PLR0913, PLR0917 - as above
    gateway: Gateway,
    call: Call,
    operation: NativeOperation,
    model: str,
    resolution: Resolution,
    instead: Callable[[], Stream[Any]],
) -> Stream[Any]:
    """The same as a stream, which is opened when its first event is asked for."""
    relaying = _Relaying(gateway, call, operation, model, resolution, instead)
    return Stream(PendingStream(relaying.opened), broken=relaying.broken)


class _Relaying:
    """One stream that is relayed, or translated where that cannot be."""

    def __init__(  # noqa: PLR0913, PLR0917 - as above
        self,
        gateway: Gateway,
        call: Call,
        operation: NativeOperation,
        model: str,
        resolution: Resolution,
        instead: Callable[[], Stream[Any]],
    ) -> None:
        self._gateway = gateway
        self._call = call
        self._operation = operation
        self._model = model
        self._resolution = resolution
        self._instead = instead
        self._reader: Relayed | None = None
        self._translated: Stream[Any] | None = None

    async def opened(self) -> tuple[Any, AsyncGenerator[Any]]:
        """The first event and those that follow."""
        await _reserve(self._gateway, self._call, self._model, self._resolution, stream=True)
        try:
            return await self._gateway.resilience.stream(self._call, self._resolution.targets, self._events)
        except UpstreamWrongAddress:
            if is_shared(self._operation, self._resolution):
                raise
        self._translated = self._instead()
        items = self._translated.items
        return await anext(items, None), items

    def broken(self, error: bytes) -> bytes:
        """What ends a stream that fails, given the JSON of the wire's error."""
        if self._translated is not None and self._translated.broken is not None:
            return self._translated.broken(error)
        return EVENTS.framed(error, "error") if self._reader is None else self._reader.broken(error)

    async def _events(self, attempt: Attempt, target: Target) -> AsyncGenerator[Framed]:
        provider = target.provider
        reader = self._reader = relayed(self._operation, attempt.notes)
        has_begun = False
        async with aclosing(provider.relay_stream(attempt, self._operation, _fields(attempt, target))) as arrived:
            try:
                async for packet in arrived:
                    if not isinstance(packet, Packet):
                        break
                    events = [(reader.feed(event), event) for event in packet.events]
                    if not has_begun and events[0][0] == "error":  # no reply: another attempt may give one
                        raise _error_in(provider, from_json(events[0][1]))
                    has_begun = True
                    yield Framed(b"".join(_framed(name, event) for name, event in events))
            except UpstreamWrongAddress:
                provider.unlearn(self._operation)
                raise
        if not reader.is_over:
            raise UpstreamStreamTruncated.ended(provider.name)
        if reader.failure is not None:  # which its client has seen: for the log, the metrics and the record
            raise _error_in(provider, reader.failure)


async def _reserve(gateway: Gateway, call: Call, model: str, resolution: Resolution, *, stream: bool) -> None:
    if gateway.accounting is not None and call.reservation is None:
        bound = relayed_bound(call.parsed or {}, call.size)
        await gateway.accounting.reserve(call, Wanted(call.operation, model, bound, resolution.targets, stream=stream))


async def _reply(operation: NativeOperation, attempt: Attempt, target: Target) -> bytes:
    """What one attempt at a whole reply comes to."""
    provider = target.provider
    try:
        raw = await provider.relay(attempt, operation, _fields(attempt, target))
    except UpstreamWrongAddress:
        provider.unlearn(operation)
        raise
    try:
        value = from_json(raw)
    except ValueError as error:
        raise UpstreamInvalidResponse.not_json(provider.name, detail=str(error)) from None
    reader = relayed(operation, attempt.notes)
    if not reader.whole(value):
        raise provider.error_in(value) or UpstreamInvalidResponse.off_contract(detail="neither a reply nor an error")
    if attempt.notes.tokens is None:
        attempt.notes.text_bytes = len(raw)
    return raw


def _fields(attempt: Attempt, target: Target) -> Mapping[str, object]:
    """What the caller said, with the model as it is called there."""
    said = attempt.call.parsed or {}
    attempt.notes.upstream_model = target.model if target.model != said.get("model") else None
    return {**said, "model": target.model}


def _error_in(provider: Provider, value: object) -> GatewayError:
    """What an upstream says where it has failed."""
    return provider.error_in(value) or UpstreamInvalidResponse.off_contract(detail="an error without words")


def _framed(name: str, event: bytes) -> bytes:
    # Blanks are all that line ends in JSON can be, which an event's data may not hold.
    return EVENTS.framed(event.replace(b"\r", b" ").replace(b"\n", b" "), name)

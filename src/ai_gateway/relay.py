"""Relay: caller and upstream speak the same wire, and get each other's bytes.

Only the model name is mapped in the request. The response is metered, and a truncated stream ends in an error event:
see `conform.relayed_reply`.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import BaseModel
from pydantic_core import from_json

from ai_gateway.accounts.relayed_bounds import relayed_bound
from ai_gateway.conform.refused_usage import note_refused
from ai_gateway.conform.relayed import relayed
from ai_gateway.conform.relayed_reply import Relayed
from ai_gateway.contract.call import Attempt, Call
from ai_gateway.contract.framing import EVENTS
from ai_gateway.contract.native import NativeOperation, event_type
from ai_gateway.contract.stream import Framed, Item, LastFramed, LastPacket, Packet, Stream
from ai_gateway.errors import GatewayError, UpstreamInvalidResponse, UpstreamStreamTruncated, UpstreamWrongAddress
from ai_gateway.gateway import Gateway
from ai_gateway.observability.trace_names import Step
from ai_gateway.providers.base import Provider
from ai_gateway.resilience.peek import PendingStream
from ai_gateway.routing.resolver import Resolution, Target


def unparsed_item[Model: BaseModel](model: type[Model], raw: bytes) -> Item[Model]:
    """A reply that is relayed as bytes; its model is never read."""
    return Item(model.model_construct(), raw)


def is_shared(operation: NativeOperation, resolution: Resolution) -> bool:
    """Whether every target of the call speaks the operation's wire, as far as is known."""
    return all(target.provider.speaks(operation) for target in resolution.targets)


@dataclass(slots=True)  # never changed; not frozen because one is made for every request: see `Call`
class Relay:
    """A request to relay: its fields as the caller sent them, and the name of its model.

    `keep` is called with the whole response, or that of the last event, before the client gets it. `dropped` names
    request fields that the upstream does not get.
    """

    operation: NativeOperation
    model: str
    resolution: Resolution
    fields: Mapping[str, object]
    keep: Callable[[Mapping[str, Any]], Awaitable[None]] | None = None
    dropped: frozenset[str] = frozenset()

    @property
    def is_shared(self) -> bool:
        """Whether every target speaks the wire, as far as is known."""
        return is_shared(self.operation, self.resolution)


async def relay[Reply](
    gateway: Gateway, call: Call, request: Relay, translate: Callable[[], Awaitable[Reply]]
) -> bytes | Reply:
    """The JSON of the reply, unchanged.

    If the upstream turns out not to have the operation, `translate` is called instead.
    """
    await _reserve(gateway, call, request, stream=False)
    try:
        return await gateway.resilience.reply(call, request.resolution.targets, partial(_reply, request))
    except UpstreamWrongAddress:
        if request.is_shared:
            raise
        return await translate()


def relay_stream(
    gateway: Gateway, call: Call, request: Relay, translate: Callable[[], Awaitable[Stream[Any]]]
) -> Stream[Any]:
    """The same as a stream, which is opened when its first event is read."""
    relaying = _Relaying(gateway, call, request, translate)
    return Stream(PendingStream(relaying.opened), broken=relaying.broken)


class _Relaying:
    """One relayed stream, or a translated one if the upstream lacks the operation."""

    def __init__(
        self, gateway: Gateway, call: Call, request: Relay, translate: Callable[[], Awaitable[Stream[Any]]]
    ) -> None:
        self._gateway = gateway
        self._call = call
        self._request = request
        self._translate = translate
        self._reader: Relayed | None = None
        self._translated: Stream[Any] | None = None

    async def opened(self) -> tuple[Any, AsyncGenerator[Any]]:
        """The first event and those that follow."""
        request = self._request
        await _reserve(self._gateway, self._call, request, stream=True)
        try:
            return await self._gateway.resilience.stream(self._call, request.resolution.targets, self._events)
        except UpstreamWrongAddress:
            if request.is_shared:
                raise
        self._translated = await self._translate()
        items = self._translated.items
        return await anext(items, None), items

    def broken(self, error: bytes) -> bytes:
        """The last event of a stream that fails, given the JSON of the wire's error."""
        if self._translated is not None and self._translated.broken is not None:
            return self._translated.broken(error)
        return EVENTS.framed(error, "error") if self._reader is None else self._reader.broken(error)

    async def _events(self, attempt: Attempt, target: Target) -> AsyncGenerator[Framed]:
        provider, request = target.provider, self._request
        reader = self._reader = relayed(request.operation, attempt.notes, provider, attempt.call.request_id)
        has_begun = done = False
        attempt.divert = None if attempt.call.sink is None else reader.diverting_to(attempt.call.sink)
        async with aclosing(
            provider.relay_stream(attempt, request.operation, _fields(attempt, request, target))
        ) as arrived:
            try:
                async for packet in arrived:
                    done = not isinstance(packet, Packet) or isinstance(packet, LastPacket)
                    if not isinstance(packet, Packet):
                        break
                    has_begun = has_begun or not packet.events or _begins(provider, packet.events[0])
                    written: list[bytes] = []
                    try:
                        written.extend(reader.framed(packet.events))
                    finally:  # events before an unreadable one are still metered
                        await _keep(request, reader)
                        if written:
                            is_end = packet.__class__ is LastPacket and reader.is_over and reader.failure is None
                            yield (LastFramed if is_end else Framed)(b"".join(written))
            except UpstreamWrongAddress:
                provider.unlearn(request.operation)
                raise
        if not reader.is_over:
            if not (ended := reader.ended(done=done)):
                raise UpstreamStreamTruncated.ended(provider.name)
            await _keep(request, reader)
            yield LastFramed(ended)
        if reader.failure is not None:  # the client has the event; raised for log, metrics and usage record
            raise _error_in(provider, reader.failure)


def _begins(provider: Provider, event: bytes) -> bool:
    """Whether the event begins a reply. Raises an error event as an error, so that another attempt can be made."""
    if event_type(event) == "error":
        raise _error_in(provider, from_json(event))
    return True


async def _keep(request: Relay, reader: Relayed) -> None:
    if request.keep is not None and reader.is_over and reader.failure is None:
        await request.keep(reader.kept)


async def _reserve(gateway: Gateway, call: Call, request: Relay, *, stream: bool) -> None:
    # Operations that generate nothing cost nothing.
    if request.operation.last and gateway.accounting is not None and call.reservation is None:
        bound = relayed_bound(request.fields, call.size + call.recalled)
        with call.step(Step.RESERVE, {}):
            await gateway.accounting.reserve(
                call, call.operation, request.model, bound, request.resolution.targets, stream=stream
            )


async def _reply(request: Relay, attempt: Attempt, target: Target) -> bytes:
    """One attempt at a whole reply."""
    provider = target.provider
    try:
        raw = await provider.relay(attempt, request.operation, _fields(attempt, request, target))
    except UpstreamWrongAddress:
        provider.unlearn(request.operation)
        raise
    try:
        value = from_json(raw)
    except ValueError as error:
        raise UpstreamInvalidResponse.not_json(provider.name, error, raw) from None
    reader = relayed(request.operation, attempt.notes, provider, attempt.call.request_id)
    if not reader.whole(value):
        note_refused(attempt.notes, value)
        raise provider.error_in(value) or UpstreamInvalidResponse.off_contract(detail="neither a reply nor an error")
    if (tokens := attempt.notes.reported) is None:
        attempt.notes.text_bytes = len(raw)
    elif not tokens.output:
        attempt.notes.text_bytes = reader.content_size(value)
    if request.keep is not None:
        await request.keep(reader.kept)
    return reader.repaired or raw


def _fields(attempt: Attempt, request: Relay, target: Target) -> Mapping[str, object]:
    """The caller's fields with the upstream's name of the model."""
    fields = request.fields
    attempt.notes.dropped |= request.dropped
    attempt.notes.upstream_model = target.model if target.model != fields.get("model") else None
    return {**fields, "model": target.model}


def _error_in(provider: Provider, value: object) -> GatewayError:
    """The error in the JSON of an upstream's error event or reply."""
    return provider.error_in(value) or UpstreamInvalidResponse.off_contract(detail="an error without words")

"""The common part of all providers over HTTP: call the upstream, check the response, read errors."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager
from functools import partial
from types import TracebackType
from typing import override

from pydantic_core import from_json

from ai_gateway.contract.call import Attempt, Notes
from ai_gateway.contract.deltas import Deltas
from ai_gateway.contract.lenient_json import read_leniently, whole_texts
from ai_gateway.contract.native import ANTHROPIC, NativeOperation, event_type
from ai_gateway.contract.stream import DONE, Done, LastPacket, Packet, Run
from ai_gateway.contract.trace_context import trace_headers
from ai_gateway.contract.wire_form import to_wire
from ai_gateway.errors import (
    GatewayError,
    ModelNotFound,
    UpstreamInvalidResponse,
    UpstreamOverloaded,
    UpstreamRefused,
    UpstreamWrongAddress,
)
from ai_gateway.providers.base import Provider
from ai_gateway.providers.http.client import Caller
from ai_gateway.providers.http.error_body import is_error
from ai_gateway.providers.http.errors import from_event, from_reply, kept_headers
from ai_gateway.providers.http.pool import Connections
from ai_gateway.providers.http.sse import events_in
from ai_gateway.providers.http.stream import OpenStream, WholeReply
from ai_gateway.providers.upstream import Upstream
from ai_gateway.translate.as_events import as_events

JSON = "application/json"
EVENTS = "text/event-stream"
_LONGEST_MODEL = 256
_LONGEST_REFUSAL = 64 * 1024
_DONE_MARK = b"[DONE]"
_JSON_BEGINNINGS = (b"{", b"[")


class HttpProvider(Provider):
    """An upstream over HTTP. Subclasses override what differs between wires: errors, and rate-limit headers.

    The kind of a body is detected from its content: some servers label streams as JSON or not at all, or send 201.
    """

    def __init__(self, upstream: Upstream, caller: Caller) -> None:
        super().__init__(upstream.name, upstream.row.policies, upstream.unknown_params, upstream.conformance)
        self._setting = upstream.setting
        self._caller = caller
        self._key = upstream.secret

    @property
    @override
    def connections(self) -> Connections | None:
        return self._caller.connections

    @override
    async def aclose(self) -> None:
        await self._caller.aclose()

    @override
    async def relay(self, attempt: Attempt, operation: NativeOperation, fields: Mapping[str, object]) -> bytes:
        headers, allocation = self._relayed_headers(attempt, operation), attempt.call.allocation
        reply = await self._relaying(operation).fetch(
            "POST", operation.path, headers, to_wire(fields), JSON, allocation
        )
        with _keeping_body(operation, reply.body):
            self._check(attempt, reply.status, reply.headers, reply.body)
        return reply.body

    @override
    async def relay_stream(
        self, attempt: Attempt, operation: NativeOperation, fields: Mapping[str, object]
    ) -> AsyncGenerator[Packet | Done]:
        headers = self._relayed_headers(attempt, operation)
        async with self._stream(
            attempt,
            operation.path,
            headers,
            to_wire(fields),
            EVENTS,
            caller=self._relaying(operation),
            relayed=operation,
        ) as stream:
            try:
                async with aclosing(stream.batches(attempt.divert, Deltas(operation))) as batches:
                    async for events in batches:
                        packet, is_last = _until_end(events, operation)
                        if is_last and stream.is_whole:
                            yield LastPacket(packet)
                            return
                        if packet:
                            yield Packet(packet)
                        if is_last:
                            await stream.drain()
                            yield DONE
                            return
            except WholeReply as reply:
                packet, _ = _until_end(events_in(reply.body), operation)
                yield Packet(packet or self._as_events(operation, reply.body))

    def _as_events(self, operation: NativeOperation, body: bytes) -> list[bytes]:
        """A whole reply as the events of a stream. Raises the error if it is one."""
        whole = self._json(body)
        if events := as_events(operation, whole):
            return events
        raise self.error_in(whole) or UpstreamInvalidResponse.not_a_stream(self.name)

    def _relaying(self, _: NativeOperation) -> Caller:
        """The HTTP caller for a relayed operation."""
        return self._caller

    def _relayed_headers(self, attempt: Attempt, operation: NativeOperation) -> dict[str, str]:
        passed = operation.passed(attempt.headers)
        key = {operation.key_header: self._key} if operation.key_header and self._key else {}
        return {"x-request-id": attempt.upstream_request_id, **key, **passed}

    @override
    def error_in(self, value: object) -> GatewayError | None:
        return from_event(self.name, value) if is_error(value) else None

    def _refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        """The error for a reply whose status is not 2xx."""
        return from_reply(self.name, status, headers, body)

    def _limits(self, headers: Mapping[str, str]) -> dict[str, str]:
        """The rate-limit headers of a successful reply."""
        return kept_headers(headers)

    async def _fetch(  # noqa: PLR0913, PLR0917 - what a request is made of, and what it is for
        self,
        attempt: Attempt,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        accept: str | None = None,
        *,
        spent_s: float = 0,
    ) -> bytes:
        """The body of a successful reply. Raises the error for any other."""
        call = attempt.call
        if attempt.notes.trace is not None or "traceparent" in call.headers:
            headers = _traced(attempt, headers)
        reply = await self._caller.fetch(method, path, headers, body, accept, call.allocation, spent_s=spent_s)
        self._check(attempt, reply.status, reply.headers, reply.body)
        return reply.body

    def _stream(  # noqa: PLR0913 - what a request is made of, and who makes it
        self,
        attempt: Attempt,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        accept: str | None = None,
        *,
        spent_s: float = 0,
        caller: Caller | None = None,
        relayed: NativeOperation | None = None,
    ) -> AbstractAsyncContextManager[OpenStream]:
        """A successful stream; leaving the block closes it. Raises the error for any other reply."""
        if attempt.notes.trace is not None or "traceparent" in attempt.headers:
            headers = _traced(attempt, headers)
        opening = (caller or self._caller).stream(path, headers, body, accept, attempt.call.allocation, spent_s=spent_s)
        return _CheckedStream(opening, attempt.notes, self._limits, partial(self._check_begun, attempt, relayed))

    async def _check_begun(self, attempt: Attempt, relayed: NativeOperation | None, stream: OpenStream) -> None:
        if _has_reply(stream.status):
            attempt.notes.limits = self._limits(stream.headers)
            return
        body = await stream.read()
        with _keeping_body(relayed, body):
            self._check(attempt, stream.status, stream.headers, body)

    def _check(self, attempt: Attempt, status: int, headers: Mapping[str, str], body: bytes) -> None:
        if status == 200 or (_has_reply(status) and body):
            if not body.startswith(_JSON_BEGINNINGS) and _is_web_page(body):
                raise UpstreamInvalidResponse.web_page(self.name, self._setting, body)
            attempt.notes.limits = self._limits(headers)
        elif 200 < status < 300:
            raise UpstreamInvalidResponse.without_reply(self.name, status)
        else:
            raise self._explained(attempt, self._refusal(status, headers, body))

    def _explained(self, attempt: Attempt, error: GatewayError) -> GatewayError:
        """The error with missing facts: the setting that has the wrong base URL, or the name of the missing model."""
        if isinstance(error, UpstreamWrongAddress):
            named = UpstreamWrongAddress.of(self.name, self._setting)
            named.detail = error.detail
            return named
        parsed = attempt.call.parsed or {}
        model = attempt.notes.upstream_model or parsed.get("model")
        if error.code == ModelNotFound.code and isinstance(model, str) and model and model not in error.message:
            return error.with_note(f"The requested model: '{model[:_LONGEST_MODEL]}'.", {})
        return error

    def _json(self, raw: bytes) -> object:
        """The JSON value in a reply or event. Raises UpstreamInvalidResponse."""
        try:
            return whole_texts(read_leniently(raw, set()), set())
        except ValueError as error:
            if _is_web_page(raw):
                raise UpstreamInvalidResponse.web_page(self.name, self._setting, raw) from None
            raise UpstreamInvalidResponse.not_json(self.name, error, raw) from None


class _CheckedStream(AbstractAsyncContextManager[OpenStream]):
    """A stream whose status is checked before the block is entered."""

    __slots__ = ("_check", "_limits", "_notes", "_opening", "_stream")

    def __init__(
        self,
        opening: AbstractAsyncContextManager[OpenStream],
        notes: Notes,
        limits: Callable[[Mapping[str, str]], dict[str, str]],
        check: Callable[[OpenStream], Awaitable[None]],
    ) -> None:
        self._limits = limits
        self._opening = opening
        self._notes = notes
        self._check = check

    @override
    async def __aenter__(self) -> OpenStream:
        self._stream = stream = await self._opening.__aenter__()
        if stream.status == 200:  # as nearly always, so no coroutine is made for it
            self._notes.limits = self._limits(stream.headers)
            return stream
        try:
            await self._check(stream)
        except BaseException as error:
            await self._opening.__aexit__(type(error), error, error.__traceback__)
            raise
        return stream

    @override
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        self._notes.beside = self._stream.beside
        return await self._opening.__aexit__(kind, error, traceback)


def _until_end(events: list[bytes], operation: NativeOperation) -> tuple[list[bytes], bool]:
    """The events up to the last one of their stream, and whether it is among them; later events are ignored."""
    for at, event in enumerate(events):
        if event.strip() == _DONE_MARK:
            return events[:at], True
        if not isinstance(event, Run) and event_type(event) in operation.last:
            return events[: at + 1], True
    return events, False


def _traced(attempt: Attempt, headers: Mapping[str, str]) -> dict[str, str]:
    """The headers with trace headers: of the attempt's span if there is one, else the caller's."""
    own = attempt.notes.trace
    return {**headers, **(own if own is not None else trace_headers(attempt.headers))}


@contextmanager
def _keeping_body(operation: NativeOperation | None, body: bytes) -> Iterator[None]:
    """Attach the upstream's body to a refusal of the request, for callers of the same wire."""
    try:
        yield
    except (UpstreamRefused, UpstreamOverloaded) as error:
        if operation is not None and len(body) <= _LONGEST_REFUSAL and _is_error_of(operation.wire, body):
            error.native = (operation.wire, body)
        raise


def _is_error_of(wire: str, body: bytes) -> bool:
    """Whether it has the form of the wire's errors, which what stands in front of an upstream need not know."""
    try:
        value = from_json(body)
    except ValueError:
        return False
    error = value.get("error") if isinstance(value, dict) else None
    if not isinstance(error, dict) or not all(isinstance(error.get(name), str) for name in ("message", "type")):
        return False
    return wire != ANTHROPIC or value.get("type") == "error"


def _is_web_page(body: bytes) -> bool:
    """Whether it is an HTML page, whatever its media type."""
    return body[:64].lstrip().lower().startswith((b"<!doctype", b"<html"))


def _has_reply(status: int) -> bool:
    """Whether a reply of this status has a body to use: a success, except 204 and 205."""
    return 200 <= status < 300 and status not in {204, 205}

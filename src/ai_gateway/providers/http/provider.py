"""What every provider over HTTP does alike: call, check what came, and read its errors."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager
from functools import partial
from types import TracebackType
from typing import override

from ai_gateway.contract.call import Attempt
from ai_gateway.contract.lenient_json import read_leniently, whole_texts
from ai_gateway.contract.native import NativeOperation, event_type
from ai_gateway.contract.stream import DONE, Done, Packet, Run
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
from ai_gateway.providers.http.complaints import is_error
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


class HttpProvider(Provider):
    """An upstream behind a caller. What differs from wire to wire is overridden: errors, and headers about limits.

    What a body is follows from its content: some servers label streams as JSON or not at all, or answer with 201.
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
        headers = self._relayed_headers(attempt, operation, JSON)
        reply = await self._relaying(operation).fetch(
            "POST", operation.path, headers, to_wire(fields), room=attempt.call.room
        )
        with _telling(operation, reply.body):
            self._check(attempt, reply.status, reply.headers, reply.body)
        return reply.body

    @override
    async def relay_stream(
        self, attempt: Attempt, operation: NativeOperation, fields: Mapping[str, object]
    ) -> AsyncGenerator[Packet | Done]:
        headers = self._relayed_headers(attempt, operation, EVENTS)
        async with self._stream(
            attempt,
            operation.path,
            headers,
            to_wire(fields),
            caller=self._relaying(operation),
            relayed=operation,
        ) as stream:
            try:
                async with aclosing(stream.batches(attempt.divert, operation.run)) as batches:
                    async for events in batches:
                        said, is_last = _until_end(events, operation)
                        if said:
                            yield Packet(said)
                        if is_last:
                            await stream.drain()
                            yield DONE
                            return
            except WholeReply as reply:
                said, _ = _until_end(events_in(reply.body), operation)
                yield Packet(said or self._as_events(operation, reply.body))

    def _as_events(self, operation: NativeOperation, body: bytes) -> list[bytes]:
        """The events that a whole reply would have been. Raises the error that it may be instead."""
        whole = self._json(body)
        if events := as_events(operation, whole):
            return events
        raise self.error_in(whole) or UpstreamInvalidResponse.not_a_stream(self.name)

    def _relaying(self, _: NativeOperation) -> Caller:
        """Who calls the upstream for an operation that is relayed."""
        return self._caller

    def _relayed_headers(self, attempt: Attempt, operation: NativeOperation, accept: str) -> dict[str, str]:
        passed = operation.passed(attempt.headers)
        key = {operation.key_header: self._key} if operation.key_header and self._key else {}
        own = {"accept": accept, "content-type": JSON, "x-request-id": attempt.upstream_request_id}
        return {**own, **key, **passed}

    @override
    def error_in(self, value: object) -> GatewayError | None:
        return from_event(self.name, value) if is_error(value) else None

    def _refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        """The error for a reply whose status is not 2xx."""
        return from_reply(self.name, status, headers, body)

    def _limits(self, headers: Mapping[str, str]) -> dict[str, str]:
        """The headers of a good reply that tell the caller when to come back."""
        return kept_headers(headers)

    async def _fetch(  # noqa: PLR0913 - what a request is made of, and what it is for
        self,
        attempt: Attempt,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        spent_s: float = 0,
    ) -> bytes:
        """The body of a good reply. Raises the error that any other one is."""
        if attempt.notes.trace is not None or "traceparent" in attempt.headers:
            headers = _traced(attempt, headers)
        reply = await self._caller.fetch(method, path, headers, body, spent_s=spent_s, room=attempt.call.room)
        self._check(attempt, reply.status, reply.headers, reply.body)
        return reply.body

    def _stream(  # noqa: PLR0913 - what a request is made of, and who makes it
        self,
        attempt: Attempt,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        spent_s: float = 0,
        caller: Caller | None = None,
        relayed: NativeOperation | None = None,
    ) -> AbstractAsyncContextManager[OpenStream]:
        """A stream that has begun well; leaving the block closes it. Raises the error that any other reply is."""
        if attempt.notes.trace is not None or "traceparent" in attempt.headers:
            headers = _traced(attempt, headers)
        opening = (caller or self._caller).stream(path, headers, body, spent_s=spent_s, room=attempt.call.room)
        return _Begun(opening, partial(self._check_begun, attempt, relayed))

    async def _check_begun(self, attempt: Attempt, relayed: NativeOperation | None, stream: OpenStream) -> None:
        if stream.status == 200 or _has_reply(stream.status):
            attempt.notes.limits = self._limits(stream.headers)
            return
        body = await stream.read()
        with _telling(relayed, body):
            self._check(attempt, stream.status, stream.headers, body)

    def _check(self, attempt: Attempt, status: int, headers: Mapping[str, str], body: bytes) -> None:
        if status == 200 or (_has_reply(status) and body):
            if body[:1] not in b"{[" and _is_web_page(body):
                raise UpstreamInvalidResponse.web_page(self.name, self._setting)
            attempt.notes.limits = self._limits(headers)
        elif 200 < status < 300:
            raise UpstreamInvalidResponse.without_reply(self.name, status)
        else:
            raise self._explained(attempt, self._refusal(status, headers, body))

    def _explained(self, attempt: Attempt, error: GatewayError) -> GatewayError:
        """The error with what the upstream does not say: which setting its address is from, or which model it lacks."""
        if isinstance(error, UpstreamWrongAddress):
            named = UpstreamWrongAddress.of(self.name, self._setting)
            named.detail = error.detail
            return named
        parsed = attempt.call.parsed or {}
        model = attempt.notes.upstream_model or parsed.get("model")
        if error.code == ModelNotFound.code and isinstance(model, str) and model and model not in error.message:
            return error.with_note(f"The model that it was asked for: '{model[:_LONGEST_MODEL]}'.", {})
        return error

    def _json(self, raw: bytes) -> object:
        """The JSON value in a reply or event. Raises UpstreamInvalidResponse."""
        try:
            return whole_texts(read_leniently(raw, set()), set())
        except ValueError as error:
            if _is_web_page(raw):
                raise UpstreamInvalidResponse.web_page(self.name, self._setting) from None
            raise UpstreamInvalidResponse.not_json(self.name, detail=str(error)) from None


class _Begun(AbstractAsyncContextManager[OpenStream]):
    """A stream that is looked at before it is read."""

    __slots__ = ("_check", "_opening")

    def __init__(
        self, opening: AbstractAsyncContextManager[OpenStream], check: Callable[[OpenStream], Awaitable[None]]
    ) -> None:
        self._opening = opening
        self._check = check

    @override
    async def __aenter__(self) -> OpenStream:
        stream = await self._opening.__aenter__()
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
        return await self._opening.__aexit__(kind, error, traceback)


def _until_end(events: list[bytes], operation: NativeOperation) -> tuple[list[bytes], bool]:
    """The events up to the one that ends their stream, and whether there is one: behind it nothing is meant."""
    for at, event in enumerate(events):
        if event.strip() == _DONE_MARK:
            return events[:at], True
        if not isinstance(event, Run) and event_type(event) in operation.last:
            return events[: at + 1], True
    return events, False


def _traced(attempt: Attempt, headers: Mapping[str, str]) -> dict[str, str]:
    """The headers with those about the trace: the attempt's own span where there is one, else what the caller sent."""
    own = attempt.notes.trace
    return {**headers, **(own if own is not None else trace_headers(attempt.headers))}


@contextmanager
def _telling(operation: NativeOperation | None, body: bytes) -> Iterator[None]:
    """Have a refusal that the caller can mend say what its upstream said, if the caller speaks the same wire."""
    try:
        yield
    except (UpstreamRefused, UpstreamOverloaded) as error:
        if operation is not None and body[:1] == b"{" and len(body) <= _LONGEST_REFUSAL and b'"error"' in body:
            error.told = (operation.wire, body)
        raise


def _is_web_page(body: bytes) -> bool:
    """Whether it is a page for people, whatever it calls itself."""
    return body[:64].lstrip().lower().startswith((b"<!doctype", b"<html"))


def _has_reply(status: int) -> bool:
    """Whether a reply of this status is one: a success that does not say that it has no content."""
    return 200 <= status < 300 and status not in {204, 205}

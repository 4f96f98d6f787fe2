"""The one middleware around every operation: request id, timing, limits, CORS, common headers, and observers.

It is one layer, because each layer costs a call for each request and another for each event of a stream.
"""

from collections.abc import Awaitable, Sequence
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ai_gateway.contract.header_fields import header_fields
from ai_gateway.contract.outcome import Observer, Outcome
from ai_gateway.contract.trace_context import read_trace_id
from ai_gateway.contract.wire import PathOwners
from ai_gateway.contract.write import send_error
from ai_gateway.middleware.client_address import ClientAddress
from ai_gateway.middleware.cors import Fields
from ai_gateway.middleware.reply_headers import ReplyHeaders, lines_of
from ai_gateway.middleware.request_head import refusal
from ai_gateway.middleware.request_id import accepted, new_request_id
from ai_gateway.middleware.watching import UNWATCHED, Watching


class Front:
    """Sets the request's id and outcome in the scope, refuses invalid heads, and answers preflights."""

    def __init__(  # noqa: PLR0913, PLR0917 - made at one place
        self,
        app: ASGIApp,
        owners: PathOwners,
        headers: ReplyHeaders,
        observers: Sequence[Observer] = (),
        address: ClientAddress | None = None,
        watching: Watching = UNWATCHED,
    ) -> None:
        self.app = app
        self._owners = owners
        self._headers = headers
        self._has_cors = headers.cors.is_on
        self._observers = observers
        self._address = address or ClientAddress()
        self._watching = watching

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        fields = header_fields(scope)
        given = fields.get("x-request-id")
        id_bytes = (accepted(given) if given is not None else None) or new_request_id()
        request_id = scope["request_id"] = id_bytes.decode()
        outcome = scope["outcome"] = Outcome(request_id, scope["method"], scope["path"], perf_counter())
        outcome.client = self._address.of(scope)
        if "traceparent" in fields:
            outcome.trace_id = read_trace_id(fields["traceparent"])
        if self._watching.is_on:
            receive, send = self._watching.begin(outcome, scope, receive, send)

        def complete(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                self._complete(message, outcome, id_bytes, scope)
            return send(message)

        try:
            refused = refusal(scope, fields)
            preflight = self._preflight(scope) if outcome.method == "OPTIONS" else None
            if preflight is not None:
                outcome.status = 200
                headers = [*preflight, *self._headers.common(dict(preflight), id_bytes, 0)]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                await send({"type": "http.response.body"})
            elif refused is not None:
                outcome.code = refused.code
                status, body, own = self._owners.answer(scope["path"], refused, request_id, scope["headers"])
                await send_error(complete, status, body, own)
            else:
                await self.app(scope, receive, complete)
        finally:
            self._end(outcome)

    def _preflight(self, scope: Scope) -> Fields | None:
        return self._headers.cors.preflight(scope["method"], _origin(scope), scope["headers"])

    def _end(self, outcome: Outcome) -> None:
        outcome.ended = perf_counter()
        for observer in self._observers:
            observer.ended(outcome)
        if self._watching.is_on:
            self._watching.ended(outcome)

    def _complete(self, message: Message, outcome: Outcome, request_id: bytes, scope: Scope) -> None:
        """Note the start of the reply, and add the common headers."""
        outcome.status = message["status"]
        outcome.first_byte = now = perf_counter()
        spent_ms = int((now - outcome.started) * 1000)
        lines = message.get("lines")
        if lines is not None:
            if self._has_cors:
                lines += lines_of(self._headers.cors.headers_for(_origin(scope), _fields_of(lines)))
            made = self._headers.usual_lines if "whole" in message else self._headers.lines_of_stream
            message["lines"] = made(lines, request_id, spent_ms)
            return
        headers = message["headers"] = list(message.get("headers", ()))
        if self._has_cors:
            headers += self._headers.cors.headers_for(_origin(scope), headers)
        if "connection" in scope:
            message["lines"] = self._headers.lines(dict(headers), request_id, spent_ms)
        else:
            headers += self._headers.common(dict(headers), request_id, spent_ms)


def _fields_of(lines: bytes) -> Fields:
    """Header lines as fields."""
    parts = (line.partition(b": ") for line in lines.split(b"\r\n") if line)
    return [(name, value) for name, _, value in parts]


def _origin(scope: Scope) -> bytes | None:
    """The Origin header."""
    origin = header_fields(scope).get("origin")
    return origin.encode("latin-1") if origin is not None else None

"""The runtime of every generated stub: authorisation, strict reading of the request, and writing of the response.

A stub is three lines: `open` authorises before anything is read, `body` reads strictly, `answer` runs the handler and
writes its result. Each route is a plain ASGI endpoint: FastAPI's own reading and writing of bodies is lax where the
contract is strict, and costs more than all of this.
"""

import asyncio
import re
import sys
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Literal, Protocol
from urllib.parse import unquote_to_bytes

import structlog
from pydantic import BaseModel
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ai_gateway.contract.body import BodyLimits, parse_body, read_arrived, read_upload, receive_rest, validate
from ai_gateway.contract.budget import Admission, Allocation
from ai_gateway.contract.call import Call, Caller
from ai_gateway.contract.disconnect import ClientDisconnected, DisconnectGuard
from ai_gateway.contract.dispatch import Operation
from ai_gateway.contract.framing import Framing
from ai_gateway.contract.header_fields import header_fields
from ai_gateway.contract.multipart import is_form, read_form
from ai_gateway.contract.open_lists import UnknownKinds
from ai_gateway.contract.outcome import Outcome
from ai_gateway.contract.query import read_headers, read_query
from ai_gateway.contract.stream import Content, Item, Stream
from ai_gateway.contract.texts import read_fields
from ai_gateway.contract.tracebacks import forget_frames
from ai_gateway.contract.types import UploadedFile
from ai_gateway.contract.wire import Wire, as_gateway_error
from ai_gateway.contract.write import encoded, send_at_once, send_content, send_error, send_whole
from ai_gateway.contract.write_stream import STOPPING, LateHeads, send_stream
from ai_gateway.errors import (
    GatewayError,
    InvalidApiKey,
    InvalidRequest,
    NotFound,
    Overloaded,
    UpstreamError,
    UpstreamStreamTruncated,
)
from ai_gateway.redaction import plain_words

type Security = Literal["required", "optional", "none"]
# A named tuple is not covariant to mypy.
type Answer = BaseModel | Item[Any] | Stream[Any] | Content[Any] | str | None
type Stub = Callable[[Exchange], Awaitable[None]]

_log = structlog.get_logger(__name__)


class Boundary(Protocol):
    """What the handlers of a contract have in common: wire, authorisation, and limits of bodies.

    `late_heads` are the heads of streams that still wait for their first item. With `closed_queries`, an operation with
    query parameters refuses unknown ones, which are ignored otherwise.
    """

    wire: Wire
    body_limits: BodyLimits
    late_heads: LateHeads | None = None
    closed_queries: bool = False

    @abstractmethod
    def authorize(self, scope: Scope, headers: Mapping[str, str], security: Security) -> Caller:
        """The authenticated caller. Raises Unauthorized; reads nothing of the body."""

    async def refresh(self, scope: Scope) -> bool:  # noqa: ARG002 - what an override needs
        """Whether an unknown key may have become known meanwhile: then authorisation is tried once more."""
        return False

    def complete(self, provider: str | None, value: object) -> object:  # noqa: ARG002 - what an override needs
        """The body with defaults for fields that this wire lets callers leave out; unchanged by default."""
        return value

    def read_open[Model: BaseModel](  # by default, a body beyond the contract is refused
        self,
        model: type[Model],  # noqa: ARG002 - what an override needs
        value: object,  # noqa: ARG002
        error: InvalidRequest,  # noqa: ARG002
    ) -> tuple[Model, UnknownKinds] | None:
        """The invalid body with stand-ins for unknown kinds, and what they are; None if it has other errors."""
        return None


_UNAUTHENTICATED = Caller(name="nobody")  # until authorisation


class Exchange:
    """One request and its reply, from its headers to the last byte.

    `outcome` is what observers read; None under a server without our middleware.
    """

    __slots__ = (
        "allocation", "boundary", "caller", "headers", "made", "operation", "outcome", "parsed", "receive", "scope",
        "security", "send", "size", "started", "unknown", "written",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913, PLR0917 - made at one place
        self, boundary: Boundary, operation: str, security: Security, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self.boundary = boundary
        self.operation = operation
        self.security: Security = security
        self.scope = scope
        self.receive = receive
        self.send = send
        self.caller = _UNAUTHENTICATED
        self.headers: Mapping[str, str] = {}
        self.parsed: Mapping[str, object] | None = None
        self.written: bytes | None = None
        self.unknown: UnknownKinds | None = None
        self.made: Call | None = None
        self.allocation: Allocation | None = None
        self.started = False
        self.size = 0
        self.outcome: Outcome | None = scope.get("outcome")
        if self.outcome is not None:  # also for requests that fail before there is a call
            self.outcome.operation, self.outcome.wire = operation, boundary.wire.name

    def open(self) -> None:
        """Authorise the caller. Nothing of the body has been read."""
        self.headers = header_fields(self.scope)
        self.caller = self.boundary.authorize(self.scope, self.headers, self.security)

    @property
    def call(self) -> Call:
        """The request as the handler gets it: created on first use, after the body is read."""
        if self.made is None:
            self.allocation = self.allocation or Allocation(self.boundary.body_limits.budget)
            connection, outcome = self.scope.get("connection"), self.outcome
            if outcome is not None and outcome.captured is not None:
                connection = None  # bytes that bypass ASGI would not be captured
            self.made = Call(
                self.operation,
                self.scope.get("request_id", ""),
                self.caller,
                self.headers,
                self.scope["path_params"].get("provider"),
                self.boundary.wire,
                self.parsed,
                self.unknown,
                connection.write if connection is not None else None,
                self.allocation,
                self.size,
                outcome.trace if outcome is not None else None,
                self.written,
            )
            if outcome is not None:
                outcome.call = self.made
        return self.made

    async def body[Model: BaseModel](self, model: type[Model]) -> Model:
        """The request body as the exact model."""
        limits = self.boundary.body_limits
        self.allocation = Allocation(limits.budget)
        raw = read_arrived(self.headers, self.receive, limits, self.allocation)
        if raw is None:
            raw = await receive_rest(self.receive, limits, self.allocation)
        self.size = len(raw)
        value, self.written = parse_body(raw, self.allocation)
        return self._exact(model, value)

    def _exact[Model: BaseModel](self, model: type[Model], value: object) -> Model:
        if isinstance(value, dict):
            self.parsed = value
        value = self.boundary.complete(self.scope["path_params"].get("provider"), value)
        try:
            return validate(model, value)
        except InvalidRequest as error:
            opened = self.boundary.read_open(model, value, error)
            if opened is None:
                raise
        body, self.unknown = opened
        return body

    def path(self, name: str, pattern: str | None = None) -> str:
        """A decoded path parameter. Raises NotFound if it is empty, as for an unknown path."""
        value: str = self.scope["path_params"][name]
        if not value:
            raise NotFound("This path needs one more part: see / for what there is.")
        if "\ufffd" in value and not _is_text(self.scope.get("raw_path", b"")):
            raise InvalidRequest(f"'{name}' in the path is not UTF-8.", param=name, code="invalid_value")
        if pattern and not re.fullmatch(pattern, value):
            raise InvalidRequest(f"Invalid value for '{name}' in the path.", param=name, code="invalid_value")
        return value

    def query[Model: BaseModel](self, model: type[Model]) -> Model:
        """The parameters of the query as the exact model."""
        return read_query(self.scope.get("query_string", b""), model, closed=self.boundary.closed_queries)

    def header[Model: BaseModel](self, model: type[Model]) -> Model:
        """The headers that the operation declares as the exact model."""
        return read_headers(self.scope["headers"], model)

    async def form[Model: BaseModel](self, model: type[Model]) -> Model:
        """The request's form as the exact model."""
        limits = self.boundary.body_limits
        self.allocation = Allocation(limits.budget)
        parts = await read_form(self.headers, self.receive, limits, self.allocation)
        return self._exact(model, read_fields(model, parts, others=True))

    async def body_or_form[Body: BaseModel, Form: BaseModel](self, body: type[Body], form: type[Form]) -> Body | Form:
        """The request's JSON body or form, by its media type, as the exact model."""
        return await self.form(form) if is_form(self.headers) else await self.body(body)

    async def upload(self, *media: str) -> UploadedFile:
        """The raw request body, of one of these media types."""
        limits = self.boundary.body_limits
        self.allocation = Allocation(limits.budget)
        return await read_upload(self.headers, self.receive, limits, self.allocation, media)

    async def answer(
        self, work: Coroutine[None, None, Answer], framing: Framing | None = None, *, status: int = 200
    ) -> None:
        """Run the handler and write its result; cancel both when the client disconnects.

        `framing` is for operations whose streams are framed otherwise than the wire's.
        """
        try:
            with DisconnectGuard(self.scope, self.receive) as guard:
                try:
                    await self._write(await work, framing or self.boundary.wire.framing, status)
                except asyncio.CancelledError:
                    if guard.cancelled_here():
                        raise ClientDisconnected from None
                    raise
        finally:
            work.close()  # it never ran if the client had disconnected already

    async def _write(self, reply: Answer, framing: Framing, status: int) -> None:
        if (outcome := self.outcome) is not None:
            outcome.streamed = isinstance(reply, Stream)
        # Captured replies are read from ASGI messages.
        seen = outcome is None or outcome.captured is not None or "connection" not in self.scope
        if isinstance(reply, Stream):
            late = self.boundary.late_heads
            await send_stream(self._send, reply, self.call, framing, self._rendered, late=late, in_lines=not seen)
        elif isinstance(reply, Content):
            await send_content(self._send, reply, self.call.reply_headers(), status)
        else:
            media, body = encoded(reply)
            del reply  # while a slow client reads, only the bytes stay in memory
            call = self.call
            # Before the client has the reply and can send the next request.
            if call.reservation is not None and not call.reservation.settle_at_once():
                await call.reservation.settle()
            if seen:
                await send_whole(self._send, status, media, body, call.reply_headers())
            else:
                await send_at_once(self._send, status, media, body, call)

    async def fail(self, error: Exception) -> None:
        """Log the error and answer with it, unless a response has begun or the client has disconnected."""
        if isinstance(error, ClientDisconnected):
            if (outcome := self.outcome) is not None:
                outcome.left = True
            if (connection := self.scope.get("connection")) is not None:
                connection.abort()  # the client is connected, but reads too slowly
            _log.info("client left", request_id=self.scope.get("request_id"), operation=self.operation)
            return
        if not isinstance(error, Overloaded):  # for which the access log suffices
            self._log_failure(error)
        known = self._noted(error)
        if not self.started:
            headers = known.headers
            if self.made is not None:
                await self.made.settle()
                if isinstance(known, UpstreamError):
                    headers = dict(headers)
                    self.made.rename_upstream_limits(headers)
                headers = {**self.made.reply_headers(), **headers}
            wire, request_id = self.boundary.wire, self.scope.get("request_id", "")
            headers = dict(wire.headers(headers, request_id))
            await send_error(self._send, known.status, wire.render(known, request_id), headers)

    def release(self) -> None:
        """Release the request's resources."""
        if self.made is not None:
            self.made.release()
        elif self.allocation is not None:
            self.allocation.release()

    def _rendered(self, error: Exception) -> bytes:
        request_id = self.scope.get("request_id", "")
        if error is STOPPING:  # or the client has disconnected: `fail` decides which it was
            return self.boundary.wire.render(error, request_id)
        self._log_failure(error)
        return self.boundary.wire.render(self._noted(error), request_id)

    def _noted(self, error: Exception) -> GatewayError:
        known = as_gateway_error(error)
        if (known_as := self.boundary.wire.known_as) is not None:
            known = known_as(known)
        if (outcome := self.outcome) is not None:
            outcome.code = known.code
            outcome.caller = self.caller if self.caller is not _UNAUTHENTICATED else None
        return known

    def _log_failure(self, error: Exception) -> None:
        """Log what the client does not get: the upstream's reason, or the gateway's traceback."""
        facts = {"request_id": self.scope.get("request_id"), "operation": self.operation}
        if not isinstance(error, GatewayError):
            _log.error("request failed", **facts, exc_info=error)
        elif error.status >= 500 or error.detail:
            detail = error.detail
            if detail is None and isinstance(error, UpstreamStreamTruncated) and self.made is not None:
                detail = plain_words(self.made.notes.beside) or None
            _log.warning("request failed", **facts, code=error.code, reason=error.message, detail=detail)

    def _send(self, message: Message) -> Awaitable[None]:  # no coroutine: one frame less for each event
        self.started = True
        return self.send(message)


def _is_text(raw_path: bytes) -> bool:
    """Whether the percent-decoded path is UTF-8; the server has replaced bytes that are not."""
    try:
        unquote_to_bytes(raw_path).decode()
    except UnicodeDecodeError:
        return False
    return True


class ContractRouter:
    """Collects the routes of one contract, in its order."""

    def __init__(self, boundary: Boundary) -> None:
        self._boundary = boundary
        self._admission = Admission(sys.maxsize)
        self.routes: list[Operation] = []

    def behind(self, admission: Admission) -> list[Operation]:
        """The routes, from now on behind this admission."""
        self._admission = admission
        return self.routes

    def operation(
        self, method: str, path: str, operation: str, security: Security = "required"
    ) -> Callable[[Stub], Stub]:
        """Serve `path` with the decorated stub."""

        def register(stub: Stub) -> Stub:
            async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:
                exchange = Exchange(self._boundary, operation, security, scope, receive, send)
                try:
                    with self._admission:
                        try:
                            await stub(exchange)
                        except InvalidApiKey:
                            if not await self._boundary.refresh(scope):
                                raise
                            await stub(exchange)
                except Exception as error:  # every failure is answered in the wire's error format
                    await exchange.fail(error)
                    forget_frames(error)
                except asyncio.CancelledError:
                    await exchange.fail(STOPPING)
                    if "connection" not in scope:  # our own server cancels only to stop, and the client is answered now
                        raise
                finally:
                    exchange.release()

            self.routes.append(route_to(method, path, operation, stub, endpoint))
            return stub

        return register

    def also_at(self, operation: str, path: str) -> Operation:
        """A further route to an operation, by another path."""
        (route,) = (each for each in self.routes if each.name == operation)
        (method,) = route.methods or {"GET"}
        return route_to(method, path, operation, route.endpoint, route.app)


def route_to(method: str, path: str, operation: str, stub: Callable[..., Any], endpoint: ASGIApp) -> Operation:
    """A Starlette route that calls `endpoint` directly."""
    route = Operation(path, endpoint=stub, methods=[method], name=operation)
    route.methods = {method}  # Starlette adds HEAD to GET, which the contract declares by itself
    route.path_regex = re.compile(route.path_regex.pattern, re.DOTALL)  # an id may hold line ends
    route.app = endpoint
    return route

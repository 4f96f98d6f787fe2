"""What stands under every generated stub: who may enter, what was asked, and how the answer is written.

A stub is three lines: `open` authorises before anything is read, `body` reads strictly, `answer` runs the handler
and writes what it returns. Each route is a plain ASGI endpoint: FastAPI's own reading and writing of bodies is lax
where the contract is strict, and costs more than all of this.
"""

import asyncio
import re
import sys
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol
from urllib.parse import unquote_to_bytes

import structlog
from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ai_gateway.contract.body import BodyLimits, parse_json, read_bytes, validate
from ai_gateway.contract.budget import Admission, Share
from ai_gateway.contract.call import Call
from ai_gateway.contract.disconnect import ClientGone, Presence
from ai_gateway.contract.framing import SSE, Framing
from ai_gateway.contract.render import as_gateway_error
from ai_gateway.contract.stream import Stream
from ai_gateway.contract.write import STOPPING, send_error, send_reply, send_stream
from ai_gateway.errors import GatewayError, InvalidRequest, NotFound, Overloaded

type Security = Literal["required", "optional", "none"]
type Reply = BaseModel | Stream[BaseModel] | str | None
type Stub = Callable[[Exchange], Awaitable[None]]

_log = structlog.get_logger(__name__)


class Boundary(Protocol):
    """What a contract's handlers have in common: who may enter, how much may be sent, how errors look."""

    body_limits: BodyLimits

    @abstractmethod
    def authorize(self, scope: Scope, headers: Mapping[str, str], security: Security) -> bool:
        """Whether the caller may see operational details. Raises Unauthorized; reads nothing of the body."""

    def fill_in(self, call: Call, value: object) -> object:  # noqa: ARG002 - what an override needs
        """The body with what a caller may leave out here; by default it is complete as it came."""
        return value

    @abstractmethod
    def render(self, error: GatewayError) -> bytes:
        """The JSON body of an error on this wire."""


@dataclass(slots=True)
class Exchange:
    """One request and its reply, from the first look at the headers to the last byte."""

    boundary: Boundary
    operation: str
    security: Security
    scope: Scope
    receive: Receive
    send: Send
    call: Call | None = None
    share: Share | None = None
    started: bool = False

    def open(self) -> Call:
        """Authorise the caller. Nothing of the body has been read."""
        headers = Headers(scope=self.scope)
        trusted = self.boundary.authorize(self.scope, headers, self.security)
        self.call = Call(
            operation=self.operation,
            request_id=self.scope.get("request_id", ""),
            headers=headers,
            provider=self.scope["path_params"].get("provider"),
            trusted=trusted,
        )
        return self.call

    async def body[Model: BaseModel](self, model: type[Model]) -> Model:
        """The request body as the exact model."""
        limits = self.boundary.body_limits
        self.share = Share(limits.room)
        raw = await read_bytes(Headers(scope=self.scope), self.receive, limits, self.share)
        call = self.call or self.open()
        value = self.boundary.fill_in(call, parse_json(raw, self.share))
        body = validate(model, value)
        if isinstance(value, dict):
            call.sent = (model, value)
        return body

    def path(self, name: str, pattern: str | None = None) -> str:
        """A path parameter, decoded. Empty is NotFound, since the path is another one then."""
        value: str = self.scope["path_params"][name]
        if not value:
            raise NotFound("This path needs one more part: see / for what there is.")
        if "\ufffd" in value and not _is_text(self.scope.get("raw_path", b"")):
            raise InvalidRequest(f"'{name}' in the path is not UTF-8.", param=name, code="invalid_value")
        if pattern and not re.fullmatch(pattern, value):
            raise InvalidRequest(f"Invalid value for '{name}' in the path.", param=name, code="invalid_value")
        return value

    async def answer(self, work: Coroutine[None, None, Reply], framing: Framing = SSE) -> None:
        """Run the handler and write what it returns; stop both as soon as the client leaves."""
        try:
            with Presence(self.scope, self.receive) as presence:
                try:
                    await self._write(await work, framing)
                except asyncio.CancelledError:
                    if presence.cancelled_here():
                        raise ClientGone from None
                    raise
        finally:
            work.close()  # it never ran if the client had left already

    async def _write(self, reply: Reply, framing: Framing) -> None:
        call = self.call or self.open()
        if isinstance(reply, Stream):
            await send_stream(self._send, reply, call, framing, self._rendered)
        else:
            await send_reply(self._send, reply, call)

    async def fail(self, error: Exception) -> None:
        """Log the error and answer with it, unless an answer has begun."""
        self._log_failure(error)
        await self.refuse(error)

    async def refuse(self, error: Exception) -> None:
        """Answer with the error, unless an answer has begun; the record of the request is all that the log needs."""
        if not self.started:
            known = as_gateway_error(error)
            headers = {**(self.call.reply_headers if self.call else {}), **known.headers}
            await send_error(self._send, known, self.boundary.render(known), headers)

    def leave(self) -> None:
        """Give back what the request held."""
        if self.share is not None:
            self.share.leave()

    def _rendered(self, error: Exception) -> bytes:
        if error is not STOPPING:  # that is said when the client may just have left: `answer` knows which it was
            self._log_failure(error)
        return self.boundary.render(as_gateway_error(error))

    def _log_failure(self, error: Exception) -> None:
        """What the client is not told: why an upstream failed, or where the gateway did."""
        facts = {"request_id": self.scope.get("request_id"), "operation": self.operation}
        if not isinstance(error, GatewayError):
            _log.error("request failed", **facts, exc_info=error)
        elif error.status >= 500 or error.detail:
            _log.warning("request failed", **facts, code=error.code, reason=error.message, detail=error.detail)

    def _send(self, message: Message) -> Awaitable[None]:  # no frame of its own for each event of a stream
        self.started = True
        return self.send(message)


class Operation(Route):
    """The route of an operation, which answers every failure itself."""


class Direct:
    """Calls the operation that a request is for; only what is none goes to `other`."""

    def __init__(self, routes: Iterable[BaseRoute], other: ASGIApp) -> None:
        self._routes = [route for route in routes if isinstance(route, Operation)]
        self._other = other

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "http":
            for route in self._routes:
                match, found = route.matches(scope)
                if match is Match.FULL:
                    scope.update(found)
                    return route.app(scope, receive, send)
        return self._other(scope, receive, send)


def _is_text(raw_path: bytes) -> bool:
    """Whether a path is UTF-8 once it is decoded; what is not has been replaced by the server, character for byte."""
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
        """The routes, which from now on take no more requests at once than this lets in."""
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
                        await stub(exchange)
                except Overloaded as error:
                    await exchange.refuse(error)
                except ClientGone:
                    _log.info("client left", request_id=scope.get("request_id"), operation=operation)
                except Exception as error:  # every failure is answered in the contract's shape
                    await exchange.fail(error)
                except asyncio.CancelledError:
                    await exchange.fail(STOPPING)
                    if "connection" not in scope:  # our own server cancels only to stop, and the client knows it now
                        raise
                finally:
                    exchange.leave()

            route = Operation(path, endpoint=stub, methods=[method], name=operation)
            route.methods = {method}  # Starlette adds HEAD to GET, which the contract declares by itself
            route.path_regex = re.compile(route.path_regex.pattern, re.DOTALL)  # an id may hold line ends
            route.app = endpoint
            self.routes.append(route)
            return stub

        return register

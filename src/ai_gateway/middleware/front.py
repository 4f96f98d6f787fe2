"""The one layer in front of every operation: id, clock, bounds, CORS, common headers, and a record at the end.

One layer and not one for each of these: a layer costs a call for each request and another for each event of a stream.
"""

import time
from collections.abc import Awaitable, Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ai_gateway.contract.outcome import Observer, Outcome
from ai_gateway.contract.wire import PathOwners
from ai_gateway.contract.write import send_error
from ai_gateway.middleware.client_address import ClientAddress
from ai_gateway.middleware.reply_headers import ReplyHeaders
from ai_gateway.middleware.request_head import RequestHead, read_head
from ai_gateway.middleware.watching import NOBODY, Watching


class Front:
    """Puts the request's id and its outcome into the scope, refuses heads that cannot be served, answers preflights."""

    def __init__(  # noqa: PLR0913, PLR0917 - made at one place
        self,
        app: ASGIApp,
        owners: PathOwners,
        headers: ReplyHeaders,
        observers: Sequence[Observer] = (),
        address: ClientAddress | None = None,
        watching: Watching = NOBODY,
    ) -> None:
        self.app = app
        self._owners = owners
        self._headers = headers
        self._observers = observers
        self._address = address or ClientAddress()
        self._watching = watching

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        head = read_head(scope)
        request_id = scope["request_id"] = head.request_id.decode()
        outcome = scope["outcome"] = Outcome(request_id, scope["method"], scope["path"], time.perf_counter())
        outcome.client, outcome.trace_id = self._address.of(scope), head.trace_id
        if self._watching.is_on:
            receive, send = self._watching.begin(outcome, scope, receive, send)

        def complete(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                self._complete(message, outcome, head, scope)
            return send(message)

        try:
            preflight = self._headers.cors.preflight(scope["method"], head.origin, scope["headers"])
            if preflight is not None:
                outcome.status = 200
                headers = [*preflight, *self._headers.common(dict(preflight), head.request_id, 0)]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                await send({"type": "http.response.body"})
            elif head.refusal is not None:
                outcome.code = head.refusal.code
                status, body, own = self._owners.answer(scope["path"], head.refusal, request_id, scope["headers"])
                await send_error(complete, status, body, own)
            else:
                await self.app(scope, receive, complete)
        finally:
            self._end(outcome)

    def _end(self, outcome: Outcome) -> None:
        outcome.ended = time.perf_counter()
        for observer in self._observers:
            observer.ended(outcome)
        if self._watching.is_on:
            self._watching.ended(outcome)

    def _complete(self, message: Message, outcome: Outcome, head: RequestHead, scope: Scope) -> None:
        """Note that the reply begins, and put in the headers that all have."""
        outcome.status = message["status"]
        outcome.first_byte = time.perf_counter()
        headers = list(message.get("headers", ()))
        if self._headers.cors.is_on:
            headers += self._headers.cors.marks(head.origin, headers)
        spent_ms = int((outcome.first_byte - outcome.started) * 1000)
        own = dict(headers)
        constant = self._headers.constant(own)
        message["lines"] = constant.lines  # which is what our own server sends
        more = [] if "connection" in scope else constant.fields
        message["headers"] = [*headers, *self._headers.varying(own, head.request_id, spent_ms), *more]

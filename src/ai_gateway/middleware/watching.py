"""Optional observers of requests while they run: tracing, and the capture of bodies."""

from collections.abc import Iterable, Sequence
from typing import Protocol, override

from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

from ai_gateway.contract.call import Trace
from ai_gateway.contract.captured import Captured, Capturing
from ai_gateway.contract.outcome import Observer, Outcome

_JSON = "application/json"


class Tracer(Protocol):
    """Starts traces."""

    def begin(self, outcome: Outcome, fields: Iterable[tuple[bytes, bytes]]) -> Trace:
        """Start the trace of a request with these headers."""


class Watching(Observer):
    """Starts traces and captures bodies for the `observers`, which run after all others.

    While `is_on` is false, none of its methods is called: most gateways never enable it.
    """

    def __init__(self, tracer: Tracer | None, capturing: Capturing, observers: Sequence[Observer] = ()) -> None:
        self._tracer = tracer
        self._observers = observers
        self._capturing = capturing
        self.is_on = False

    def apply(self, *, bodies: bool) -> None:
        """Enable or disable the capture of bodies."""
        self._capturing.is_on = bodies
        self.is_on = bodies or self._tracer is not None

    def begin(self, outcome: Outcome, scope: Scope, receive: Receive, send: Send) -> tuple[Receive, Send]:
        """Begin a request. Returns the `receive` and `send` to use for it."""
        if self._tracer is not None:
            outcome.trace = self._tracer.begin(outcome, scope["headers"])
        if not self._capturing.is_on:
            return receive, send
        media = dict(scope["headers"]).get(b"content-type", b"").decode("latin-1")
        outcome.captured = captured = Captured(self._capturing, media)
        return captured.receiving(receive), captured.sending(send)

    def capture_background(self, outcome: Outcome, reply: bytes) -> None:
        """Capture the bodies of background work, which has no HTTP request: the parsed request, and the JSON reply."""
        if self._capturing.is_on and outcome.call is not None:
            outcome.captured = captured = Captured(self._capturing, _JSON)
            captured.request.add(to_json(outcome.call.parsed, inf_nan_mode="null"))
            captured.reply.media = _JSON
            captured.reply.add(reply)

    @override
    def ended(self, outcome: Outcome) -> None:
        for observer in self._observers:
            observer.ended(outcome)
        if outcome.captured is not None:
            outcome.captured.release()


UNWATCHED = Watching(None, Capturing(0))

"""What looks at a request while it runs: a tracer, and whoever wants its bodies."""

from collections.abc import Iterable, Sequence
from typing import Protocol, override

from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

from ai_gateway.contract.call import Trace
from ai_gateway.contract.captured import Captured, Capturing
from ai_gateway.contract.outcome import Observer, Outcome

_JSON = "application/json"


class Tracer(Protocol):
    """What makes a trace of a request."""

    def begin(self, outcome: Outcome, fields: Iterable[tuple[bytes, bytes]]) -> Trace:
        """The trace of a request with these headers, which begins."""


class Watching(Observer):
    """A tracer, where there is one, and whether bodies are kept for the `observers`, which come after all others.

    While it is off, nothing of it is called: most gateways never switch it on.
    """

    def __init__(self, tracer: Tracer | None, capturing: Capturing, observers: Sequence[Observer] = ()) -> None:
        self._tracer = tracer
        self._observers = observers
        self._capturing = capturing
        self.is_on = False

    def apply(self, *, bodies: bool) -> None:
        """Go on like this: with `bodies` or without."""
        self._capturing.wanted = bodies
        self.is_on = bodies or self._tracer is not None

    def begin(self, outcome: Outcome, scope: Scope, receive: Receive, send: Send) -> tuple[Receive, Send]:
        """A request begins. Returns what it is to receive and to send by."""
        if self._tracer is not None:
            outcome.trace = self._tracer.begin(outcome, scope["headers"])
        if not self._capturing.wanted:
            return receive, send
        media = dict(scope["headers"]).get(b"content-type", b"").decode("latin-1")
        outcome.captured = captured = Captured(self._capturing, media)
        return captured.receiving(receive), captured.sending(send)

    def made(self, outcome: Outcome, reply: bytes) -> None:
        """Keep what no request of HTTP brings: what was asked for, and the JSON of what became of it."""
        if self._capturing.wanted and outcome.call is not None:
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


NOBODY = Watching(None, Capturing(0))

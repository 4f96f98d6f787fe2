"""The outcome of one request: recorded while it runs, and read by observers when it is over."""

from dataclasses import dataclass
from typing import Literal, Protocol

from ai_gateway.contract.call import Call, Caller, Notes, Trace
from ai_gateway.contract.captured import Captured

type End = Literal["whole", "left", "broken", "refused"]

_NOTHING = Notes()


@dataclass(slots=True)
class Outcome:
    """One request and its reply. Times are those of `time.perf_counter`.

    `client` is the address that it came from, and `trace_id` that of the caller's trace (W3C Trace Context).
    `operation` is the contract's operationId, empty if the path has none, and `wire` the client's API. `call` is set
    once the request has passed authorisation and validation. `code` is that of the error response, or of the error that
    ended a stream after its status line. `status` and `first_byte` are None if nothing was answered. `left` says that
    the client disconnected before the end, `streamed` whether the reply is a stream, once there is one. `caller` is set
    for authorised requests without a call, `trace` where spans are made, and `captured` where bodies are captured.
    """

    request_id: str
    method: str
    path: str
    started: float
    call: Call | None = None
    status: int | None = None
    code: str | None = None
    first_byte: float | None = None
    ended: float = 0.0
    operation: str = ""
    wire: str = ""
    left: bool = False
    streamed: bool | None = None
    client: str = ""
    trace_id: str | None = None
    caller: Caller | None = None
    trace: Trace | None = None
    captured: Captured | None = None

    @property
    def end(self) -> End:
        """How it ended: whole, client disconnected, stream broken off, or an error response."""
        if self.left or self.status is None:
            return "left"
        if self.code is None and self.status < 400:
            return "whole"
        return "broken" if self.status < 400 else "refused"

    @property
    def stream(self) -> bool:
        """Whether the reply is a stream or, without a reply, a stream was requested."""
        if self.streamed is not None:
            return self.streamed
        return self.call is not None and self.call.requests_stream

    @property
    def upstream_s(self) -> float | None:
        """Seconds from the first attempt to the whole reply, the first item of a stream, or the last failure."""
        attempts = self.call.attempts if self.call is not None else ()
        if not attempts or not attempts[0].started:
            return None
        last = attempts[-1]
        spent = (last.answered or last.ended or last.started) - attempts[0].started
        return spent if spent > 0 else 0.0

    @property
    def notes(self) -> Notes:
        """The notes of the last attempt, whose reply or failure was sent; empty ones if no provider was called."""
        call = self.call
        return call.attempts[-1] if call is not None and call.attempts else _NOTHING


class Observer(Protocol):
    """Gets the outcome of every request: a log, metrics, a usage record."""

    def ended(self, outcome: Outcome) -> None:
        """Called once, after the last byte or the disconnect. Must neither raise nor wait."""

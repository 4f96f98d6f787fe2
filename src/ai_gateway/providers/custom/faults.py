"""Fault models: they fail on purpose, so that clients can test their error handling."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from ai_gateway import errors

PREFIX = "fault-"

_RETRY_AFTER = {"retry-after": "1"}
_CHUNKS_BEFORE = 3
_PAUSED_CHUNKS = 40
_CHUNKS_PER_TURN = 8


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    `failure` is raised at once, or in a stream after `chunks` chunks. `delay_s` delays the response or the first chunk,
    `pause_s` each of the next ones.
    """

    model: str
    failure: Callable[[], errors.GatewayError] | None = None
    chunks: int = 0
    delay_s: float = 0
    pause_s: float = 0


def _refused(status: int, code: str | None, *, type_: str = "invalid_request_error") -> errors.GatewayError:
    return errors.UpstreamRefused(
        f"This model refuses every request with status {status}: choose another to get an answer.",
        status=status,
        type=type_,
        code=code,
        param=None,
        headers=_RETRY_AFTER if status == 429 else None,
    )


def _failed(failure: Callable[[str], errors.GatewayError], what: str) -> errors.GatewayError:
    return failure(f"{what}, as this model is made to: choose another to get an answer.")


def _too_long() -> errors.GatewayError:
    return errors.UpstreamRefused(
        "This model's maximum context length is 10 tokens, and every request has 20 tokens: choose another model.",
        status=400,
        type="invalid_request_error",
        code="context_length_exceeded",
        param="messages",
    )


NO_FAULT: Final = Fault("")
EMPTY: Final = "fault-empty"
LENGTH: Final = "fault-length"
FILTERED: Final = "fault-content-filter"
REFUSAL: Final = "fault-refusal"
PAUSED: Final = "fault-pause-turn"
FULL: Final = "fault-context-window"
NOT_FOUND: Final = "fault-model-not-found"

FAULTS: Final = {
    fault.model: fault
    for fault in (
        Fault("fault-400", lambda: _refused(400, "invalid_value")),
        Fault("fault-401", lambda: _failed(errors.UpstreamAuthError, "The upstream refused the gateway's key")),
        Fault("fault-404", lambda: _refused(404, "model_not_found")),
        Fault("fault-409", lambda: _refused(409, "conflict")),
        Fault("fault-413", lambda: _refused(413, "request_too_large")),
        Fault("fault-422", lambda: _refused(422, "unprocessable_entity")),
        Fault("fault-429", lambda: _refused(429, "rate_limit_exceeded", type_="requests")),
        Fault("fault-quota", lambda: _refused(429, "insufficient_quota", type_="insufficient_quota")),
        Fault("fault-500", lambda: _failed(errors.UpstreamError, "The upstream failed with status 500")),
        Fault(
            "fault-503",
            lambda: errors.Unavailable("This model is always overloaded: choose another.", headers=_RETRY_AFTER),
        ),
        Fault("fault-overloaded", lambda: _failed(errors.UpstreamOverloaded, "The upstream has too much to do")),
        Fault("fault-context", _too_long),
        Fault("fault-timeout", lambda: _failed(errors.UpstreamTimeout, "The upstream did not answer in time")),
        Fault("fault-unreachable", lambda: _failed(errors.UpstreamUnreachable, "The upstream cannot be reached")),
        Fault("fault-invalid", lambda: _failed(errors.UpstreamInvalidResponse, "The upstream's reply is not valid")),
        Fault(NOT_FOUND, lambda: errors.ModelNotFound("This model does not exist, as its name says: choose another.")),
        Fault(
            "fault-truncate",
            lambda: _failed(errors.UpstreamStreamTruncated, "The upstream stopped before it was done"),
            chunks=_CHUNKS_BEFORE,
        ),
        Fault(
            "fault-midstream-error",
            lambda: _failed(errors.UpstreamError, "The upstream failed in the middle of its answer"),
            chunks=_CHUNKS_BEFORE,
        ),
        Fault(
            "fault-midstream-429",
            lambda: _refused(429, "rate_limit_exceeded", type_="requests"),
            chunks=_CHUNKS_BEFORE,
        ),
        Fault("fault-midstream-context", _too_long, chunks=_CHUNKS_BEFORE),
        Fault(
            "fault-midstream-overloaded",
            lambda: _failed(errors.UpstreamOverloaded, "The upstream has too much to do"),
            chunks=_CHUNKS_BEFORE,
        ),
        Fault("fault-slow", delay_s=1.5, pause_s=0.05),
        Fault(EMPTY),
        Fault(LENGTH),
        Fault(FILTERED),
        Fault(REFUSAL),
        Fault(PAUSED),
        Fault(FULL),
    )
}


def find(model: str) -> Fault:
    """The fault of a model; `NO_FAULT` for every other model. Raises MissingParameter for none."""
    if not model:
        raise errors.MissingParameter("Missing required parameter: 'model'. Name a model.", param="model")
    if not model.startswith(PREFIX):
        return NO_FAULT
    if model not in FAULTS:
        raise errors.ModelNotFound(f"There is no such fault model. Known: {', '.join(FAULTS)}.")
    return FAULTS[model]


async def raise_fault(model: str) -> None:
    """Apply the model's fault to a response without streaming: nothing, a delay, or a failure."""
    fault = find(model)
    if fault.delay_s:
        await asyncio.sleep(fault.delay_s)
    if fault.failure is not None:
        raise fault.failure()


async def paced[T](model: str, chunks: Iterable[T], pace_s: float) -> AsyncGenerator[T]:
    """The chunks with the model's fault applied, `pace_s` apart, yielding to the event loop regularly."""
    fault = find(model)
    if fault.delay_s:
        await asyncio.sleep(fault.delay_s)
    if fault.failure is not None:
        for chunk in _beginning(chunks, fault.chunks):
            yield chunk
        raise fault.failure()
    for count, chunk in enumerate(chunks):
        yield chunk
        pause = fault.pause_s if fault.pause_s and count < _PAUSED_CHUNKS else pace_s
        if count % _CHUNKS_PER_TURN == 0 or pause:
            await asyncio.sleep(pause)


def _beginning[T](chunks: Iterable[T], count: int) -> Iterable[T]:
    """At most `count` chunks, and never the last."""
    return (chunk for _, (chunk, _) in zip(range(count), pairwise(chunks), strict=False)) if count else ()

"""Tracing: for each request one span, one for each of its attempts, and one for each step in between.

Spans are created when their work starts, because their ids are sent to upstreams. Their attributes are set after the
request has ended, by the exporting thread.
"""

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from time import time_ns
from typing import override

from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.trace.span import TraceState

from ai_gateway.config.constants import VERSION
from ai_gateway.contract.call import Call, Notes, Trace
from ai_gateway.contract.outcome import End, Observer, Outcome
from ai_gateway.contract.trace_context import Parent, read_parent
from ai_gateway.errors import GatewayError, UpstreamError
from ai_gateway.observability.collector import Collector
from ai_gateway.observability.messages import events_of, input_messages, output_messages
from ai_gateway.observability.otlp import SpanQueue, exporter_to, provider_for
from ai_gateway.observability.trace_names import (
    BACKGROUND,
    OPERATIONS,
    PARAMETERS,
    PROVIDERS,
    Attributes,
    Name,
    Step,
    Value,
)
from ai_gateway.redaction import redact, redact_all

_MAX_LENGTH = 256
_MAX_STOPS = 16
_MAX_STEPS = 200  # spans of one request; tools may take many rounds
_LAST_S = 3.0
_PICO = 10**12

type Permits = Callable[[str], bool]
"""Whether the content of a project's requests may be stored."""


@dataclass(slots=True)
class _Ended:
    """The facts of an ended request, without references to its objects, so that they can be freed.

    `about` are attributes of its span, `requested` those that its attempts have as well. `content` is the request body,
    the reply's media type and the reply body, empty if they may not be recorded.
    """

    at: int
    code: str | None
    end: End
    operation: str
    about: dict[Name, Value] = field(default_factory=dict)
    requested: dict[Name, Value] = field(default_factory=dict)
    content: tuple[bytes, str, bytes] = (b"", "", b"")


@dataclass(slots=True)
class _Attempt:
    notes: Notes
    span: Span


class Tracing(Observer):
    """Traces each request, and exports the spans to the collector.

    Messages are included if `content` is set and the caller's project `permits` it, up to `most` characters each.
    """

    def __init__(self, collector: Collector, permits: Permits, *, content: bool, most: int) -> None:
        self._collector = collector
        self._permits = permits
        self.content = content
        self._most = most
        self._queue: SpanQueue | None = None
        self._provider: TracerProvider | None = None
        self._tracer: Tracer | None = None

    def start(self) -> None:
        """Start exporting, in the process that serves requests: threads do not survive a fork."""
        own = {"service.version": VERSION, "service.instance.id": f"{socket.gethostname()}-{os.getpid()}"}
        collector = replace(self._collector, attributes={**own, **self._collector.attributes})
        self._queue = SpanQueue(exporter_to(collector), collector.gather_s)
        self._provider = provider_for(collector, self._queue)
        self._tracer = self._provider.get_tracer("ai_gateway", VERSION)

    def close(self) -> None:
        """Export pending spans, within a few seconds."""
        if self._queue is not None:
            self._queue.close(_LAST_S)

    def begin(self, outcome: Outcome, fields: Iterable[tuple[bytes, bytes]]) -> Trace:
        """The trace of a request, as a child of the caller's span, if there is one."""
        parent = read_parent(fields)
        assert self._tracer is not None  # noqa: S101 - requests come after the start
        span = self._tracer.start_span(outcome.method, _within(parent), SpanKind.SERVER)
        trace = RequestTrace(self._tracer, span, parent.state if parent else "")
        outcome.trace_id = trace.trace_id
        return trace

    @override
    def ended(self, outcome: Outcome) -> None:
        trace = outcome.trace
        if self._queue is None or not isinstance(trace, RequestTrace) or not trace.span.is_recording():
            return
        call = outcome.call
        ended = _Ended(time_ns(), outcome.code, outcome.end, OPERATIONS.get(outcome.operation, outcome.operation))
        if call is not None and call.parsed is not None:
            ended.requested = _of_body(call.parsed)
        ended.about = dict(_of_request(outcome))
        if call is not None:
            ended.about |= {**ended.requested, **_of_call(call, outcome, ended.operation)}
            captured = outcome.captured
            if captured is not None and self.content and self._permits(call.caller.project_id):
                ended.content = captured.request.content(), captured.reply.media, captured.reply.content()
        self._queue.submit(partial(_fill_spans, trace, ended, self._most), sum(map(len, ended.content)))

    @contextmanager
    def background(self, step: Step, attributes: Attributes) -> Iterator[None]:
        """A trace of background work in the block, which belongs to no request."""
        if self._tracer is None:
            yield
            return
        span = self._tracer.start_span(step, Context())
        with _ending(span):
            _set(span, attributes)
            yield


@dataclass(slots=True)
class RequestTrace(Trace):
    """The trace of one request: its span, and the spans of its attempts with their notes."""

    tracer: Tracer
    span: Span
    state: str
    attempts: list[_Attempt] = field(default_factory=list)
    steps: int = 0

    @property
    @override
    def trace_id(self) -> str:
        return format_trace_id(self.span.get_span_context().trace_id)

    @override
    def attempted(self, notes: Notes) -> Mapping[str, str]:
        span = self._child("attempt", SpanKind.CLIENT)
        if span is None:
            return self._headers(self.span)
        self.attempts.append(_Attempt(notes, span))
        return self._headers(span)

    @override
    @contextmanager
    def step(self, step: Step, attributes: Attributes) -> Iterator[Mapping[str, str]]:
        tool = attributes.get(Name.TOOL_NAME)
        span = self._child(f"{step} {tool}"[:_MAX_LENGTH] if tool else step, SpanKind.INTERNAL)
        if span is None:
            yield self._headers(self.span)
            return
        _set(span, attributes)
        with _ending(span):
            yield self._headers(span)

    @override
    def afterwards(self) -> "RequestTrace":
        parent = set_span_in_context(self.span, Context())
        return RequestTrace(self.tracer, self.tracer.start_span(BACKGROUND, parent), self.state)

    def _child(self, name: str, kind: SpanKind) -> Span | None:
        """A child span of the request's; None if the trace is not sampled or has too many spans."""
        self.steps += 1
        if not self.span.get_span_context().trace_flags.sampled or self.steps > _MAX_STEPS:
            return None
        return self.tracer.start_span(redact(name), set_span_in_context(self.span, Context()), kind)

    def _headers(self, span: Span) -> Mapping[str, str]:
        context = span.get_span_context()
        ids = f"{format_trace_id(context.trace_id)}-{format_span_id(context.span_id)}"
        headers = {"traceparent": f"00-{ids}-{int(context.trace_flags):02x}"}
        return {**headers, "tracestate": self.state} if self.state else headers


def _within(parent: Parent | None) -> Context:
    """The context of the caller's span. The current context of this thread is ignored: requests share the thread."""
    if parent is None:
        return Context()
    flags = TraceFlags(TraceFlags.SAMPLED if parent.sampled else TraceFlags.DEFAULT)
    state = TraceState.from_header([parent.state] if parent.state else [])
    remote = SpanContext(
        int(parent.trace_id, 16), int(parent.span_id, 16), is_remote=True, trace_flags=flags, trace_state=state
    )
    return set_span_in_context(NonRecordingSpan(remote), Context())


@contextmanager
def _ending(span: Span) -> Iterator[None]:
    """End the span with the block, with an error status if that raises."""
    try:
        yield
    except BaseException as error:
        _set(span, {Name.ERROR: _kind_of(error)})
        span.set_status(StatusCode.ERROR)
        raise
    finally:
        span.end()


def _kind_of(error: BaseException) -> str:
    return (error.code if isinstance(error, GatewayError) else None) or type(error).__name__


def _set(span: Span, attributes: Attributes) -> None:
    """Set attributes of a span, bounded and with keys redacted."""
    for name, value in attributes.items():
        if isinstance(value, str):
            long = name in {Name.INPUT_MESSAGES, Name.OUTPUT_MESSAGES}  # bounded and redacted already
            span.set_attribute(name, value if long else redact(value[: 4 * _MAX_LENGTH]))
        else:
            span.set_attribute(name, redact_all(value) if isinstance(value, list) else value)  # type: ignore[arg-type]


def _of_request(outcome: Outcome) -> Iterator[tuple[Name, Value]]:
    if outcome.method:
        yield Name.METHOD, outcome.method
        yield Name.PATH, outcome.path
        yield Name.CLIENT, outcome.client
    yield Name.REQUEST_ID, outcome.request_id
    yield Name.END, outcome.end
    if outcome.status is not None:
        yield Name.STATUS, outcome.status
    if outcome.code is not None:
        yield Name.ERROR, outcome.code
    if outcome.operation:
        yield Name.CONTRACT_OPERATION, outcome.operation
        yield Name.WIRE, outcome.wire


def _of_call(call: Call, outcome: Outcome, operation: str) -> dict[Name, Value]:
    notes = outcome.notes
    found: dict[Name, Value] = {Name.PROJECT: call.caller.project_id}
    if call.caller.key_id is not None:
        found[Name.KEY] = call.caller.key_id
    if notes.provider:
        found |= {Name.OPERATION: operation, Name.ATTEMPTS: notes.attempts, **_of_notes(notes)}
    if call.reservation is not None and (cost := call.reservation.cost()) is not None:
        found[Name.COST] = cost / _PICO
    return found


def _of_body(parsed: Mapping[str, object]) -> dict[Name, Value]:
    """Parameters of a request that contain no content of its own."""
    model, stop, options = parsed.get("model"), parsed.get("stop"), parsed.get("options")
    found: dict[Name, Value] = {Name.REQUEST_STREAM: bool(parsed.get("stream"))}
    if isinstance(model, str):
        found[Name.REQUEST_MODEL] = model[:_MAX_LENGTH]
    for fields in (parsed, options if isinstance(options, dict) else {}):  # Ollama's are in `options`
        for each, name in PARAMETERS.items():
            value = fields.get(each)
            if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53:
                found.setdefault(name, value)
    if isinstance(stop, str | list):
        stops = [stop] if isinstance(stop, str) else stop
        found[Name.STOP] = [each[:_MAX_LENGTH] for each in stops[:_MAX_STOPS] if isinstance(each, str)]
    return found


def _of_notes(notes: Notes) -> dict[Name, Value]:
    """The upstream, its usage, and what was repaired and dropped."""
    found: dict[Name, Value] = {Name.PROVIDER: PROVIDERS.get(notes.provider, notes.provider)}
    if called := notes.upstream_model or notes.model:
        found[Name.RESPONSE_MODEL] = called[:_MAX_LENGTH]
    if (tokens := notes.tokens) is not None:
        found |= {Name.INPUT_TOKENS: tokens.whole_input, Name.OUTPUT_TOKENS: tokens.whole_output}
        some = {
            Name.CACHE_READ: tokens.cache_read,
            Name.CACHE_WRITE: tokens.cache_write + tokens.cache_write_1h,
            Name.REASONING: tokens.reasoning,
        }
        found |= {name: value for name, value in some.items() if value}
    if notes.repairs:
        found[Name.REPAIRS] = sorted(notes.repairs)
    if notes.dropped:
        found[Name.DROPPED] = sorted(notes.dropped)
    return found


def _fill_spans(trace: RequestTrace, ended: _Ended, most: int) -> None:
    """Set the attributes of an ended request's spans, and end them."""
    for attempt in trace.attempts:
        _fill_attempt(attempt, ended, last=attempt is trace.attempts[-1])
    span = trace.span
    named = ended.about.get(Name.METHOD, BACKGROUND), ended.about.get(Name.CONTRACT_OPERATION)
    span.update_name(" ".join(str(each) for each in named if each))
    request, media, reply = ended.content
    if request or reply:
        input_ = next((input_messages(body, most) for body in events_of("", request) if isinstance(body, dict)), None)
        output = output_messages(media, reply, most)
        ended.about |= {Name.INPUT_MESSAGES: input_} if input_ else {}
        ended.about |= {Name.OUTPUT_MESSAGES: output} if output else {}
    _set(span, ended.about)
    status = ended.about.get(Name.STATUS)
    if ended.end == "broken" or (isinstance(status, int) and status >= 500):
        span.set_status(StatusCode.ERROR, redact(ended.code or ""))
    span.end(ended.at)


def _fill_attempt(attempt: _Attempt, ended: _Ended, *, last: bool) -> None:
    notes, span = attempt.notes, attempt.span
    found = {Name.OPERATION: ended.operation, Name.ATTEMPT: notes.attempts, **ended.requested, **_of_notes(notes)}
    if notes.model:
        found[Name.REQUEST_MODEL] = notes.model[:_MAX_LENGTH]
    streamed = bool(notes.chunks) or found.get(Name.REQUEST_STREAM) is True
    if streamed and notes.answered:
        found[Name.FIRST_CHUNK] = notes.answered - notes.started
    failure = notes.failure
    code = failure.code if failure is not None else ended.code if last else None
    if isinstance(failure, UpstreamError) and failure.upstream_status is not None:
        found[Name.STATUS] = failure.upstream_status
    if code:
        found[Name.ERROR] = code
        span.set_status(StatusCode.ERROR, redact(code))
    elif last and ended.end == "left":
        found[Name.END] = "left"
    span.update_name(redact(f"{ended.operation} {found.get(Name.REQUEST_MODEL, '')}".strip()))
    _set(span, found)
    span.end(_end_of(notes, ended.at, open_ended=last and (streamed or not notes.answered)))


def _end_of(notes: Notes, ended: int, *, open_ended: bool) -> int:
    """The end of an attempt, in nanoseconds since the epoch."""
    at = 0.0 if open_ended else notes.ended or notes.answered
    return min(int(at * 1e9), ended) if at else ended

"""Spans to a collector, by OTLP over HTTP: a thread sends them, and no request waits for it.

The only module beside `middleware/tracing.py` that imports OpenTelemetry's SDK, which is an extra and takes some
megabytes: it is imported where traces are switched on.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, override

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import DEFAULT_TRACES_EXPORT_PATH, OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased

from ai_gateway.observability.background_thread import start_thread
from ai_gateway.observability.collector import Collector
from ai_gateway.observability.metrics import Event, count

_MAX_ITEMS = 4096
_MAX_BYTES = 16 * 2**20
_BATCH = 512
_log = structlog.get_logger(__name__)


def sampler_called(name: str, ratio: float) -> Sampler:
    """The sampler by OpenTelemetry's name: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/."""
    kind = name.removeprefix("parentbased_")
    root = {"always_on": ALWAYS_ON, "always_off": ALWAYS_OFF}.get(kind) or TraceIdRatioBased(ratio)
    return root if kind == name else ParentBased(root)


def provider_for(collector: Collector, spans: "SpanQueue") -> TracerProvider:
    """What makes spans, which go into the queue once they have ended."""
    provider = TracerProvider(
        sampler=sampler_called(collector.sampler, collector.ratio),
        resource=Resource.create(dict(collector.attributes)),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(spans)
    return provider


def exporter_to(collector: Collector) -> SpanExporter:
    """Timeout, compression and certificates are what OTEL_EXPORTER_OTLP_... say in the environment."""
    return OTLPSpanExporter(
        endpoint=f"{collector.endpoint}/{DEFAULT_TRACES_EXPORT_PATH}", headers=dict(collector.headers)
    )


class _Work(NamedTuple):
    """What ends some spans, and how many bytes it holds until then."""

    run: Callable[[], None]
    size: int


class SpanQueue(SpanProcessor):
    """Ended spans, and work that ends some, on their way to the exporter: up to `most`, and counted beyond it.

    OpenTelemetry's own batches do not say how many spans they have lost, nor stop within a time.
    """

    def __init__(self, exporter: SpanExporter, gather_s: float = 1.0, most: int = _MAX_ITEMS) -> None:
        self._exporter = exporter
        self._gather_s = gather_s
        self._most = most
        self._waiting: deque[ReadableSpan | _Work] = deque()
        self._held = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = self._failing = False

    @override
    def on_end(self, span: ReadableSpan) -> None:
        self._put(span)

    def later(self, work: Callable[[], None], size: int = 0) -> None:
        """Have this done by the thread, which ends spans. `size` is what it holds, in bytes."""
        self._put(_Work(work, size))

    def _put(self, item: "ReadableSpan | _Work") -> None:
        size = item.size if isinstance(item, _Work) else 0
        with self._changed:
            if len(self._waiting) >= self._most or self._held + size > _MAX_BYTES:
                self._lose(1)
                return
            self._waiting.append(item)
            self._held += size
            if self._thread is None:
                self._thread = start_thread(self._run, "exporter of spans")
            elif len(self._waiting) in {1, _BATCH}:
                self._changed.notify_all()

    def _lose(self, spans: int) -> None:
        with self._changed:  # counted by several threads
            count(Event.SPAN_DROPPED, times=spans)

    def close(self, within_s: float) -> None:
        """Send what waits, but no longer than this: what is left then is lost, and counted."""
        with self._changed:
            self._closing, thread = True, self._thread
            self._changed.notify_all()
        if thread is not None:
            thread.join(within_s)
        with self._changed:
            left = len(self._waiting)
            self._waiting.clear()
        if left or (thread is not None and thread.is_alive()):
            self._lose(left)
            _log.warning("spans not sent before the end", waiting=left)
        self._exporter.shutdown()

    def _run(self) -> None:
        while (spans := self._next()) is not None:
            if spans:
                self._send(spans)

    def _next(self) -> list[ReadableSpan] | None:
        """The spans that are to leave together; None at the end."""
        with self._changed:
            while not self._waiting:
                if self._closing:
                    return None
                self._changed.wait()
            until = time.monotonic() + self._gather_s
            while not self._closing and len(self._waiting) < _BATCH and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
        spans: list[ReadableSpan] = []
        while self._waiting and len(spans) < _BATCH:
            item = self._waiting.popleft()
            if isinstance(item, ReadableSpan):
                spans.append(item)
                continue
            with self._changed:
                self._held -= item.size
            try:
                item.run()  # what it ends comes to the end of the queue
            except Exception as error:  # whatever it is, the thread must live
                self._lose(1)
                _log.error("span not made", exc_info=error)
        return spans

    def _send(self, spans: list[ReadableSpan]) -> None:
        try:
            taken = self._exporter.export(spans) is SpanExportResult.SUCCESS
        except Exception as error:  # whatever it is, the thread must live
            taken = False
            _log.error("spans not sent", exc_info=error)
        if not taken:
            self._lose(len(spans))
        if taken is self._failing:
            self._failing = not taken
            if taken:
                _log.warning("the collector takes spans again")
            else:
                _log.warning("the collector does not take spans: they are dropped, and counted")

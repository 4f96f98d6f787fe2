"""Export of spans by OTLP over HTTP, in a background thread.

The only module besides `middleware/tracing.py` that imports OpenTelemetry's SDK, an optional dependency of some
megabytes: imported only if tracing is enabled.
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
    """A tracer provider that puts ended spans into the queue."""
    provider = TracerProvider(
        sampler=sampler_called(collector.sampler, collector.ratio),
        resource=Resource.create(dict(collector.attributes)),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(spans)
    return provider


def exporter_to(collector: Collector) -> SpanExporter:
    """The exporter. The OTEL_EXPORTER_OTLP_... variables set its timeout, compression and certificates."""
    return OTLPSpanExporter(
        endpoint=f"{collector.endpoint}/{DEFAULT_TRACES_EXPORT_PATH}", headers=dict(collector.headers)
    )


class _Work(NamedTuple):
    """Work that ends spans, and the bytes that it keeps in memory until then."""

    run: Callable[[], None]
    size: int


class SpanQueue(SpanProcessor):
    """Ended spans, and work that ends spans, waiting for export: up to `max_items`, others are dropped and counted.

    OpenTelemetry's own batch processor does not report how many spans it dropped, and has no time limit for its end.
    """

    def __init__(self, exporter: SpanExporter, gather_s: float = 1.0, max_items: int = _MAX_ITEMS) -> None:
        self._exporter = exporter
        self._gather_s = gather_s
        self._max_items = max_items
        self._pending: deque[ReadableSpan | _Work] = deque()
        self._held = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = self._failing = False

    @override
    def on_end(self, span: ReadableSpan) -> None:
        self._put(span)

    def submit(self, work: Callable[[], None], size: int = 0) -> None:
        """Queue work for the thread, which ends spans. `size` is the bytes that it keeps in memory."""
        self._put(_Work(work, size))

    def _put(self, item: "ReadableSpan | _Work") -> None:
        size = item.size if isinstance(item, _Work) else 0
        with self._changed:
            if len(self._pending) >= self._max_items or self._held + size > _MAX_BYTES:
                self._drop(1)
                return
            self._pending.append(item)
            self._held += size
            if self._thread is None:
                self._thread = start_thread(self._run, "exporter of spans")
            elif len(self._pending) in {1, _BATCH}:
                self._changed.notify_all()

    def _drop(self, spans: int) -> None:
        with self._changed:  # several threads count
            count(Event.SPAN_DROPPED, times=spans)

    def close(self, within_s: float) -> None:
        """Export pending spans for at most this long; the rest is dropped and counted."""
        with self._changed:
            self._closing, thread = True, self._thread
            self._changed.notify_all()
        if thread is not None:
            thread.join(within_s)
        with self._changed:
            left = len(self._pending)
            self._pending.clear()
        if left or (thread is not None and thread.is_alive()):
            self._drop(left)
            _log.warning("spans not sent before the end", waiting=left)
        self._exporter.shutdown()

    def _run(self) -> None:
        while (spans := self._next()) is not None:
            if spans:
                self._send(spans)

    def _next(self) -> list[ReadableSpan] | None:
        """The next batch of spans; None at the end."""
        with self._changed:
            while not self._pending:
                if self._closing:
                    return None
                self._changed.wait()
            until = time.monotonic() + self._gather_s
            while not self._closing and len(self._pending) < _BATCH and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
        spans: list[ReadableSpan] = []
        while self._pending and len(spans) < _BATCH:
            item = self._pending.popleft()
            if isinstance(item, ReadableSpan):
                spans.append(item)
                continue
            with self._changed:
                self._held -= item.size
            try:
                item.run()  # the spans that it ends are appended to the queue
            except Exception as error:  # any failure: the thread must keep running
                self._drop(1)
                _log.error("span not made", exc_info=error)
        return spans

    def _send(self, spans: list[ReadableSpan]) -> None:
        try:
            taken = self._exporter.export(spans) is SpanExportResult.SUCCESS
        except Exception as error:  # any failure: the thread must keep running
            taken = False
            _log.error("spans not sent", exc_info=error)
        if not taken:
            self._drop(len(spans))
        if taken is self._failing:
            self._failing = not taken
            if taken:
                _log.warning("the collector takes spans again")
            else:
                _log.warning("the collector does not take spans: they are dropped, and counted")

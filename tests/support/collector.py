"""A collector of traces on loopback: it decodes what arrives by OTLP, and refuses, hangs or hides to order."""

import gzip
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from tests.support.client import eventually
from tests.support.upstream import Exchange, Upstream, running_upstream


@dataclass(frozen=True)
class CollectedSpan:
    """A span as it arrived. Ids are hex, times seconds since the epoch."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: str
    start: float
    end: float
    attributes: Mapping[str, Any]
    failed: bool
    resource: Mapping[str, Any]


class Collector:
    """What a gateway was told to send its spans to. `mode` is `good`, `refuse` or `hang`."""

    def __init__(self) -> None:
        self.mode = "good"
        self.spans: list[CollectedSpan] = []
        self.requests: list[Mapping[str, str]] = []
        self.bodies: list[bytes] = []
        self.upstream: Upstream | None = None

    @property
    def url(self) -> str:
        assert self.upstream is not None
        return self.upstream.url.removesuffix("/v1")

    @property
    def env(self) -> dict[str, str]:
        """What has a gateway send its spans here."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_BSP_SCHEDULE_DELAY": "20"}

    async def behave(self, exchange: Exchange) -> None:
        if self.mode == "hang":
            await exchange.hang()
        if self.mode == "refuse":
            await exchange.json({}, status=400)
            return
        headers = dict(exchange.seen.headers)
        body = exchange.seen.body
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.requests.append(headers | {":path": exchange.seen.path})
        self.bodies.append(body)
        self.spans += _spans(body)
        await exchange.reply(b"", content_type="application/x-protobuf")

    def trace(self, request_id: str, spans: int) -> list[CollectedSpan]:
        """The spans of a request's trace, the request's own first, once there are so many."""

        def found() -> list[CollectedSpan]:
            own = [each for each in self.spans if each.attributes.get("gateway.request_id") == request_id]
            return [
                *own,
                *(each for each in self.spans if own and each.trace_id == own[0].trace_id and each not in own),
            ]

        eventually(lambda: len(found()) >= spans)
        return found()


def _spans(body: bytes) -> Iterator[CollectedSpan]:
    request = ExportTraceServiceRequest.FromString(body)
    for resource in request.resource_spans:
        own = {each.key: _value(each.value) for each in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield CollectedSpan(
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
                    span.start_time_unix_nano / 1e9,
                    span.end_time_unix_nano / 1e9,
                    {each.key: _value(each.value) for each in span.attributes},
                    span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
                    own,
                )


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind) if kind else None


@contextmanager
def running_collector() -> Iterator[Collector]:
    collector = Collector()
    with running_upstream(collector.behave) as upstream:
        collector.upstream = upstream
        yield collector

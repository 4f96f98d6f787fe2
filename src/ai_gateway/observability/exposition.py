"""Exposition of all metrics: in Prometheus' text format, or in OpenMetrics with exemplars."""

from collections.abc import Iterable, Iterator
from math import inf, isinf
from typing import override

from prometheus_client.core import (
    CounterMetricFamily,
    Exemplar,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    Timestamp,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector, CollectorRegistry

from ai_gateway.observability.families import FAMILIES, PREFIX, Family
from ai_gateway.observability.metrics import Distribution
from ai_gateway.observability.samples import Samples


def expose(samples: Samples, *, openmetrics: bool) -> bytes:
    """The text in OpenMetrics 1.0.0, or in Prometheus' text format 0.0.4."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(samples))
    return (generate_openmetrics if openmetrics else generate_latest)(registry)


class _Collected(Collector):
    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    @override
    def collect(self) -> Iterable[Metric]:
        for family in FAMILIES:
            yield _metric(family, self._samples)


def _metric(family: Family, samples: Samples) -> Metric:
    name, text = PREFIX + family.name, family.help + "."
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(name, text, labels=family.labels)
        for labels, distribution in samples.distributions.get(family.name, {}).items():
            histogram.add_metric(labels, list(_buckets(distribution)), distribution.total)
        return histogram
    metric = (CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily)(name, text, labels=family.labels)
    for labels, value in samples.values.get(family.name, {}).items():
        metric.add_metric(labels, value)
    return metric


def _buckets(distribution: Distribution) -> Iterator[tuple[str, float] | tuple[str, float, Exemplar]]:
    """Cumulative buckets, as both formats require."""
    so_far = 0
    for place, bound in enumerate((*distribution.bounds, inf)):
        so_far += distribution.counts[place]
        le = "+Inf" if isinf(bound) else repr(bound)
        if place in distribution.exemplars:
            request_id, value, at = distribution.exemplars[place]
            yield le, so_far, Exemplar({"request_id": request_id}, value, Timestamp(at, 0))
        else:
            yield le, so_far

"""The settings of trace export; imported also without OpenTelemetry."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Collector:
    """The collector's endpoint, sampling, and resource `attributes`, which describe this process.

    Spans are exported in batches, after up to `gather_s` seconds.
    """

    endpoint: str
    headers: Mapping[str, str] = field(repr=False)
    attributes: Mapping[str, str]
    sampler: str = "parentbased_always_on"
    ratio: float = 1.0
    gather_s: float = 1.0

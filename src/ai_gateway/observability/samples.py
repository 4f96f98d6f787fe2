"""The values of all metrics at one moment: of one worker, or of all workers."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import orjson

from ai_gateway.observability.families import BY_NAME, Family
from ai_gateway.observability.metrics import Distribution

type Labels = tuple[str, ...]


@dataclass(slots=True)
class Samples:
    """Values by family and labels. `at` is the time of sampling, in seconds since the epoch."""

    at: float = 0.0
    values: dict[str, dict[Labels, float]] = field(default_factory=lambda: defaultdict(dict))
    distributions: dict[str, dict[Labels, Distribution]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, family: Family, value: float, labels: Labels = ()) -> None:
        """Add to the value or, for gauges that are merged by maximum, keep the higher one."""
        values = self.values[family.name]
        if family.over == "max":
            values[labels] = max(value, values.get(labels, value))
        else:
            values[labels] = values.get(labels, 0.0) + value

    def merge(self, family: Family, distribution: Distribution, labels: Labels = ()) -> None:
        """Add a distribution."""
        known = self.distributions[family.name].get(labels)
        if known is None:
            known = self.distributions[family.name][labels] = Distribution(family.buckets)
        known.merge(distribution)

    def include(self, other: "Samples", *, gauges: bool = True) -> None:
        """Add the values of another worker; `gauges` is false for a worker that has ended."""
        for name, values in other.values.items():
            family = BY_NAME[name]
            if gauges or family.kind != "gauge":
                for labels, value in values.items():
                    self.add(family, value, labels)
        for name, distributions in other.distributions.items():
            for labels, distribution in distributions.items():
                self.merge(BY_NAME[name], distribution, labels)

    def to_bytes(self) -> bytes:
        """Serialised for other processes of the same gateway."""
        return orjson.dumps(
            {
                "at": self.at,
                "values": {name: list(values.items()) for name, values in self.values.items()},
                "distributions": {
                    name: [
                        (labels, each.counts, each.total, list(each.exemplars.items()))
                        for labels, each in found.items()
                    ]
                    for name, found in self.distributions.items()
                },
            }
        )

    @classmethod
    def from_bytes(cls, raw: bytes) -> "Samples":
        """The samples from `to_bytes`. Raises ValueError."""
        read = orjson.loads(raw)
        samples = cls(read["at"])
        for name, values in read["values"].items():
            samples.values[name] = {tuple(labels): value for labels, value in values}
        for name, found in read["distributions"].items():
            samples.distributions[name] = {
                tuple(labels): _distribution(BY_NAME[name], counts, total, exemplars)
                for labels, counts, total, exemplars in found
            }
        return samples


def _distribution(
    family: Family, counts: list[int], total: float, exemplars: Iterable[tuple[int, tuple[str, float, float]]]
) -> Distribution:
    distribution = Distribution(family.buckets)
    distribution.counts, distribution.total = counts, total
    distribution.exemplars = {place: (request_id, value, at) for place, (request_id, value, at) in exemplars}
    return distribution

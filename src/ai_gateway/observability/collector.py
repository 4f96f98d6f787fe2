"""Where traces go, and which: what settings say of it, which are read also where there are none."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Collector:
    """Where spans go, and as what: `attributes` are those of the resource, which is this process.

    `gather_s` is how long they wait for others, in seconds.
    """

    endpoint: str
    headers: Mapping[str, str] = field(repr=False)
    attributes: Mapping[str, str]
    sampler: str = "parentbased_always_on"
    ratio: float = 1.0
    gather_s: float = 1.0

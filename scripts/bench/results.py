"""What a bench has found, and how its figures are put beside each other."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median

from scripts.bench.cells import ACCOUNTS, ACCOUNTS_VALKEY, GATEWAY, RELAY, UNCHECKED, UNCOUNTED, UPSTREAM
from scripts.bench.fresh import Garbage, LongBodies, OpenStreams, Start
from scripts.bench.instructions import Instructions
from scripts.bench.measure import Sample
from scripts.bench.processes import Skipped

_OURS = frozenset({UPSTREAM, RELAY, GATEWAY, UNCHECKED, ACCOUNTS, ACCOUNTS_VALKEY, UNCOUNTED})


@dataclass(slots=True)
class Results:
    """The medians of a session's rounds, and what it could not measure."""

    cells: list[Sample] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    long_bodies: list[LongBodies] = field(default_factory=list)
    streams: list[OpenStreams] = field(default_factory=list)
    garbage: list[Garbage] = field(default_factory=list)
    instructions: list[Instructions] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    def sample(self, cell: str, target: str) -> Sample | None:
        """One cell of one target, if it was answered."""
        return next((each for each in self.cells if (each.cell, each.target) == (cell, target) and each.requests), None)

    def ratio(self, cell: str, target: str, to: str) -> float | None:
        """How many times the CPU of another target it takes: the median over rounds, each of which has both."""
        ratios = self._ratios(cell, target, to)
        return median(ratios) if ratios else None

    def undisturbed_ratio(self, cell: str, target: str, to: str) -> float | None:
        """The same, of the lower quartile: what three of four rounds were above, whatever else the machine did."""
        ratios = self._ratios(cell, target, to)
        return sorted(ratios)[(len(ratios) - 1) // 4] if ratios else None

    def _ratios(self, cell: str, target: str, to: str) -> list[float]:
        sample, other = self.sample(cell, target), self.sample(cell, to)
        if sample is None or other is None:
            return []
        return [mine / its for mine, its in zip(sample.slices, other.slices, strict=True) if its]

    def kilo_instructions(self, cell: str, target: str) -> float | None:
        """Thousands of instructions per request."""
        return next((each.kilo for each in self.instructions if (each.cell, each.target) == (cell, target)), None)

    def errors(self) -> dict[str, int]:
        """Every failed request of our own targets, by what it was a part of and what was wrong."""
        return dict(self._errors(ours=True))

    def peers_errors(self) -> dict[str, int]:
        """The same of the peers, which do not count as failures of the bench."""
        return dict(self._errors(ours=False))

    def _errors(self, *, ours: bool) -> Iterator[tuple[str, int]]:
        for part, target, errors in self._parts():
            if (target in _OURS) is ours:
                yield from ((f"{target}, {part}: {reason}", count) for reason, count in errors.items())

    def _parts(self) -> Iterator[tuple[str, str, dict[str, int]]]:
        yield from ((each.cell, each.target, each.errors) for each in self.cells)
        yield from ((f"{each.requests} long bodies", each.target, each.errors) for each in self.long_bodies)
        yield from ((f"{each.streams} streams", each.target, each.errors) for each in self.streams)
        yield from ((f"garbage of {each.kind}", GATEWAY, each.errors) for each in self.garbage)
        yield from ((f"instructions of {each.cell}", each.target, each.errors) for each in self.instructions)

"""A model with several targets: which of them to try, and in which order."""

import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TargetRef:
    """A configured target: the provider by its name, and the provider's name for the model."""

    provider: str
    model: str


@dataclass(frozen=True, slots=True)
class Route:
    """Targets in order of preference; with weights, the first one is random and the others follow in order.

    `missing` lists the providers of further targets, which are not configured.
    """

    targets: tuple[TargetRef, ...]
    weights: tuple[float, ...] | None = None
    missing: tuple[str, ...] = ()

    def order(self, rng: random.Random | None = None) -> Sequence[TargetRef]:
        """The targets of one request, each once; in the configured order without `rng` or weights."""
        if self.weights is None or rng is None:
            return self.targets
        (first,) = rng.choices(range(len(self.targets)), self.weights)
        return (self.targets[first], *self.targets[:first], *self.targets[first + 1 :])

"""A model with several targets: which of them to try, and in which order."""

import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """A provider by name, and what the model is called there."""

    provider: str
    model: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Targets in order of preference; with weights, the first one is drawn and the others follow in order."""

    targets: tuple[Target, ...]
    weights: tuple[float, ...] | None = None

    def order(self, chance: random.Random | None = None) -> Sequence[Target]:
        """The targets of one request, each once; as they are written down where nothing is left to chance."""
        if self.weights is None or chance is None:
            return self.targets
        (first,) = chance.choices(range(len(self.targets)), self.weights)
        return (self.targets[first], *self.targets[:first], *self.targets[first + 1 :])

"""The request of a call for a reservation, before it is permitted."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from ai_gateway.accounts.bounds import Bound


class Named(Protocol):
    """Anything with a name."""

    @property
    def name(self) -> str: ...


class Target(Protocol):
    """A target of a call: a provider, and the model's name there."""

    @property
    def provider(self) -> Named: ...
    @property
    def model(self) -> str: ...


@dataclass(slots=True)
class Wanted:
    """A call's requested model, its targets, and its maximum use."""

    operation: str
    model: str
    bound: Bound
    targets: Sequence[Target]
    stream: bool

    def names(self) -> Sequence[Collection[str]]:
        """The names of each target's model in limits and permissions."""
        return [(target.model, f"{target.provider.name}/{target.model}") for target in self.targets]

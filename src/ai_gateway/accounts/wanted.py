"""What a call asks for, before it is known whether it may."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from ai_gateway.accounts.bounds import Bound


class Named(Protocol):
    """What has a name."""

    @property
    def name(self) -> str: ...


class Target(Protocol):
    """A provider that may be called, and the model's name there."""

    @property
    def provider(self) -> Named: ...
    @property
    def model(self) -> str: ...


@dataclass(slots=True)
class Wanted:
    """What a call asks for: the model as it was named, what may be called for it, and what it can take at the most."""

    operation: str
    model: str
    bound: Bound
    targets: Sequence[Target]
    stream: bool

    def names(self) -> Sequence[Collection[str]]:
        """What limits and permissions may call the model of each target."""
        return [(target.model, f"{target.provider.name}/{target.model}") for target in self.targets]

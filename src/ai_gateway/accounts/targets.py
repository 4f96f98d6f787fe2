"""The targets of a call, as limits and prices know them."""

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol


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


def names_of(targets: Iterable[Target]) -> Sequence[Collection[str]]:
    """The names of each target's model in limits and permissions."""
    return [(target.model, f"{target.provider.name}/{target.model}") for target in targets]

"""Other names of models: exact ones, and patterns with one `*`."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

_STAR = "*"


@dataclass(frozen=True, slots=True)
class Pattern:
    """`before*after`; the text that matches the star replaces a star in the target."""

    before: str
    after: str
    target: str

    def apply(self, model: str) -> str | None:
        """The target for the model; None if the pattern does not match it."""
        if len(model) < len(self.before) + len(self.after):
            return None
        if not (model.startswith(self.before) and model.endswith(self.after)):
            return None
        return self.target.replace(_STAR, model[len(self.before) : len(model) - len(self.after)])


class Aliases:
    """An exact alias takes precedence over a pattern, and of several patterns the one with the most fixed text wins.

    A target that begins with the name of one of the `providers` is final. Any other target is looked up as an exact
    alias again, and in the end resolved like a requested model. Patterns apply to requested models only: never to a
    target, nor to an id that names a provider or one of the `fixed` ids.
    """

    def __init__(self, table: Mapping[str, str], providers: Collection[str] = (), fixed: Collection[str] = ()) -> None:
        self.table = dict(table)
        self._exact = {name: target for name, target in table.items() if _STAR not in name}
        self._providers = frozenset(providers)
        self._fixed = frozenset(fixed)
        split = [(name.partition(_STAR), target) for name, target in table.items() if _STAR in name]
        patterns = [Pattern(before, after, target) for (before, _, after), target in split]
        self._patterns = sorted(patterns, key=lambda pattern: -len(pattern.before + pattern.after))

    @property
    def names(self) -> list[str]:
        """The exact aliases; patterns are not names."""
        return list(self._exact)

    def follow(self, model: str) -> str:
        """The target of the model; the model itself if it is not an alias."""
        if model in self._exact:
            return self._end(model)
        if self._patterns and not self._is_final(model):
            target = next(filter(None, (pattern.apply(model) for pattern in self._patterns)), None)
            if target is not None:
                return self._end(target)
        return model

    def loops(self) -> Iterator[str]:
        """Every alias that is part of a cycle."""
        for name in self._exact:
            if self._exact.get(self._end(name)) is not None and not self._is_final(self._end(name)):
                yield name

    def _end(self, name: str) -> str:
        """The end of a chain of exact aliases. Cycles are rejected at startup; here they end after one round."""
        for step in range(len(self._exact) + 1):
            if name not in self._exact or (step and self._is_final(name)):
                break
            name = self._exact[name]
        return name

    def _is_final(self, name: str) -> bool:
        prefix, slash, rest = name.partition("/")
        return name in self._fixed or bool(slash and rest and prefix in self._providers)

"""Resolves the requested model to its targets, from one immutable snapshot that a reload can replace.

The order: the provider in the path; the operator's aliases and routes; a `provider/` prefix; the model list; the
lists of the configured providers; the built-in provider, while it is the only one.
"""

import difflib
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from heapq import nlargest
from itertools import islice, pairwise

from ai_gateway.errors import ModelNotFound
from ai_gateway.providers.base import Provider
from ai_gateway.routing.model_list.parse import ListedModel, Listing, ModelList, listing_of
from ai_gateway.routing.provider_models import Catalogue
from ai_gateway.routing.registry import BUILT_IN, Registry
from ai_gateway.routing.rules import Rules

_MAX_SHOWN = 10
_MAX_KEPT, _MAX_KEPT_LENGTH = 256, 256  # cached resolutions, and the length of their models
# Breakers, prices and others are cached for each requested model, and callers choose names of any length.
_MAX_LENGTH = 8192
# Upstreams choose their ids, and callers the name. difflib takes quadratic time: it only compares the name with the
# few ids that share the most letter pairs with it.
_MAX_SHOWN_LENGTH = 100
_MAX_COMPARED = 1_000
_MAX_ALIKE = 8
_rng = random.Random()  # noqa: S311 - spreads load, guards nothing


@dataclass(slots=True)  # never changed; not frozen because many are made: see `Call`
class Target:
    """A provider, and its name for the model. `listed` is the entry of the model list, if that resolved it."""

    provider: Provider
    model: str
    listed: ListedModel | None = None


@dataclass(slots=True)
class Resolution:
    """The targets to try, in this order. `by_route` says that they are those of a configured route."""

    targets: tuple[Target, ...]
    by_route: bool = False


@dataclass(frozen=True, slots=True)
class Routing:
    """A snapshot: a call in flight keeps the one that it started with."""

    registry: Registry
    catalogue: Catalogue
    rules: Rules = field(default_factory=Rules)
    listing: Listing = field(default_factory=Listing)
    _configured: frozenset[tuple[str, str]] | None = field(default=None, init=False, repr=False, compare=False)
    _ids: dict[int, tuple[str, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _at: dict[tuple[str, str], Resolution] = field(default_factory=dict, init=False, repr=False, compare=False)

    def with_list(self, models: ModelList) -> "Routing":
        """The same with another model list."""
        return replace(self, listing=listing_of(models, self.registry.names))

    async def resolve(self, provider: str | None, model: str) -> Resolution:
        """Raises ProviderNotFound or ModelNotFound, which list the alternatives."""
        if provider is not None:
            return self.at(provider, model)
        _check_length(model)
        resolution = self.find(model, _rng)
        if resolution is None:
            await self.catalogue.ensure_loaded()
            resolution = self.find(model, _rng)
        if resolution is None:
            await self.catalogue.ensure_loaded(renew=True)
            resolution = self.find(model, _rng)
        if resolution is None:
            raise ModelNotFound(self._unknown(model), param="model")
        return resolution

    def at(self, provider: str, model: str) -> Resolution:
        """A provider's own model. Raises ProviderNotFound, or ModelNotFound for a name that is not valid."""
        found = self._at.get((provider, model))
        if found is None:
            _check_length(model)
            found = Resolution((Target(self.registry.get(provider), model),))
            if len(model) <= _MAX_KEPT_LENGTH:
                if len(self._at) >= _MAX_KEPT:  # callers choose models
                    self._at.clear()
                self._at[provider, model] = found
        return found

    def find(self, model: str, rng: random.Random | None = None) -> Resolution | None:
        """The resolution from cached lists. Raises ModelNotFound if that needs an unconfigured provider."""
        name = self.rules.aliases.follow(model)
        route = self.rules.routes.get(name)
        if route is not None:
            if not route.targets:
                raise self._unconfigured(model, route.missing)
            refs = route.order(rng)
            targets = tuple(Target(self.registry.get(ref.provider), ref.model) for ref in refs)
            return Resolution(targets, by_route=True)
        target = self._by_prefix(name) or self._by_list(name) or self._by_catalogue(name)
        if target is None and self.registry.only_built_in:
            # The built-in provider answers any model, so it is the fallback only where no real model is expected.
            prefix, slash, _ = name.partition("/")
            if slash and self.registry.hint(prefix.lower()):
                raise self._unconfigured(model, [prefix.lower()])
            target = Target(self.registry.get(BUILT_IN), name)
        return Resolution((target,)) if target else None

    def ids(self) -> tuple[str, ...]:
        """Every id that may resolve, each once, as far as is known."""
        version = self.catalogue.version
        if version not in self._ids:
            self._ids.clear()
            self._ids[version] = tuple(dict.fromkeys(self._all_ids()))
        return self._ids[version]

    def configured(self) -> frozenset[tuple[str, str]]:
        """Provider and model of everything that aliases, routes and the model list lead to."""
        if self._configured is None:
            names = (self.rules.aliases.follow(name) for name in self.rules.aliases.names)
            parts = (name.partition("/") for name in names)
            refs = (ref for route in self.rules.routes.values() for ref in route.targets)
            found = frozenset(
                [
                    *((provider, model) for provider, _, model in parts),
                    *((ref.provider, ref.model) for ref in refs),
                    *((entry.provider, entry.id) for entry in self.listing.available.values()),
                ]
            )
            object.__setattr__(self, "_configured", found)
            return found
        return self._configured

    def _all_ids(self) -> Iterator[str]:
        yield from self.rules.aliases.names
        yield from self.rules.routes
        yield from self.listing.available
        for cached in self.catalogue.cached:
            for model in cached.listed or ():
                yield self.public_id(cached.provider.name, model)

    def public_id(self, provider: str, model: str) -> str:
        """The id under which a provider's model is listed, which resolves to it."""
        plain = provider == BUILT_IN and self.registry.only_built_in
        return model if plain else f"{provider}/{model}"

    def _by_prefix(self, name: str) -> Target | None:
        prefix, slash, rest = name.partition("/")
        if slash and rest and prefix in self.registry:
            return Target(self.registry.get(prefix), rest)
        return None

    def _by_list(self, name: str) -> Target | None:
        entry = self.listing.available.get(name)
        if entry is not None:
            return Target(self.registry.get(entry.provider), entry.id, entry)
        missing = self.listing.missing.get(name)
        if missing is not None:
            raise self._unconfigured(name, [missing.provider])
        return None

    def _by_catalogue(self, name: str) -> Target | None:
        match = self.catalogue.find(name)
        if match is None:
            return None
        self.catalogue.refresh()  # stale lists are used while they are refreshed for later calls
        return Target(*match)

    def _unconfigured(self, model: str, providers: Iterable[str]) -> ModelNotFound:
        """The error for a model that only unconfigured providers have."""
        hints = [self.registry.hint(name) for name in providers]
        needed = " and ".join(f"'{name}'" for name in providers)
        how = " or ".join(dict.fromkeys(filter(None, hints)))
        missing = f"it needs provider {needed}, which is not configured{f': {how}' if how else ''}"
        return ModelNotFound(f"The model {_quoted(model)} does not exist here: {missing}.", param="model")

    def _unknown(self, model: str) -> str:
        name = self.rules.aliases.follow(model)
        prefix, slash, _ = name.partition("/")
        hint = self.registry.hint(prefix.lower()) if slash else None
        known = self.ids()
        near = _close_matches(model, known)
        unavailable = [cached.provider.name for cached in self.catalogue.cached if cached.listed is None]
        names = ", ".join(f"{name}/..." for name in self.registry.names)
        why = f"provider '{prefix.lower()}' is not configured: {hint}" if hint else "no provider is known for it"
        parts = [
            f"The model {_quoted(model)} does not exist here: {why}.",
            f"Did you mean {' or '.join(map(repr, near))}?" if near else "",
            f"Available: {_capped(known)}." if known else "",
            f"Unavailable: {', '.join(unavailable)}." if unavailable else "",
            f"Or name a provider in front of it: {names}." if names else "No provider is configured.",
        ]
        return " ".join(filter(None, parts))


def _quoted(model: str) -> str:
    """The requested name for an error message: bounded, and without control characters."""
    return repr(f"{model[:_MAX_SHOWN_LENGTH]}..." if len(model) > _MAX_SHOWN_LENGTH else model)


def _capped(known: tuple[str, ...]) -> str:
    shown = list(islice((name for name in known if len(name) <= _MAX_SHOWN_LENGTH), _MAX_SHOWN))
    more = len(known) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _close_matches(model: str, known: tuple[str, ...]) -> list[str]:
    """Up to three of the known ids, compared with and without the provider's prefix."""
    if len(model) > _MAX_SHOWN_LENGTH:
        return []
    pairs, by_name = _pairs(model.lower()), _names(known)
    alike = nlargest(_MAX_ALIKE, by_name, key=lambda name: _likeness(pairs, by_name[name][1]))
    matches = difflib.get_close_matches(model.lower(), alike, n=3)
    return list(dict.fromkeys(by_name[name][0] for name in matches))


def _check_length(model: str) -> None:
    if len(model) > _MAX_LENGTH:
        raise ModelNotFound(f"There is no model {_quoted(model)}, of {len(model)} characters.", param="model")


@lru_cache(maxsize=1)
def _names(known: tuple[str, ...]) -> Mapping[str, tuple[str, frozenset[str]]]:
    """The ids by the names that a caller may have meant, with the letter pairs of each."""
    by_name: dict[str, tuple[str, frozenset[str]]] = {}
    for name in islice((name for name in known if len(name) <= _MAX_SHOWN_LENGTH), _MAX_COMPARED):
        whole = name.lower()
        by_name[whole] = name, _pairs(whole)
        bare = whole.partition("/")[2] or whole
        by_name.setdefault(bare, (name, _pairs(bare)))
    return by_name


def _pairs(name: str) -> frozenset[str]:
    return frozenset(map("".join, pairwise(f" {name} ")))


def _likeness(pairs: frozenset[str], others: frozenset[str]) -> float:
    return len(pairs & others) / len(pairs | others)

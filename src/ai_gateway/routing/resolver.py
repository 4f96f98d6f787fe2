"""From what a caller asked for to who answers it: everything that decides this, as one value that can be swapped.

The order: the provider in the path; an alias or a route of the operator's; a `provider/` in front; the model list; what
the configured providers list; the built-in provider, while it is alone.
"""

import difflib
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

from ai_gateway.errors import ModelNotFound
from ai_gateway.providers.base import Provider
from ai_gateway.providers.config.upstreams import unconfigured_hint
from ai_gateway.routing.model_list.parse import ListedModel, Listing, ModelList, listing_of
from ai_gateway.routing.provider_models import Catalogue
from ai_gateway.routing.registry import BUILT_IN, Registry
from ai_gateway.routing.rules import Rules

_MOST_SHOWN = 10
# Comparing is quadratic, and what is asked for is the caller's: beyond these sizes nobody mistypes a name.
_LONGEST_COMPARED = 100
_MOST_COMPARED = 1_000
_chance = random.Random()  # noqa: S311 - spreads load, guards nothing


@dataclass(frozen=True, slots=True)
class Route:
    """Who answers, and what the model is called there. `listed` is its entry in the model list, if that led here."""

    provider: Provider
    model: str
    listed: ListedModel | None = None


@dataclass(frozen=True, slots=True)
class Routes:
    """Whom to try, in this order. `planned` says that the operator has named them for this model."""

    options: tuple[Route, ...]
    planned: bool = False


@dataclass(frozen=True, slots=True)
class Routing:
    """A snapshot: a call that has begun keeps the one it began with."""

    registry: Registry
    catalogue: Catalogue
    rules: Rules = field(default_factory=Rules)
    listing: Listing = field(default_factory=Listing)
    _kept: dict[int, tuple[str, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def with_list(self, models: ModelList) -> "Routing":
        """The same with another model list."""
        return replace(self, listing=listing_of(models, self.registry.names))

    async def resolve(self, provider: str | None, model: str) -> Routes:
        """Raises ProviderNotFound or ModelNotFound, which say what there is."""
        if provider is not None:
            return Routes((Route(self.registry.get(provider), model),))
        found = self.find(model, _chance)
        if found is None:
            await self.catalogue.fill()
            found = self.find(model, _chance)
        if found is None:
            await self.catalogue.fill(renew=True)
            found = self.find(model, _chance)
        if found is None:
            raise ModelNotFound(self._unknown(model), param="model")
        return found

    def find(self, model: str, chance: random.Random | None = None) -> Routes | None:
        """Who answers, as far as is known now. Raises ModelNotFound for a listed model that nobody here serves."""
        name = self.rules.aliases.follow(model)
        plan = self.rules.routes.get(name)
        if plan is not None:
            targets = plan.order(chance)
            return Routes(tuple(Route(self.registry.get(each.provider), each.model) for each in targets), planned=True)
        route = self._by_prefix(name) or self._by_list(name) or self._by_catalogue(name)
        if route is None and self.registry.only_built_in:
            # The built-in provider answers anything, so it may stand in only while nobody could be misled by it.
            route = Route(self.registry.get(BUILT_IN), name)
        return Routes((route,)) if route else None

    def ids(self) -> tuple[str, ...]:
        """Every id that may lead somewhere, each once, as far as is known."""
        version = self.catalogue.version
        if version not in self._kept:
            self._kept.clear()
            self._kept[version] = tuple(dict.fromkeys(self._all_ids()))
        return self._kept[version]

    def _all_ids(self) -> Iterator[str]:
        yield from self.rules.aliases.names
        yield from self.rules.routes
        yield from self.listing.available
        for shelf in self.catalogue.shelves:
            for model in shelf.listed or ():
                yield self.public_id(shelf.provider.name, model)

    def public_id(self, provider: str, model: str) -> str:
        """The id under which a provider's model is shown, which leads back to it."""
        plain = provider == BUILT_IN and self.registry.only_built_in
        return model if plain else f"{provider}/{model}"

    def _by_prefix(self, name: str) -> Route | None:
        prefix, slash, rest = name.partition("/")
        if slash and rest and prefix in self.registry:
            return Route(self.registry.get(prefix), rest)
        return None

    def _by_list(self, name: str) -> Route | None:
        entry = self.listing.available.get(name)
        if entry is not None:
            return Route(self.registry.get(entry.provider), entry.id, entry)
        lost = self.listing.missing.get(name)
        if lost is not None:
            hint = unconfigured_hint(lost.provider)
            raise ModelNotFound(
                f"This model is listed for provider '{lost.provider}', which is not configured here"
                f"{f': {hint}' if hint else ''}.",
                param="model",
            )
        return None

    def _by_catalogue(self, name: str) -> Route | None:
        found = self.catalogue.who_has(name)
        if found is None:
            return None
        self.catalogue.ask_around()  # what is outdated still holds, and is renewed for those who come later
        return Route(*found)

    def _unknown(self, model: str) -> str:
        prefix, slash, _ = model.partition("/")
        hint = unconfigured_hint(prefix) if slash and prefix not in self.registry else None
        known = self.ids()
        near = _close_matches(model, known)
        silent = [shelf.provider.name for shelf in self.catalogue.shelves if shelf.listed is None]
        names = ", ".join(f"{name}/..." for name in self.registry.names)
        parts = [
            f"Provider '{prefix}' is not configured: {hint}." if hint else "No provider is known for this model.",
            f"Did you mean {' or '.join(map(repr, near))}?" if near else "",
            f"Available: {_capped(known)}." if known else "",
            f"Could not be asked: {', '.join(silent)}." if silent else "",
            f"Or name a provider in front of it: {names}.",
        ]
        return " ".join(filter(None, parts))


def _capped(known: tuple[str, ...]) -> str:
    more = len(known) - _MOST_SHOWN
    return ", ".join(known[:_MOST_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _close_matches(asked: str, known: Iterable[str]) -> list[str]:
    """Up to three of the known ids; the provider in front of an id need not have been typed."""
    if len(asked) > _LONGEST_COMPARED:
        return []
    by_name: dict[str, str] = {}
    for name in islice(known, _MOST_COMPARED):
        by_name[name.lower()] = name
        by_name.setdefault(name.lower().partition("/")[2] or name.lower(), name)
    found = difflib.get_close_matches(asked.lower(), by_name, n=3)
    return list(dict.fromkeys(by_name[name] for name in found))

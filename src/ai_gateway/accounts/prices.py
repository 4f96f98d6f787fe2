"""Prices by provider, exact model id and time. An unknown price is None, never 0 or that of a similar model."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from functools import cache
from hashlib import sha256
from typing import Protocol

from ai_gateway.accounts.price import INPUT, OUTPUT, SEARCHES, Price, Rates, rate, rates_of, whole_per
from ai_gateway.accounts.price_table import ALWAYS, Dated, PriceTable
from ai_gateway.accounts.targets import Target
from ai_gateway.config.tables import PriceRates, PriceSettings

_MAX_KNOWN = 4_096  # bounds the cache: names of models come from callers
_MAX_ID_LENGTH = 256
_EVERY_MODEL = "*"
# The built-in provider costs nothing.
_BUILT_IN = "custom"
_NOTHING = dict.fromkeys((*INPUT, *OUTPUT, SEARCHES), 0)


class Listed(Protocol):
    """An entry of the list at MODEL_LIST_URL."""

    @property
    def id(self) -> str: ...
    @property
    def provider(self) -> str: ...
    @property
    def prompt_price_1k(self) -> Decimal | None: ...
    @property
    def completion_price_1k(self) -> Decimal | None: ...


class Prices:
    """Looks prices up: first in the operator's `[prices]`, then in the list at MODEL_LIST_URL, then in the table.

    A price is for one provider and its model id, regardless of case.
    """

    def __init__(self, stated: Mapping[str, PriceSettings] | None = None) -> None:
        found = [_stated(key, settings) for key, settings in (stated or {}).items() if "/" in key]
        self._stated = {(price.provider, price.model.lower()): price for price in found}
        self._listed: dict[tuple[str, str], Price] = {}
        self._known: dict[tuple[str, str], Dated] = {}

    def take_list(self, entries: Iterable[Listed]) -> None:
        """Replace the prices of the model list."""
        found = [price for entry in entries if (price := _listed(entry)) is not None]
        self._listed = {(price.provider, price.model.lower()): price for price in reversed(found)}
        self._known.clear()

    def find(self, provider: str, model: str, at: float) -> Price | None:
        """The price at a time in seconds since the epoch; None if unknown.

        `provider` is its name in the gateway's paths, `model` the id that is sent to it.
        """
        known = self._known.get((provider, model))
        if known is not None and known.since <= at < known.until:
            return known.price
        if len(model) > _MAX_ID_LENGTH:
            return None
        dated = self._read(provider, model.lower(), at)
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known[provider, model] = dated
        return dated.price

    def most(  # noqa: PLR0913, PLR0917 - what a cost depends on
        self, targets: Iterable[Target], read: int, made: int, tier: str | None, searches: int, at: float
    ) -> int | None:
        """The most that so many tokens and searches can cost at any of the targets; None if one has no price."""
        most = 0
        for target in targets:
            price = self.find(target.provider.name, target.model, at)
            if price is None:
                return None
            most = max(most, price.bound(read, made, tier, searches))
        return most

    def names(self, provider: str, model: str, at: float) -> bool:
        """Whether there is a price for this model itself, and not only for all models of its provider."""
        key = provider, model
        if key in self._stated or key in self._listed:
            return True
        if provider == _BUILT_IN or (provider, _EVERY_MODEL) in self._stated or model != model.lower():
            return False
        return self.find(provider, model, at) is not None

    def _read(self, provider: str, model: str, at: float) -> Dated:
        stated = self._stated.get((provider, model)) or self._stated.get((provider, _EVERY_MODEL))
        if stated is not None:
            return Dated(*ALWAYS, replace(stated, model=model))
        listed = self._listed.get((provider, model))
        if listed is not None:
            return Dated(*ALWAYS, listed)
        if provider == _BUILT_IN:
            return Dated(*ALWAYS, _constant(provider, model, "built-in", rates_of(_NOTHING)))
        return _table().find(provider, model, at)


@cache
def _table() -> PriceTable:
    """The table, loaded on first use."""
    return PriceTable.shipped()


def _constant(provider: str, model: str, basis: str, rates: Rates, per: int = 1) -> Price:
    return Price(provider, model, basis, rates, per, every_tier=True)


def _listed(entry: Listed) -> Price | None:
    """The price of an entry; a missing direction is unknown, not free."""
    if entry.prompt_price_1k is None or entry.completion_price_1k is None:
        return None
    prices = {"input": entry.prompt_price_1k * 1_000, "output": entry.completion_price_1k * 1_000}
    per = whole_per(prices.values())
    rates = {name: rate(price, per) for name, price in prices.items()}
    return _constant(entry.provider, entry.id, f"model-list-{_digest(prices)}", rates_of(rates), per)


def _stated(key: str, settings: PriceSettings) -> Price:
    provider, _, model = key.partition("/")
    basis = f"settings-{_digest(settings.model_dump(mode='json', exclude_unset=True))}"
    tables: list[PriceRates] = [settings, *settings.above, *settings.service_tiers.values()]
    per = whole_per(price for table in tables for price in table.prices().values())

    def rates(table: PriceRates) -> Rates:
        return rates_of({name: rate(price, per) for name, price in table.prices().items()})

    above = tuple(sorted((each.tokens, rates(each)) for each in settings.above))
    tiers = {
        name: _constant(provider, model, basis, rates(table), per) for name, table in settings.service_tiers.items()
    }
    return replace(_constant(provider, model, basis, rates(settings), per), above=above, service_tiers=tiers)


def _digest(content: object) -> str:
    return sha256(repr(content).encode()).hexdigest()[:12]

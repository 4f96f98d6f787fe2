"""Parses the list at MODEL_LIST_URL: the models, the provider that serves each, and their prices."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation

from pydantic_core import from_json

_MAX_ID_LENGTH = 256
_MAX_PRICE = 1_000_000
_HANDLE = re.compile(r"/?([A-Za-z][A-Za-z0-9_-]{0,39})(/[A-Za-z0-9._-]+)*/?")
# A handle that begins with one of these is the path of an operation and names no provider.
_OPERATIONS = frozenset({"v1", "chat", "completions", "embeddings", "messages"})


class InvalidList(Exception):
    """The document is not a model list, or an entry is invalid. The message gives the reason and quotes nothing."""


@dataclass(frozen=True, slots=True)
class ListedModel:
    """One entry. Prices are per thousand tokens; None means unknown, not free."""

    id: str
    provider: str
    family: str | None = None
    prompt_price_1k: Decimal | None = None
    completion_price_1k: Decimal | None = None


@dataclass(frozen=True, slots=True)
class ModelList:
    """The valid entries in the list's order; `problems` has a line for each that was skipped."""

    entries: tuple[ListedModel, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Listing:
    """A list's entries by the configured providers.

    An entry is `available` when its provider is configured. It is `missing` when no entry of its id is available, and
    `hidden` when its id begins with the name of a configured provider, since such an id is routed to that provider.
    """

    available: Mapping[str, ListedModel] = field(default_factory=dict)
    missing: Mapping[str, ListedModel] = field(default_factory=dict)
    hidden: Mapping[str, ListedModel] = field(default_factory=dict)


def listing_of(models: ModelList, providers: Collection[str]) -> Listing:
    """Of entries with the same id, the first whose provider is configured counts."""
    available: dict[str, ListedModel] = {}
    missing: dict[str, ListedModel] = {}
    hidden: dict[str, ListedModel] = {}
    for entry in models.entries:
        prefix, slash, rest = entry.id.partition("/")
        if slash and rest and prefix in providers:
            hidden.setdefault(entry.id, entry)
        elif entry.provider in providers:
            available.setdefault(entry.id, entry)
        else:
            missing.setdefault(entry.id, entry)
    return Listing(available, {name: entry for name, entry in missing.items() if name not in available}, hidden)


def parse_list(raw: bytes) -> ModelList:
    """The valid entries of an array, or of an object whose `models` is one. Raises InvalidList."""
    try:
        # NaN is accepted here, so that an invalid price costs one entry and not the whole list.
        value = from_json(raw.removeprefix(b"\xef\xbb\xbf"), allow_inf_nan=True)
    except ValueError:
        raise InvalidList("it is not valid JSON") from None
    items = value.get("models") if isinstance(value, dict) else value
    if not isinstance(items, list):
        raise InvalidList("it is neither an array nor an object with an array 'models'")
    models = _entries(items)
    if items and not models.entries:
        raise InvalidList("none of its entries is valid")
    return models


def _entries(items: list[object]) -> ModelList:
    entries: dict[tuple[str, str], ListedModel] = {}
    problems: list[str] = []
    for index, item in enumerate(items):
        try:
            entry = _entry(item)
            if (entry.id, entry.provider) in entries:
                raise InvalidList("an earlier entry has the same model_version and provider")  # noqa: TRY301 - one way out for every problem
            entries[entry.id, entry.provider] = entry
        except InvalidList as problem:
            problems.append(f"entry {index}: {problem}")
    return ModelList(tuple(entries.values()), tuple(problems))


def _entry(item: object) -> ListedModel:
    if not isinstance(item, dict):
        raise InvalidList("not an object")
    model, family = item.get("model_version"), item.get("model_family")
    if not isinstance(model, str) or not _is_id(model):
        raise InvalidList(f"model_version must be a printable text of 1 to {_MAX_ID_LENGTH} characters")
    if family is not None and not isinstance(family, str):
        raise InvalidList("model_family must be a text")
    return ListedModel(
        model,
        _provider(item.get("handle"), family),
        family,
        _price(item, "prompt_price_1k"),
        _price(item, "completion_price_1k"),
    )


def _is_id(text: str) -> bool:
    return 0 < len(text) <= _MAX_ID_LENGTH and text.isprintable() and text == text.strip()


def _provider(handle: object, family: str | None) -> str:
    """The provider that a handle or else the family names. The handle is never used as a host or a path."""
    match = _HANDLE.fullmatch(handle) if isinstance(handle, str) else None
    if match is None or ".." in match[0]:
        raise InvalidList("handle must be a path such as /openai/v1/chat/completions")
    name = match[1].lower()
    if name not in _OPERATIONS:
        return name
    if not family or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,39}", family):
        raise InvalidList("neither handle nor model_family names a provider")
    return family.lower()


def _price(item: Mapping[str, object], name: str) -> Decimal | None:
    value = item.get(name)
    if value is None:
        return None
    price = Decimal("NaN")
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            price = Decimal(str(value))
        except (InvalidOperation, ValueError):  # ValueError: an integer beyond sys.set_int_max_str_digits
            price = Decimal("NaN")
    if not price.is_finite() or not 0 <= price <= _MAX_PRICE:
        raise InvalidList(f"{name} must be a number from 0 to {_MAX_PRICE}")
    return price

"""What may stand at a place in a value: listed values, branches to take, types, names.

A place is the parts of `schema.py`; everything here reads them and decides nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from ai_gateway.providers.custom.schema import Parts, Schema, named_types, schemas_in

_HINTS: Final[tuple[tuple[str, frozenset[str]], ...]] = (
    ("object", frozenset({"properties", "required", "additionalProperties", "patternProperties", "minProperties"})),
    ("array", frozenset({"items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains"})),
    ("string", frozenset({"pattern", "format", "minLength", "maxLength"})),
    ("number", frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})),
)
"""The type a schema without `type` must have in mind, by the keywords it uses."""


@dataclass(frozen=True, slots=True)
class Fork:
    """A place where one of several branches must be taken; a branch is the schemas that hold with it."""

    keyword: str
    origin: int
    branches: Sequence[Sequence[JsonValue]]


def given_values(parts: Parts) -> Iterator[JsonValue]:
    """Defaults worth giving: a null default says nothing about the data."""
    return (part["default"] for part in parts if part.get("default") is not None)


def allowed_values(parts: Parts) -> list[JsonValue] | None:
    """The values listed by a `const` or else the first `enum`."""
    for part in parts:
        if "const" in part:
            return [part["const"]]
    return next((schemas_in(part, "enum") for part in parts if isinstance(part.get("enum"), list)), None)


def forks(parts: Parts) -> Iterator[Fork]:
    """Every fork of the parts, in their order."""
    for part in parts:
        for keyword in ("anyOf", "oneOf"):
            if branches := schemas_in(part, keyword):
                yield Fork(keyword, id(branches), [[branch] for branch in branches])
        if "if" in part:
            choices = [[part["if"], part.get("then", True)], [part.get("else", True)]]
            yield Fork("if", id(part), choices)


def types(parts: Parts) -> frozenset[str]:
    """The types every part allows; empty when no part names one, or they contradict."""
    allowed: frozenset[str] | None = None
    for part in parts:
        named = named_types(part)
        if "number" in named:
            named |= {"integer"}
        if named:
            allowed = named if allowed is None else allowed & named
    return (allowed or frozenset()) - ({"integer"} if "number" in (allowed or ()) else set())


def hinted_types(parts: Parts) -> list[str]:
    """The types the keywords speak of."""
    return [kind for kind, keywords in _HINTS if any(not keywords.isdisjoint(part) for part in parts)]


def is_null(branch: Sequence[JsonValue]) -> bool:
    """Whether only null can satisfy the branch."""
    return any(isinstance(schema, dict) and named_types(schema) == {"null"} for schema in branch)


def named_properties(parts: Parts) -> list[str]:
    """The names under `properties`, in their order."""
    return [name for part in parts for name in keys_in(part, "properties")]


def keys_in(part: Schema, keyword: str) -> list[str]:
    """The keys of the keyword's object."""
    named = part.get(keyword)
    return list(named) if isinstance(named, dict) else []


def longest_prefix(parts: Parts) -> int:
    """How many items are described one by one."""
    prefixes = [[*schemas_in(part, "prefixItems"), *schemas_in(part, "items")] for part in parts]
    return max(map(len, prefixes), default=0)

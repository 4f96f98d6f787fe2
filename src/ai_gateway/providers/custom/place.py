"""The constraints at one place of a value: allowed values, branches, types, property names.

A place is described by the parts of `schema.py`; the functions here read them and decide nothing.
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
"""The type that a schema without `type` implies, by the keywords it uses."""


@dataclass(frozen=True, slots=True)
class Fork:
    """A choice between branches; a branch is the schemas that apply with it."""

    keyword: str
    origin: int
    branches: Sequence[Sequence[JsonValue]]


def default_values(parts: Parts) -> Iterator[JsonValue]:
    """The defaults, except null, which says nothing about the data."""
    return (part["default"] for part in parts if part.get("default") is not None)


def allowed_values(parts: Parts) -> list[JsonValue] | None:
    """The values of a `const` or else the first `enum`."""
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
    """The types that every part allows; empty when no part names one, or they contradict."""
    allowed: frozenset[str] | None = None
    for part in parts:
        named = named_types(part)
        if "number" in named:
            named |= {"integer"}
        if named:
            allowed = named if allowed is None else allowed & named
    return (allowed or frozenset()) - ({"integer"} if "number" in (allowed or ()) else set())


def hinted_types(parts: Parts) -> list[str]:
    """The types that the keywords imply."""
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
    """The number of items with a schema of their own."""
    prefixes = [[*schemas_in(part, "prefixItems"), *schemas_in(part, "items")] for part in parts]
    return max(map(len, prefixes), default=0)

"""Reads a JSON Schema at one place: references resolved, `allOf` flattened, the keywords of all parts combined.

A place is described by *parts*: object schemas that must all be satisfied. Schemas are untrusted and may be invalid.
"""

import json
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence, Sized
from fractions import Fraction
from typing import cast
from urllib.parse import unquote

from pydantic import JsonValue

from ai_gateway.providers.custom import pattern
from ai_gateway.providers.custom.work import Work

type Schema = dict[str, JsonValue]
type Parts = Sequence[Schema]

NEVER: Schema = {"enum": []}
"""The schema `false` as an object."""

SCALARS = frozenset({"string", "number", "integer", "boolean", "null"})
TYPES = SCALARS | {"object", "array"}

_MAX_PARTS = 200
_MAX_MEASURED = 1_000
_VISITING = 3
_VISITED_EACH = 8
"""The work of looking at one schema: a base, and a step for so many items, keys, letters or digits of its keywords."""

_MAX_DEPTH = 60
_UNBOUNDED = math.inf


class Document:
    """A complete schema: resolves its local references, and measures how deep its values must be."""

    def __init__(self, root: JsonValue, work: Work) -> None:
        self.work = work
        self._root = root
        self._heights: dict[int, float] = {}
        self._costs: dict[int, int] = {}
        self._measured = 0

    def visit(self, schema: Schema) -> None:
        """Charge a look at the schema's own keywords, by what they hold."""
        cost = self._costs.get(id(schema))
        if cost is None:  # schemas live as long as the request, so their identities do not repeat
            cost = self._costs[id(schema)] = _VISITING + sum(map(_breadth, schema.values()))
        self.work.spend(cost)

    def resolve(self, reference: str) -> JsonValue:
        """The schema at a local JSON pointer (RFC 6901); True, which allows anything, if there is none."""
        place = self._root
        if reference not in {"", "#"} and not reference.startswith("#/"):
            return True
        for step in unquote(reference.removeprefix("#")).split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            if isinstance(place, dict) and key in place:
                place = place[key]
            elif isinstance(place, list) and key.isdecimal() and int(key[:9]) < len(place):
                place = place[int(key[:9])]
            else:
                return True
        return place if reference.startswith("#") else True

    def flatten(self, schemas: Iterable[JsonValue]) -> list[Schema]:
        """Every object schema that these imply; each one once, so that cycles end."""
        parts: list[Schema] = []
        seen: set[int] = set()
        pending = deque(schemas)
        while pending and len(parts) < _MAX_PARTS:
            schema = pending.popleft()
            if schema is False:
                schema = NEVER
            if isinstance(schema, dict) and id(schema) not in seen:
                seen.add(id(schema))
                parts.append(schema)
                self.visit(schema)
                pending.extend(self.conjuncts(schema))
        return parts

    def conjuncts(self, schema: Schema) -> list[JsonValue]:
        """The schemas that apply together with this one."""
        reference = schema.get("$ref")
        return [*schemas_in(schema, "allOf"), *([self.resolve(reference)] if isinstance(reference, str) else [])]

    def property_schemas(self, parts: Parts, name: str) -> list[JsonValue]:
        """Every part's schemas for the property of this name."""
        self.work.spend(1 + len(parts))
        return [schema for part in parts for schema in self._property_schemas(part, name)]

    def _property_schemas(self, part: Schema, name: str) -> list[JsonValue]:
        properties, patterns = part.get("properties"), part.get("patternProperties")
        schemas = [properties[name]] if isinstance(properties, dict) and name in properties else []
        if isinstance(patterns, dict):
            schemas += [
                schema for expression, schema in patterns.items() if pattern.matches(expression, name, self.work)
            ]
        return schemas or [part.get("additionalProperties", True)]

    def height(self, schemas: Iterable[JsonValue]) -> float:
        """The number of levels of the flattest valid value; infinite if every value would contain itself."""
        self._measured = 0
        return max((self._height(schema, frozenset()) for schema in schemas), default=0)

    def _height(self, schema: JsonValue, trail: frozenset[int]) -> float:
        if not isinstance(schema, dict) or "const" in schema or "enum" in schema:
            return 0
        if id(schema) in self._heights:
            return self._heights[id(schema)]
        self._measured += 1
        if id(schema) in trail or len(trail) > _MAX_DEPTH or self._measured > _MAX_MEASURED:
            return _UNBOUNDED
        self.visit(schema)
        height = self._own_height(schema, trail | {id(schema)})
        if height < _UNBOUNDED:  # infinite may be a result of the trail alone, so it is not cached
            self._heights[id(schema)] = height
        return height

    def _own_height(self, schema: Schema, trail: frozenset[int]) -> float:
        heights = [self._height(part, trail) for part in self.conjuncts(schema)]
        heights += [
            min(self._height(branch, trail) for branch in branches)
            for keyword in ("anyOf", "oneOf")
            if (branches := schemas_in(schema, keyword))
        ]
        if SCALARS.isdisjoint(named_types(schema)):
            heights += [1 + self._height(child, trail) for child in _inevitable(schema)]
        return max(heights, default=0)


def _inevitable(schema: Schema) -> list[JsonValue]:
    """The schemas of the children that every value must have."""
    properties = schema.get("properties")
    children = (
        [properties.get(name, True) for name in names_in(schema, "required")] if isinstance(properties, dict) else []
    )
    least = number_in(schema, "minItems") or 0
    if least > 0:
        first = schemas_in(schema, "prefixItems")[: int(min(least, _MAX_PARTS))]
        children += [*first, *([schema.get("items", True)] if least > len(first) else [])]
    return children


def schemas_in(schema: Schema, keyword: str) -> list[JsonValue]:
    """The keyword's list of schemas; empty if it is not a list."""
    listed = schema.get(keyword)
    return listed if isinstance(listed, list) else []


def names_in(schema: Schema, keyword: str) -> list[str]:
    """The keyword's list of names; other values are ignored."""
    return [name for name in schemas_in(schema, keyword) if isinstance(name, str)]


def named_types(schema: Schema) -> frozenset[str]:
    """The known types that the schema names."""
    named = schema.get("type")
    listed = named if isinstance(named, list) else [named]
    return TYPES.intersection(name for name in listed if isinstance(name, str))


def number_in(schema: Schema, keyword: str) -> Fraction | None:
    """The keyword's number, exactly as written in decimal."""
    return exact(schema.get(keyword))


def exact(value: JsonValue) -> Fraction | None:
    """The number as written (0.1 is a tenth); None for other values."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int):
        return Fraction(value)
    return Fraction(repr(value)) if math.isfinite(value) else None


def limit(parts: Parts, keyword: str, strictest: Callable[[Iterable[Fraction]], Fraction] = max) -> Fraction | None:
    """The strictest of the parts' numbers for a keyword."""
    numbers = [number for part in parts if (number := number_in(part, keyword)) is not None]
    return strictest(numbers) if numbers else None


def item_schemas(parts: Parts, index: int) -> list[JsonValue]:
    """Every part's schema for the item at this index."""
    return [_item_schema(part, index) for part in parts]


def _item_schema(part: Schema, index: int) -> JsonValue:
    first, rest = schemas_in(part, "prefixItems"), part.get("items", True)
    if isinstance(rest, list):  # drafts before 2020-12: `items` was the list, `additionalItems` the rest
        first, rest = rest, part.get("additionalItems", True)
    return first[index] if index < len(first) else rest


def canonical(value: JsonValue, work: Work) -> str:
    """A text that is equal exactly if two values are equal in JSON Schema: 1 and 1.0 are, 1 and true are not."""
    return json.dumps(_canonical(value, work), sort_keys=True)


def _canonical(value: JsonValue, work: Work) -> JsonValue:
    work.spend(1 + _breadth(value))
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [_canonical(item, work) for item in value]
        case dict():
            return {key: _canonical(item, work) for key, item in value.items()}
        case _:
            return cast("JsonValue", value)


def _breadth(value: JsonValue) -> int:
    """The work of looking at one value, without what is inside of its parts."""
    size = value.bit_length() // 3 if isinstance(value, int) else len(value) if isinstance(value, Sized) else 0
    return size // _VISITED_EACH

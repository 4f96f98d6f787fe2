"""Whether a value satisfies a schema: just enough of JSON Schema to choose between candidates.

It is not a general validator (the contract has one): formats and unknown keywords are taken to hold, and so is
whatever would take too long to find out.
"""

from collections.abc import Callable
from typing import Final

from pydantic import JsonValue

from ai_gateway.providers.custom import pattern
from ai_gateway.providers.custom.schema import (
    Document,
    Schema,
    canonical,
    exact,
    item_schemas,
    named_types,
    names_in,
    property_schemas,
    schemas_in,
)

_STEPS = 20_000
_DEEPEST = 100

type Rule = Callable[["Checker", JsonValue, Schema], bool]


class Checker:
    """Checks values against schemas of one document."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._steps = 0
        self._depth = 0

    def holds(self, value: JsonValue, schema: JsonValue) -> bool:
        """Whether the value satisfies this schema."""
        self._steps = _STEPS
        return self.valid(value, schema)

    def valid(self, value: JsonValue, schema: JsonValue) -> bool:
        """The same, as a step of a check that has begun."""
        if not isinstance(schema, dict):
            return schema is not False
        self._steps -= 1
        if self._steps <= 0 or self._depth > _DEEPEST:
            return True
        self._depth += 1
        try:
            return all(rule(self, value, schema) for keyword, rule in _RULES.items() if keyword in schema)
        finally:
            self._depth -= 1

    def resolve(self, schema: Schema) -> JsonValue:
        reference = schema["$ref"]
        return self._document.resolve(reference) if isinstance(reference, str) else True


def type_of(value: JsonValue) -> frozenset[str]:
    """The names JSON Schema has for the value's type."""
    match value:
        case None:
            return frozenset({"null"})
        case bool():
            return frozenset({"boolean"})
        case int():
            return frozenset({"integer", "number"})
        case float():
            return frozenset({"integer", "number"}) if value.is_integer() else frozenset({"number"})
        case str():
            return frozenset({"string"})
        case list():
            return frozenset({"array"})
        case dict():
            return frozenset({"object"})


def _type(_: Checker, value: JsonValue, schema: Schema) -> bool:
    named = named_types(schema)
    return not named or not named.isdisjoint(type_of(value))


def _enum(_: Checker, value: JsonValue, schema: Schema) -> bool:
    listed = schema["enum"]
    return not isinstance(listed, list) or canonical(value) in map(canonical, listed)


def _const(_: Checker, value: JsonValue, schema: Schema) -> bool:
    return canonical(value) == canonical(schema["const"])


def _multiple(_: Checker, value: JsonValue, schema: Schema) -> bool:
    number, step = exact(value), exact(schema["multipleOf"])
    return number is None or step is None or step <= 0 or (number / step).denominator == 1


def _bound(keyword: str, size: Callable[[JsonValue], JsonValue], *, upper: bool, strict: bool = False) -> Rule:
    def rule(_: Checker, value: JsonValue, schema: Schema) -> bool:
        measured, bound = exact(size(value)), exact(schema[keyword])
        if measured is None or bound is None:
            return True
        return (measured != bound or not strict) and (measured <= bound if upper else measured >= bound)

    return rule


def _itself(value: JsonValue) -> JsonValue:
    return value


def _size[T](kind: type[str] | type[list[JsonValue]] | type[dict[str, JsonValue]]) -> Callable[[JsonValue], JsonValue]:
    def size(value: JsonValue) -> JsonValue:
        return len(value) if isinstance(value, kind) else None

    return size


def _pattern(_: Checker, value: JsonValue, schema: Schema) -> bool:
    expression = schema["pattern"]
    return not isinstance(value, str) or not isinstance(expression, str) or pattern.found(expression, value)


def _properties(checker: Checker, value: JsonValue, schema: Schema) -> bool:
    if not isinstance(value, dict):
        return True
    return all(checker.valid(item, child) for name, item in value.items() for child in property_schemas([schema], name))


def _property_names(checker: Checker, value: JsonValue, schema: Schema) -> bool:
    return not isinstance(value, dict) or all(checker.valid(name, schema["propertyNames"]) for name in value)


def _required(_: Checker, value: JsonValue, schema: Schema) -> bool:
    return not isinstance(value, dict) or all(name in value for name in names_in(schema, "required"))


def _items(checker: Checker, value: JsonValue, schema: Schema) -> bool:
    if not isinstance(value, list):
        return True
    return all(checker.valid(item, item_schemas([schema], index)[0]) for index, item in enumerate(value))


def _unique(_: Checker, value: JsonValue, schema: Schema) -> bool:
    if not isinstance(value, list) or schema["uniqueItems"] is not True:
        return True
    return len({canonical(item) for item in value}) == len(value)


def _contains(checker: Checker, value: JsonValue, schema: Schema) -> bool:
    if not isinstance(value, list):
        return True
    count = sum(checker.valid(item, schema["contains"]) for item in value)
    least, most = exact(schema.get("minContains")), exact(schema.get("maxContains"))
    return count >= (1 if least is None else least) and (most is None or count <= most)


def _reference(checker: Checker, value: JsonValue, schema: Schema) -> bool:
    return checker.valid(value, checker.resolve(schema))


def _all_of(checker: Checker, value: JsonValue, schema: Schema) -> bool:
    return all(checker.valid(value, branch) for branch in schemas_in(schema, "allOf"))


def _any_of(checker: Checker, value: JsonValue, schema: Schema) -> bool:
    branches = schemas_in(schema, "anyOf")
    return not branches or any(checker.valid(value, branch) for branch in branches)


def _one_of(checker: Checker, value: JsonValue, schema: Schema) -> bool:
    branches = schemas_in(schema, "oneOf")
    return not branches or sum(checker.valid(value, branch) for branch in branches) == 1


def _not(checker: Checker, value: JsonValue, schema: Schema) -> bool:
    return not isinstance(schema["not"], dict | bool) or not checker.valid(value, schema["not"])


def _if(checker: Checker, value: JsonValue, schema: Schema) -> bool:
    return checker.valid(value, schema.get("then" if checker.valid(value, schema["if"]) else "else", True))


_text, _list, _object = _size(str), _size(list), _size(dict)

_RULES: Final[dict[str, Rule]] = {
    "type": _type,
    "enum": _enum,
    "const": _const,
    "multipleOf": _multiple,
    "minimum": _bound("minimum", _itself, upper=False),
    "maximum": _bound("maximum", _itself, upper=True),
    "exclusiveMinimum": _bound("exclusiveMinimum", _itself, upper=False, strict=True),
    "exclusiveMaximum": _bound("exclusiveMaximum", _itself, upper=True, strict=True),
    "minLength": _bound("minLength", _text, upper=False),
    "maxLength": _bound("maxLength", _text, upper=True),
    "pattern": _pattern,
    "minProperties": _bound("minProperties", _object, upper=False),
    "maxProperties": _bound("maxProperties", _object, upper=True),
    "required": _required,
    "properties": _properties,
    "patternProperties": _properties,
    "additionalProperties": _properties,
    "propertyNames": _property_names,
    "minItems": _bound("minItems", _list, upper=False),
    "maxItems": _bound("maxItems", _list, upper=True),
    "prefixItems": _items,
    "items": _items,
    "uniqueItems": _unique,
    "contains": _contains,
    "$ref": _reference,
    "allOf": _all_of,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "not": _not,
    "if": _if,
}

"""Checks a value against a JSON Schema: just enough to choose between candidates.

It is not a general validator: formats and unknown keywords count as satisfied, and so does what is nested too deeply.
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
    schemas_in,
)

_CHECKING = 10
"""The work of checking one value against one schema."""

_MAX_DEPTH = 100

type Rule = Callable[["Checker", JsonValue, Schema], bool]


class Checker:
    """Checks values against schemas of one document."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._depth = 0

    def holds(self, value: JsonValue, schema: JsonValue) -> bool:
        """Whether the value satisfies this schema."""
        if not isinstance(schema, dict):
            return schema is not False
        if self._depth > _MAX_DEPTH:
            return True
        self.document.work.spend(_CHECKING)
        self.document.visit(schema)
        self._depth += 1
        try:
            own_keywords = all(rule(self, value, schema) for keyword, rule in _RULES.items() if keyword in schema)
            return own_keywords and self._children(value, schema)
        finally:
            self._depth -= 1

    def _children(self, value: JsonValue, schema: Schema) -> bool:
        if isinstance(value, dict):
            return all(
                self.holds(item, child)
                for name, item in value.items()
                for child in self.document.property_schemas([schema], name)
            )
        if isinstance(value, list):
            return all(self.holds(item, item_schemas([schema], index)[0]) for index, item in enumerate(value))
        return True

    def canonical(self, value: JsonValue) -> str:
        """A text that is equal for equal values."""
        return canonical(value, self.document.work)

    def referenced(self, schema: Schema) -> JsonValue:
        """The target of the schema's `$ref`."""
        reference = schema["$ref"]
        return self.document.resolve(reference) if isinstance(reference, str) else True


_TYPE_NAMES: Final[dict[type, frozenset[str]]] = {
    type(None): frozenset({"null"}),
    bool: frozenset({"boolean"}),
    int: frozenset({"integer", "number"}),
    float: frozenset({"number"}),
    str: frozenset({"string"}),
    list: frozenset({"array"}),
    dict: frozenset({"object"}),
}


def type_of(value: JsonValue) -> frozenset[str]:
    """JSON Schema's names of the value's type; 1.0 is an integer there."""
    return _TYPE_NAMES[int if isinstance(value, float) and value.is_integer() else type(value)]


def _type(_: Checker, value: JsonValue, schema: Schema) -> bool:
    named = named_types(schema)
    return not named or not named.isdisjoint(type_of(value))


def _enum(checker: Checker, value: JsonValue, schema: Schema) -> bool:
    listed, same = schema["enum"], checker.canonical
    return not isinstance(listed, list) or same(value) in map(same, listed)


def _const(checker: Checker, value: JsonValue, schema: Schema) -> bool:
    return checker.canonical(value) == checker.canonical(schema["const"])


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


def _pattern(checker: Checker, value: JsonValue, schema: Schema) -> bool:
    expression = schema["pattern"]
    if not isinstance(value, str) or not isinstance(expression, str):
        return True
    return pattern.matches(expression, value, checker.document.work)


def _property_names(checker: Checker, value: JsonValue, schema: Schema) -> bool:
    return not isinstance(value, dict) or all(checker.holds(name, schema["propertyNames"]) for name in value)


def _required(_: Checker, value: JsonValue, schema: Schema) -> bool:
    return not isinstance(value, dict) or all(name in value for name in names_in(schema, "required"))


def _unique(checker: Checker, value: JsonValue, schema: Schema) -> bool:
    if not isinstance(value, list) or schema["uniqueItems"] is not True:
        return True
    return len(set(map(checker.canonical, value))) == len(value)


def _contains(checker: Checker, value: JsonValue, schema: Schema) -> bool:
    if not isinstance(value, list):
        return True
    count = sum(checker.holds(item, schema["contains"]) for item in value)
    least, most = exact(schema.get("minContains")), exact(schema.get("maxContains"))
    return count >= (1 if least is None else least) and (most is None or count <= most)


def _reference(checker: Checker, value: JsonValue, schema: Schema) -> bool:
    return checker.holds(value, checker.referenced(schema))


def _all_of(checker: Checker, value: JsonValue, schema: Schema) -> bool:
    return all(checker.holds(value, branch) for branch in schemas_in(schema, "allOf"))


def _any_of(checker: Checker, value: JsonValue, schema: Schema) -> bool:
    branches = schemas_in(schema, "anyOf")
    return not branches or any(checker.holds(value, branch) for branch in branches)


def _one_of(checker: Checker, value: JsonValue, schema: Schema) -> bool:
    branches = schemas_in(schema, "oneOf")
    return not branches or sum(checker.holds(value, branch) for branch in branches) == 1


def _not(checker: Checker, value: JsonValue, schema: Schema) -> bool:
    return not isinstance(schema["not"], dict | bool) or not checker.holds(value, schema["not"])


def _if(checker: Checker, value: JsonValue, schema: Schema) -> bool:
    return checker.holds(value, schema.get("then" if checker.holds(value, schema["if"]) else "else", True))


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
    "propertyNames": _property_names,
    "minItems": _bound("minItems", _list, upper=False),
    "maxItems": _bound("maxItems", _list, upper=True),
    "uniqueItems": _unique,
    "contains": _contains,
    "$ref": _reference,
    "allOf": _all_of,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "not": _not,
    "if": _if,
}

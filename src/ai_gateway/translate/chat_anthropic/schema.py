"""JSON schemas for structured outputs, as the Messages API accepts them."""

from collections.abc import Mapping

_MAPS = ("properties", "$defs", "definitions")
_LISTS = ("anyOf",)


def closed(schema: Mapping[str, object]) -> dict[str, object]:
    """The schema, where objects without `additionalProperties` are closed.

    The API requires closed objects: docs.anthropic.com "Structured outputs". A value that is valid for the closed
    schema is valid for the open one, unless another schema applies to the same object: so subschemas of `allOf`, `not`
    and the like stay unchanged.
    """
    if "allOf" in schema:
        return dict(schema)
    result = {name: _inner(name, value) for name, value in schema.items()}
    if schema.get("type") == "object" or "properties" in schema:
        result.setdefault("additionalProperties", False)
    return result


def _inner(name: str, value: object) -> object:
    if name in _MAPS and isinstance(value, dict):
        return {key: _closed(one) for key, one in value.items()}
    if name in _LISTS and isinstance(value, list):
        return [_closed(one) for one in value]
    return _closed(value) if name == "items" else value


def _closed(value: object) -> object:
    return closed(value) if isinstance(value, dict) else value

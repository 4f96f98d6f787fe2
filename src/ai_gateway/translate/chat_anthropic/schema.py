"""Schemas for structured answers, as the Messages API takes them."""

from collections.abc import Mapping

_MAPS = ("properties", "$defs", "definitions")
_LISTS = ("anyOf",)


def closed(schema: Mapping[str, object]) -> dict[str, object]:
    """The schema with every object closed that says nothing about further properties.

    The API asks for that. What is valid for the closed schema is valid for the open one, as long as no other schema
    has a say about the same object: so none is entered through `allOf`, `not` or the like.
    """
    if "allOf" in schema:
        return dict(schema)
    found = {name: _inner(name, value) for name, value in schema.items()}
    if schema.get("type") == "object" or "properties" in schema:
        found.setdefault("additionalProperties", False)
    return found


def _inner(name: str, value: object) -> object:
    if name in _MAPS and isinstance(value, dict):
        return {key: _closed(one) for key, one in value.items()}
    if name in _LISTS and isinstance(value, list):
        return [_closed(one) for one in value]
    return _closed(value) if name == "items" else value


def _closed(value: object) -> object:
    return closed(value) if isinstance(value, dict) else value

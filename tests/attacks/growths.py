"""Values of a model that grow in one place: every list, text and map that its fields have, down to some depth."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from pydantic import BaseModel, ValidationError

from ai_gateway.contract.texts import Shape, fields_of
from ai_gateway.providers.custom import sample
from ai_gateway.providers.custom.work import Work

type Make = Callable[[int], Any]


@dataclass(frozen=True)
class Growth:
    """A place, and what makes a value of the model with so many things there."""

    place: str
    make: Make


def growths(model: type[BaseModel], deepest: int, depth: int = 0) -> Iterator[Growth]:
    """Every way in which a value of the model can grow, down to a depth."""
    plain = least(model)
    for name, shape in fields_of(model).items():
        for place, make in _of(shape, deepest, depth):
            yield Growth(f"{name}{place}", partial(_with, plain, name, make))


def _with(plain: dict[str, Any], name: str, make: Make, size: int) -> dict[str, Any]:
    return {**plain, name: make(size)}


@cache
def least(model: type[BaseModel]) -> dict[str, Any]:
    """A value of the model with what it has to have."""
    schema = model.model_json_schema(by_alias=True)
    schema["properties"] = {name: schema["properties"][name] for name in schema.get("required", ())}
    value: Any = sample.object_instance(schema, "least", Work(10**9))
    return dict(value)


def fitting(model: type[BaseModel], growth: Growth, size: int) -> BaseModel | None:
    """The value as the model; None if the contract does not have it."""
    try:
        return model.model_validate(growth.make(size))
    except ValidationError:
        return None


def _of(shape: Shape, deepest: int, depth: int) -> Iterator[tuple[str, Make]]:
    if shape.text:
        yield "", lambda size: "ab, " * (8 * size)
        yield " (of one letter)", lambda size: "a" * (32 * size)
    if shape.items is not None:
        for kind, item in _items(shape.items):
            yield f"[{kind}]", partial(_filled, item)
        for place, make in _of(shape.items, deepest, depth + 1) if depth < deepest else ():
            yield f"[0]{place}", partial(_alone, make)
    if shape.values is not None:
        inside: Any = 1 if shape.values.number else "x"
        yield "{}", lambda size: {f"key {at}": inside for at in range(size)}
    for model in shape.models if depth < deepest else ():
        for growth in growths(model, deepest, depth + 1):
            yield f".{growth.place}", growth.make


def _filled(item: Callable[[int], Any], size: int) -> list[Any]:
    return [item(at) for at in range(size)]


def _alone(make: Make, size: int) -> list[Any]:
    return [make(size)]


def _items(shape: Shape) -> Iterator[tuple[str, Callable[[int], Any]]]:
    """What a list may be full of; ids and names differ from item to item."""
    if shape.text:
        yield "text", lambda at: f"text {at}"
    if shape.number:
        yield "number", lambda at: at
    if shape.items is not None and shape.items.number:
        yield "list", lambda at: [at, at + 1]
    for model in shape.models:
        yield model.__name__, partial(_numbered, least(model))


def _numbered(value: Any, at: int) -> Any:
    """The value, told apart from others by its ids, names and indexes, wherever it has them."""
    if isinstance(value, list):
        return [_numbered(inner, at) for inner in value]
    if not isinstance(value, dict):
        return value
    numbers = {"id": f"call_{at}", "tool_call_id": f"call_{at}", "name": f"tool_{at}", "index": at}
    return {
        name: numbers[name] if name in numbers and isinstance(inner, str | int) else _numbered(inner, at)
        for name, inner in value.items()
    }

"""The objects inside of a reply and their models, so that a large reply is mended one object at a time.

A validator complains of every place at once: a megabyte of `{}` choices makes a gigabyte of complaints.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import get_args

from pydantic import BaseModel

from ai_gateway.contract.texts import Shape, fields_of

# More objects than this are looked at one by one, and longer lists of plain values before they are validated.
_MANY = 256

type Part = tuple[type[BaseModel], Mapping[str, object], tuple[str | int, ...]]
"""An object with its model, and where it stands."""


def is_large(value: object) -> bool:
    """Whether there is so much in a value that it is not validated in one go."""
    pending, seen = [value], 0
    while pending and seen <= _MANY:
        inner = pending.pop()
        if isinstance(inner, dict | list):
            seen += len(inner)
            pending += list(inner.values() if isinstance(inner, dict) else inner)[:_MANY]
    return seen > _MANY


def parts_of(model: type[BaseModel], value: Mapping[str, object]) -> Iterator[Part]:
    """The objects directly inside of one. Raises ValueError, with the name of the place, for what is none."""
    for name, shape in fields_of(model).items():
        inner = value.get(name)
        if isinstance(inner, dict):
            if shape.models:
                yield _model_for(shape, inner), inner, (name,)
            elif shape.values:
                _check_plain(name, inner.values(), shape.values)
        elif isinstance(inner, list) and shape.items is not None:
            yield from _items(name, inner, shape.items)


def _items(name: str, listed: list[object], shape: Shape) -> Iterator[Part]:
    if not shape.models:
        _check_plain(name, listed, shape)
        for inner in listed:
            if isinstance(inner, dict) and shape.values:
                _check_plain(name, inner.values(), shape.values)
            elif isinstance(inner, list) and shape.items:
                _check_plain(name, inner, shape.items)
        return
    for at, item in enumerate(listed):
        if isinstance(item, dict):
            yield _model_for(shape, item), item, (name, at)
        elif len(listed) > _MANY:
            raise ValueError(name)


def _check_plain(name: str, values: Collection[object], shape: Shape) -> None:
    """Raise ValueError if one of many is of a type that the shape does not take, which may also be null."""
    if len(values) <= _MANY:
        return
    taken: set[type] = {type(None)}
    taken |= {str} if shape.text or shape.words else set()
    taken |= {int, float} if shape.number else set()
    taken |= {bool} if shape.boolean else set()
    taken |= {list} if shape.items else set()
    taken |= {dict} if shape.values or shape.models else set()
    if not taken.issuperset(map(type, values)):
        raise ValueError(name)


def _model_for(shape: Shape, value: Mapping[str, object]) -> type[BaseModel]:
    """The model whose tag the object has; the first of several if none has."""
    for model in shape.models:
        tag = model.model_fields.get("type")
        if tag is not None and value.get("type") in get_args(tag.annotation):
            return model
    return shape.models[0]

"""The objects inside a reply and their models, so that a large reply is repaired one object at a time.

A validator reports all errors at once: a megabyte of `{}` choices makes a gigabyte of errors.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import get_args

from pydantic import BaseModel

from ai_gateway.contract.texts import Shape, fields_of

# Replies with more objects than this are repaired object by object, and longer lists of plain values are checked first.
_MANY = 256

type Part = tuple[type[BaseModel], Mapping[str, object], tuple[str | int, ...]]
"""An object with its model and its place."""


def is_large(value: object) -> bool:
    """Whether a value is too large to be validated at once."""
    pending, seen = [value], 0
    while pending and seen <= _MANY:
        inner = pending.pop()
        if isinstance(inner, dict | list):
            seen += len(inner)
            pending += list(inner.values() if isinstance(inner, dict) else inner)[:_MANY]
    return seen > _MANY


def parts_of(model: type[BaseModel], value: Mapping[str, object]) -> Iterator[Part]:
    """The objects directly inside one. Raises ValueError with the name of a place that has none."""
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
    """Raise ValueError if a value has a type that the annotation does not accept."""
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

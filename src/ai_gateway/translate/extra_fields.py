"""Extra fields: those beyond a wire's documents, carried over to the object on another wire.

An extra field keeps its name and value. One whose name has a meaning on the other wire, or is in use there, goes into
OTHER_FIELDS of the same object, a list of objects, so that nothing is overwritten or lost.
"""

from collections.abc import Collection, Mapping
from functools import cache

from pydantic import BaseModel
from pydantic_core import to_json

OTHER_FIELDS = "other_fields"
_EMPTY: tuple[object, ...] = (None, "", [], {})
# An object like one of the last so many is skipped: events of a stream repeat them, and most are not even parsed.
_REPEATED_WITHIN = 8

type Fields = dict[str, object]


def extra_fields(model: BaseModel, *read: str) -> Fields:
    """A model's extra fields except those `read`, and including those in OTHER_FIELDS."""
    extras = model.__pydantic_extra__
    if not extras:
        return {}
    fields = {name: value for name, value in extras.items() if name not in read}
    if kept := _objects(fields.get(OTHER_FIELDS)):
        del fields[OTHER_FIELDS]
        for others in kept:
            place(others, fields)
    return fields


def carry[Model: BaseModel](extras: Fields, model: Model, *, apart: bool = False) -> Model:
    """The model with the fields. `apart`: all of them in OTHER_FIELDS, to distinguish them from fields of its wire."""
    held = model.__pydantic_extra__
    if extras and held is not None:
        if apart:
            held[OTHER_FIELDS] = [extras]
        else:
            present = {name: getattr(model, name) for name in model.model_fields_set & extras.keys()}
            place(extras, held, names_of(type(model)), present)
    return model


def place(
    extras: Mapping[str, object],
    into: Fields,
    known: Collection[str] = (),
    present: Mapping[str, object] | None = None,
) -> None:
    """Add the fields to an object whose wire has the `known` names. Those `present` with the same value are skipped."""
    others: Fields = {}
    for name, value in extras.items():
        before = into if name in into else present or {}
        if name == OTHER_FIELDS and (kept := _objects(value)):
            _keep(into, kept)
        elif name in before:
            if not is_same(before[name], value):
                others[name] = value
        elif name in known or name == OTHER_FIELDS:
            others[name] = value
        else:
            into[name] = value
    if others:
        _keep(into, [others])


def merge(more: Mapping[str, object], into: Fields) -> None:
    """Add the fields of a later piece of a streamed object: objects are merged, other values replaced."""
    for name, value in more.items():
        before = into.get(name)
        if isinstance(before, dict) and isinstance(value, dict):
            merge(value, before)
        else:
            place({name: value}, into)


def send_back(source: BaseModel, into: BaseModel | Fields, *read: str, known: Collection[str] = ()) -> set[str]:
    """Add nonempty extra fields, which an earlier reply may have had, to an object of a request.

    Returns the names of those with another meaning there, which are dropped, since requests have no OTHER_FIELDS.
    """
    extras = {name: value for name, value in extra_fields(source, *read).items() if value not in _EMPTY}
    if not extras:
        return set()
    if isinstance(into, BaseModel):
        carry(extras, into)
        into = into.__pydantic_extra__ or {}
    else:
        place(extras, into, known)
    return {name for others in _objects(into.pop(OTHER_FIELDS, None)) for name in others}


def is_same(one: object, other: object) -> bool:
    """Whether two values are the same JSON: in Python, 1 equals True."""
    return one == other and to_json(one) == to_json(other)


def _keep(into: Fields, more: list[Fields]) -> None:
    kept = into.setdefault(OTHER_FIELDS, [])
    if isinstance(kept, list):  # written by this module only
        for each in more:
            if not any(is_same(each, known) for known in kept[-_REPEATED_WITHIN:]):
                kept.append(each)


def _objects(value: object) -> list[Fields]:
    """The objects in OTHER_FIELDS; empty if an upstream uses the name for something else."""
    return value if isinstance(value, list) and all(isinstance(each, dict) for each in value) else []


@cache
def names_of(model: type[BaseModel]) -> frozenset[str]:
    """The documented field names of such an object."""
    return frozenset(field.alias or name for name, field in model.model_fields.items())

"""Query parameters, headers and form fields: strings converted to the types of a model.

A string becomes a number, a boolean or an object only if the model accepts one, and only in JSON's spelling. All others
stay strings, which the model may refuse.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, TypeAliasType, Union, get_args, get_origin

from pydantic import BaseModel

from ai_gateway.contract.strict_json import read_json
from ai_gateway.contract.types import UploadedFile
from ai_gateway.errors import InvalidRequest

_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\]){0,4})")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.$-]{1,64}")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Shape:
    """The types that a model accepts in one place; several of these are a union.

    `words` are the values of an enum, `items` is for an array, `models` are the objects, `values` is for a mapping.
    """

    text: bool = False
    words: frozenset[str] = frozenset()
    number: bool = False
    boolean: bool = False
    file: bool = False
    items: "Shape | None" = None
    models: tuple[type[BaseModel], ...] = ()
    values: "Shape | None" = None

    def __or__(self, other: "Shape") -> "Shape":
        return Shape(
            self.text or other.text,
            self.words | other.words,
            self.number or other.number,
            self.boolean or other.boolean,
            self.file or other.file,
            self.items | other.items if self.items and other.items else self.items or other.items,
            self.models + other.models,
            self.values | other.values if self.values and other.values else self.values or other.values,
        )

    def inside(self, key: str) -> "Shape":
        """The accepted types under a key of the objects."""
        found = self.values or _NOTHING
        for model in self.models:
            found |= fields_of(model).get(key, _NOTHING)
        return found

    @property
    def list_only(self) -> bool:
        """Whether even a single value is an array."""
        return self.items is not None and not (self.text or self.words or self.number or self.boolean or self.file)


_NOTHING = Shape()
_PLAIN: Mapping[object, Shape] = {
    str: Shape(text=True),
    Any: Shape(text=True),
    int: Shape(number=True),
    float: Shape(number=True),
    bool: Shape(boolean=True),
    UploadedFile: Shape(file=True),
}


@cache
def fields_of(model: type[BaseModel]) -> Mapping[str, Shape]:
    """The accepted types of a model by field, under the names on the wire."""
    return {field.alias or name: _shape(field.annotation) for name, field in model.model_fields.items()}


def _shape(annotation: object) -> Shape:
    while isinstance(annotation, TypeAliasType) or get_origin(annotation) is Annotated:
        annotation = annotation.__value__ if isinstance(annotation, TypeAliasType) else get_args(annotation)[0]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return Shape(models=(annotation,))
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        words = frozenset(value for value in arguments if isinstance(value, str))
        return Shape(words=words, number=any(type(value) is int for value in arguments))
    if origin is list:
        return Shape(items=_shape(arguments[0]))
    if origin is dict:
        return Shape(values=_shape(arguments[1]))
    found = _PLAIN.get(annotation, _NOTHING)
    for branch in arguments if origin in {Union, UnionType} else ():
        found |= _shape(branch)
    return found


def read_fields(
    model: type[BaseModel], given: Iterable[tuple[str, bytes | UploadedFile]], *, others: bool = False
) -> dict[str, object]:
    """The fields of a model from names and strings, in their order; `others` keeps unknown names.

    Arrays repeat their name, with or without `[]`; `name[key]` is a field of an object. Raises InvalidRequest for a
    value that is given twice, or is not UTF-8.
    """
    known = fields_of(model)
    found: dict[str, object] = {}
    for name, value in given:
        split = _NAME.fullmatch(name)
        field, brackets = split.groups() if split and name not in known else (name, "")
        if field in known or others:
            steps = brackets[1:-1].split("][") if brackets else []
            _Given(field, value).put(found, field, steps, known.get(field, _NOTHING))
    return found


@dataclass(frozen=True, slots=True)
class _Given:
    """A value, and the field that it is for."""

    field: str
    value: bytes | UploadedFile

    def put(self, holder: dict[str, object], key: str, steps: list[str], shape: Shape) -> None:
        """Put the value at `key`, or the given steps inside of it."""
        if steps and steps != [""]:
            inside = holder.setdefault(key, {})
            if not isinstance(inside, dict):
                raise self._wrong("is given more than once: give it once")
            self.put(inside, steps[0], steps[1:], shape.inside(steps[0]))
        elif steps or shape.list_only or (key in holder and shape.items):
            present = holder.setdefault(key, [])
            if not isinstance(present, list):
                present = holder[key] = [present]
            present.append(self._read(shape.items or shape))
        elif key in holder:
            raise self._wrong("is given more than once: give it once")
        else:
            holder[key] = self._read(shape)

    def _read(self, shape: Shape) -> object:
        raw = self.value
        if isinstance(raw, UploadedFile):
            if shape.file or (shape == _NOTHING and raw.name is not None):
                return raw
            raw = raw.data
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            raise self._wrong("is not UTF-8") from None
        if shape.text or text in shape.words:
            return text
        if shape.boolean and text in {"true", "false"}:
            return text == "true"
        if (shape.number and _NUMBER.fullmatch(text)) or ((shape.models or shape.values) and text.startswith("{")):
            try:
                return read_json(raw)
            except ValueError:  # the model's error says which values it accepts
                return text
        return text

    def _wrong(self, reason: str) -> InvalidRequest:
        """The error, with the field's name unless the caller made it up: errors never quote input."""
        known = _PLAIN_NAME.fullmatch(self.field)
        return InvalidRequest(
            f"{f"'{self.field}'" if known else 'A field'} {reason}.",
            param=self.field if known else None,
            code="invalid_value",
        )

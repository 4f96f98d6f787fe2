"""Building blocks of the generated code: open and closed models, files, JSON Schema's integer, and policies."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import MISSING, BaseModel, ConfigDict, Discriminator, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema


def _integral(value: object) -> object:
    """JSON Schema counts 1.0 as an integer, while a strict int does not."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class _IntegralFloats:
    """Validates an int without calling Python, which would take a third of validating a chunk; only floats need it.

    A left-to-right union with one error for both branches: its type and place are those of a plain int's error.
    """

    def __get_pydantic_core_schema__(self, source: type[int], handler: GetCoreSchemaHandler) -> CoreSchema:
        strict = handler(source)
        return core_schema.union_schema(
            [strict, core_schema.no_info_before_validator_function(_integral, strict)],
            mode="left_to_right",
            custom_error_type="int_type",
            serialization=core_schema.simple_ser_schema("int"),
        )


Int = Annotated[int, _IntegralFloats()]


type Policy = Literal["forwarded", "mapped", "dropped", "refused"]
"""The policy for a request field: see providers/parameters.py."""

type FieldPolicies = Mapping[str, Policy]
type PolicyTable = Mapping[str, FieldPolicies]
"""The policy of each field of each operation, as data."""


class OpenModel(BaseModel):
    """An object that may have fields beyond its schema; they are kept."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())


class ClosedModel(BaseModel):
    """An object that may have no fields beyond its schema."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file in a form, or a body that is one. `media` is the type that the client gave it, `name` the file's name."""

    data: bytes = field(repr=False)
    media: str = "application/octet-stream"
    name: str | None = None

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """Accepts instances only: no JSON value is a file."""
        return core_schema.is_instance_schema(cls)


def by_tag(tag: str, first: str, *, absent: bool) -> Discriminator:
    """Selects the branch of a union by a tag: "" if it is `absent` and may be, "null" if it is null.

    A value that is not an object goes to the `first` branches, whose error says so.
    """

    def find(value: object) -> str | None:
        if not isinstance(value, dict | BaseModel):
            return first
        found = value.get(tag, MISSING) if isinstance(value, dict) else getattr(value, tag, MISSING)
        if found is MISSING:
            return "" if absent else None
        if found is None:
            return "null"
        return found if isinstance(found, str) else "?"  # matches no branch

    find.__name__ = tag  # which is how errors call it
    return Discriminator(find)


def complete(namespace: dict[str, object]) -> None:
    """Build every model of a module now; else the first request would build those with forward references."""
    for value in list(namespace.values()):
        if isinstance(value, type) and issubclass(value, BaseModel):
            value.model_rebuild()

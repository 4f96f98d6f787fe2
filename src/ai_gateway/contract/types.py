"""What the generated code is made of: two kinds of object, files, JSON Schema's idea of an integer, and policies."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import MISSING, BaseModel, ConfigDict, Discriminator, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema


def _integral(value: object) -> object:
    """JSON Schema counts 1.0 as an integer, while a strict int does not."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class _IntegralFloats:
    """Validates an int without a call into Python, which would be a third of validating a chunk; only floats need one.

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
"""What becomes of a request field: see providers/parameters.py."""

type FieldPolicies = Mapping[str, Policy]
type PolicyTable = Mapping[str, FieldPolicies]
"""The policy of each field of each operation, as data."""


class OpenModel(BaseModel):
    """An object that may carry more than its schema names; what it carries is kept."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())


class ClosedModel(BaseModel):
    """An object that may carry nothing but what its schema names."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file in a form, or a body that is one. `media` is the type that the client gave it, `name` the file's name."""

    data: bytes = field(repr=False)
    media: str = "application/octet-stream"
    name: str | None = None

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """Only a file is one: nothing that JSON could say."""
        return core_schema.is_instance_schema(cls)


def by_tag(tag: str, first: str, *, absent: bool) -> Discriminator:
    """Tells the branches of a union apart by a tag that may be `absent`: "" then, and "null" where it is null.

    What is no object goes to the `first` branches, which say so.
    """

    def find(value: object) -> str | None:
        if not isinstance(value, dict | BaseModel):
            return first
        found = value.get(tag, MISSING) if isinstance(value, dict) else getattr(value, tag, MISSING)
        if found is MISSING:
            return "" if absent else None
        if found is None:
            return "null"
        return found if isinstance(found, str) else "?"  # which is nobody's

    find.__name__ = tag  # which is how errors call it
    return Discriminator(find)


def complete(namespace: dict[str, object]) -> None:
    """Build every model of a module now; those that name later ones would else be built by the first request."""
    for value in list(namespace.values()):
        if isinstance(value, type) and issubclass(value, BaseModel):
            value.model_rebuild()

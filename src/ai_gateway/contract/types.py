"""What the generated code is made of: two kinds of object, JSON Schema's idea of an integer, and policies."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
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
"""What becomes of a request field: see providers/policy.py."""


class OpenModel(BaseModel):
    """An object that may carry more than its schema names; what it carries is kept."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())


class ClosedModel(BaseModel):
    """An object that may carry nothing but what its schema names."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


def complete(namespace: dict[str, object]) -> None:
    """Build every model of a module now; those that name later ones would else be built by the first request."""
    for value in list(namespace.values()):
        if isinstance(value, type) and issubclass(value, BaseModel):
            value.model_rebuild()

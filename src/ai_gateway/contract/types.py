"""What the generated models are made of: the two kinds of object and JSON Schema's idea of an integer."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict


def _integral(value: object) -> object:
    """JSON Schema counts 1.0 as an integer, while a strict int does not."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Int = Annotated[int, BeforeValidator(_integral)]


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

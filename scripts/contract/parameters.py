"""Generate the request fields of one document as types: what every adapter has to decide about."""

from scripts.contract.documents import Json, operations
from scripts.contract.request_parameters import DOOR_SUFFIX
from scripts.contract.stubs import body_schemas

# A TypedDict, and a mapping by Literals, know their keys one by one only. Where they are data these say so, once: the
# casts are true because every class above holds nothing but policies, and `changed` keeps its keys.
_AS_DATA = '''
def by_field(policies: Policies) -> PolicyTable:
    """The policies as data: each operation's fields with their policy."""
    return cast("PolicyTable", policies)


def changed(policies: Policies, changes: FieldPolicies) -> Policies:
    """The policies with those of `changes`, in every operation that has the field."""
    table = by_field(policies).items()
    return cast(
        "Policies",
        {
            operation: {name: changes.get(name, policy) for name, policy in fields.items()}
            for operation, fields in table
        },
    )


def is_request_field(name: str) -> TypeGuard[RequestField]:
    """Whether a request of any operation has a field of this name."""
    return name in REQUEST_FIELDS
'''

type Bodies = dict[str, list[str]]
"""The names of each operation's body schemas: one, or one for each form of its body."""


def generate_parameters(name: str, document: Json, header: str) -> str | None:
    """Python source of one module, or None when no operation takes a body. Raises SystemExit on any misfit."""
    bodies = _bodies(document)
    if not bodies:
        return None
    sections = [_fields(operation, _field_names(names, document)) for operation, names in bodies.items()]
    return "\n\n".join(
        [_opening(name, header), *sections, _all(bodies), _names(bodies, document), _facts(bodies, document), _AS_DATA]
    )


def _bodies(document: Json) -> Bodies:
    """Those of every operation whose body has fields, by operationId without its door."""
    bodies: Bodies = {}
    for _, _, operation in operations(document):
        if names := list(dict.fromkeys(body_schemas(operation, document).values())):
            bodies[operation["operationId"].removesuffix(DOOR_SUFFIX)] = names
    every = [body for names in bodies.values() for body in names]
    if shared := {body for body in every if every.count(body) > 1}:
        raise SystemExit(f"{', '.join(sorted(shared))}: a body belongs to one operation; give the other its own schema")
    return bodies


def _field_names(bodies: list[str], document: Json) -> list[str]:
    """The fields of any of the bodies, in their order."""
    schemas = [document["components"]["schemas"][body] for body in bodies]
    return list(dict.fromkeys(field for schema in schemas for field in schema.get("properties", {})))


def _opening(name: str, header: str) -> str:
    return (
        f'{header}"""The request fields of the {name} contract: a policy for each, and none forgotten."""\n\n'
        "from __future__ import annotations\n\n"
        "from typing import Final, Literal, TypedDict, TypeGuard, cast, get_args\n\n"
        "from pydantic import BaseModel\n\n"
        "from ai_gateway.contract.types import FieldPolicies, Policy, PolicyTable\n"
        f"from gateway_contract.{name} import models\n"
    )


def _fields(operation: str, names: list[str]) -> str:
    # As a call, which takes names that are none in Python; the formatter makes a class of it where it can.
    fields = "".join(f"    {field!r}: Policy,\n" for field in names)
    return f"{_type(operation)} = TypedDict({_type(operation)!r}, {{\n{fields}}})"


def _all(bodies: Bodies) -> str:
    lines = [f"    {operation}: {_type(operation)}" for operation in bodies]
    words = '    """A policy for every request field of every operation that takes a body."""\n'
    return "\n".join(["class Policies(TypedDict):", words, *lines])


def _names(bodies: Bodies, document: Json) -> str:
    """Every field of any body as a type, for statements about single fields."""
    fields = sorted({field for names in bodies.values() for field in _field_names(names, document)})
    kind = f"Literal[{', '.join(map(repr, fields))}]" if fields else "Literal[None]"
    names = "frozenset(get_args(RequestField.__value__))" if fields else "frozenset()"
    return (
        f'type RequestField = {kind}\n"""The name of any request field."""\n\n'
        f"REQUEST_FIELDS: Final[frozenset[str]] = {names}\n"
    )


def _facts(bodies: Bodies, document: Json) -> str:
    """Which operation a body is of, and which bodies take no fields but their own."""
    schemas = document["components"]["schemas"]
    rows = "".join(f'    models.{body}: "{operation}",\n' for operation, names in bodies.items() for body in names)
    closed = [
        operation
        for operation, names in bodies.items()
        if all(schemas[body].get("additionalProperties") is False for body in names)
    ]
    return (
        f"OPERATION_OF: Final[dict[type[BaseModel], str]] = {{\n{rows}}}\n\n"
        f"CLOSED: Final[frozenset[str]] = frozenset({closed!r})\n"
        '"""The operations whose bodies take no fields but their own."""\n'
    )


def _type(operation: str) -> str:
    return operation[0].upper() + operation[1:] + "Parameters"

"""Generate the request fields of one document as types: what every adapter has to decide about."""

from scripts.contract.documents import Json, operations, ref_name, resolve
from scripts.contract.routes import DOOR_SUFFIX


def generate_parameters(name: str, document: Json, header: str) -> str | None:
    """Python source of one module, or None when no operation takes a body. Raises SystemExit on any misfit."""
    bodies = _bodies(document)
    if not bodies:
        return None
    sections = [_fields(operation, document["components"]["schemas"][body]) for operation, body in bodies.items()]
    return "\n\n".join(
        [_opening(name, header), *sections, _all(bodies), _names(bodies, document), _facts(bodies, document)]
    )


def _bodies(document: Json) -> dict[str, str]:
    """The name of each operation's body schema, by operationId without its door."""
    bodies: dict[str, str] = {}
    for _, _, operation in operations(document):
        if "requestBody" in operation:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            bodies[operation["operationId"].removesuffix(DOOR_SUFFIX)] = ref_name(schema["$ref"])
    if shared := {body for body in bodies.values() if list(bodies.values()).count(body) > 1}:
        raise SystemExit(f"{', '.join(sorted(shared))}: a body belongs to one operation; give the other its own schema")
    return bodies


def _opening(name: str, header: str) -> str:
    return (
        f'{header}"""The request fields of the {name} contract: a policy for each, and none forgotten."""\n\n'
        "from __future__ import annotations\n\n"
        "from typing import Final, Literal, TypedDict\n\n"
        "from pydantic import BaseModel\n\n"
        "from ai_gateway.contract.types import Policy\n"
        f"from gateway_contract.{name} import models\n"
    )


def _fields(operation: str, schema: Json) -> str:
    # As a call, which takes names that are none in Python; the formatter makes a class of it where it can.
    fields = "".join(f"    {field!r}: Policy,\n" for field in schema.get("properties", {}))
    return f"{_type(operation)} = TypedDict({_type(operation)!r}, {{\n{fields}}})"


def _all(bodies: dict[str, str]) -> str:
    lines = [f"    {operation}: {_type(operation)}" for operation in bodies]
    words = '    """A policy for every request field of every operation that takes a body."""\n'
    return "\n".join(["class Policies(TypedDict):", words, *lines])


def _names(bodies: dict[str, str], document: Json) -> str:
    """Every field of any body as a type, for what is said about single fields."""
    schemas = [document["components"]["schemas"][body] for body in bodies.values()]
    fields = sorted({field for schema in schemas for field in schema.get("properties", {})})
    kind = f"Literal[{', '.join(map(repr, fields))}]" if fields else "Literal[None]"
    return f'type RequestField = {kind}\n"""The name of any request field."""\n'


def _facts(bodies: dict[str, str], document: Json) -> str:
    """Which operation a body is of, and which bodies take no fields but their own."""
    rows = "".join(f'    models.{body}: "{operation}",\n' for operation, body in bodies.items())
    closed = [
        operation
        for operation, body in bodies.items()
        if resolve(document, f"#/components/schemas/{body}").get("additionalProperties") is False
    ]
    return (
        f"OPERATION_OF: Final[dict[type[BaseModel], str]] = {{\n{rows}}}\n\n"
        f"CLOSED: Final[frozenset[str]] = frozenset({closed!r})\n"
        '"""The operations whose bodies take no fields but their own."""\n'
    )


def _type(operation: str) -> str:
    return operation[0].upper() + operation[1:] + "Parameters"

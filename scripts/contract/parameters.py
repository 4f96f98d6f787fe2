"""Generate the request fields of one document: what every adapter has to decide about, as types and nothing else."""

from keyword import iskeyword

from scripts.contract.documents import Json, operations, ref_name, resolve
from scripts.contract.routes import DOOR_SUFFIX


def generate_parameters(name: str, document: Json, header: str) -> str | None:
    """Python source of one module, or None when no operation takes a body. Raises SystemExit on any misfit."""
    bodies = _bodies(document)
    if not bodies:
        return None
    sections = [_fields(operation, document["components"]["schemas"][body]) for operation, body in bodies.items()]
    return "\n\n".join([_opening(name, header), *sections, _all(bodies), _facts(bodies, document)])


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
        f'{header}"""The request fields of the {name} contract: one value for each, and none forgotten."""\n\n'
        "from __future__ import annotations\n\n"
        "from typing import Final, TypedDict\n\n"
        "from pydantic import BaseModel\n\n"
        f"from gateway_contract.{name} import models\n"
    )


def _fields(operation: str, schema: Json) -> str:
    fields = schema.get("properties", {})
    if odd := [field for field in fields if not field.isidentifier() or iskeyword(field)]:
        raise SystemExit(f"{operation}: the request field '{odd[0]}' cannot be named in Python")
    lines = [f"    {field}: Value" for field in fields] or ["    pass"]
    return "\n".join([f"class {_type(operation)}[Value](TypedDict):", f'    """Of {operation}."""\n', *lines])


def _all(bodies: dict[str, str]) -> str:
    lines = [f"    {operation}: {_type(operation)}[Value]" for operation in bodies]
    words = '    """Of every operation that takes a body, by its operationId."""\n'
    return "\n".join(["class RequestParameters[Value](TypedDict):", words, *lines])


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

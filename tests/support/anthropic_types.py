"""Anthropic's own description of its Messages API, by the types of its official client: an oracle for both directions.

The types are found by name: a type checker that read all of them would do little else.
"""

from functools import cache
from pkgutil import resolve_name
from typing import Any

import jsonschema_rs
from pydantic import TypeAdapter

# The types describe a later version of the API; in the one that the gateway asks for these are still to be had.
_SAMPLING = {"temperature": {"type": "number"}, "top_p": {"type": "number"}, "top_k": {"type": "integer"}}
_STREAM = {"stream": {"type": "boolean"}}
TYPES = {
    "message": "anthropic.types:Message",
    "event": "anthropic.types:RawMessageStreamEvent",
    "model": "anthropic.types:ModelInfo",
    "error": "anthropic.types.shared:ErrorResponse",
}


@cache
def _request() -> jsonschema_rs.Validator:
    name = "anthropic.types.message_create_params:MessageCreateParamsBase"
    schema: dict[str, Any] = TypeAdapter(resolve_name(name)).json_schema()
    schema["properties"] |= _SAMPLING | _STREAM
    for one in [schema, *schema["$defs"].values()]:
        if one.get("type") == "object" and "properties" in one:
            one.setdefault("additionalProperties", False)  # the API takes no field that it does not know
    return jsonschema_rs.validator_for(schema)


@cache
def _answer(kind: str) -> TypeAdapter[Any]:
    return TypeAdapter(resolve_name(TYPES[kind]))


def request_fault(body: object) -> str | None:
    """Where a request is none of the Messages API; None if it is one."""
    error = next(iter(_request().iter_errors(body)), None)
    return None if error is None else f"{'.'.join(map(str, error.instance_path))}: {error.message}"[:300]


def accepted(kind: str, value: object) -> Any:
    """The answer as Anthropic's own client reads it. Raises if it would not."""
    return _answer(kind).validate_python(value)

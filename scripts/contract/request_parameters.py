"""The query and header parameters of every operation, as schemas that models can be made of."""

import re

from scripts.contract.documents import Json, operations, resolve
from scripts.contract.naming import name_inline, pascal
from scripts.contract.rules import nullable_fields

DOOR_SUFFIX = "Routed"
MODEL_SUFFIX = {"query": "Query", "header": "Headers"}
_STYLES = {"query": {("form", True), ("deepObject", True)}, "header": {("simple", False)}}
_NOT_PARAMETERS = {"accept", "authorization", "content-type"}  # OpenAPI 3.1, Parameter Object, `name`
_SCALARS = {"string", "integer", "number", "boolean", "null"}
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def parameters_of(operation: Json, document: Json) -> list[Json]:
    """The operation's parameters, those that several operations share included."""
    given = operation.get("parameters", [])
    return [resolve(document, each["$ref"]) if "$ref" in each else each for each in given]


def parameter_model(operation_id: str, place: str) -> str:
    """The name of the model that holds an operation's query (`ListLampsQuery`) or headers (`ListLampsHeaders`)."""
    return pascal(operation_id.removesuffix(DOOR_SUFFIX)) + MODEL_SUFFIX[place]


def parameter_schemas(document: Json) -> dict[str, Json]:
    """A schema for each of those models, and for what stands inside of them, by name.

    A parameter that may be left out is null then, unless it has a default. Raises SystemExit for one that cannot be
    served.
    """
    found: dict[str, Json] = {}
    for _, _, operation in operations(document):
        name = operation.get("operationId", "").removesuffix(DOOR_SUFFIX)
        for place in MODEL_SUFFIX:
            given = [each for each in parameters_of(operation, document) if each["in"] == place]
            if given:
                found[parameter_model(name, place)] = _object(given, name, document)
    name_inline(found)
    known = {"components": {"schemas": document["components"]["schemas"] | found}}
    for schema in found.values():
        _optional(schema, known)
    if taken := sorted(found.keys() & document["components"]["schemas"].keys()):
        raise SystemExit(f"{', '.join(taken)}: a schema has the name that a model of parameters needs; rename it")
    return found


def _object(given: list[Json], operation: str, document: Json) -> Json:
    properties: Json = {}
    for parameter in given:
        name = _field_name(parameter)
        if name in properties:
            raise SystemExit(f"{operation}: two parameters are called '{name}'; take one out in an overlay")
        properties[name] = _field(parameter, operation, document)
    required = [_field_name(parameter) for parameter in given if parameter.get("required")]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _field_name(parameter: Json) -> str:
    """Without the brackets that some clients put after an array's name, as both spellings are read."""
    name: str = parameter["name"]
    return name.lower() if parameter["in"] == "header" else name.removesuffix("[]")


def _field(parameter: Json, operation: str, document: Json) -> Json:
    place, name = parameter["in"], parameter["name"]
    where = f"{operation}: the {place} parameter '{name}'"
    if place == "header" and (name.lower() in _NOT_PARAMETERS or not _HEADER.fullmatch(name)):
        raise SystemExit(f"{where} is none that OpenAPI knows; take it out in an overlay, and say it in its own words")
    if "schema" not in parameter:
        raise SystemExit(f"{where} needs a `schema`; give it one in an overlay")
    style = parameter.get("style", "form" if place == "query" else "simple")
    explode = parameter.get("explode", style in {"form", "deepObject"})
    if (style, explode) not in _STYLES[place]:
        raise SystemExit(f"{where} has style {style} (explode: {str(explode).lower()}), which is not served")
    schema: Json = parameter["schema"]
    if not _readable(schema, document, {"array", "object"} if place == "query" else {"array"}):
        raise SystemExit(f"{where} is no text, number, boolean, enum or array of these; describe it so in an overlay")
    return schema


def _optional(schema: Json, document: Json) -> None:
    """Let every field that may be left out be null then, unless it has a default."""
    fields = schema.get("properties", {})
    without = {name: field for name, field in fields.items() if "default" not in field}
    nullable_fields(nullable := {**schema, "properties": without}, document)
    fields.update(nullable["properties"])


def _readable(schema: Json, document: Json, containers: set[str]) -> bool:
    """Whether texts say a value of the schema without doubt: a scalar, or one of the containers with scalars in it."""
    if "$ref" in schema:
        return _readable(resolve(document, schema["$ref"]), document, containers)
    for union in ("oneOf", "anyOf"):
        if union in schema:
            return all(_readable(branch, document, containers) for branch in schema[union])
    kinds = schema.get("type", "string" if "enum" in schema else "anything")
    kinds = set(kinds) if isinstance(kinds, list) else {kinds}
    inside = [schema.get("items", {})] if "array" in kinds else []
    inside += schema.get("properties", {}).values() if "object" in kinds else []
    return kinds <= _SCALARS | containers and all(_readable(each, document, set()) for each in inside)

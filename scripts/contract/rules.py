"""Corrections that hold for a whole class of places, which no list of JSONPaths could keep up with.

`spec/overlay/rules.yaml` names each rule to apply, with its reason; this module says what the names mean.
"""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

from scripts.contract.documents import Json, map_schema, operations, reachable, read, ref_name, resolve
from scripts.contract.naming import pascal
from scripts.contract.normalize import NULL

FORM = "multipart/form-data"


def apply_file(document: Json, path: Path, name: str, known: set[str]) -> Json:
    """The document called `name` after every rule that `path` applies to it, in order. `known` names all documents."""
    for entry in read(path)["rules"]:
        if not str(entry.get("why") or "").strip():
            raise SystemExit(f"{path.name}: rule {entry.get('rule')} needs a `why`")
        if entry.get("rule") not in RULES:
            raise SystemExit(f"{path.name}: unknown rule {entry.get('rule')}. Known: {', '.join(RULES)}")
        if unknown := sorted(set(entry["to"]) - known):
            raise SystemExit(f"{path.name}: rule {entry['rule']} goes to unknown documents: {', '.join(unknown)}")
        if name in entry["to"]:
            document = RULES[entry["rule"]](deepcopy(document), entry)
    return document


def drop_formats(document: Json, entry: Json) -> Json:
    """Take the named `format` values away wherever they stand."""
    dropped = set(entry["formats"])

    def plain(schema: Json) -> Json:
        return {k: v for k, v in schema.items() if not (k == "format" and v in dropped)}

    schemas = document["components"]["schemas"]
    schemas.update({name: map_schema(schema, plain) for name, schema in schemas.items()})
    return document


def any_of(document: Json, _entry: Json) -> Json:
    """Read `oneOf` as `anyOf` where no discriminator tells the branches apart: what two of them take is valid."""

    def plain(schema: Json) -> Json:
        if "oneOf" not in schema or "discriminator" in schema:
            return schema
        return {"anyOf" if key == "oneOf" else key: value for key, value in schema.items()}

    schemas = document["components"]["schemas"]
    schemas.update({name: map_schema(schema, plain) for name, schema in schemas.items()})
    return document


def nullable_optional_request_fields(document: Json, entry: Json) -> Json:
    """Let every optional property be null in the schemas that only requests reach; in forms, nothing says null.

    With `shared`, in those as well that replies reach too: for what clients send back as they got it.
    """
    schemas = document["components"]["schemas"]
    wanted = request_reachable(document) if entry.get("shared") else request_only(document)
    for name in sorted(wanted - form_only(document)):
        nullable_fields(schemas[name], document)
    return document


def nullable_fields(schema: Json, document: Json) -> None:
    """Let every optional property of the schema be null."""
    for name, field in schema.get("properties", {}).items():
        if name not in schema.get("required", []) and not accepts_null(document, field):
            schema["properties"][name] = or_null(field)


def request_only(document: Json) -> set[str]:
    """The schemas that a request body needs and no reply does."""
    return request_reachable(document) - _needed(document, _replies(document))


def request_reachable(document: Json) -> set[str]:
    """The schemas that a request body needs."""
    return _needed(document, [operation.get("requestBody", {}) for _, _, operation in operations(document)])


def form_only(document: Json) -> set[str]:
    """The schemas that a form needs, and neither a body of another type nor a reply."""
    forms: list[Json] = []
    others: list[Json] = []
    for _, _, operation in operations(document):
        body = operation.get("requestBody", {})
        body = resolve(document, body["$ref"]) if "$ref" in body else body
        for media, content in body.get("content", {}).items():
            (forms if media == FORM else others).append(content)
    return _needed(document, forms) - _needed(document, [*others, *_replies(document)]) if forms else set()


def _replies(document: Json) -> list[Json]:
    return [operation["responses"] for _, _, operation in operations(document)]


def _needed(document: Json, start: object) -> set[str]:
    return {ref_name(ref) for ref in reachable(document, start) if "/schemas/" in ref}


def accepts_null(document: Json, schema: Json) -> bool:
    """Whether null is a valid value of the schema."""
    if "$ref" in schema:
        return accepts_null(document, resolve(document, schema["$ref"]))
    if None not in schema.get("enum", [None]) or schema.get("const") is not None:
        return False
    types = schema.get("type", ["null"])
    if "null" not in types:
        return False
    unions = [schema[union] for union in ("oneOf", "anyOf") if union in schema]
    return all(any(accepts_null(document, branch) for branch in union) for union in unions)


def or_null(schema: Json) -> Json:
    """The schema with null as one more value."""
    if "type" not in schema and "enum" in schema:
        return {**schema, "enum": [*schema["enum"], None]}
    scalar = isinstance(schema.get("type"), str) and schema["type"] not in {"object", "array"}
    if scalar:
        nullable = {**schema, "type": [schema["type"], "null"]}
        return {**nullable, "enum": [*schema["enum"], None]} if "enum" in schema else nullable
    for union in ("oneOf", "anyOf"):
        if union in schema and "discriminator" not in schema:
            return {**schema, union: [*schema[union], NULL]}
    kept = {key: value for key, value in schema.items() if key in {"default", "deprecated", "description"}}
    return {"anyOf": [{key: value for key, value in schema.items() if key not in kept}, NULL], **kept}


def doors(document: Json, entry: Json) -> Json:
    """Serve every operation behind each door: a path prefix, its own parameters and a suffix for operation ids."""
    paths: Json = {}
    for door in entry["doors"]:
        for path, item in document["paths"].items():
            paths[door["prefix"] + path] = {
                method: _through(deepcopy(operation), door) for method, operation in item.items()
            }
    return {**document, "paths": paths}


def _through(operation: Json, door: Json) -> Json:
    operation["operationId"] += door.get("suffix", "")
    operation["parameters"] = [*deepcopy(door.get("parameters", [])), *operation.get("parameters", [])]
    if not operation["parameters"]:
        del operation["parameters"]
    if note := door.get("description"):
        operation["description"] = f"{operation.get('description', '')} {note}".strip()
    return operation


def headers_on_every_reply(document: Json, entry: Json) -> Json:
    """Declare the headers that every reply carries."""
    for _, _, operation in operations(document):
        for status, response in operation["responses"].items():
            if "$ref" not in response:
                operation["responses"][status] = _with_headers(response, entry["headers"])
    named = document["components"].get("responses", {})
    named.update({name: _with_headers(response, entry["headers"]) for name, response in named.items()})
    return document


def _with_headers(response: Json, headers: Json) -> Json:
    return {**response, "headers": {**response.get("headers", {}), **deepcopy(headers)}}


def prefix_names(document: Json, entry: Json) -> Json:
    """Put a prefix in front of every component's name and, beginning small, of every operationId.

    With `names`, in front of those components' alone. With `operations: false` or `names`, operationIds stay.
    """
    prefix = entry["prefix"]
    components = document["components"]
    kinds = [kind for kind in components if kind != "securitySchemes"]  # whose names other documents use
    given = {f"#/components/{kind}/{name}" for kind in kinds for name in components[kind]}
    changed = {ref for ref in given if ref_name(ref) in entry.get("names", {ref_name(ref)})}
    if unknown := sorted(set(entry.get("names", ())) - {ref_name(ref) for ref in changed}):
        raise SystemExit(f"prefix-names: the document has no {', '.join(unknown)}")
    document = _relinked(document, {ref: f"{ref.rpartition('/')[0]}/{prefix}{ref_name(ref)}" for ref in changed})
    for kind in kinds:
        document["components"][kind] = {
            prefix + name if f"#/components/{kind}/{name}" in changed else name: component
            for name, component in document["components"][kind].items()
        }
    for _, _, operation in operations(document) if "names" not in entry and entry.get("operations", True) else ():
        name = operation["operationId"]
        operation["operationId"] = prefix[0].lower() + prefix[1:] + name[0].upper() + name[1:]
    return document


def camel_case_operations(document: Json, _entry: Json) -> Json:
    """Write every operationId as a name: `list-projects` and `projects_list` as `listProjects`, `projectsList`."""
    for _, _, operation in operations(document):
        name = pascal(operation["operationId"])
        operation["operationId"] = name[:1].lower() + name[1:]
    return document


def _relinked[Node](node: Node, names: dict[str, str]) -> Node:
    """The node with its references leading to other names."""
    if isinstance(node, list):
        return [_relinked(item, names) for item in node]  # type: ignore[return-value] # JSON in, the same kind out
    if isinstance(node, str):
        return names.get(node, node)  # type: ignore[return-value] # as above
    if not isinstance(node, dict):
        return node
    return {key: _relinked(value, names) for key, value in node.items()}  # type: ignore[return-value] # as above


RULES: dict[str, Callable[[Json, Json], Json]] = {
    "drop-formats": drop_formats,
    "nullable-optional-request-fields": nullable_optional_request_fields,
    "any-of": any_of,
    "camel-case-operations": camel_case_operations,
    "doors": doors,
    "headers-on-every-reply": headers_on_every_reply,
    "prefix-names": prefix_names,
}

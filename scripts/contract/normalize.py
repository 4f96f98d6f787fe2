"""Bring extracted facts into one normal form that means the same and that tools can read.

Every step keeps the set of valid values (`allOf` chains that contradict themselves take their last word):
`nullable` becomes a null branch, a constant an enum of one, `allOf` is merged, open enums become strings, single-branch
unions disappear, inline objects and constrained union branches get names, tagged unions get their discriminator and
its mapping.
"""

import re
from collections.abc import Iterable
from typing import Any

from scripts.contract.documents import Json, map_schema, reachable, ref_name, resolve, schema_ref
from scripts.contract.naming import name_contents, name_inline

_SCALARS = {"string", "integer", "number", "boolean"}
_MERGEABLE = {"type", "properties", "required", "additionalProperties", "deprecated"}
_ANNOTATIONS = {"default", "deprecated"}
NULL: Json = {"type": "null"}


def normalize(document: Json, roots: Iterable[str] = ()) -> Json:
    """The document in normal form, with only the components that its operations, and the schemas `roots`, need."""
    document = _legal_names(document)
    schemas = document["components"].setdefault("schemas", {})
    schemas.update({name: _recursion(schema, name) for name, schema in schemas.items()})
    for step in (_constants, _merge_all_of, _bare_refs, _null_branches, _simple_unions):
        schemas.update({name: map_schema(schema, _bind(step, document)) for name, schema in schemas.items()})
    document["paths"] = _map_contents(document["paths"])
    for kind in set(document["components"]) - {"schemas"}:
        document["components"][kind] = _map_contents(document["components"][kind])
    name_contents(document)
    name_inline(schemas)
    for name, schema in list(schemas.items()):
        schemas[name] = map_schema(schema, _bind(_discriminate, document))
    return _pruned(document, [schema_ref(_legal(name)) for name in roots])


def _bind(step: Any, document: Json) -> Any:  # noqa: ANN401 - a step with its document bound
    return lambda schema: step(schema, document)


def _legal_names(document: Json) -> Json:
    """The document with every schema under a legal name, and every reference following."""
    schemas: Json = {}
    for name, schema in document["components"].get("schemas", {}).items():
        if _legal(name) in schemas:
            raise SystemExit(f"{name}: another schema is called {_legal(name)} already, once both are class names")
        schemas[_legal(name)] = _relinked(schema)
    components = {kind: _relinked(named) for kind, named in document["components"].items()}
    return {**document, "paths": _relinked(document["paths"]), "components": {**components, "schemas": schemas}}


def _relinked(node: Any) -> Any:  # noqa: ANN401 - any JSON value in, the same kind out
    if isinstance(node, list):
        return [_relinked(item) for item in node]
    if not isinstance(node, dict):
        return node
    linked = {key: _relinked(value) for key, value in node.items()}
    if isinstance(ref := node.get("$ref"), str) and "/schemas/" in ref:
        linked["$ref"] = f"#/components/schemas/{_legal(ref_name(ref))}"
    return linked


def _legal(name: str) -> str:
    """A component name that is also a good class name."""
    bare = re.sub(r"[^A-Za-z0-9]", "", name)
    return bare[:1].upper() + bare[1:]


def _recursion(schema: Json, name: str) -> Json:
    """The schema with `$recursiveRef`, a keyword of an older JSON Schema, as a plain reference to the schema itself."""

    def plain(sub: Json) -> Json:
        rest = {key: value for key, value in sub.items() if key not in {"$recursiveRef", "$recursiveAnchor"}}
        return {**rest, **schema_ref(name)} if "$recursiveRef" in sub else rest

    return map_schema(schema, plain)


def _constants(schema: Json, _document: Json) -> Json:
    """A constant is an enum of one value, which is what tells unions apart."""
    if "const" not in schema:
        return schema
    return {**{key: value for key, value in schema.items() if key != "const"}, "enum": [schema["const"]]}


def _bare_refs(schema: Json, document: Json) -> Json:
    """A reference says by itself that it leads to an object."""
    if "$ref" in schema and schema.get("type") == "object" and _is_object(schema, document):
        return {key: value for key, value in schema.items() if key != "type"}
    return schema


def _is_object(schema: Json, document: Json) -> bool:
    if "$ref" in schema:
        return _is_object(resolve(document, schema["$ref"]), document)
    unions = [schema[union] for union in ("oneOf", "anyOf") if union in schema]
    return schema.get("type") == "object" or any(all(_is_object(b, document) for b in union) for union in unions)


def _merge_all_of(schema: Json, document: Json) -> Json:
    """One object instead of an `allOf` chain; a property declared twice takes its last declaration."""
    if "allOf" not in schema:
        return schema
    beside = {key: value for key, value in schema.items() if key != "allOf"}
    around: Json = {key: beside.pop(key) for key in ("nullable", "default") if key in beside}
    if len(schema["allOf"]) == 1 and set(beside) <= _ANNOTATIONS:
        return {**schema["allOf"][0], **beside, **around}
    merged: Json = {"type": "object", "properties": {}, "required": [], **around}
    merge = _bind(_merge_all_of, document)
    for given in [*schema["allOf"], beside]:
        part = map_schema(resolve(document, given["$ref"]), merge) if "$ref" in given else given
        unknown = set(part) - _MERGEABLE
        if unknown:
            raise SystemExit(f"allOf with keywords that cannot be merged: {', '.join(sorted(unknown))}")
        merged["properties"].update(part.get("properties", {}))
        merged["required"] += [name for name in part.get("required", []) if name not in merged["required"]]
        merged.update({key: part[key] for key in ("additionalProperties", "deprecated") if key in part})
    return merged


def _null_branches(schema: Json, _document: Json) -> Json:
    """`nullable: true` means nothing in OpenAPI 3.1: say null in JSON Schema's own words."""
    schema = dict(schema)
    nullable = schema.pop("nullable", False)
    types = schema.get("type")
    types = types if isinstance(types, list) else [types]
    if "null" in types and not set(types) <= {*_SCALARS, "null"}:
        nullable = True
        schema = _not_null(schema)
    for union in ("oneOf", "anyOf"):
        if union in schema and (not nullable or "type" not in schema):
            branches, had_null = _without_null(schema[union])
            schema[union] = [*branches, NULL] if nullable or had_null else branches
            return schema
    if not nullable:
        return schema
    if set(types) <= {*_SCALARS, "null"} and not {"oneOf", "anyOf"} & set(schema):
        schema["type"] = [*(name for name in types if name != "null"), "null"]
        if None not in schema.get("enum", [None]):
            schema["enum"] = [*schema["enum"], None]
        return schema
    kept = {key: schema.pop(key) for key in list(schema) if key in _ANNOTATIONS}
    return {"anyOf": [schema, NULL], **kept}


def _not_null(schema: Json) -> Json:
    """The schema without null among its types and its values."""
    rest = [name for name in schema["type"] if name != "null"]
    schema = {**schema, "type": rest[0] if len(rest) == 1 else rest}
    return {**schema, "enum": [v for v in schema["enum"] if v is not None]} if "enum" in schema else schema


def _without_null(branches: list[Json]) -> tuple[list[Json], bool]:
    """The branches with null taken out of each, and whether there was one."""
    kept, had_null = [], False
    for branch in branches:
        types = branch.get("type")
        if types == "null":
            had_null = True
        elif isinstance(types, list) and "null" in types:
            had_null = True
            kept.append(_not_null(branch))
        elif (set(branch) == {"anyOf"} and NULL in branch["anyOf"]) or (
            set(branch) == {"oneOf"} and NULL in branch["oneOf"]
        ):
            had_null = True
            inner, _ = _without_null(next(iter(branch.values())))
            kept += inner
        else:
            kept.append(branch)
    return kept, had_null


def _simple_unions(schema: Json, _document: Json) -> Json:
    """Unions of one, and of a string with an enum of strings (an open list of names), are no unions."""
    for union in ("oneOf", "anyOf"):
        if union not in schema:
            continue
        branches = [branch for branch in schema[union] if branch != NULL]
        if {"type": "string"} in branches:
            branches = [b for b in branches if not (b.get("type") == "string" and "enum" in b)]
        around = {key: value for key, value in schema.items() if key != union}
        nullable = NULL in schema[union]
        if not branches:
            return {**NULL, **around}
        if len(branches) > 1:
            return {union: [*branches, NULL] if nullable else branches, **around}
        only = {**branches[0], **{k: v for k, v in around.items() if k != "discriminator"}}
        return _null_branches({**only, "nullable": True}, {}) if nullable else only
    return schema


def _map_contents(node: Any) -> Any:  # noqa: ANN401 - any part of `paths`
    """Apply the union and null steps to schemas that stand directly under `paths`."""
    if isinstance(node, list):
        return [_map_contents(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: map_schema(map_schema(value, _bind(_null_branches, {})), _bind(_simple_unions, {}))
        if key == "schema"
        else _map_contents(value)
        for key, value in node.items()
    }


def _discriminate(schema: Json, document: Json) -> Json:
    """Write the mapping OpenAPI wants, on every union of objects that a one-valued required property tells apart."""
    for union in ("oneOf", "anyOf"):
        branches = [branch for branch in schema.get(union, []) if branch != NULL]
        if len(branches) < 2 or not all("$ref" in branch for branch in branches):
            continue
        targets = {branch["$ref"]: resolve(document, branch["$ref"]) for branch in branches}
        for name in _common_required(list(targets.values())):
            values = {
                ref: target.get("properties", {}).get(name, {}).get("enum", []) for ref, target in targets.items()
            }
            tags = [value for several in values.values() for value in several]
            if all(values.values()) and len(set(tags)) == len(tags):
                mapping = {value: ref for ref, several in values.items() for value in several}
                return {**schema, "discriminator": {"propertyName": name, "mapping": mapping}}
    return {key: value for key, value in schema.items() if key != "discriminator"}


def _common_required(targets: list[Json]) -> list[str]:
    """The required properties that all targets share, in the first one's order."""
    first = targets[0].get("required", [])
    return [
        name
        for name in first
        if all(name in t.get("required", []) and name in t.get("properties", {}) for t in targets)
    ]


def _pruned(document: Json, roots: list[Json]) -> Json:
    """Only what the operations and the roots still reach, sorted by name within each kind."""
    components: Json = {}
    needed = reachable(document, [document["paths"], roots])
    for ref in sorted(needed, key=lambda ref: (ref.split("/")[2], ref_name(ref))):
        kind, name = ref.removeprefix("#/components/").split("/", 1)
        components.setdefault(kind, {})[name] = resolve(document, ref)
    return {**document, "components": components}

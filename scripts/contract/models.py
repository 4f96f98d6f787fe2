"""Generate the Pydantic models of one document: a view for datamodel-code-generator, then the exactness pass."""

import contextlib
import io
import json
import tempfile
from functools import lru_cache, partial
from pathlib import Path

from datamodel_code_generator.__main__ import main

from scripts.contract.documents import Json, map_schema, operations, schema_ref
from scripts.contract.exact import UPLOAD, make_exact
from scripts.contract.request_parameters import parameter_schemas
from scripts.contract.rules import form_only, nullable_fields, request_only
from scripts.contract.unions import tagged_unions

# No --extra-fields, --use-default or --use-one-literal-as-default: each of them makes the models accept or emit what
# the schema does not say. Formatters are ours (see generate.py), so that the project's own settings change nothing.
_FLAGS = [
    "--input-file-type",
    "openapi",
    "--output-model-type",
    "pydantic_v2.BaseModel",
    "--target-python-version",
    "3.12",
    "--target-pydantic-version",
    "2.11",
    "--use-annotated",
    "--enum-field-as-literal",
    "all",
    "--collapse-root-models",
    "--use-type-alias",
    "--use-standard-collections",
    "--use-union-operator",
    "--strict-nullable",
    "--naming-strategy",
    "full-path",
    "--keep-model-order",
    "--disable-timestamp",
    "--use-double-quotes",
    "--schema-version",
    "3.1",
    "--schema-version-mode",
    "strict",
    "--no-allow-remote-refs",
    "--ignore-pyproject",
    "--formatters",
    "builtin",
]
# JSON Schema's `format` is an annotation too; the generator would make dates, UUIDs and secrets of strings.
_ANNOTATIONS = {"default", "description", "deprecated", "summary", "format"}
# What the generator gets for a schema whose type we write ourselves.
_OPAQUE: Json = {"type": "object", "properties": {"data": {}}, "required": ["data"]}
_BEYOND_MODELS = {"not", "uniqueItems", "prefixItems", "contains", "propertyNames", "patternProperties", "if"}


def generate_models(document: Json, header: str) -> str:
    """Python source of one module with a model for every schema of the document. Raises SystemExit on any misfit."""
    schemas: dict[str, Json] = document["components"]["schemas"]
    if UPLOAD in schemas:
        raise SystemExit(f"{UPLOAD}: the type of a file has this name; give the schema another")
    view = {name: map_schema(schema, partial(_plain, name)) for name, schema in schemas.items()} | {UPLOAD: _OPAQUE}
    has_bodies = any("requestBody" in operation for _, _, operation in operations(document))
    sent = request_only(document) if has_bodies else set[str]()
    for name in form_only(document):
        nullable_fields(view[name], {"components": {"schemas": view}})
    for name, schema in parameter_schemas(document).items():
        view[name] = _with_defaults(map_schema(schema, partial(_plain, name)), schema)
        sent.add(name)
    unions = tagged_unions(view)
    source = _run_generator(view | dict.fromkeys(unions, _OPAQUE))
    return header + make_exact(source, view, frozenset(sent), unions)


def _with_defaults(plain: Json, schema: Json) -> Json:
    """The schema with its fields' defaults: what a query leaves out is what it means, and nothing is sent on."""
    defaults = {name: sub["default"] for name, sub in schema.get("properties", {}).items() if "default" in sub}
    fields = {n: {**sub, "default": defaults[n]} if n in defaults else sub for n, sub in plain["properties"].items()}
    return {**plain, "properties": fields}


def _plain(name: str, schema: Json) -> Json:
    """A schema as the generator reads it right: no annotations, and openness made explicit."""
    plain = {key: value for key, value in schema.items() if key not in _ANNOTATIONS}
    if beyond := sorted((_BEYOND_MODELS - _keys_by_pattern(plain)) & set(plain)):
        raise SystemExit(f"{name}: no model can hold `{', '.join(beyond)}`; take it out in an overlay, with the reason")
    if _only_required(plain):
        raise SystemExit(f"{name}: no model can hold a union of `required`; take it out in an overlay, with the reason")
    if _is_binary(schema):
        return schema_ref(UPLOAD)
    if plain.get("type") == "object" or "properties" in plain:
        plain.setdefault("additionalProperties", True)
    return plain


def _is_binary(schema: Json) -> bool:
    """Whether the schema is that of a file, as OpenAPI 3.0 or 3.1 says it."""
    raw = "contentMediaType" in schema and not {"contentEncoding", "contentSchema"} & schema.keys()
    return schema.get("type") == "string" and (schema.get("format") == "binary" or raw)


def _only_required(schema: Json) -> bool:
    """Whether some branch of the schema's unions says nothing but which fields have to be there."""
    return any(set(branch) == {"required"} for union in ("oneOf", "anyOf") for branch in schema.get(union, []))


def _keys_by_pattern(schema: Json) -> set[str]:
    """The one form of `patternProperties` that a model can hold: a mapping whose keys all follow one pattern."""
    only = len(schema.get("patternProperties", {})) == 1 and "properties" not in schema
    return {"patternProperties"} if only and schema.get("additionalProperties") is False else set()


def _run_generator(schemas: dict[str, Json]) -> str:
    document = {
        "openapi": "3.1.0",
        "info": {"title": "models", "version": "0"},
        "paths": {},
        "components": {"schemas": schemas},
    }
    return _generated(json.dumps(document))


@lru_cache(maxsize=8)
def _generated(document: str) -> str:
    """What the generator, which takes most of a run's time, makes of a document: the same whenever it is asked."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "view.json"), Path(folder, "models.py")
        source.write_text(document, encoding="utf-8")
        said = io.StringIO()
        with contextlib.redirect_stderr(
            said
        ):  # in this process: it would load its libraries for half a second each time
            code = main(["--input", str(source), "--output", str(target), *_FLAGS])
        if code:
            raise SystemExit(f"datamodel-code-generator failed:\n{said.getvalue()}")
        return target.read_text(encoding="utf-8")

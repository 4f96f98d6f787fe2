"""Take the selected operations and what they need out of an official document, as facts without prose."""

from collections.abc import Iterable
from typing import Any

from scripts.contract.documents import Json, operations, reachable, schema_ref

_PROSE = {"description", "summary", "title", "example", "examples", "externalDocs", "$comment"}
_NAMED = {"properties", "patternProperties", "$defs", "schemas", "responses", "paths", "headers", "mapping"}
_VALUES = {"default", "enum", "const"}
_ELSEWHERE = {"security", "servers", "callbacks"}


def strip_prose(node: Any, *, named: bool = False) -> Any:  # noqa: ANN401 - any JSON value in, the same kind out
    """The node without prose, examples and vendor extensions.

    `named` says that the keys of this mapping are names (of properties, of schemas), which may read like keywords.
    """
    if isinstance(node, list):
        return [strip_prose(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: value if key in _VALUES and not named else strip_prose(value, named=not named and key in _NAMED)
        for key, value in node.items()
        if named or not (key in _PROSE or key.startswith("x-"))
    }


def extract(document: Json, selected: Iterable[str], roots: Iterable[str] = ()) -> Json:
    """The subset of `document` for operations such as `post /chat/completions`, and for schemas that none refers to.

    Raises SystemExit naming what is not there, so that a renamed operation is not lost.
    """
    chosen = set(selected)
    paths: Json = {}
    for path, method, operation in operations(document):
        if f"{method} {path}" in chosen:
            chosen.discard(f"{method} {path}")
            paths.setdefault(path, {})[method] = _bare(operation, document["paths"][path])
    if chosen:
        raise SystemExit(
            f"The document does not offer: {', '.join(sorted(chosen))}. Check `operations` in source.toml."
        )
    components: Json = {}
    for ref, component in sorted(reachable(document, [paths, *map(schema_ref, roots)]).items()):
        kind, name = ref.removeprefix("#/components/").split("/", 1)
        components.setdefault(kind, {})[name] = component
    info = {"title": document["info"]["title"], "version": str(document["info"].get("version", "unversioned"))}
    facts = {"paths": paths, "components": components}
    return {"openapi": document["openapi"], "info": info, **strip_prose(facts)}


def _bare(operation: Json, item: Json) -> Json:
    """The operation with its path item's shared parameters folded in, and without what says where and by whom."""
    bare = {key: value for key, value in operation.items() if key not in _ELSEWHERE}
    own = operation.get("parameters", [])
    named = {(parameter.get("in"), parameter.get("name")) for parameter in own}
    shared = [p for p in item.get("parameters", []) if "$ref" in p or (p["in"], p["name"]) not in named]
    if shared:
        bare["parameters"] = [*shared, *own]
    return bare

"""OpenAPI documents as plain data: reading, writing, walking."""

from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any, override

import yaml

type Json = dict[str, Any]

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_SCHEMA_MAPS = ("properties", "patternProperties", "$defs")
_SCHEMA_LISTS = ("oneOf", "anyOf", "allOf", "prefixItems")
_SCHEMA_SLOTS = ("items", "additionalProperties", "propertyNames", "not", "contentSchema")


def _foreign(tag: str, first: str) -> bool:
    """Whether JSON has no such value: a timestamp, or a boolean that is not spelled true or false."""
    return tag == "tag:yaml.org,2002:timestamp" or (tag == "tag:yaml.org,2002:bool" and first not in "tTfF")


class _Loader(yaml.CSafeLoader):
    """YAML as JSON would have it: dates and `on` are strings, and so is every key, be it a status code."""

    @override
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        for key, _ in node.value:
            if key.tag in {"tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:bool"}:
                key.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep=deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not _foreign(tag, first)]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


class _Dumper(yaml.CSafeDumper):
    """YAML without anchors: a fact that stands twice is written twice."""

    @override
    def ignore_aliases(self, data: object) -> bool:
        return True


def read(path: Path) -> Json:
    """The YAML or JSON document at `path`."""
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - derived from the safe one
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SystemExit(f"{path}: not a YAML or JSON document ({' '.join(str(error).split())})") from None
    if not isinstance(document, dict):
        raise SystemExit(f"{path}: not an OpenAPI document (the top level is not a mapping)")
    return document


def to_yaml(document: Json) -> str:
    """Deterministic YAML: keys stay in their order, nothing is folded."""
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=True)
    return text


def _mapped(schema: Json | bool, change: Callable[[Json], Json]) -> Json:
    if isinstance(schema, bool):  # "anything" and "nothing"
        return {} if schema else {"not": {}}
    return map_schema(schema, change)


def map_schema(schema: Json, change: Callable[[Json], Json]) -> Json:
    """Rebuild a schema bottom-up, passing every subschema through `change`; the input is left as it was."""
    out = dict(schema)
    for key in _SCHEMA_MAPS:
        if isinstance(out.get(key), dict):
            out[key] = {name: _mapped(sub, change) for name, sub in out[key].items()}
    for key in _SCHEMA_LISTS:
        if isinstance(out.get(key), list):
            out[key] = [_mapped(sub, change) for sub in out[key]]
    for key in _SCHEMA_SLOTS:
        if isinstance(out.get(key), dict):
            out[key] = map_schema(out[key], change)
    return change(out)


def operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    """Each operation as (path, method, operation), in document order."""
    for path, item in document.get("paths", {}).items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def refs(node: object) -> Iterator[str]:
    """Every `$ref` below a node, in order, with repeats."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from refs(value)
    elif isinstance(node, list):
        for value in node:
            yield from refs(value)


def resolve(document: Json, ref: str) -> Json:
    """The component a local `$ref` points at. Raises SystemExit naming one that leads nowhere."""
    node: Any = document
    try:
        for part in ref.removeprefix("#/").split("/"):
            node = node[part.replace("~1", "/").replace("~0", "~")]
    except (KeyError, TypeError):
        raise SystemExit(f"{ref}: nothing in the document has this name") from None
    found: Json = node
    return found


def reachable(document: Json, start: object) -> dict[str, Json]:
    """The components that `start` needs, by `$ref`, in the order they are met."""
    found: dict[str, Json] = {}
    waiting = list(refs(start))
    while waiting:
        ref = waiting.pop(0)
        if ref not in found:
            found[ref] = resolve(document, ref)
            waiting.extend(refs(found[ref]))
    return found


def ref_name(ref: str) -> str:
    """The component's name: the last part of a `$ref`."""
    return ref.rsplit("/", 1)[-1]


def schema_ref(name: str) -> Json:
    """A reference to a schema component."""
    return {"$ref": f"#/components/schemas/{name}"}

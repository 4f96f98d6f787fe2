"""Names for what has none: inline objects and constrained lists become components, called after where they stand."""

import re
from collections.abc import Callable, Iterator

from scripts.contract.documents import Json, operations, schema_ref


def name_contents(document: Json) -> None:
    """Move the objects that bodies and replies describe in place into the components, named after their operation."""
    for _, _, operation in operations(document):
        name = pascal(operation.get("operationId", ""))
        _name_content(operation.get("requestBody", {}), name + "Request", document)
        for response in operation["responses"].values():
            _name_content(response, name + "Response", document)


def _name_content(holder: Json, name: str, document: Json) -> None:
    schemas = document["components"]["schemas"]
    for content in holder.get("content", {}).values():
        if _wants_name(content.get("schema", {})):
            own = name if name not in schemas else name + "Object"
            schemas[own], content["schema"] = content["schema"], schema_ref(own)


type Wants = Callable[[Json, bool], bool]
"""Whether a schema is to have a name, and whether it is one of several or of many, which a name distinguishes."""


def _inline(schema: Json, among: bool) -> bool:
    return _wants_name(schema) or (among and _constrained(schema))


def name_inline(schemas: dict[str, Json], wants: Wants = _inline) -> None:
    """Give what `wants` one a name of its own, Parent + Property: inline objects, and constrained lists in unions."""
    namer = _Namer(schemas, wants)
    for name in list(schemas):
        schemas[name] = namer.inside(schemas[name], name)


class _Namer:
    """Moves inline schemas into the components, naming them by where they stand."""

    def __init__(self, schemas: dict[str, Json], wants: Wants) -> None:
        self._schemas = schemas
        self._wants = wants

    def inside(self, schema: Json, name: str) -> Json:
        """The schema with references where inline schemas stood."""
        out = dict(schema)
        if isinstance(out.get("properties"), dict):
            out["properties"] = {key: self._child(sub, name + pascal(key)) for key, sub in out["properties"].items()}
        if isinstance(out.get("items"), dict):
            out["items"] = self._branch(out["items"], _singular(name))
        if isinstance(out.get("additionalProperties"), dict):
            out["additionalProperties"] = self._child(out["additionalProperties"], name + "Value")
        for union in ("oneOf", "anyOf"):
            if union in out:
                out[union] = [self._branch(sub, hint) for sub, hint in _branches(out[union], name)]
        return out

    def _child(self, schema: Json, name: str) -> Json:
        return self._named(schema, name) if self._wants(schema, False) else self.inside(schema, name)

    def _branch(self, schema: Json, name: str) -> Json:
        return self._named(schema, name) if self._wants(schema, True) else self.inside(schema, name)

    def _named(self, schema: Json, name: str) -> Json:
        while name in self._schemas:
            name += "Object"
        self._schemas[name] = {}  # takes the name before what is inside can
        self._schemas[name] = self.inside(schema, name)
        return schema_ref(name)


def _branches(branches: list[Json], name: str) -> Iterator[tuple[Json, str]]:
    """Each union branch with the name it would take: by its tag if it has one, by its items if it is a list."""
    objects = [branch for branch in branches if _wants_name(branch)]
    for branch in branches:
        if _wants_name(branch) and len(objects) > 1:
            yield branch, name + pascal(_tag(branch) or "Object")
        elif _constrained(branch):
            yield branch, name + _plural(branch["items"])
        else:
            yield branch, name


def _wants_name(schema: Json) -> bool:
    return schema.get("type") == "object" and bool(schema.get("properties"))


def _constrained(schema: Json) -> bool:
    return schema.get("type") == "array" and ("minItems" in schema or "maxItems" in schema)


def _tag(schema: Json) -> str | None:
    """The value of the one-valued `type` property, if the object has one."""
    values = schema["properties"].get("type", {}).get("enum", [])
    return str(values[0]) if len(values) == 1 else None


def _plural(items: Json) -> str:
    """How a list of such items is called in a union of lists."""
    if "$ref" in items:
        return "Parts"
    if items.get("type") == "array":
        return "TokenLists"
    if items.get("format") == "binary":
        return "Files"
    return {"string": "Strings", "integer": "Tokens"}.get(items.get("type", ""), "Items")


def pascal(name: str) -> str:
    """`image_url` as a class name spells it: `ImageUrl`."""
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", name))


def _singular(name: str) -> str:
    return name[:-1] if name.endswith("s") and not name.endswith("ss") else name + "Item"

"""Big unions of objects that share a tag where OpenAPI's discriminator does not fit: it may be absent, or not unique.

One look at the tag leaves the few branches that may be meant, which costs little however many there are, and the errors
of those alone are reported. A union is as exact as before: the branches left out could not have taken the value.
"""

from collections.abc import Iterator

from scripts.contract.documents import Json, ref_name
from scripts.contract.naming import name_inline

_BIG = 5
_ABSENT, _NULL = "", "null"


def tagged_unions(schemas: dict[str, Json]) -> dict[str, str]:
    """The annotation of every schema that is such a union, by its name; those inside of schemas get one."""
    name_inline(schemas, lambda schema, _: _tag(schema, schemas) is not None)
    tags = {name: tag for name, schema in schemas.items() if (tag := _tag(schema, schemas))}
    return {name: _annotation(tag, _names(schemas[name], schemas), schemas) for name, tag in tags.items()}


def _tag(schema: Json, schemas: dict[str, Json]) -> str | None:
    """The property that tells the branches of a big union apart; `type` before others."""
    branches = _names(schema, schemas)
    if len(branches) < _BIG or "discriminator" in schema:
        return None
    first = schemas.get(branches[0], {}).get("properties", {})
    tags = [tag for tag in first if all(_values(tag, schemas.get(branch, {})) for branch in branches)]
    return min(tags, key=lambda tag: tag != "type", default=None)


def _names(schema: Json, schemas: dict[str, Json]) -> list[str]:
    return list(dict.fromkeys(_branches(schema, schemas)))


def _branches(schema: Json, schemas: dict[str, Json]) -> Iterator[str]:
    """The names of the branches, those of unions among them in their place; "" for one that has no name."""
    for branch in schema.get("oneOf") or schema.get("anyOf") or []:
        name = ref_name(branch.get("$ref", ""))
        if {"oneOf", "anyOf"} & schemas.get(name, {}).keys():
            yield from _branches(schemas[name], schemas)
        else:
            yield name


def _values(tag: str, schema: Json) -> list[str]:
    """What a branch takes for its tag; none if it is no object that has it, or if it takes more than a few texts."""
    values = schema.get("properties", {}).get(tag, {}).get("enum", [])
    if not all(value is None or (isinstance(value, str) and value not in {_ABSENT, _NULL}) for value in values):
        return []
    absent = [] if tag in schema.get("required", []) else [_ABSENT]
    return [*(_NULL if value is None else value for value in values), *absent] if values else []


def _annotation(tag: str, branches: list[str], schemas: dict[str, Json]) -> str:
    """A union of what each value of the tag may mean."""
    meant: dict[str, list[str]] = {}
    for branch in branches:
        for value in _values(tag, schemas[branch]):
            meant.setdefault(value, []).append(branch)
    choices = [f"Annotated[{' | '.join(names)}, Tag({value!r})]" for value, names in meant.items()]
    return f"Annotated[{' | '.join(choices)}, by_tag({tag!r}, {next(iter(meant))!r}, absent={_ABSENT in meant})]"

"""The exactness pass: make generated models accept and emit what the schema says, or fail.

It walks every class beside its schema. Optional fields that may be null default to None, optional fields that may
not default to MISSING, integers become JSON Schema's integers. A class or field without a schema, a required field
with a default or a null mismatch stops the generation: a regression of the generator must not loosen the contract.
"""

import ast
from collections.abc import Mapping
from types import MappingProxyType
from typing import override

from scripts.contract.documents import Json, ref_name
from scripts.contract.normalize import NULL
from scripts.contract.rules import accepts_null

_IMPORTS = """
from __future__ import annotations
from typing import Annotated, Any, Literal
from pydantic import Field, MISSING, StringConstraints, Tag
from ai_gateway.contract.types import ClosedModel, Int, OpenModel, UploadedFile, by_tag, complete
"""
UPLOAD = "UploadedFile"
"""What a file is called in the view, which is the name of the type that holds one."""
_KNOWN = {
    "Annotated",
    "Any",
    "Literal",
    "Field",
    "MISSING",
    "Int",
    UPLOAD,
    "Tag",
    "by_tag",
    "None",
    "bool",
    "StringConstraints",
    "dict",
    "float",
    "list",
    "str",
}


def make_exact(
    source: str,
    schemas: dict[str, Json],
    sent: frozenset[str] = frozenset(),
    unions: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The module again, exact. `schemas` says what is meant; `sent` names those that only requests use.

    `unions` has the annotations of those schemas that the generator was given as plain objects (see unions.py).
    """
    document = {"components": {"schemas": schemas}}
    tree = ast.parse(source)
    body = [_alias_statement(node) for node in tree.body if not _superfluous(node) and _name(node) != UPLOAD]
    body = [_union(_name(node), unions[_name(node)]) if _name(node) in unions else node for node in body]
    for node in body:
        if isinstance(node, ast.ClassDef):
            _exact_class(node, schemas, document)
        elif not isinstance(node, ast.TypeAlias):
            raise SystemExit(f"The generator wrote something unexpected: {ast.unparse(node)[:80]}")
    body = [_Integers().visit(_Lists().visit(node) if _name(node) in sent else node) for node in body]
    _require_known_names(body)
    finish = ast.parse("complete(globals())").body
    return ast.unparse(ast.Module(body=[*ast.parse(_IMPORTS).body, *body, *finish], type_ignores=[]))


def _superfluous(node: ast.stmt) -> bool:
    """An import, which we know better, or a `model_rebuild()`, which `complete` does for all."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        return isinstance(node.value.func, ast.Attribute) and node.value.func.attr == "model_rebuild"
    return isinstance(node, ast.ImportFrom)


def _alias_statement(node: ast.stmt) -> ast.stmt:
    """`type X = ...` also where the generator says it the long way."""
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
        target, call = node.targets[0], node.value
        if isinstance(target, ast.Name) and isinstance(call.func, ast.Name) and call.func.id == "TypeAliasType":
            return ast.TypeAlias(name=target, type_params=[], value=call.args[1])
    return node


def _union(name: str, annotation: str) -> ast.stmt:
    return ast.TypeAlias(ast.Name(name), type_params=[], value=ast.parse(annotation, mode="eval").body)


def _require_known_names(body: list[ast.stmt]) -> None:
    """Fail on a name that the module will not have, such as a type of Pydantic's that we never asked for."""
    names = {_name(node) for node in body}
    for node in body:
        parts = [node.value] if isinstance(node, ast.TypeAlias) else _annotations(node)
        used = {part.id for whole in parts for part in ast.walk(whole) if isinstance(part, ast.Name)}
        if unknown := sorted(used - names - _KNOWN):
            raise SystemExit(f"{_name(node)} uses {', '.join(unknown)}, which the module does not have")


def _name(node: ast.stmt) -> str:
    return node.name if isinstance(node, ast.ClassDef) else ast.unparse(node).split()[1]


def _annotations(node: ast.stmt) -> list[ast.expr]:
    return [field.annotation for field in ast.walk(node) if isinstance(field, ast.AnnAssign)]


def _exact_class(node: ast.ClassDef, schemas: dict[str, Json], document: Json) -> None:
    schema = schemas.get(node.name)
    if schema is None:
        raise SystemExit(f"The generator invented the class {node.name}: name its schema in the document")
    closed = schema.get("additionalProperties") is False
    node.bases = [ast.Name("ClosedModel" if closed else "OpenModel")]
    fields = [statement for statement in node.body if isinstance(statement, ast.AnnAssign)]
    unseen = set(schema.get("properties", {}))
    for field in fields:
        name = _alias(field) or ast.unparse(field.target)
        if name not in unseen:
            raise SystemExit(f"{node.name}.{name} is not in the schema")
        unseen.discard(name)
        required = name in schema.get("required", [])
        _exact_field(field, schema["properties"][name], document, required=required, where=f"{node.name}.{name}")
    if unseen:
        raise SystemExit(f"{node.name} lost fields: {', '.join(sorted(unseen))}")
    node.body = list(fields) or [ast.Pass()]


def _exact_field(field: ast.AnnAssign, schema: Json, document: Json, *, required: bool, where: str) -> None:
    null = accepts_null(document, schema)
    alias = _alias(field)
    field.annotation = _tagged(schema) or _without_alias(field.annotation)
    if required:
        if field.value is not None:
            raise SystemExit(f"{where} is required but has a default")
        if null != _has_none(field.annotation) and not _is_any(field.annotation):
            raise SystemExit(f"{where}: the schema {'takes' if null else 'forbids'} null, the model does not agree")
        field.value = None if alias is None else _field(alias=alias)
        return
    if "default" in schema:  # which the view has left only where it counts
        default = ast.parse(repr(schema["default"]), mode="eval").body
    else:
        default = ast.Name("None" if null else "MISSING")
        if not _is_none(field.annotation):
            field.annotation = ast.BinOp(_without_none(field.annotation), ast.BitOr(), default)
    field.value = default if alias is None else _field(default, alias=alias)


def _field(*default: ast.expr, alias: str) -> ast.expr:
    return ast.Call(ast.Name("Field"), [*default], [ast.keyword("alias", ast.Constant(alias))])


def _tagged(schema: Json) -> ast.expr | None:
    """The annotation of a union that its tag tells apart; the generator forgets the tag beside a null branch."""
    branches = [branch for branch in schema.get("anyOf", []) if branch != NULL]
    if len(branches) != 1 or "discriminator" not in branches[0]:
        return None
    union = branches[0].get("oneOf") or branches[0]["anyOf"]
    names = " | ".join(ref_name(branch["$ref"]) for branch in union)
    tag = branches[0]["discriminator"]["propertyName"]
    return ast.parse(f'Annotated[{names}, Field(discriminator="{tag}")] | None', mode="eval").body


def _alias(field: ast.AnnAssign) -> str | None:
    """The name on the wire, if the generator had to rename the field."""
    for node in ast.walk(field):
        if isinstance(node, ast.keyword) and node.arg == "alias" and isinstance(node.value, ast.Constant):
            return str(node.value.value)
    return None


def _without_alias(node: ast.expr) -> ast.expr:
    """The annotation with its constraints and without its alias, which would have no effect inside a union."""
    inside = _annotated(node)
    if inside is None:
        return node
    for call in inside.elts[1:]:
        if isinstance(call, ast.Call):
            call.keywords = [keyword for keyword in call.keywords if keyword.arg != "alias"]
    inside.elts = [each for each in inside.elts if not isinstance(each, ast.Call) or each.keywords]
    return node if len(inside.elts) > 1 else inside.elts[0]


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_any(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "Any"


def _annotated(node: ast.expr) -> ast.Tuple | None:
    """The inside of `Annotated[...]`, if that is what the node is."""
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "Annotated":
        return node.slice if isinstance(node.slice, ast.Tuple) else None
    return None


def _has_none(node: ast.expr) -> bool:
    inside = _annotated(node)
    if inside is not None:
        return _has_none(inside.elts[0])
    if isinstance(node, ast.BinOp):
        return _has_none(node.left) or _has_none(node.right)
    return _is_none(node)


def _without_none(node: ast.expr) -> ast.expr:
    inside = _annotated(node)
    if inside is not None:
        inside.elts[0] = _without_none(inside.elts[0])
        return node
    if isinstance(node, ast.BinOp):
        if _is_none(node.right):
            return _without_none(node.left)
        if _is_none(node.left):
            return _without_none(node.right)
        return ast.BinOp(_without_none(node.left), ast.BitOr(), _without_none(node.right))
    return node


class _Integers(ast.NodeTransformer):
    """`int` in an annotation becomes `Int`."""

    @override
    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name("Int") if node.id == "int" else node


class _Lists(ast.NodeTransformer):
    """A request's lists and maps stop at their first bad item: a megabyte of them would be a gigabyte of complaints."""

    @override
    def visit_Subscript(self, node: ast.Subscript) -> ast.Subscript:
        self.generic_visit(node)
        if not (isinstance(node.value, ast.Name) and node.value.id in {"list", "dict"}):
            return node
        limit = ast.parse("Field(fail_fast=True)", mode="eval").body
        return ast.Subscript(ast.Name("Annotated"), ast.Tuple([node, limit]))

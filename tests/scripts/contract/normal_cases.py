"""Schemas as they are published and what they mean in plain JSON Schema, with samples that tell them apart."""

from dataclasses import dataclass, field

from scripts.contract.documents import Json, schema_ref

TEXT: Json = {"type": "string"}
NULL: Json = {"type": "null"}
LEAF: Json = {"type": "object", "required": ["kind"], "properties": {"kind": {"type": "string", "enum": ["leaf"]}}}
ROOT: Json = {
    "type": "object",
    "required": ["kind", "depth"],
    "properties": {"kind": {"type": "string", "enum": ["root"]}, "depth": {"type": "integer"}},
}
SAMPLES: tuple[object, ...] = (
    None, True, 0, 1, 1.0, 1.5, -3, 10, "", "a", "red", "green", "on", [], ["a"], ["a", "b", "c"], [1], [[1]], [None],
    {}, {"a": 1}, {"a": "x"}, {"a": None}, {"a": "x", "b": "y"}, {"a": {"b": "x"}}, {"a": {"b": 1}}, {"b": "y"},
    {"kind": "leaf"}, {"kind": "root"}, {"kind": "root", "depth": 2}, {"kind": "rose"}, [{"kind": "leaf"}],
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A schema as published, and the same converted by hand to plain JSON Schema 2020-12."""

    name: str
    published: Json
    meant: Json
    others: dict[str, Json] = field(default_factory=dict)


CASES = [
    Case("nullable text", {"type": "string", "nullable": True}, {"type": ["string", "null"]}),
    Case("nullable false", {"type": "string", "nullable": False}, TEXT),
    Case(
        "nullable enum", {"type": "string", "enum": ["red"], "nullable": True}, {"anyOf": [{"enum": ["red"]}, NULL]}
    ),
    Case(
        "nullable enum that lists null",
        {"type": "string", "enum": ["red", None], "nullable": True},
        {"enum": ["red", None]},
    ),
    Case("nullable without a type", {"enum": ["red"], "nullable": True}, {"enum": ["red", None]}),
    Case(
        "nullable list",
        {"type": "array", "items": TEXT, "nullable": True},
        {"anyOf": [{"type": "array", "items": TEXT}, NULL]},
    ),
    Case(
        "nullable object",
        {"type": "object", "required": ["a"], "properties": {"a": TEXT}, "nullable": True},
        {"anyOf": [{"type": "object", "required": ["a"], "properties": {"a": TEXT}}, NULL]},
    ),
    Case(
        "object or null in a type list",
        {"type": ["object", "null"], "required": ["a"], "properties": {"a": TEXT}},
        {"anyOf": [{"type": "object", "required": ["a"], "properties": {"a": TEXT}}, NULL]},
    ),
    Case("list or null in a type list", {"type": ["array", "null"], "items": TEXT}, {
        "anyOf": [{"type": "array", "items": TEXT}, NULL]
    }),
    Case("type list that is nullable", {"type": ["string", "integer"], "nullable": True}, {
        "type": ["string", "integer", "null"]
    }),
    Case("nullable union", {"oneOf": [TEXT, {"type": "integer"}], "nullable": True}, {
        "type": ["string", "integer", "null"]
    }),
    Case("null inside a branch", {"anyOf": [{"type": ["string", "null"]}, {"type": "integer"}]}, {
        "type": ["string", "integer", "null"]
    }),
    Case(
        "null inside a branch with an enum",
        {"anyOf": [{"type": ["string", "null"], "enum": ["red", None]}, {"type": "integer"}]},
        {"anyOf": [{"enum": ["red", None]}, {"type": "integer"}]},
    ),
    Case("nullable union with a type beside it", {
        "type": "string", "nullable": True, "anyOf": [{"enum": ["red"]}, {"enum": ["green"]}],
    }, {"enum": ["red", "green", None]}),
    Case("a type list or null", {"anyOf": [{"type": ["string", "integer"]}, NULL]}, {
        "type": ["string", "integer", "null"]
    }),
    Case("a union of null alone", {"anyOf": [NULL]}, NULL),
    Case("a reference with nullable beside it", {**schema_ref("Hue"), "nullable": True}, {
        "enum": ["red", "green", None]
    }, {"Hue": {"type": "string", "enum": ["red", "green"]}}),
    Case("a wrapped reference with nullable beside it", {"allOf": [schema_ref("Hue")], "nullable": True}, {
        "enum": ["red", "green", None]
    }, {"Hue": {"type": "string", "enum": ["red", "green"]}}),
    Case("an open list of names", {"anyOf": [TEXT, {"type": "string", "enum": ["red"]}]}, TEXT),
    Case("an open list of names or null", {"anyOf": [TEXT, {"type": "string", "enum": ["red"]}, NULL]}, {
        "type": ["string", "null"]
    }),
    Case("a closed list of names", {"type": "string", "enum": ["red", "green"]}, {"enum": ["red", "green"]}),
    Case("a union of one", {"oneOf": [{"type": "integer", "minimum": 1}]}, {"type": "integer", "minimum": 1}),
    Case("allOf of two objects", {
        "allOf": [
            {"type": "object", "required": ["a"], "properties": {"a": TEXT}},
            {"type": "object", "required": ["b"], "properties": {"b": TEXT}},
        ]
    }, {"type": "object", "required": ["a", "b"], "properties": {"a": TEXT, "b": TEXT}}),
    Case("a chain of allOf through references", {
        "allOf": [schema_ref("Middle"), {"type": "object", "properties": {"b": TEXT}}]
    }, {"type": "object", "required": ["a"], "properties": {"a": TEXT, "b": TEXT}}, {
        "Middle": {"allOf": [schema_ref("First"), {"type": "object", "required": ["a"]}]},
        "First": {"type": "object", "properties": {"a": TEXT}},
    }),
    Case("allOf with properties beside it", {
        "allOf": [schema_ref("First")], "type": "object", "required": ["b"], "properties": {"b": TEXT},
    }, {"type": "object", "required": ["b"], "properties": {"a": TEXT, "b": TEXT}}, {
        "First": {"type": "object", "properties": {"a": TEXT}},
    }),
    Case("allOf whose part holds another allOf inside", {
        "allOf": [schema_ref("Outer"), {"type": "object", "required": ["a"]}]
    }, {
        "type": "object", "required": ["a"],
        "properties": {"a": {"type": "object", "required": ["b"], "properties": {"b": TEXT}}},
    }, {
        "Outer": {"type": "object", "properties": {"a": {"allOf": [schema_ref("Inner"), {"required": ["b"]}]}}},
        "Inner": {"type": "object", "properties": {"b": TEXT}},
    }),
    Case("nullable allOf", {
        "allOf": [{"type": "object", "required": ["a"]}, {"type": "object", "properties": {"a": TEXT}}],
        "nullable": True,
    }, {"anyOf": [{"type": "object", "required": ["a"], "properties": {"a": TEXT}}, NULL]}),
    Case("an object in an object", {
        "type": "object", "properties": {"a": {"type": "object", "required": ["b"], "properties": {"b": TEXT}}},
    }, {"type": "object", "properties": {"a": {"type": "object", "required": ["b"], "properties": {"b": TEXT}}}}),
    Case("a union with bounded lists", {
        "oneOf": [TEXT, {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 2}]
    }, {"oneOf": [TEXT, {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 2}]}),
    Case("a union told apart by a tag", {"oneOf": [schema_ref("Leaf"), schema_ref("Root")]}, {
        "oneOf": [LEAF, ROOT]
    }, {"Leaf": LEAF, "Root": ROOT}),
    Case("a list of tagged objects or null", {
        "type": "array", "nullable": True, "items": {"oneOf": [schema_ref("Leaf"), schema_ref("Root")]},
    }, {"anyOf": [{"type": "array", "items": {"oneOf": [LEAF, ROOT]}}, NULL]}, {"Leaf": LEAF, "Root": ROOT}),
    Case("a reference to a name that is no class name", schema_ref("ro-ot_2"), ROOT, {"ro-ot_2": ROOT}),
    Case("a property that takes anything", {"type": "object", "required": ["a"], "properties": {"a": True}}, {
        "type": "object", "required": ["a"]
    }),
    Case("a map of bounded values", {
        "type": "object", "additionalProperties": {"type": "string", "maxLength": 1},
    }, {"type": "object", "additionalProperties": {"type": "string", "maxLength": 1}}),
    Case("a constant", {"type": "string", "const": "red"}, {"const": "red"}),
    Case("a union told apart by a constant", {"oneOf": [schema_ref("Leaf"), schema_ref("Root")]}, {
        "oneOf": [LEAF, ROOT]
    }, {"Leaf": {**LEAF, "properties": {"kind": {"const": "leaf"}}}, "Root": ROOT}),
    Case("a reference that says it leads to an object", {"type": "object", **schema_ref("Root")}, ROOT, {"Root": ROOT}),
    Case("a reference that says it leads to an object where some do", {"type": "object", **schema_ref("Either")}, {
        "oneOf": [LEAF, ROOT]
    }, {"Either": {"oneOf": [schema_ref("Leaf"), schema_ref("Root")]}, "Leaf": LEAF, "Root": ROOT}),
    Case("an older word for itself", {
        "$recursiveAnchor": True, "type": "object", "properties": {"a": {"$recursiveRef": "#"}, "b": TEXT},
    }, {"type": "object", "properties": {"a": {"$ref": "#"}, "b": TEXT}}),
    Case("a closed object", {
        "type": "object", "properties": {"a": TEXT}, "additionalProperties": False
    }, {"type": "object", "properties": {"a": TEXT}, "additionalProperties": False}),
]  # fmt: skip

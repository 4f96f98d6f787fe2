"""Schemas drawn by hypothesis: sensible ones that some value satisfies, and junk that no one would write."""

from typing import Any

from hypothesis import strategies as st

type Schema = dict[str, Any]

_NAMES = st.sampled_from(["a", "b", "city", "x-1", "ünï", "$ref", ""])
_PATTERNS = st.sampled_from(
    [
        r"^[A-Z]{2}\d{3}$", r"^\+?[0-9]{1,3}(-[0-9]{2,4})+$", "abc|de+f?", r"^(?:red|green|blue)$", r"\d", "^.{5}$",
        r"^\w+@\w+\.com$", r"^[^\s,]{3,8}$", r"^#[0-9a-fA-F]{6}$", r"^v\d+\.\d+\.\d+(-[a-z]+)?$", r"[\u00e4-\u00fc]",
        r"^a*$", r"\bfoo\b", r"^(?=[a-z]*\d)[a-z0-9]{4,}$", r"^\S+$", r"^[\w.-]+$", r"^\p{Lu}",
    ]
)  # fmt: skip
_FORMATS = st.sampled_from(
    ["date-time", "date", "time", "duration", "email", "uuid", "uri", "ipv4", "ipv6", "hostname", "unknown"]
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.floats(-9, 9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_NAMES, inner, max_size=2),
    max_leaves=4,
)


@st.composite
def _numbers(draw: st.DrawFn) -> Schema:
    schema: Schema = {"type": draw(st.sampled_from(["integer", "number", ["number", "null"]]))}
    low = draw(st.integers(-1000, 1000) | st.floats(-100, 100).map(lambda x: round(x, 2)))
    room = draw(st.integers(3, 50))
    schema |= draw(st.sampled_from([{}, {"minimum": low}, {"exclusiveMinimum": low}]))
    schema |= draw(st.sampled_from([{}, {"maximum": low + room}, {"exclusiveMaximum": low + room}]))
    if draw(st.booleans()):
        schema["multipleOf"] = draw(st.sampled_from([1, 2, 0.5] if schema["type"] == "integer" else [1, 0.1, 0.25, 2]))
    return schema


@st.composite
def _strings(draw: st.DrawFn) -> Schema:
    kind = draw(st.sampled_from(["free", "pattern", "format"]))
    if kind == "pattern":
        return {"type": "string", "pattern": draw(_PATTERNS)}
    if kind == "format":
        return {"type": "string", "format": draw(_FORMATS)}
    low = draw(st.integers(0, 60))
    return {"type": "string"} | draw(
        st.sampled_from([{}, {"minLength": low}, {"minLength": low, "maxLength": low + 2}])
    )


@st.composite
def _fixed(draw: st.DrawFn) -> Schema:
    listed = draw(st.lists(_VALUES, min_size=1, max_size=4))
    return draw(st.sampled_from([{"enum": listed}, {"const": listed[0]}, {"type": "boolean"}, {"type": "null"}, {}]))


@st.composite
def _arrays(draw: st.DrawFn, inner: st.SearchStrategy[Schema]) -> Schema:
    schema: Schema = {"type": "array", "items": draw(inner)}
    if draw(st.booleans()):
        schema["prefixItems"] = draw(st.lists(inner, min_size=1, max_size=2))
    low = draw(st.integers(0, 4))
    schema |= draw(st.sampled_from([{}, {"minItems": low}, {"maxItems": low}, {"minItems": low, "maxItems": low + 1}]))
    if draw(st.integers(0, 3)) == 0:
        schema = {"type": "array", "items": {"type": ["integer", "string"]}, "uniqueItems": True, "minItems": low}
    return schema


@st.composite
def _objects(draw: st.DrawFn, inner: st.SearchStrategy[Schema]) -> Schema:
    properties = draw(st.dictionaries(_NAMES, inner, max_size=4))
    required = draw(st.lists(st.sampled_from(sorted(properties)), unique=True)) if properties else []
    schema: Schema = {"type": "object", "properties": properties, "required": required}
    further = draw(st.sampled_from(["any", "none", "schema"]))
    if further != "any":
        schema["additionalProperties"] = False if further == "none" else draw(inner)
    elif draw(st.booleans()):
        schema["minProperties"] = len(properties) + 1
    return schema


@st.composite
def _combined(draw: st.DrawFn, inner: st.SearchStrategy[Schema]) -> Schema:
    branches = draw(st.lists(inner, min_size=1, max_size=3))
    distinct = [{"type": "string"}, {"type": "integer"}, {"type": "boolean"}, {"type": "null"}]
    tagged = [
        {"type": "object", "properties": {"kind": {"const": str(at)}, "of": one}, "required": ["kind"]}
        for at, one in enumerate(branches)
    ]
    split = [{"properties": {f"part {at}": one}, "type": "object"} for at, one in enumerate(branches)]
    return draw(
        st.sampled_from(
            [{"anyOf": branches}, {"oneOf": distinct}, {"oneOf": tagged}, {"allOf": split}, {"allOf": branches[:1]}]
        )
    )


SATISFIABLE = st.recursive(
    _numbers() | _strings() | _fixed(),
    lambda inner: _arrays(inner) | _objects(inner) | _combined(inner),
    max_leaves=12,
)

_KEYWORDS = [
    "type", "properties", "required", "items", "prefixItems", "minItems", "maxItems", "uniqueItems", "anyOf", "oneOf",
    "allOf", "not", "if", "then", "else", "$ref", "$defs", "enum", "const", "default", "pattern", "format", "minLength",
    "maxLength", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "additionalProperties",
    "patternProperties", "propertyNames", "minProperties", "maxProperties", "contains", "minContains", "nullable",
]  # fmt: skip
_ODD_VALUES = st.sampled_from(
    ["object", "array", "string", "xyz", "#", "#/nowhere", "#/$defs/a", "(", "^(a+)+$", 1e9, -1, 10**30, 1e308, "[", {}]
)

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | _ODD_VALUES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(_KEYWORDS) | _NAMES, inner, max_size=6),
    max_leaves=25,
).filter(lambda value: isinstance(value, dict | bool))

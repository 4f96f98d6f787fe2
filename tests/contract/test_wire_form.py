"""The JSON of a request as an upstream gets it."""

import json

from hypothesis import given, strategies as st
from pydantic_core import to_json

from ai_gateway.contract.strict_json import read_json
from ai_gateway.contract.wire_form import to_wire

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


def test_what_is_read_is_written_in_its_order_without_blanks() -> None:
    raw = '{"z":1,"a":{"z":[1.5,-0.0,1e+300,36893488147419103232],"a":null},"\u00e9\\n":"\U0001f600\u2028\\"\\\\/"}'
    value = read_json(raw.encode())
    assert isinstance(value, dict)
    assert to_wire(value) == raw.encode()


def test_of_a_key_that_comes_twice_the_upstream_gets_the_one_that_was_checked() -> None:
    value = read_json(b'{"model":"first","messages":[{"role":"user","role":"system"}],"model":"last"}')
    assert isinstance(value, dict)
    assert to_wire(value) == b'{"model":"last","messages":[{"role":"system"}]}'


@given(fields=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), VALUES, max_size=5))
def test_every_value_is_written_as_it_is(fields: dict[str, object]) -> None:
    written = to_wire(fields)
    assert written == to_json(fields)
    assert json.loads(written) == fields
    assert list(json.loads(written)) == list(fields)


def test_a_short_text_after_a_long_one_is_no_longer_than_it_is() -> None:
    for size in (1, 100_000, 1, 1_000_000, 10):
        assert to_wire({"text": "x" * size}) == b'{"text":"%b"}' % (b"x" * size)

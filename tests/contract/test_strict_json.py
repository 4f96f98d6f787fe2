"""JSON that every parser reads the same, short and long, with few values and with many."""

import json
import math
import time

import pytest
from hypothesis import given, strategies as st

from ai_gateway.contract.strict_json import may_be_refused, read_json, read_json_counted, read_json_written
from ai_gateway.contract.wire_form import to_wire

FEW = "x" * 4_000
MANY: list[object] = [{}] * 2_000
# Each as it stands in JSON, and whether every parser reads it as the same number.
NUMBERS = {
    "1": True, "-0": True, "1.5e3": True, "1e308": True, "123e2": True, "1E-999": True, "0e999": True, "9" * 308: True,
    "9" * 400: True, "1e309": False, "-1E+00400": False, "0.1e310": False, "9" * 309 + ".0": False,
    "9" * 250 + "e99": False, "12345e305": False, "NaN": False, "Infinity": False, "-Infinity": False,
}  # fmt: skip
TEXTS = st.sampled_from(["", "e", "1e999", "NaN -Infinity", "9" * 400, "0e0001f", '"', "\\", ",[{", "\u00e9"])
VALUES = st.recursive(
    st.none() | st.booleans() | TEXTS | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=30,
)


def count(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + (8 if isinstance(value, dict | list) else 0) + sum(map(count, inner))


def test_the_table_of_numbers_says_what_a_float_can_hold() -> None:
    for number, fine in NUMBERS.items():
        value = json.loads(number)
        assert (isinstance(value, int) or math.isfinite(value)) is fine, number


@pytest.mark.parametrize("beside", [None, FEW, MANY], ids=["short", "few values", "many values"])
@pytest.mark.parametrize("depth", [0, 1, 3, 30])
@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_that_overflows_is_found_wherever_it_stands(number: str, depth: int, beside: object) -> None:
    inside = '[{"a":' * depth + number + "}]" * depth
    raw = f'{{"first":{json.dumps(beside)},"then":{inside},"last":{json.dumps(beside)}}}'.encode()
    if NUMBERS[number]:
        assert read_json(raw) == json.loads(raw)
        return
    with pytest.raises(ValueError, match=r"too large|expected|invalid"):
        read_json(raw)
    assert may_be_refused(raw)


@pytest.mark.parametrize("beside", [None, 1], ids=["with null", "without"])
@pytest.mark.parametrize("depth", [0, 1, 3, 30])
@pytest.mark.parametrize("number", NUMBERS)
def test_what_is_written_tells_of_a_number_that_overflows(number: str, depth: int, beside: object) -> None:
    inside = '[{"a":' * depth + number + "}]" * depth
    raw = f'{{"first":{json.dumps(beside)},"then":{inside}}}'.encode()
    if NUMBERS[number]:
        value, written = read_json_written(raw)
        assert value == json.loads(raw)
        assert written == (to_wire({**json.loads(raw)}) if len(number) < 20 else None)
        return
    with pytest.raises(ValueError, match=r"too large|expected|invalid"):
        read_json_written(raw)


@given(value=VALUES)
def test_values_are_written_as_they_go_upstream(value: object) -> None:
    read, written = read_json_written(json.dumps({"value": value}).encode())
    assert read == {"value": value}
    assert written in {None, to_wire({"value": value})}


@given(value=VALUES, beside=st.sampled_from([None, FEW, MANY]))
def test_values_are_read_as_they_are_and_counted(value: object, beside: object) -> None:
    whole = {"value": value, "beside": beside}
    raw = json.dumps(whole).encode()
    read, counted = read_json_counted(raw)
    assert read == whole
    assert counted in {None, count(whole)}
    if beside == FEW:
        assert counted is not None or count(whole) > 100
    elif beside == MANY:
        assert counted is None


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1e999", "9" * 400])
@pytest.mark.parametrize("beside", [FEW, MANY], ids=["few values", "many values"])
def test_words_and_numbers_in_long_texts_do_not_count(text: str, beside: object) -> None:
    raw = json.dumps({"beside": beside, "text": text}).encode()
    assert read_json(raw)
    if beside == FEW:
        assert not may_be_refused(raw)


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity", "nope", '"\\ud800"'])
@pytest.mark.parametrize("beside", [FEW, MANY], ids=["few values", "many values"])
def test_what_is_no_json_is_refused_whatever_stands_beside_it(constant: str, beside: object) -> None:
    raw = f'{{"beside":{json.dumps(beside)},"wrong":{constant}}}'.encode()
    with pytest.raises(ValueError, match="line 1"):
        read_json(raw)


@pytest.mark.parametrize(
    "piece",
    ['{"a":12345678},', "{},", "[],", "1.5,", '"e",', "1e3,", "0e0001,", '{"role":"user","content":"a longer text"},'],
)
def test_many_values_take_as_long_as_their_bytes(piece: str) -> None:
    def cost(count: int) -> float:
        raw = ("[" + piece * count + "0]").encode()
        spent = []
        for _ in range(3):
            started = time.process_time()
            read_json(raw)
            may_be_refused(raw)
            spent.append(time.process_time() - started)
        return min(spent)

    less, more = cost(5_000), cost(80_000)
    assert more < 64 * max(less, 0.001)  # quadratic, it would be 256 times as long

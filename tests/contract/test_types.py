"""Integers of the contract: JSON Schema's, which counts 1.0 as one, at the price of pydantic's own."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated

import pytest
from pydantic import BaseModel, Field, ValidationError

from ai_gateway.contract.types import Int


class Holder(BaseModel):
    plain: Int
    bounded: Annotated[Int, Field(ge=1, le=5)] | None = None
    several: list[Int] = []
    either: Int | str | list[Int] = 0


def errors(value: dict[str, object], *, text: bool) -> list[tuple[str, tuple[int | str, ...], str]]:
    raw = json.dumps(value)
    with pytest.raises(ValidationError) as caught:
        Holder.model_validate_json(raw, strict=True) if text else Holder.model_validate(value, strict=True)
    return [(error["type"], error["loc"], error["msg"]) for error in caught.value.errors()]


@pytest.mark.parametrize("number", [0, -1, 2**53, 2**70, 1.0, -0.0, 1e15])
def test_integers_and_integral_floats_are_ints(number: float) -> None:
    value = {"plain": number, "several": [number], "either": number}
    for made in (Holder.model_validate(value, strict=True), Holder.model_validate_json(json.dumps(value), strict=True)):
        assert (made.plain, made.several, made.either) == (int(number), [int(number)], int(number))
        assert type(made.plain) is type(made.several[0]) is type(made.either) is int
        assert made.model_dump_json(include={"plain"}) == f'{{"plain":{int(number)}}}'


@pytest.mark.parametrize("text", [False, True], ids=["values", "text"])
@pytest.mark.parametrize("wrong", ["1", 1.5, True, None, [], {}, float("inf")])
def test_anything_else_is_one_error_at_its_place(wrong: object, text: bool) -> None:
    assert errors({"plain": wrong}, text=text) == [("int_type", ("plain",), "Input should be a valid integer")]
    assert errors({"plain": 1, "several": [1, wrong]}, text=text) == [
        ("int_type", ("several", 1), "Input should be a valid integer")
    ]


@pytest.mark.parametrize("text", [False, True], ids=["values", "text"])
@pytest.mark.parametrize("low", [0, 0.0, -(2**70)])
def test_bounds_hold_for_both_spellings(low: float, text: bool) -> None:
    expected = ("greater_than_equal", ("bounded",), "Input should be greater than or equal to 1")
    assert errors({"plain": 1, "bounded": low}, text=text) == [expected]


@contextmanager
def python_calls() -> Iterator[list[str]]:
    """The names of Python functions that are entered meanwhile."""
    entered: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            entered.append(frame.f_code.co_name)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield entered
    finally:
        sys.setprofile(before)


def test_an_int_is_validated_without_a_call_into_python() -> None:
    validator = Holder.__pydantic_validator__
    with python_calls() as entered:
        validator.validate_json('{"plain":1,"several":[1,2],"either":3}', strict=True)
    assert "_integral" not in entered
    with python_calls() as entered:
        validator.validate_json('{"plain":1.0}', strict=True)
    assert "_integral" in entered

"""Reading a query and headers: typed by the model, strict in values, and deaf to names that it does not know."""

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from ai_gateway.contract.query import read_headers, read_query
from ai_gateway.contract.types import ClosedModel, Int
from ai_gateway.errors import InvalidRequest

type Hue = Literal["red", "green"]


class At(BaseModel):
    gt: Int | None = None
    text: str | None = None


class Query(ClosedModel):
    harbour: str = "any"
    limit: Annotated[Int, Field(ge=1, le=100)] = 20
    score: float | None = None
    lit: bool | None = None
    order: Literal["asc", "desc"] = "asc"
    depth: Literal[1, 2] | None = None
    hues: Annotated[list[Hue], Field(fail_fast=True)] | None = None
    either: Int | Literal["auto", "7"] | None = None
    at: At | None = None
    tags: dict[str, str] | None = None
    one_or_more: str | list[str] | None = None
    from_: str | None = Field(None, alias="from")


class Headers(ClosedModel):
    version: str = Field(alias="beacon-version")
    tide: Literal["high", "low"] | None = Field(None, alias="x-tide")
    hues: list[Hue] | None = Field(None, alias="x-hues")
    knots: Int | None = Field(None, alias="x-knots")


READ: list[tuple[str, dict[str, object]]] = [
    ("", {}),
    ("harbour=Cuxhaven+Old%20Harbour%C3%A4", {"harbour": "Cuxhaven Old Harbourä"}),
    ("limit=7", {"limit": 7}),
    ("limit=7.0", {"limit": 7}),
    ("score=-1.5e1", {"score": -15.0}),
    ("score=3", {"score": 3}),
    ("lit=true", {"lit": True}),
    ("lit=false", {"lit": False}),
    ("order=desc", {"order": "desc"}),
    ("depth=2", {"depth": 2}),
    ("hues=red", {"hues": ["red"]}),
    ("hues=red&hues=green", {"hues": ["red", "green"]}),
    ("hues[]=red&hues%5B%5D=green", {"hues": ["red", "green"]}),
    ("either=8", {"either": 8}),
    ("either=7", {"either": "7"}),
    ("either=auto", {"either": "auto"}),
    ("at[gt]=5&at[text]=5", {"at": {"gt": 5, "text": "5"}}),
    ("tags[a]=1&tags[b]=x", {"tags": {"a": "1", "b": "x"}}),
    ("one_or_more=a", {"one_or_more": "a"}),
    ("one_or_more=a&one_or_more=b&one_or_more=c", {"one_or_more": ["a", "b", "c"]}),
    ("from=a", {"from": "a"}),
    ("harbour", {"harbour": ""}),
    ("&&harbour=a&", {"harbour": "a"}),
    ("nobody=1&limit=3&nobody=2&%ff=%ff&x[y][z]=1", {"limit": 3}),
    ("harbour=limit%3D3%26limit=9", {"harbour": "limit=3&limit=9"}),
]


@pytest.mark.parametrize(("query", "expected"), READ, ids=[query or "nothing" for query, _ in READ])
def test_a_query_is_read_as_its_model_takes_it(query: str, expected: dict[str, object]) -> None:
    found = read_query(query.encode(), Query)
    assert found.model_dump(exclude_unset=True, by_alias=True) == expected
    assert Query.model_validate(expected, strict=True) == found


REFUSED: list[tuple[str, str, str]] = [
    ("limit=0", "limit", "Invalid value for 'limit': expected at least 1."),
    ("limit=101", "limit", "Invalid value for 'limit': expected at most 100."),
    ("limit=x", "limit", "Invalid value for 'limit': expected an integer."),
    ("limit=", "limit", "Invalid value for 'limit': expected an integer."),
    ("limit=1.5", "limit", "Invalid value for 'limit': expected an integer."),
    ("limit=+7", "limit", "Invalid value for 'limit': expected an integer."),
    ("limit=007", "limit", "Invalid value for 'limit': expected an integer."),
    ("limit=1_0", "limit", "Invalid value for 'limit': expected an integer."),
    ("limit=%D9%A7", "limit", "Invalid value for 'limit': expected an integer."),
    ("limit=true", "limit", "Invalid value for 'limit': expected an integer."),
    (f"limit={'9' * 5000}", "limit", "Invalid value for 'limit': expected an integer."),
    ("limit=1&limit=2", "limit", "'limit' is given more than once: give it once."),
    ("score=nan", "score", "Invalid value for 'score': expected a number."),
    ("score=1e999", "score", "Invalid value for 'score': expected a number."),
    ("lit=yes", "lit", "Invalid value for 'lit': expected true or false."),
    ("lit=1", "lit", "Invalid value for 'lit': expected true or false."),
    ("lit=True", "lit", "Invalid value for 'lit': expected true or false."),
    ("order=up", "order", "Invalid value for 'order': expected one of 'asc' or 'desc'."),
    ("hues=red&hues=mauve", "hues[1]", "Invalid value for 'hues[1]': expected one of 'red' or 'green'."),
    ("at[gt]=x", "at.gt", "Invalid value for 'at.gt': expected an integer."),
    ("at=5&at[gt]=5", "at", "'at' is given more than once: give it once."),
    ("limit[]=5", "limit", "Invalid value for 'limit': expected an integer."),
    ("harbour=%FF", "harbour", "'harbour' is not UTF-8."),
    ("harbour=%ED%A0%80", "harbour", "'harbour' is not UTF-8."),
]


@pytest.mark.parametrize(("query", "param", "message"), REFUSED, ids=[row[0][:20] for row in REFUSED])
def test_a_value_that_is_not_what_the_model_takes_is_named(query: str, param: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_query(query.encode(), Query)
    assert (refused.value.param, refused.value.message) == (param, message)
    assert (refused.value.status, refused.value.type) == (400, "invalid_request_error")


@pytest.mark.parametrize(
    ("query", "param", "message"),
    [
        ("limit=3&nobody=1", "nobody", "Unknown parameter: 'nobody'. Leave it out."),
        ("nobody[x]=1", "nobody", "Unknown parameter: 'nobody'. Leave it out."),
        ("limt=1", "limt", "Unknown parameter: 'limt'. Did you mean 'limit'?"),
        ("%ff=1", None, "Unknown parameter: one whose name is not plain. Leave it out."),
        ("=1", None, "Unknown parameter: one whose name is not plain. Leave it out."),
    ],
)
def test_a_closed_query_takes_no_unknown_parameter(query: str, param: str | None, message: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_query(query.encode(), Query, closed=True)
    assert (refused.value.param, refused.value.message) == (param, message)
    assert refused.value.code == "unknown_parameter"


def test_a_closed_query_may_have_blanks_between_its_parameters() -> None:
    assert read_query(b"&&limit=3&", Query, closed=True).limit == 3


class Needed(ClosedModel):
    start_time: Int


def test_a_parameter_that_has_to_be_there_is_named() -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_query(b"end_time=1", Needed)
    assert (refused.value.param, refused.value.code) == ("start_time", "missing_required_parameter")


def test_a_query_of_very_many_values_stops_at_its_first_bad_one() -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_query(b"&".join([b"hues=red", *[b"hues=mauve"] * 5_000]), Query)
    assert refused.value.param == "hues[1]"


def lines(*given: tuple[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in given]


def test_headers_are_read_by_their_names_in_lower_case() -> None:
    found = read_headers(
        lines(("host", "x"), ("beacon-version", "2024"), ("x-hues", "red, green"), ("x-hues", "red"), ("x-knots", "5")),
        Headers,
    )
    assert (found.version, found.tide, found.hues, found.knots) == ("2024", None, ["red", "green", "red"], 5)


def test_lines_of_one_header_are_one_value() -> None:
    assert read_headers(lines(("beacon-version", "a"), ("beacon-version", "b")), Headers).version == "a, b"


@pytest.mark.parametrize(
    ("given", "param", "message"),
    [
        ([], "beacon-version", "Missing required parameter: 'beacon-version'. Add it."),
        ([("x-tide", "ebb")], "x-tide", "Invalid value for 'x-tide': expected one of 'high' or 'low'."),
        ([("x-hues", "red,mauve")], "x-hues[1]", "Invalid value for 'x-hues[1]': expected one of 'red' or 'green'."),
        ([("x-knots", "many")], "x-knots", "Invalid value for 'x-knots': expected an integer."),
    ],
    ids=["missing", "enum", "in a list", "number"],
)
def test_a_header_that_is_not_what_the_model_takes_is_named(
    given: list[tuple[str, str]], param: str, message: str
) -> None:
    versioned = [] if param == "beacon-version" else [("beacon-version", "1")]
    with pytest.raises(InvalidRequest) as refused:
        read_headers(lines(*given, *versioned), Headers)
    assert (refused.value.param, refused.value.message) == (param, message)


def test_short_headers_that_come_again_are_read_once_and_long_ones_are_not_kept() -> None:
    short, long = lines(("beacon-version", "a")), lines(("beacon-version", "a" * 129))
    assert read_headers(short, Headers) is read_headers([*short, (b"other", b"b")], Headers)
    assert read_headers(long, Headers) == read_headers(long, Headers)
    assert read_headers(long, Headers) is not read_headers(long, Headers)

"""The model list as a document: what counts as an entry, what is skipped, and what is kept on disk."""

import json
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from ai_gateway.routing.model_list.parse import InvalidList, ListedModel, listing_of, parse_list
from ai_gateway.routing.model_list.store import ListStore, default_path

GOOD: dict[str, Any] = {
    "model_version": "gpt-4o",
    "model_family": "GPT-4",
    "handle": "/openai/v1/chat/completions",
    "prompt_price_1k": 0.0025,
    "completion_price_1k": 0.01,
}
ENTRY = ListedModel("gpt-4o", "openai", "GPT-4", Decimal("0.0025"), Decimal("0.01"))
URL = "https://models.example.com/list.json"


def parsed(*items: object) -> Any:
    return parse_list(json.dumps(items).encode())


@pytest.mark.parametrize("wrap", [lambda items: items, lambda items: {"models": items, "other": 1}])
def test_both_shapes_of_the_document_are_taken(wrap: Any) -> None:
    assert parse_list(json.dumps(wrap([GOOD])).encode()).entries == (ENTRY,)
    assert parse_list(b"\xef\xbb\xbf" + json.dumps(wrap([GOOD])).encode()).entries == (ENTRY,)


@pytest.mark.parametrize(
    ("handle", "provider"),
    [
        ("/openai/v1/chat/completions", "openai"),
        ("/fireworks/chat/completions", "fireworks"),
        ("/anthropic/v1/messages", "anthropic"),
        ("openai/v1/chat/completions", "openai"),
        ("/OpenAI/v1/", "openai"),
        ("groq", "groq"),
        ("/nobody/v1", "nobody"),
    ],
)
def test_a_handle_names_a_provider(handle: str, provider: str) -> None:
    (entry,) = parsed({**GOOD, "handle": handle}).entries
    assert entry.provider == provider


def test_a_handle_without_a_provider_leaves_it_to_the_family() -> None:
    (entry,) = parsed({**GOOD, "handle": "/v1/chat/completions", "model_family": "Anthropic"}).entries
    assert entry.provider == "anthropic"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"model_version": None}, "model_version"),
        ({"model_version": ""}, "model_version"),
        ({"model_version": 7}, "model_version"),
        ({"model_version": " x"}, "model_version"),
        ({"model_version": "a\r\nb"}, "model_version"),
        ({"model_version": "a\x00b"}, "model_version"),
        ({"model_version": "x" * 257}, "model_version"),
        ({"model_family": ["x"]}, "model_family"),
        ({"handle": None}, "handle"),
        ({"handle": ""}, "handle"),
        ({"handle": "https://evil.example/v1/chat/completions"}, "handle"),
        ({"handle": "//evil.example/v1"}, "handle"),
        ({"handle": "/openai@evil.example/v1"}, "handle"),
        ({"handle": "/openai/../admin"}, "handle"),
        ({"handle": "/openai/%2e%2e/admin"}, "handle"),
        ({"handle": "/openai/v1?key=1"}, "handle"),
        ({"handle": "/openai\\evil"}, "handle"),
        ({"handle": "/v1/chat/completions", "model_family": "no provider"}, "neither handle nor model_family"),
        ({"prompt_price_1k": -0.1}, "prompt_price_1k"),
        ({"prompt_price_1k": True}, "prompt_price_1k"),
        ({"prompt_price_1k": "free"}, "prompt_price_1k"),
        ({"prompt_price_1k": float("nan")}, "prompt_price_1k"),
        ({"completion_price_1k": float("inf")}, "completion_price_1k"),
        ({"completion_price_1k": "-Infinity"}, "completion_price_1k"),
        ({"completion_price_1k": [1]}, "completion_price_1k"),
        ({"completion_price_1k": 10**7}, "completion_price_1k"),
    ],
)
def test_a_bad_entry_is_skipped_by_itself_with_its_index_and_its_problem(change: dict[str, Any], problem: str) -> None:
    found = parsed({**GOOD, "model_version": "first"}, {**GOOD, **change}, GOOD)
    assert [entry.id for entry in found.entries] == ["first", "gpt-4o"]
    assert len(found.problems) == 1
    assert found.problems[0].startswith("entry 1: ")
    assert problem in found.problems[0]


@pytest.mark.parametrize("item", [None, 1, "x", [], [GOOD]])
def test_what_is_no_object_is_no_entry(item: object) -> None:
    assert parsed(GOOD, item).problems == ("entry 1: not an object",)


def test_prices_that_are_not_given_are_unknown_and_not_free() -> None:
    (entry, other) = parsed(
        {"model_version": "m", "handle": "/openai"},
        {**GOOD, "prompt_price_1k": 0, "completion_price_1k": "0.0100"},
    ).entries
    assert (entry.prompt_price_1k, entry.completion_price_1k) == (None, None)
    assert (other.prompt_price_1k, other.completion_price_1k) == (Decimal(0), Decimal("0.01"))


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"null", b"{}", b'{"models": {}}', b'"x"', b"<html>", b"\xff\xfe", b"[" * 100_000, b"[1, 2]"]
)
def test_what_is_no_list_of_models_is_refused_whole(raw: bytes) -> None:
    with pytest.raises(InvalidList):
        parse_list(raw)


def test_an_empty_list_is_a_list() -> None:
    assert parse_list(b"[]").entries == ()


def test_of_equal_entries_the_first_counts_and_the_others_are_named() -> None:
    found = parsed(GOOD, {**GOOD, "prompt_price_1k": 9}, {**GOOD, "handle": "/groq"})
    assert found.entries == (ENTRY, ListedModel("gpt-4o", "groq", "GPT-4", Decimal("0.0025"), Decimal("0.01")))
    assert found.problems == ("entry 1: an earlier entry has the same model_version and provider",)
    assert listing_of(found, ["groq"]).available["gpt-4o"].provider == "groq"
    assert listing_of(found, ["groq", "openai"]).available["gpt-4o"].provider == "openai"


def test_entries_are_sorted_by_whether_they_can_be_called() -> None:
    found = parsed(GOOD, {**GOOD, "model_version": "openai/x"}, {**GOOD, "model_version": "y", "handle": "/groq"})
    listing = listing_of(found, ["openai", "custom"])
    assert (list(listing.available), list(listing.hidden), list(listing.missing)) == (["gpt-4o"], ["openai/x"], ["y"])


@given(st.binary(max_size=200))
def test_no_document_breaks_the_reader(raw: bytes) -> None:
    try:
        assert parse_list(raw) is not None
    except InvalidList as problem:
        assert str(problem)  # noqa: PT017 - either outcome is right, nothing else is


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(GOOD)), inner),
    max_leaves=12,
)


@given(st.lists(JSON, max_size=4))
def test_no_entry_breaks_the_reader_and_none_is_lost_silently(items: list[Any]) -> None:
    found = parse_list(json.dumps([GOOD, *items]).encode())
    assert len(found.entries) + len(found.problems) == len(items) + 1


# --- on disk ---------------------------------------------------------------------------------------------------------

RAW = json.dumps([GOOD]).encode()


def test_the_stored_list_comes_back_with_its_time(tmp_path: Path) -> None:
    store = ListStore(tmp_path / "deep" / "list.json", URL)
    assert store.load() is None
    store.save(RAW, 1_700_000_000.5)
    found = store.load()
    assert found is not None
    assert (found.models.entries, found.fetched_at) == ((ENTRY,), 1_700_000_000.5)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["list.json"], "no temporary file is left"


def test_a_list_of_another_address_is_not_taken(tmp_path: Path) -> None:
    ListStore(tmp_path / "list.json", URL).save(RAW, 1.0)
    assert ListStore(tmp_path / "list.json", f"{URL}?other").load() is None
    assert default_path(URL) != default_path(f"{URL}?other")


def test_the_file_does_not_hold_the_address(tmp_path: Path) -> None:
    ListStore(tmp_path / "list.json", f"{URL}?signature=canary").save(RAW, 1.0)
    assert b"canary" not in (tmp_path / "list.json").read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:0],
        lambda raw: raw[:-1],
        lambda raw: raw[: len(raw) // 4],
        lambda raw: raw.replace(b"gpt-4o", b"gpt-4x"),
        lambda raw: bytes(len(raw)),
        lambda raw: b"[]\n" + raw,
        lambda raw: raw.replace(b'"fetched_at": 1.0', b'"fetched_at": "x"'),
        lambda raw: raw.replace(b'"fetched_at": 1.0', b'"fetched_at": 1e300'),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, damage: Any) -> None:
    store = ListStore(tmp_path / "list.json", URL)
    store.save(RAW, 1.0)
    store.path.write_bytes(damage(store.path.read_bytes()))
    with pytest.raises(InvalidList):
        store.load()


def test_a_directory_in_its_place_is_refused_and_a_failed_save_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "list.json").mkdir()
    (tmp_path / "list.json" / "full").touch()
    store = ListStore(tmp_path / "list.json", URL)
    with pytest.raises(InvalidList):
        store.load()
    with pytest.raises(OSError, match=r"list\.json"):
        store.save(RAW, time.time())
    assert [path.name for path in tmp_path.iterdir()] == ["list.json"]

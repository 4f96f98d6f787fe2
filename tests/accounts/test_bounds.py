"""What a request can take at the most: never less than an upstream may make of it, whatever it says."""

import re
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given, strategies as st

from ai_gateway.accounts.bounds import PER_IMAGE, Bound, chat_bound, completion_bound
from ai_gateway.accounts.counters.base import Hold
from ai_gateway.accounts.entities import EVERY_MODEL, RateLimit, SpendLimit
from ai_gateway.accounts.holds import Plan
from ai_gateway.accounts.limits import Scope
from ai_gateway.accounts.records import MAX_COST, MAX_TOKENS
from gateway_contract.openai import models

SIZE = 1_000


def chat(*parts: dict[str, Any], **fields: Any) -> Bound:
    content = [{"type": "text", "text": "Hi"}, *parts]
    body = {"model": "m", "messages": [{"role": "user", "content": content}], **fields}
    return chat_bound(models.CreateChatCompletionRequest.model_validate(body), SIZE)


def completion(**fields: Any) -> Bound:
    return completion_bound(models.CreateCompletionRequest.model_validate({"model": "m", "prompt": "x", **fields}), 10)


@pytest.mark.parametrize(
    ("fields", "output"),
    [
        ({}, None),
        ({"max_tokens": 10}, 10),
        ({"max_completion_tokens": 10}, 10),
        ({"max_completion_tokens": 10, "n": 3}, 30),
        # Who takes which is not known: some upstreams go by the older one alone.
        ({"max_completion_tokens": 1, "max_tokens": 100_000}, 100_000),
        ({"max_completion_tokens": 100_000, "max_tokens": 1}, 100_000),
        # To some servers these are no limit.
        ({"max_tokens": -1}, None),
        ({"max_tokens": 0}, None),
        ({"max_completion_tokens": -(10**30)}, None),
        ({"max_completion_tokens": 5, "max_tokens": -1}, None),
        ({"max_completion_tokens": -1, "max_tokens": 5}, None),
        ({"max_tokens": 10**30}, 10**30),
        # What other vendors have for the same.
        ({"max_tokens": 5, "max_new_tokens": 1_000}, 1_005),
        ({"max_tokens": 5, "thinking": {"type": "enabled", "budget_tokens": 2_000}}, 2_005),
        ({"max_tokens": 5, "thinking_budget": 2_000, "options": {"num_predict": 100}}, 2_105),
        ({"max_tokens": 5, "max_new_tokens": -1}, None),
        ({"max_tokens": 5, "generationConfig": {"maxOutputTokens": 70}}, 75),
        ({"max_tokens": 5, "min_tokens": True, "truncate_prompt_tokens": -1, "seed_tokens": "9"}, 5),
        ({"max_tokens": 5, "best_of": 4}, 20),
        ({"max_tokens": 5, "n": 2, "extra_body": {"num_return_sequences": 7}}, 35),
        ({"max_tokens": 5, "best_of": -4}, 5),
        ({"max_new_tokens": 7}, None),
    ],
)
def test_the_reply_of_a_chat_has_no_more_than_any_upstream_may_be_asked_for(
    fields: dict[str, Any], output: int | None
) -> None:
    assert chat(**fields).output == output


@pytest.mark.parametrize(
    ("fields", "output"),
    [
        ({}, None),  # 16 tokens at OpenAI, and what fits into the context at others
        ({"max_tokens": 0}, 0),
        ({"max_tokens": 3, "best_of": 5, "n": 2}, 15),
        ({"max_tokens": 3, "prompt": ["a", "b"]}, 6),
        ({"max_tokens": 3, "max_new_tokens": 4}, 7),
        ({"max_tokens": 3, "max_new_tokens": -1}, None),
        ({"max_tokens": 3, "num_return_sequences": 2}, 6),
    ],
)
def test_neither_has_that_of_a_completion(fields: dict[str, Any], output: int | None) -> None:
    assert completion(**fields).output == output


def wav(form: int, rate: int, block: int, length: int = 10_000) -> str:
    head = b"RIFF\0\0\0\0WAVEfmt " + (16).to_bytes(4, "little") + form.to_bytes(2, "little") + b"\1\0"
    head += rate.to_bytes(4, "little") + (rate * block).to_bytes(4, "little") + block.to_bytes(2, "little")
    return b64encode(head + b"\0" * length).decode()


def sound(data: str, form: str = "wav") -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": data, "format": form}}


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


MP3 = b64encode(b"\xff\xfb\x90\x00" + b"\0" * 5_000).decode()


@pytest.mark.parametrize(
    ("part", "is_open"),
    [
        ({"type": "file", "file": {"file_id": "file-abc"}}, True),
        ({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}}, True),
        (image("https://images.example/a.png"), False),
        (image("data:image/png;base64,AAAA"), False),
        (image("data:video/mp4;base64,AAAA"), True),
        (image("data:application/pdf;base64,AAAA"), True),
        (sound(MP3, "mp3"), False),
        (sound(b64encode(b"ID3" + b"\0" * 99).decode(), "mp3"), False),
        (sound(wav(1, 16_000, 2)), False),
        (sound(wav(3, 48_000, 8)), False),
        (sound(wav(1, 1, 2)), True),  # a second of it is two bytes
        (sound(wav(0x11, 8_000, 1_024)), True),  # compressed
        (sound(b64encode(b"OggS" + b"\0" * 90).decode(), "mp3"), True),
        (sound("", "mp3"), True),
        (sound("no base64: \N{SNOWMAN}", "wav"), True),
    ],
)
def test_what_bytes_do_not_tell_is_open(part: dict[str, Any], is_open: bool) -> None:
    bound = chat(part)
    assert bound.is_open is is_open
    if part["type"] == "image_url" and not is_open:
        assert bound.input >= PER_IMAGE


@pytest.mark.parametrize(
    "fields",
    [
        {"cached_content": "caches/1"},
        {"extra_body": {"google": {"cached_content": "caches/1"}}},
        {"previous_response_id": "resp_1"},
        {"conversation": "conv_1"},
        {"file_ids": ["file-1"]},
        {"plugins": [{"id": "web"}]},
        {"web_search_options": {}},
        {"messages": [{"role": "assistant", "audio": {"id": "audio_abc"}}]},
    ],
)
def test_so_is_what_the_upstream_has_kept_or_looks_up(fields: dict[str, Any]) -> None:
    assert chat(**fields).is_open


def test_without_anything_of_the_kind_the_input_is_its_bytes() -> None:
    assert not chat().is_open
    assert SIZE < chat().input < SIZE + 1_000


@given(tokens=st.integers(-(10**40), 10**40), cost=st.integers(-(10**40), 10**40))
def test_nothing_that_is_held_is_below_nothing_or_above_what_a_call_counts(tokens: int, cost: int) -> None:
    rates = {EVERY_MODEL: RateLimit(id="1", entity="k", model=EVERY_MODEL, tokens_per_minute=900)}
    plan = Plan((Scope("key", "k", SpendLimit(id="k", threshold_amount=7), rates),), {"m"}, 0)
    held: list[Hold] = list(plan.held(tokens, cost).holds)
    assert [hold.amount for hold in held] == [max(0, min(tokens, MAX_TOKENS)), max(0, min(cost, MAX_COST))]


def test_only_messages_of_users_have_parts_that_may_count_for_more_than_their_bytes() -> None:
    schema = models.CreateChatCompletionRequest.model_json_schema()
    roles = schema["properties"]["messages"]["items"]["discriminator"]["mapping"]
    texts = {"Text", "Refusal"}
    parts: dict[str, set[str]] = {}
    for role, reference in roles.items():
        content = schema["$defs"][reference.rpartition("/")[2]]["properties"]["content"]
        parts[role] = set(re.findall(r"ContentPart(\w+)'", str(_resolved(content, schema["$defs"])))) - {"s"}
    assert {role for role, kinds in parts.items() if kinds - texts} == {"user"}, parts
    assert parts["system"] == {"Text"}


def _resolved(value: Any, known: dict[str, Any]) -> Any:
    """A schema with those that it refers to, two steps deep: from a message to the kinds of its parts."""
    found = str(value)
    for _ in range(2):
        found += "".join(str(known[name]) for name in re.findall(r"#/\$defs/(\w+)", found))
    return found


@pytest.mark.parametrize("role", ["assistant", "user"])
def test_only_the_id_of_a_reply_that_was_heard_opens_a_bound(role: str) -> None:
    message = {"role": role, "content": "Hi", **({"audio": {"id": "audio_1"}} if role == "assistant" else {})}
    body = models.CreateChatCompletionRequest.model_validate({"model": "m", "messages": [message]})
    assert chat_bound(body, SIZE).is_open == (role == "assistant")

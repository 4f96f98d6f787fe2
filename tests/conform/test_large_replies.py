"""A large reply is mended object by object: as a small one is, and with few complaints at a time."""

import tracemalloc
from typing import Any

import pytest

from ai_gateway.conform.objects import ReplyContext
from ai_gateway.conform.reply import repair
from ai_gateway.errors import UpstreamInvalidResponse
from gateway_contract.openai import models

type Json = dict[str, Any]

MANY = 60_000
MAX_BYTES = 60 * 2**20  # complaints about so many took half a gigabyte
CHAT, LEGACY, EMBED = (
    models.CreateChatCompletionResponse,
    models.CreateCompletionResponse,
    models.CreateEmbeddingResponse,
)


def chat(*choices: object) -> Json:
    return {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": list(choices)}


def choice(**fields: object) -> Json:
    return {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "x"}, **fields}


def tokens(count: int) -> list[Json]:
    return [{"token": "a", "logprob": -1.0} for _ in range(count)]


def vectors(*items: object) -> Json:
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    return {"object": "list", "model": "m", "data": list(items), "usage": usage}


def completion(logprobs: object) -> Json:
    text = {"text": "a", "index": 0, "finish_reason": "stop", "logprobs": logprobs}
    return {"id": "x", "object": "text_completion", "created": 1, "model": "m", "choices": [text]}


def nothing(count: int) -> list[Json]:
    return [{} for _ in range(count)]


BROKEN: dict[str, tuple[type[Any], Any]] = {
    "choices of nothing": (CHAT, lambda: chat(*[{} for _ in range(MANY)])),
    "choices of null": (CHAT, lambda: chat(*[None] * MANY)),
    "choices of numbers": (CHAT, lambda: chat(*range(MANY))),
    "calls of nothing": (CHAT, lambda: chat(choice(message={"role": "assistant", "tool_calls": nothing(MANY)}))),
    "tokens of nothing": (CHAT, lambda: chat(choice(logprobs={"content": [{} for _ in range(MANY)]}))),
    "few choices of few tokens of few alternatives": (
        CHAT,
        lambda: chat(*[choice(index=at, logprobs={"content": [{"top_logprobs": nothing(30)} for _ in range(40)]})
                       for at in range(50)]),
    ),
    "a vector of texts": (EMBED, lambda: vectors({"index": 0, "object": "embedding", "embedding": ["x"] * MANY})),
    "vectors of nothing": (EMBED, lambda: vectors(*[{} for _ in range(MANY)])),
    "alternatives that are no numbers": (
        LEGACY, lambda: completion({"top_logprobs": [{str(at): "x" for at in range(MANY)}]}),
    ),
    "models of nothing": (models.ListModelsResponse, lambda: {"object": "list", "data": [{} for _ in range(MANY)]}),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_reply_that_is_broken_all_over_is_refused_for_its_first_fault(name: str) -> None:
    model, make = BROKEN[name]
    value = make()
    tracemalloc.start()
    with pytest.raises(UpstreamInvalidResponse):
        repair(model, value, ReplyContext("m", "r"))
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert used < MAX_BYTES


MENDED: dict[str, tuple[type[Any], Any, set[str]]] = {
    "tokens without bytes": (CHAT, lambda count: chat(choice(logprobs={"content": tokens(count)})), {"fill-null"}),
    "choices without refusal": (CHAT, lambda count: chat(*[choice(index=at) for at in range(count)]), {"fill-null"}),
    "vectors without their kind": (
        EMBED, lambda count: vectors(*[{"index": at, "embedding": [0.5]} for at in range(count)]), {"fix-item-object"},
    ),
    "nested": (
        CHAT, lambda count: chat(*[choice(index=at, logprobs={"content": tokens(3)}) for at in range(count)]),
        {"fill-null"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MENDED)
def test_what_is_mended_in_a_small_reply_is_mended_in_a_large_one(name: str) -> None:
    model, make, expected = MENDED[name]
    (small, small_rules), (large, large_rules) = (
        repair(model, make(count), ReplyContext("m", "r")) for count in (2, 3_000)
    )
    assert {rule.name for rule in small_rules} == {rule.name for rule in large_rules} >= expected
    assert str(small)[:60] == str(large)[:60]


def test_a_count_that_cannot_be_read_is_no_reason_to_lose_a_large_answer() -> None:
    value = chat(choice(logprobs={"content": tokens(1_000)})) | {"usage": {"prompt_tokens": "many"}}
    mended, rules = repair(CHAT, value, ReplyContext("m", "r"))
    assert mended.choices[0].logprobs
    assert "drop-invalid" in {rule.name for rule in rules}

"""Fields that no document names, at every place of a reply and of every piece of a stream: they reach the client.

Whatever wire the upstream has and whatever door the client came through; and those of an answer go back to the
upstream with it.
"""

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from tests.attacks.wires import in_front_of_all
from tests.support.client import post
from tests.support.gateway import LiveGateway, SharedGateways
from tests.support.upstream import Exchange, Upstream, running_upstream

type Json = dict[str, Any]

PLANS: dict[str, Any] = {}
AT = "2026-01-01T00:00:00Z"
VALUE: Json = {"digits": 123456789012345678901234567890, "": [None, True, 0.1, {"ü": [], "x": "\u2028"}], "n": -0.5}
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
CALL = {"id": "c1", "type": "function", "function": {"name": "zebra", "arguments": "{}"}}
LOGPROB = {"token": "Hi", "logprob": -1.0, "bytes": [72, 105]}
TOKENS = [{**LOGPROB, "top_logprobs": [LOGPROB]}]
COUNTS = {"input_tokens": 1, "output_tokens": 2, "output_tokens_details": {"thinking_tokens": 1}}
DATA = {"input", "arguments"}  # what stands below is an answer's content and no object of a wire


def chunk(delta: Json, finish: str | None = None, **more: Any) -> Json:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, **more}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def line(message: Json, **more: Any) -> Json:
    said = {"role": "assistant", "content": "", **message}
    return {"model": "m", "created_at": AT, "message": said, "done": False, **more}


def text_line(text: str, **more: Any) -> Json:
    return {"model": "m", "created_at": AT, "response": text, "done": False, **more}


OPENAI_CHUNKS = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"reasoning_content": "hm"}),
    chunk({"content": "Hi"}, logprobs={"content": TOKENS, "refusal": None}),
    chunk({"content": " there"}),
    chunk({"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "a", "arguments": ""}}]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}),
    chunk({"tool_calls": [{"index": 1, "id": "c2", "type": "function", "function": {"name": "b", "arguments": "{}"}}]}),
    chunk({}, "tool_calls"),
    {**chunk({}), "choices": [], "usage": USAGE},
]
OPENAI_WHOLE = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "m", "usage": USAGE,
    "choices": [{
        "index": 0, "finish_reason": "tool_calls", "logprobs": {"content": TOKENS, "refusal": None},
        "message": {"role": "assistant", "content": "Hi", "refusal": None, "reasoning_content": "hm",
                    "tool_calls": [CALL]},
    }],
}  # fmt: skip
OPENAI_ANSWER = {
    **OPENAI_WHOLE,
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hi"}}],
}
TEXT_WHOLE = {
    "id": "c", "object": "text_completion", "created": 1, "model": "m", "usage": USAGE,
    "choices": [{"index": 0, "finish_reason": "stop", "text": "Hi", "logprobs": None}],
}  # fmt: skip
OLLAMA_CALL = {"id": "c1", "function": {"index": 0, "name": "a", "arguments": {}}}
END = {"done": True, "done_reason": "stop", "prompt_eval_count": 1, "eval_count": 2, "total_duration": 5}
OLLAMA_LINES = [
    line({"thinking": "hm"}),
    line({"content": "Hi"}, logprobs=TOKENS),
    line({"content": " there"}),
    line({"tool_calls": [OLLAMA_CALL]}),
    line({}),
    line({}, **END),
]
OLLAMA_WHOLE = line({"content": "Hi", "thinking": "hm", "tool_calls": [OLLAMA_CALL]}, logprobs=TOKENS, **END)
OLLAMA_TEXTS = [text_line("Hi"), text_line(" there"), text_line(""), text_line("", **END)]
ANTHROPIC_WHOLE = {
    "id": "m1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "tool_use", "stop_sequence": None,
    "usage": COUNTS, "stop_details": {"explanation": "because"},
    "content": [
        {"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "Hi"},
        {"type": "text", "text": "!"}, {"type": "tool_use", "id": "t1", "name": "a", "input": {}},
    ],
}  # fmt: skip


def block(index: int, first: Json, *deltas: Json) -> list[Json]:
    return [
        {"type": "content_block_start", "index": index, "content_block": first},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


ANTHROPIC_EVENTS = [
    {"type": "message_start", "message": {**ANTHROPIC_WHOLE, "content": [], "stop_reason": None, "stop_details": None}},
    *block(0, {"type": "thinking", "thinking": "", "signature": ""}, {"type": "thinking_delta", "thinking": "hm"},
           {"type": "signature_delta", "signature": "s"}),
    *block(1, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Hi"}, {"type": "text_delta", "text": ""}),
    *block(2, {"type": "tool_use", "id": "t1", "name": "a", "input": {}},
           {"type": "input_json_delta", "partial_json": ""}, {"type": "input_json_delta", "partial_json": "{}"}),
    {"type": "message_delta", "usage": COUNTS,
     "delta": {"stop_reason": "tool_use", "stop_sequence": None, "stop_details": {"explanation": "because"}}},
    {"type": "message_stop"},
]  # fmt: skip
VECTORS_OPENAI = {
    "object": "list", "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1},
    "data": [{"object": "embedding", "index": at, "embedding": [0.5, 1.0]} for at in range(2)],
}  # fmt: skip
VECTORS_OLLAMA = {"model": "m", "embeddings": [[0.5], [1.0]], "total_duration": 5, "prompt_eval_count": 1}
ASKED: Json = {"messages": [{"role": "user", "content": "a"}]}
COUNTED: Json = {"stream_options": {"include_usage": True}}
# Provider, path, what else is asked, and the answer: an object, or the pieces of a stream.
CASES: dict[str, tuple[str, str, Json, Any]] = {
    "openai whole at v1": ("lab", "/v1/chat/completions", ASKED, OPENAI_WHOLE),
    "openai stream at v1": ("lab", "/v1/chat/completions", {**ASKED, **COUNTED}, OPENAI_CHUNKS),
    "openai whole at api": ("lab", "/api/chat", ASKED, OPENAI_WHOLE),
    "openai stream at api": ("lab", "/api/chat", ASKED, OPENAI_CHUNKS),
    "openai whole at generate": ("lab", "/api/generate", {"prompt": "a"}, OPENAI_ANSWER),
    "openai stream at generate": ("lab", "/api/generate", {"prompt": "a"}, OPENAI_CHUNKS[:4] + OPENAI_CHUNKS[-2:]),
    "openai text at generate": ("lab", "/api/generate", {"prompt": "a", "raw": True}, TEXT_WHOLE),
    "openai vectors at api": ("lab", "/api/embed", {"input": ["a", "b"]}, VECTORS_OPENAI),
    "ollama whole at v1": ("ollama", "/v1/chat/completions", ASKED, OLLAMA_WHOLE),
    "ollama stream at v1": ("ollama", "/v1/chat/completions", {**ASKED, **COUNTED}, OLLAMA_LINES),
    "ollama whole at api": ("ollama", "/api/chat", ASKED, OLLAMA_WHOLE),
    "ollama stream at api": ("ollama", "/api/chat", ASKED, OLLAMA_LINES),
    "ollama text at v1": ("ollama", "/v1/completions", {"prompt": "a"}, text_line("Hi", **END)),
    "ollama texts at v1": ("ollama", "/v1/completions", {"prompt": "a", **COUNTED}, OLLAMA_TEXTS),
    "ollama text at generate": ("ollama", "/api/generate", {"prompt": "a"}, text_line("Hi", **END)),
    "ollama texts at generate": ("ollama", "/api/generate", {"prompt": "a"}, OLLAMA_TEXTS),
    "ollama vectors at v1": ("ollama", "/v1/embeddings", {"input": ["a", "b"]}, VECTORS_OLLAMA),
    "ollama vectors at api": ("ollama", "/api/embed", {"input": ["a", "b"]}, VECTORS_OLLAMA),
    "anthropic whole at v1": ("anthropic", "/v1/chat/completions", ASKED, ANTHROPIC_WHOLE),
    "anthropic stream at v1": ("anthropic", "/v1/chat/completions", {**ASKED, **COUNTED}, ANTHROPIC_EVENTS),
    "anthropic whole at api": ("anthropic", "/api/chat", ASKED, ANTHROPIC_WHOLE),
    "anthropic stream at api": ("anthropic", "/api/chat", ASKED, ANTHROPIC_EVENTS),
}


async def behave(exchange: Exchange) -> None:
    """The answer that is planned for the model: an object, or the pieces of a stream on the wire of this path."""
    plan = PLANS[exchange.seen.model]
    if not isinstance(plan, list):
        return await exchange.json(plan)
    await exchange.open_stream()
    lines = exchange.seen.path.startswith("/api/")
    for piece in plan:
        await (exchange.chunk(json.dumps(piece).encode() + b"\n") if lines else exchange.event(piece))
    if not lines:
        await exchange.chunk(b"data: [DONE]\n\n")
    await exchange.end_stream()


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream(behave) as running:
        yield running


@pytest.fixture
def live(gateway_for: SharedGateways, upstream: Upstream) -> LiveGateway:
    return in_front_of_all(gateway_for, upstream)


def objects(value: Any) -> Iterator[Json]:
    """Every object of a wire in it."""
    if isinstance(value, dict):
        yield value
        for name, inner in value.items():
            if name not in DATA:
                yield from objects(inner)
    elif isinstance(value, list):
        for each in value:
            yield from objects(each)


def answered(live: LiveGateway, case: str, plan: Any) -> tuple[httpx2.Response, list[Json]]:
    """The reply, and the objects or chunks in it."""
    provider, path, asked, _ = CASES[case]
    model = f"{provider}/{case}"
    PLANS[case] = plan
    reply = post(live, path, {"model": model, "stream": isinstance(plan, list), **asked})
    assert reply.status_code == 200, reply.text
    frames = [text.removeprefix("data: ") for text in reply.text.split("\n") if text and text != "data: [DONE]"]
    found = [json.loads(frame) for frame in frames]
    if path.startswith("/api/") and isinstance(plan, list):
        assert found[-1]["done"] is True
    elif isinstance(plan, list):
        assert reply.text.endswith("data: [DONE]\n\n")
    return reply, found


def values_of(name: str, value: Any) -> list[str]:
    """What is said under this name, wherever it stands, as JSON: Python takes 1 for True."""
    if isinstance(value, list):
        return [found for each in value for found in values_of(name, each)]
    if not isinstance(value, dict):
        return []
    inner = [found for each in value.values() for found in values_of(name, each)]
    return [*([json.dumps(value[name])] if name in value else []), *inner]


@pytest.mark.parametrize("case", CASES)
def test_what_no_document_names_is_kept_at_every_place(live: LiveGateway, case: str) -> None:
    plan = deepcopy(CASES[case][3])
    expected = {}
    for at, place in enumerate(list(objects(plan))):
        expected[f"x_{at}"] = {**VALUE, "at": at}
        place[f"x_{at}"] = expected[f"x_{at}"]
    _, found = answered(live, case, plan)
    lost = {name: value for name, value in expected.items() if json.dumps(value) not in values_of(name, found)}
    assert not lost
    assert all(len(set(values_of(name, found))) == 1 for name in expected)


@pytest.mark.parametrize("case", CASES)
def test_one_name_at_every_place_keeps_every_value(live: LiveGateway, case: str) -> None:
    plan = deepcopy(CASES[case][3])
    growing = plan[0]["message"]["usage"] if case.startswith("anthropic stream") else {}  # counts are cumulative
    places = [place for place in objects(plan) if place not in [growing, *growing.values()]]
    for at, place in enumerate(places):
        place["x_same"] = at
    _, found = answered(live, case, plan)
    assert {json.loads(value) for value in values_of("x_same", found)} == set(range(len(places)))


@pytest.mark.parametrize("case", CASES)
def test_an_answer_with_such_fields_says_what_it_says_without(live: LiveGateway, case: str) -> None:
    plan = deepcopy(CASES[case][3])
    _, bare = answered(live, case, deepcopy(plan))
    for at, place in enumerate(list(objects(plan))):
        place[f"x_{at}"] = VALUE
    _, found = answered(live, case, plan)
    assert said(found) == said(bare)


TOLD = (
    *("content", "response", "text", "reasoning_content", "thinking", "arguments", "embedding", "embeddings", "token"),
    *("done_reason", "finish_reason", "eval_count", "completion_tokens", "total_duration", "name", "logprob"),
)


def said(found: list[Json]) -> dict[str, list[str]]:
    """What an answer says: lists and objects under such a name are of another kind."""
    plain = [json.loads(json.dumps(each), object_hook=without_extras) for each in found]
    return {
        name: [value for value in values_of(name, plain) if value not in {'""', "null"} and value[0] not in "[{"]
        for name in TOLD
    }


def without_extras(value: Json) -> Json:
    return {name: inner for name, inner in value.items() if not name.startswith("x_")}


names = st.text(max_size=8).map("x{}".format) | st.sampled_from(["self", "model_extra", "x", "durations"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=80, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_field_at_any_place_is_kept(live: LiveGateway, data: st.DataObject) -> None:
    case = data.draw(st.sampled_from(sorted(CASES)))
    plan = deepcopy(CASES[case][3])
    places = list(objects(plan))
    drawn = data.draw(st.lists(st.tuples(st.sampled_from(range(len(places))), names, values), max_size=6))
    fields = {(at, name): value for at, name, value in drawn if name not in places[at]}
    for (at, name), value in fields.items():
        places[at][name] = value
    _, found = answered(live, case, plan)
    lost = [(at, name) for (at, name), value in fields.items() if json.dumps(value) not in values_of(name, found)]
    assert not lost

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

from tests.attacks.wires import live_in_front_of_all, upstream_that
from tests.support.client import post
from tests.support.gateway import LiveGateway
from tests.support.upstream import Exchange, Upstream

pytestmark = pytest.mark.live

type Json = dict[str, Any]

PLANS: dict[str, Any] = {}
AT = "2026-01-01T00:00:00Z"
VALUE: Json = {"digits": 123456789012345678901234567890, "": [None, True, 0.1, {"ü": [], "x": "\u2028"}], "n": -0.5}
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
CALL: Json = {"id": "c1", "type": "function", "function": {"name": "zebra", "arguments": "{}"}}
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
OPENAI_WHOLE: Json = {
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
    "choices": [{
        "index": 0, "finish_reason": "stop", "text": "Hi",
        "logprobs": {"tokens": ["Hi"], "token_logprobs": [-1.0], "text_offset": [0], "content": TOKENS},
    }],
}  # fmt: skip
OLLAMA_CALL: Json = {"id": "c1", "function": {"index": 0, "name": "a", "arguments": {}}}
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
OLLAMA_TEXTS = [text_line("Hi", logprobs=TOKENS), text_line(" there"), text_line(""), text_line("", **END)]
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


def unlikely(plan: Any) -> Any:
    """The plan without how likely each token was, which nobody can ask for at every door."""
    if isinstance(plan, list):
        return [unlikely(each) for each in plan]
    if not isinstance(plan, dict):
        return plan
    return {name: unlikely(each) for name, each in plan.items() if name != "logprobs"}


ASKED: Json = {"messages": [{"role": "user", "content": "a"}]}
MESSAGE: Json = {**ASKED, "max_tokens": 64}
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
    "ollama text at v1": ("ollama", "/v1/completions", {"prompt": "a"}, text_line("Hi", logprobs=TOKENS, **END)),
    "ollama texts at v1": ("ollama", "/v1/completions", {"prompt": "a", **COUNTED}, OLLAMA_TEXTS),
    "ollama text at generate": ("ollama", "/api/generate", {"prompt": "a"}, text_line("Hi", logprobs=TOKENS, **END)),
    "ollama texts at generate": ("ollama", "/api/generate", {"prompt": "a"}, OLLAMA_TEXTS),
    "ollama vectors at v1": ("ollama", "/v1/embeddings", {"input": ["a", "b"]}, VECTORS_OLLAMA),
    "ollama vectors at api": ("ollama", "/api/embed", {"input": ["a", "b"]}, VECTORS_OLLAMA),
    "anthropic whole at v1": ("anthropic", "/v1/chat/completions", ASKED, ANTHROPIC_WHOLE),
    "anthropic stream at v1": ("anthropic", "/v1/chat/completions", {**ASKED, **COUNTED}, ANTHROPIC_EVENTS),
    "openai whole at messages": ("lab", "/v1/messages", MESSAGE, unlikely(OPENAI_WHOLE)),
    "openai stream at messages": ("lab", "/v1/messages", MESSAGE, unlikely(OPENAI_CHUNKS)),
    "ollama whole at messages": ("ollama", "/v1/messages", MESSAGE, unlikely(OLLAMA_WHOLE)),
    "ollama stream at messages": ("ollama", "/v1/messages", MESSAGE, unlikely(OLLAMA_LINES)),
    "anthropic whole at api": ("anthropic", "/api/chat", ASKED, ANTHROPIC_WHOLE),
    "anthropic stream at api": ("anthropic", "/api/chat", ASKED, ANTHROPIC_EVENTS),
}


async def behave(exchange: Exchange) -> None:
    """The answer that is planned for the model: an object, or the pieces of a stream on the wire of this path."""
    plan = PLANS[exchange.seen.model]
    if exchange.seen.path.endswith("/messages") and not exchange.seen.model.startswith("anthropic"):
        await exchange.json({"error": {"message": "Not Found"}}, status=404)  # so that messages are translated
        return
    if not isinstance(plan, list):
        await exchange.json(plan)
        return
    await exchange.open_stream()
    lines = exchange.seen.path.startswith("/api/")
    for piece in plan:
        await (exchange.chunk(json.dumps(piece).encode() + b"\n") if lines else exchange.event(piece))
    if not lines:
        await exchange.chunk(b"data: [DONE]\n\n")
    await exchange.end_stream()


upstream, live = upstream_that(behave), live_in_front_of_all()


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


def places_in(case: str, plan: Any) -> list[Json]:
    """The same, but for counts that later ones of the stream replace: Anthropic's are cumulative."""
    growing = plan[0]["message"]["usage"] if case.startswith("anthropic stream") else None
    replaced = list(map(id, objects(growing)))
    return [place for place in objects(plan) if id(place) not in replaced]


def answered(live: LiveGateway, case: str, plan: Any) -> tuple[httpx2.Response, list[Json]]:
    """The reply, and the objects or chunks in it."""
    provider, path, asked, _ = CASES[case]
    model = f"{provider}/{case}"
    PLANS[case] = plan
    reply = post(live, path, {"model": model, "stream": isinstance(plan, list), **asked})
    assert reply.status_code == 200, reply.text
    lines = [text for text in reply.text.split("\n") if text and not text.startswith("event: ")]
    found = [json.loads(line.removeprefix("data: ")) for line in lines if line != "data: [DONE]"]
    if path == "/v1/messages" and isinstance(plan, list):
        assert found[-1] == {"type": "message_stop"}
    elif path.startswith("/api/") and isinstance(plan, list):
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
    places = places_in(case, plan)
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
    *("done_reason", "finish_reason", "eval_count", "completion_tokens", "name", "logprob"),
)


def said(found: list[Json]) -> dict[str, list[str]]:
    """What an answer says: lists and objects under such a name are of another kind."""
    plain = [json.loads(json.dumps(each), object_hook=without_extras) for each in found]
    return {
        name: [value for value in values_of(name, plain) if value not in {'""', "null"} and value[0] not in "[{"]
        for name in TOLD
    }


def without_extras(value: Json) -> Json:
    """Without tokens as chats have them, too, where they stand beside the lists of legacy completions."""
    beside = {"content"} if "token_logprobs" in value else set()
    return {name: inner for name, inner in value.items() if not name.startswith("x_") and name not in beside}


names = st.text(max_size=8).map("x{}".format) | st.sampled_from(["self", "model_extra", "x", "durations"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=50, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_field_at_any_place_is_kept(live: LiveGateway, data: st.DataObject) -> None:
    case = data.draw(st.sampled_from(sorted(CASES)))
    plan = deepcopy(CASES[case][3])
    places = places_in(case, plan)
    drawn = data.draw(st.lists(st.tuples(st.sampled_from(range(len(places))), names, values), max_size=6))
    fields: dict[tuple[int, str], Any] = {}
    for at, name, value in drawn:
        # An object in a later piece of a stream goes on with the one of that name before it: two of them become one.
        is_second = isinstance(value, dict) and any(
            name == other and isinstance(before, dict) for (_, other), before in fields.items()
        )
        if name not in places[at] and not is_second:
            fields[at, name] = value
    for (at, name), value in fields.items():
        places[at][name] = value
    _, found = answered(live, case, plan)
    lost = [(at, name) for (at, name), value in fields.items() if json.dumps(value) not in values_of(name, found)]
    assert not lost


# A field whose name has a meaning on the other wire: provider and path, the place in the answer, the name.
TAKEN = [
    ("ollama whole at v1", (), ["id", "object", "choices", "usage", "system_fingerprint"]),
    ("ollama whole at v1", ("message",), ["refusal", "function_call", "annotations", "reasoning_content"]),
    ("ollama whole at v1", ("message", "tool_calls", 0), ["type"]),
    ("ollama stream at v1", (1,), ["id", "object", "choices", "usage", "system_fingerprint"]),
    ("ollama stream at v1", (5,), ["choices"]),
    ("ollama stream at v1", (1, "message"), ["refusal", "function_call", "tool_call_id"]),
    ("ollama stream at v1", (3, "message", "tool_calls", 0), ["type", "index"]),
    ("ollama whole at api", (), ["id", "choices", "usage", "durations", "x"]),
    ("ollama whole at api", ("message",), ["refusal", "reasoning_content", "reasoning", "other_fields"]),
    ("ollama whole at api", ("message", "tool_calls", 0), ["type", "index"]),
    ("ollama stream at api", (5,), ["id", "choices", "usage", "durations", "native_finish_reason"]),
    ("ollama stream at api", (1, "message"), ["reasoning_content", "images_of", "role_of"]),
    ("ollama texts at generate", (0,), ["reasoning_content", "text", "choices"]),
    ("openai whole at api", (), ["done", "done_reason", "created_at", "eval_count", "total_duration", "durations"]),
    ("openai whole at api", ("choices", 0), ["done", "thinking", "model"]),
    ("openai whole at api", ("choices", 0, "message"), ["thinking", "images"]),
    ("openai whole at api", ("choices", 0, "message", "tool_calls", 0, "function"), ["index"]),
    ("openai stream at api", (2,), ["done", "done_reason", "created_at", "eval_count"]),
    ("openai stream at api", (2, "choices", 0, "delta"), ["thinking", "images"]),
    ("openai stream at api", (7,), ["done", "eval_count", "created_at"]),
    ("anthropic whole at v1", (), ["object", "created", "choices"]),
    ("anthropic whole at v1", ("content", 3), ["function", "text"]),
    ("anthropic whole at v1", ("usage",), ["prompt_tokens", "total_tokens"]),
]


@pytest.mark.parametrize(("case", "place", "names"), TAKEN, ids=[f"{row[0]} {row[1]}" for row in TAKEN])
def test_a_name_with_a_meaning_elsewhere_overwrites_nothing_and_is_kept(
    live: LiveGateway, case: str, place: tuple[str | int, ...], names: list[str]
) -> None:
    plan = deepcopy(CASES[case][3])
    _, bare = answered(live, case, deepcopy(plan))
    for name in names:
        at = plan
        for step in place:
            at = at[step]
        assert name not in at
        at[name] = {"mine": name}
    _, found = answered(live, case, plan)
    for name in names:
        assert json.dumps({"mine": name}) in values_of(name, found), name
    assert said(found) == said(bare)
    assert len(found) <= len(bare) + 1


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_fields_of_an_ollama_server_stay_where_they_were_on_its_own_wire(live: LiveGateway, *, stream: bool) -> None:
    case = "ollama stream at api" if stream else "ollama whole at api"
    plan = deepcopy(CASES[case][3])
    lines = plan if stream else [plan]
    for at, sent in enumerate(lines):
        sent |= {"id": f"top {at}", "type": {"top": at}}
        sent["message"] |= {"reasoning_content": f"message {at}", "x": at}
        for call in sent["message"].get("tool_calls", []):
            call |= {"type": "function", "index": 0}
            call["function"] |= {"type": "f", "description": "d"}
    _, found = answered(live, case, plan)
    shown = [line for line in found if line["message"]["content"] or line["message"].keys() - {"role", "content"}]
    assert len(found) == len(lines)
    for sent, line in zip(lines, shown, strict=True):
        assert (line["id"], line["type"]) == (sent["id"], sent["type"])
        assert line["message"] == {"role": "assistant", "content": "", **sent["message"]}


@pytest.mark.parametrize("case", ["ollama whole at v1", "ollama whole at api"])
def test_lines_where_a_whole_reply_was_asked_for_keep_their_fields(
    live: LiveGateway, upstream: Upstream, case: str
) -> None:
    """Also such as look like pieces of tool calls and are none."""
    provider, path, asked, _ = CASES[case]
    lines = deepcopy(OLLAMA_LINES)
    for at, sent in enumerate(lines):
        sent[f"x_{at}"] = at
        sent["message"][f"m_{at}"] = {"tool_calls": [{"no": "index"}], "delta": {"tool_calls": [at]}}
    PLANS[f"{case} joined"] = lines
    reply = post(live, path, {"model": f"{provider}/{case} joined", "stream": False, **asked}).json()
    for at in range(len(lines)):
        assert values_of(f"x_{at}", reply) == [json.dumps(at)]
        (kept,) = values_of(f"m_{at}", reply)
        assert json.loads(kept) == lines[at]["message"][f"m_{at}"]


GOOGLE = {"google": {"thought_signature": "c2ln", "parts": [1, {"a": None}]}}


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("wire", ["openai", "ollama"])
@pytest.mark.parametrize("door", ["v1", "api"])
def test_fields_of_an_answer_go_back_to_its_upstream_with_it(
    live: LiveGateway, upstream: Upstream, wire: str, door: str, *, stream: bool
) -> None:
    """As a signature has to that Gemini gives with a call: ai.google.dev, "Thought signatures"."""
    provider, path, asked, _ = CASES[f"{wire} whole at {door}"]
    name = f"{wire} {door} {stream} back"
    call = deepcopy(OLLAMA_CALL if wire == "ollama" else CALL)
    call |= {"extra_content": GOOGLE, "x_call": 1}
    call["function"]["x_function"] = "f"
    answer: Json = deepcopy(OLLAMA_WHOLE if wire == "ollama" else OPENAI_WHOLE)
    message = answer["message"] if wire == "ollama" else answer["choices"][0]["message"]
    message |= {"tool_calls": [call], "x_message": {"m": [True]}}
    message.pop("reasoning_content", None)
    PLANS[name] = answer
    if stream and wire == "ollama":
        PLANS[name] = [{**answer, "done": False}, line({}, **END)]
    elif stream:
        later = {"index": 0, "x_call": 1, "function": {"arguments": "}", "x_function": "f"}}
        first = {**call, "index": 0, "function": {"name": "zebra", "arguments": "{"}}
        del first["x_call"]
        PLANS[name] = [
            chunk({"role": "assistant", "content": "Hi", "x_message": {"m": [True]}}),
            chunk({"tool_calls": [first]}), chunk({"tool_calls": [later]}), chunk({}, "tool_calls"),
        ]  # fmt: skip
    given = read_answer(post(live, path, {"model": f"{provider}/{name}", "stream": stream, **asked}), door)
    assert given["tool_calls"][0]["extra_content"] == GOOGLE
    PLANS[name] = answer
    result = {"role": "tool", "content": "r", "tool_call_id": given["tool_calls"][0]["id"]}
    history = {"messages": [*asked["messages"], given, result]}
    again = post(live, path, {"model": f"{provider}/{name}", "stream": False, **history})
    assert again.status_code == 200, again.text
    sent = upstream.last(name).json["messages"][1]
    assert sent["x_message"] == {"m": [True]}
    assert sent["tool_calls"][0]["extra_content"] == GOOGLE
    assert sent["tool_calls"][0]["x_call"] == 1
    assert sent["tool_calls"][0]["function"]["x_function"] == "f"


def read_answer(reply: httpx2.Response, door: str) -> Json:
    """The message that a client puts together and sends back, as the SDKs do: pieces of an object are merged."""
    assert reply.status_code == 200, reply.text
    frames = [json.loads(text.removeprefix("data: ")) for text in reply.text.split("\n") if text[-1:] == "}"]
    messages = [frame["message"] if door == "api" else frame["choices"][0] for frame in frames]
    pieces = [piece.get("delta") or piece.get("message") or piece for piece in messages]
    if len(pieces) == 1 or door == "api":
        return {name: value for piece in pieces for name, value in piece.items() if value}
    whole: Json = {}
    for piece in pieces:
        for call in piece.pop("tool_calls", []):
            (known,) = whole.setdefault("tool_calls", [{}])
            function = {**known.get("function", {}), **call.pop("function", {})}
            function["arguments"] = "{}"
            known |= {**call, "function": function}
        whole |= {name: value for name, value in piece.items() if value and name != "finish_reason"}
    return {name: value for name, value in whole.items() if name not in {"index", "logprobs", "delta"}}

"""Chats with models that answer by the Responses API alone: what their upstream gets, and what comes of its answers."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.test_relay import framed
from tests.support.client import client_of, frames_of
from tests.support.gateway import LiveGateway, SharedGateways, in_front_of
from tests.support.upstream import Exchange, Upstream, running_upstream

pytestmark = pytest.mark.live

REASONING = {
    "type": "reasoning", "id": "rs_1", "encrypted_content": "sealed",
    "summary": [{"type": "summary_text", "text": "Hm."}, {"type": "summary_text", "text": "Well."}],
}  # fmt: skip
CITED = {"type": "url_citation", "start_index": 0, "end_index": 2, "url": "https://a.example/", "title": "A"}
SAID = {
    "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
    "content": [{"type": "output_text", "text": "Hello", "annotations": [CITED], "logprobs": []}],
}  # fmt: skip
CALLED = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "look", "arguments": '{"at":"it"}'}
CUSTOM = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_2", "name": "patch", "input": "*** Begin"}
SEARCHED = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
ITEMS: list[dict[str, Any]] = [REASONING, SEARCHED, SAID, CALLED, CUSTOM]
RESPONSE: dict[str, Any] = {
    "id": "resp_1", "object": "response", "created_at": 7, "model": "pro-1", "status": "completed", "output": ITEMS,
    "service_tier": "default",
    "usage": {
        "input_tokens": 30, "input_tokens_details": {"cached_tokens": 10},
        "output_tokens": 7, "output_tokens_details": {"reasoning_tokens": 2}, "total_tokens": 37,
    },
}  # fmt: skip
CUT_OFF = {**RESPONSE, "output": [SAID], "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
FAILED = {
    **RESPONSE, "output": [], "status": "failed", "error": {"code": "rate_limit_exceeded", "message": "slow down"},
}  # fmt: skip


def events_of(response: dict[str, Any], *, in_pieces: bool) -> list[dict[str, Any]]:
    """The events that a response is made of, with all that is told piece by piece or only when an item is done."""
    events: list[dict[str, Any]] = [{"type": "response.created", "response": {**response, "output": []}}]
    for index, item in enumerate(response["output"]):
        at = {"output_index": index}
        kind = item["type"]
        begun = (
            {**item, "content": []} if kind == "message" else {**item, "summary": []} if kind == "reasoning" else item
        )
        begun = {**begun, **{name: "" for name in ("arguments", "input") if name in item}}
        events.append({"type": "response.output_item.added", **at, "item": begun})
        if in_pieces:
            events += [{**piece, **at} for piece in pieces_of(item)]
        events.append({"type": "response.output_item.done", **at, "item": item})
    ends = {"completed": "response.completed", "incomplete": "response.incomplete", "failed": "response.failed"}
    return [*events, {"type": ends[response["status"]], "response": response}]


def pieces_of(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for index, part in enumerate(item.get("summary", [])):
        for text in (part["text"][:1], part["text"][1:]):
            yield {"type": "response.reasoning_summary_text.delta", "summary_index": index, "delta": text}
    for part in item.get("content", []):
        yield from deltas("response.output_text.delta", part["text"], content_index=0)
        for each in part["annotations"]:
            yield {"type": "response.output_text.annotation.added", "content_index": 0, "annotation": each}
    yield from deltas("response.function_call_arguments.delta", item.get("arguments", ""))
    yield from deltas("response.custom_tool_call_input.delta", item.get("input", ""))


def deltas(kind: str, text: str, **fields: Any) -> Iterator[dict[str, Any]]:
    return ({"type": kind, "delta": character, **fields} for character in text)


REPLIES = {
    "pro-1": RESPONSE,
    "pro-cut-off": CUT_OFF,
    "pro-failed": FAILED,
    "pro-coarse": RESPONSE,
    "pro-broken": RESPONSE,
}


async def answer(exchange: Exchange) -> None:
    if not exchange.seen.path.endswith("/responses"):
        await exchange.json({"error": {"message": "This model answers at v1/responses only."}}, status=404)
        return
    kind = exchange.seen.model.partition("#")[0]
    if kind == "pro-refused":
        await exchange.json({"error": {"message": "no", "type": "invalid_request_error", "code": "x"}}, status=400)
    elif exchange.seen.json.get("stream"):
        events = events_of(REPLIES[kind], in_pieces=kind != "pro-coarse")
        await exchange.open_stream()
        for event in events[:-1] if kind == "pro-broken" else events:
            await exchange.chunk(framed(event))
        await exchange.end_stream()
    else:
        await exchange.json(REPLIES[kind])


@pytest.fixture(scope="module")
def answering() -> Iterator[Upstream]:
    with running_upstream(answer) as running:
        yield running


@pytest.fixture(scope="module")
def gate(gateway_for: SharedGateways, answering: Upstream, tmp_path_factory: pytest.TempPathFactory) -> LiveGateway:
    config = tmp_path_factory.mktemp("responses") / "gateway.toml"
    config.write_text(f'[providers.lab]\nbase_url = "{answering.url}"\napi_key = "sk-lab"\nresponses_only = "pro-.*"\n')
    environment = {name: value for name, value in in_front_of(answering).items() if not name.startswith("PROVIDER_LAB")}
    return gateway_for(**environment, GATEWAY_CONFIG=str(config))


def chat(gate: LiveGateway, model: str, **fields: Any) -> Any:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], **fields}
    with client_of(gate) as client:
        return client.post("/lab/v1/chat/completions", json=body)


def test_the_upstream_gets_a_response_that_means_the_same(gate: LiveGateway, answering: Upstream) -> None:
    function = {"name": "look", "description": "Look.", "parameters": {"type": "object", "properties": {}}}
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /a/"}}
    url = "data:image/png;base64,AAAA"
    response = chat(
        gate,
        "pro-1#request",
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [
                {"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}},
            ]},
            {"role": "assistant", "content": "Let me see.", "reasoning_items": [REASONING], "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}},
                {"id": "call_2", "type": "custom", "custom": {"name": "patch", "input": "raw"}},
            ]},
            {"role": "tool", "tool_call_id": "call_1", "content": "a cat"},
            {"role": "tool", "tool_call_id": "call_2", "content": "patched"},
        ],
        tools=[{"type": "function", "function": function},
               {"type": "custom", "custom": {"name": "patch", "format": grammar}}],
        tool_choice={"type": "function", "function": {"name": "look"}},
        response_format={
            "type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
        },
        max_completion_tokens=500,
        reasoning_effort="high",
        verbosity="low",
        seed=1,
        metadata={"a": "b"},
    )  # fmt: skip
    assert response.status_code == 200, response.text
    assert response.headers["x-gateway-dropped-params"] == "seed"
    sent = answering.last("pro-1#request").json
    assert sent["input"] == [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Be brief."}]},
        {"type": "message", "role": "user", "content": [
            {"type": "input_text", "text": "What is it?"},
            {"type": "input_image", "image_url": url, "detail": "auto"},
        ]},
        REASONING,
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Let me see."}]},
        {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "call_2", "name": "patch", "input": "raw"},
        {"type": "function_call_output", "call_id": "call_1", "output": "a cat"},
        {"type": "custom_tool_call_output", "call_id": "call_2", "output": "patched"},
    ]  # fmt: skip
    assert sent["tools"] == [
        {"type": "function", **function, "strict": False},
        {
            "type": "custom",
            "name": "patch",
            "format": {"type": "grammar", "syntax": "lark", "definition": "start: /a/"},
        },
    ]
    assert sent["tool_choice"] == {"type": "function", "name": "look"}
    assert sent["text"] == {
        "format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True},
        "verbosity": "low",
    }
    assert (sent["max_output_tokens"], sent["reasoning"], sent["store"]) == (500, {"effort": "high"}, False)
    assert sent["include"] == ["reasoning.encrypted_content"]
    assert sent.keys().isdisjoint({"messages", "seed", "max_completion_tokens", "response_format", "verbosity"})


CACHED = {"cache_control": {"type": "ephemeral"}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
USER = {"role": "user", "content": "Hi"}


@pytest.mark.parametrize(
    ("fields", "dropped"),
    [
        ({"messages": [{"role": "system", "content": [{"type": "text", "text": "Be.", **CACHED}]}, USER]},
         "messages.content.cache_control"),
        ({"messages": [USER, {"role": "assistant", "content": "a", "reasoning": "hm", "reasoning_details": [{"a": 1}],
                              "thinking_blocks": [{"type": "thinking"}], "annotations": [], "audio": None}, USER]},
         "messages.reasoning,messages.reasoning_details,messages.thinking_blocks"),
        ({"messages": [USER, {"role": "assistant", "content": "a", "prefix": True, "images": [{"type": "image_url"}]}]},
         "messages.images,messages.prefix"),
        ({"messages": [USER, {"role": "assistant", "tool_calls": [
            {**CALL, "index": 0, "extra_content": {"google": {"thought_signature": "s"}}},
        ]}, {"role": "tool", "tool_call_id": "call_1", "content": "r", "name": "look"}]},
         "messages.name,messages.tool_calls.extra_content"),
        ({"tools": [{"type": "function", "function": {"name": "look"}, **CACHED}]}, "tools.cache_control"),
        ({"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}},
         "stream_options.continuous_usage_stats"),
        ({"audio": {"voice": "alloy", "format": "wav"}}, "audio"),
        ({"messages": [USER, {"role": "assistant", "content": "a", "reasoning_content": "hm",
                              "reasoning_items": [REASONING]}, USER]}, None),
    ],
)  # fmt: skip
def test_what_a_response_has_no_place_for_is_named(gate: LiveGateway, fields: dict[str, Any], dropped: str) -> None:
    response = chat(gate, "pro-1#named", **fields)
    assert response.status_code == 200, response.text
    assert response.headers.get("x-gateway-dropped-params") == dropped


@pytest.mark.parametrize("odd", [5, True, "x", [5], {"a": 1}, [[]]])
def test_odd_values_where_the_gateway_keeps_reasoning_are_named(gate: LiveGateway, odd: object) -> None:
    response = chat(gate, "pro-1#odd", messages=[USER, {"role": "assistant", "content": "a", "reasoning_items": odd}])
    assert response.status_code == 200, response.text
    assert response.headers["x-gateway-dropped-params"] == "messages.reasoning_items"
    strange = {"type": "grammar", "json_schema": odd}
    assert chat(gate, "pro-1#odd", response_format=strange).status_code == 200


def test_kinds_that_nobody_here_knows_go_on_as_they_are(gate: LiveGateway, answering: Upstream) -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    response = chat(
        gate,
        "pro-1#kinds",
        messages=[USER, {"role": "assistant", "content": [thought, {"type": "text", "text": "a"}]}, USER],
        response_format={"type": "grammar", "value": "start: x"},
        tools=[{"function": {"name": "look"}}],
    )
    assert response.status_code == 200, response.text
    sent = answering.last("pro-1#kinds").json
    assert sent["input"][1]["content"] == [thought, {"type": "output_text", "text": "a"}]
    assert sent["text"] == {"format": {"type": "grammar", "value": "start: x"}}
    assert sent["tools"] == [{"type": "function", "name": "look", "parameters": None, "strict": False}]


def test_a_whole_answer_is_a_completion(gate: LiveGateway) -> None:
    response = chat(gate, "pro-1#whole")
    body = response.json()
    (choice,) = body["choices"]
    message = choice["message"]
    assert (body["id"], body["created"], body["model"], choice["finish_reason"]) == ("resp_1", 7, "pro-1", "tool_calls")
    assert (message["content"], message["reasoning_content"]) == ("Hello", "Hm.\n\nWell.")
    assert message["reasoning_items"] == [REASONING]
    assert message["other_items"] == [SEARCHED]
    place = {name: value for name, value in CITED.items() if name != "type"}
    assert message["annotations"] == [{"type": "url_citation", "url_citation": place}]
    assert message["tool_calls"] == [
        {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at":"it"}'}},
        {"id": "call_2", "type": "custom", "custom": {"name": "patch", "input": "*** Begin"}},
    ]
    assert body["usage"]["prompt_tokens_details"]["cached_tokens"] == 10
    assert (body["usage"]["prompt_tokens"], body["usage"]["total_tokens"]) == (30, 37)


@pytest.mark.parametrize("model", ["pro-1#streamed", "pro-coarse"])
def test_a_streamed_answer_says_what_the_whole_one_does(gate: LiveGateway, model: str) -> None:
    whole = chat(gate, "pro-1#compared").json()
    text = chat(gate, model, stream=True, stream_options={"include_usage": True}).text
    blocks = [block.removeprefix("data: ") for block in frames_of(text) if block]
    assert blocks[-1] == "[DONE]"
    chunks = [json.loads(block) for block in blocks[:-1]]
    message: dict[str, Any] = {}
    finishes = []
    for choice in (choice for chunk in chunks for choice in chunk["choices"]):
        finishes += [choice["finish_reason"]] if choice["finish_reason"] else []
        merge(message, choice["delta"])
    calls = message.pop("tool_calls")
    expected = whole["choices"][0]["message"]
    # A chunk's call has no other type than function: that of a custom one is told by its field.
    assert [{"type": "custom" if "custom" in call else "function", **call} for call in calls] == expected.pop(
        "tool_calls"
    )
    assert {name: value for name, value in message.items() if value not in (None, "")} == {
        name: value for name, value in expected.items() if value is not None
    }
    assert (finishes, chunks[-1]["usage"]) == (["tool_calls"], whole["usage"])


def merge(into: dict[str, Any], delta: dict[str, Any]) -> None:
    for name, value in delta.items():
        if name == "tool_calls":
            merge_calls(into.setdefault(name, []), value)
        elif isinstance(value, dict):
            merge(into.setdefault(name, {}), value)
        elif isinstance(value, list):
            into[name] = [*into.get(name, []), *value]
        elif isinstance(value, str) and name not in {"role", "type", "id"}:
            into[name] = (into.get(name) or "") + value
        elif value is not None:
            into[name] = value


def merge_calls(known: list[dict[str, Any]], calls: list[dict[str, Any]]) -> None:
    for call in calls:
        if call["index"] == len(known):
            known.append({})
        merge(known[call["index"]], {name: value for name, value in call.items() if name != "index"})


@pytest.mark.parametrize("stream", [False, True])
def test_how_it_ends_is_told_in_the_words_of_a_chat(gate: LiveGateway, *, stream: bool) -> None:
    assert '"finish_reason":"length"' in chat(gate, "pro-cut-off", stream=stream).text.replace(": ", ":")
    failed = chat(gate, "pro-failed", stream=stream)
    assert "slow down" in failed.text
    assert "rate_limit_exceeded" in failed.text
    refused = chat(gate, "pro-refused", stream=stream)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "x")


def test_a_stream_that_breaks_off_is_no_whole_answer(gate: LiveGateway) -> None:
    text = chat(gate, "pro-broken", stream=True).text
    assert "upstream_stream_truncated" in text
    assert "[DONE]" not in text


@pytest.mark.parametrize("fields", [{"n": 2}, {"stop": "x"}])
def test_what_would_change_the_answer_is_refused(gate: LiveGateway, fields: dict[str, Any]) -> None:
    response = chat(gate, "pro-1#refused", **fields)
    assert (response.status_code, response.json()["error"]["param"]) == (400, next(iter(fields)))

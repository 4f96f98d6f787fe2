"""Anthropic behind the live gateway: what is its own, beside what every adapter owes."""

import json
import re
from collections.abc import Iterator
from pkgutil import resolve_name
from typing import Any

import httpx2
import pytest

from tests.support.anthropic_types import request_fault
from tests.support.behaviours import CALLS, TEXT, THOUGHT
from tests.support.client import client_of, frames_of
from tests.support.fake_anthropic import MODELS, SIGNATURE, behave
from tests.support.gateway import LiveGateway, running_gateway
from tests.support.upstream import Upstream, running_upstream

pytestmark = pytest.mark.live

KEY = "sk-ant-5c1e9f7a2b"
HELLO = [{"role": "user", "content": "hello"}]
TOOLS: Any = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("zebra", "apfel")
]
FILE = """
[providers.own]
wire = "anthropic"
base_url = "{root}"
api_key = "sk-ant-5c1e9f7a2b"
unknown_params = "forward"

[providers.strict]
wire = "anthropic"
base_url = "{root}/v1/"
api_key = "sk-ant-5c1e9f7a2b"

[provider_conformance]
strict = "enforce"
"""


@pytest.fixture(scope="module")
def fake() -> Iterator[Upstream]:
    request_fault({})  # reading the types takes a while
    with running_upstream(behave) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def live(fake: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    """Anthropic configured as its own clients are, without a version in the address, and twice more in a file."""
    root = fake.url.removesuffix("/v1")
    path = tmp_path_factory.mktemp("config") / "gateway.toml"
    path.write_text(FILE.format(root=root), encoding="utf-8")
    settings = {"REQUEST_TIMEOUT_S": "3", "STREAM_IDLE_TIMEOUT_S": "2", "MAX_RETRIES": "0", "GATEWAY_CONFIG": str(path)}
    with running_gateway(ANTHROPIC_BASE_URL=root, ANTHROPIC_API_KEY=KEY, **settings) as gateway:
        yield gateway
        assert KEY not in gateway.log()


@pytest.fixture(scope="module")
def client(live: LiveGateway) -> Iterator[httpx2.Client]:
    with client_of(live) as found:
        yield found


def ask(client: httpx2.Client, model: str, provider: str = "anthropic", **fields: Any) -> httpx2.Response:
    return client.post(f"/{provider}/v1/chat/completions", json={"model": model, "messages": HELLO, **fields})


def stream(client: httpx2.Client, model: str, **fields: Any) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """The choices, and the error that ended the stream or None."""
    response = ask(client, model, stream=True, **fields)
    assert response.status_code == 200, response.text
    frames = [frame.removeprefix("data: ") for frame in frames_of(response.text) if frame]
    values = [json.loads(frame) for frame in frames if frame != "[DONE]"]
    error = values.pop()["error"] if "error" in values[-1] else None
    assert (frames[-1] == "[DONE]") is (error is None)
    return [choice for value in values for choice in value["choices"]], error


def text_of(choices: list[dict[str, Any]]) -> str:
    return "".join(choice["delta"].get("content") or "" for choice in choices)


# -- the fake is like the real one --


def test_anthropics_own_client_cannot_tell_the_fake_from_the_api(fake: Upstream) -> None:
    make: Any = resolve_name("anthropic:Anthropic")
    errors: Any = resolve_name("anthropic")
    headers = {"anthropic-version": "2023-06-01"}
    options = {"max_retries": 0, "timeout": 15, "default_headers": headers}
    with make(base_url=fake.url.removesuffix("/v1"), api_key=KEY, **options) as own:
        ask_it: Any = {"model": "good", "max_tokens": 9, "messages": HELLO}
        assert own.messages.create(**ask_it).content[0].text == TEXT
        with own.messages.stream(**ask_it | {"model": "tool-calls-two"}) as events:
            final = events.get_final_message()
        assert [(block.type, getattr(block, "input", None)) for block in final.content] == [
            ("text", None),
            ("tool_use", json.loads(CALLS[0][2])),
            ("tool_use", {}),
        ]
        assert [model.id for model in own.models.list()] == MODELS
        with pytest.raises(errors.BadRequestError, match="non-whitespace"):
            own.messages.create(**ask_it | {"messages": [{"role": "user", "content": " "}]})
        with pytest.raises(errors.OverloadedError):
            own.messages.create(**ask_it | {"model": "status-529"})


# -- requests --


@pytest.mark.parametrize("provider", ["anthropic", "own", "strict"])
def test_the_request_is_one_of_the_messages_api_wherever_the_address_ends(
    client: httpx2.Client, fake: Upstream, provider: str
) -> None:
    label = f"good#request-{provider}"
    assert ask(client, label, provider, max_tokens=9).status_code == 200
    seen = fake.last(label)
    assert (seen.path, seen.header("anthropic-version"), seen.header("x-api-key")) == (
        "/v1/messages",
        "2023-06-01",
        KEY,
    )
    assert (seen.header("authorization"), seen.header("content-type")) == (None, "application/json")
    assert seen.header("x-request-id")
    assert seen.json == {
        "model": label,
        "max_tokens": 9,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
    }


def test_what_is_dropped_is_named_wherever_it_stood(client: httpx2.Client) -> None:
    messages = [{"role": "user", "name": "eve", "content": "hello"}]
    response = ask(client, "good", seed=1, top_k=5, messages=messages)
    assert response.headers["x-gateway-dropped-params"] == "messages.name,seed,top_k"
    streamed = ask(client, "good", seed=1, stream=True, messages=messages)
    assert streamed.headers["x-gateway-dropped-params"] == "messages.name,seed"


def test_fields_of_the_apis_own_go_along_where_that_is_wanted(client: httpx2.Client, fake: Upstream) -> None:
    response = ask(client, "good#own", "own", top_k=5, betas=["one-2025-01-01", "two"])
    assert response.status_code == 200, response.text
    seen = fake.last("good#own")
    assert (seen.json["top_k"], seen.header("anthropic-beta")) == (5, "one-2025-01-01,two")
    assert "betas" not in seen.json
    ask(client, "good#own-plain", "own")
    assert fake.last("good#own-plain").header("anthropic-beta") is None


def test_an_image_reaches_the_api(client: httpx2.Client, fake: Upstream) -> None:
    images = ["data:image/png;base64,iVBORw0KGgo=", "https://example.com/a.jpg"]
    content = [{"type": "image_url", "image_url": {"url": url}} for url in images]
    assert ask(client, "good#image", messages=[{"role": "user", "content": content}]).status_code == 200
    assert [block["source"] for block in fake.last("good#image").json["messages"][0]["content"]] == [
        {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
        {"type": "url", "url": "https://example.com/a.jpg"},
    ]


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"temperature": 1.5}, "unsupported_value", "temperature"),
        ({"n": 2}, "unsupported_value", "n"),
        ({"web_search_options": {}}, "unsupported_parameter", "web_search_options"),
        ({"messages": [{"role": "user", "content": ""}]}, "invalid_value", "messages[0].content"),
    ],
)
def test_what_cannot_be_said_never_leaves(
    client: httpx2.Client, fake: Upstream, fields: dict[str, Any], code: str, param: str
) -> None:
    label = f"good#unsaid-{param}"
    for streamed in (False, True):
        response = ask(client, label, stream=streamed, **fields)
        assert response.status_code == 400
        error = response.json()["error"]
        assert (error["code"], error["param"], error["type"]) == (code, param, "invalid_request_error")
    assert fake.seen(label) == []


def test_the_api_has_no_embeddings(client: httpx2.Client, fake: Upstream) -> None:
    response = client.post("/anthropic/v1/embeddings", json={"model": "good#none", "input": "x", "dimensions": 2})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "unsupported_operation")
    assert fake.seen("good#none") == []


# -- conversations --


def test_a_model_that_thinks_gets_its_thinking_back_with_the_results(client: httpx2.Client, fake: Upstream) -> None:
    label = "claude-sonnet-4-5-thinking-call#whole"
    first = ask(client, label, tools=TOOLS, reasoning_effort="low").json()["choices"][0]["message"]
    assert first["reasoning_content"] == THOUGHT
    result = {"role": "tool", "tool_call_id": first["tool_calls"][0]["id"], "content": "striped"}
    response = ask(client, label, tools=TOOLS, reasoning_effort="low", messages=[*HELLO, first, result])
    assert response.json()["choices"][0]["message"]["content"] == TEXT
    assert "x-gateway-dropped-params" not in response.headers
    sent = fake.last(label).json
    assert sent["thinking"] == {"type": "enabled", "budget_tokens": 3276}
    assert sent["messages"][1]["content"][0] == {"type": "thinking", "thinking": THOUGHT, "signature": SIGNATURE}


def test_a_client_that_forgets_the_thinking_gets_an_answer_without(client: httpx2.Client, fake: Upstream) -> None:
    label = "claude-sonnet-4-5-thinking-call#forgotten"
    call = {"id": "call.1", "type": "function", "function": {"name": "zebra", "arguments": "{}"}}
    messages = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call.1", "content": "striped"},
    ]
    response = ask(client, label, tools=TOOLS, reasoning_effort="low", messages=messages)
    assert response.status_code == 200, response.text
    assert response.headers["x-gateway-dropped-params"] == "reasoning_effort"
    assert "thinking" not in fake.last(label).json


def test_openais_client_holds_a_conversation_with_tools(live: LiveGateway, fake: Upstream) -> None:
    import openai

    with openai.OpenAI(
        base_url=f"{live.base_url}/anthropic/v1", api_key="any", max_retries=0, timeout=15
    ) as own:  # fmt: skip
        messages: Any = list(HELLO)
        with own.chat.completions.stream(model="tool-calls-two", messages=messages, tools=TOOLS) as events:
            reply = events.get_final_completion().choices[0]
        assert reply.finish_reason == "tool_calls"
        assert reply.message.content == "Let me look."
        messages.append(reply.message.to_dict())
        for call in reply.message.tool_calls or ():
            messages.append({"role": "tool", "tool_call_id": call.id, "content": f"of {call.function.name}"})
        last = own.chat.completions.create(model="good#talk", messages=messages, tools=TOOLS)
        assert last.choices[0].message.content == TEXT
        with pytest.raises(openai.BadRequestError) as caught:
            own.chat.completions.create(model="good", messages=messages[:-1], tools=TOOLS)
    assert caught.value.param == "messages[1].tool_calls"
    turns = fake.last("good#talk").json["messages"]
    assert [block["type"] for block in turns[1]["content"]] == ["text", "tool_use", "tool_use"]
    assert [block["input"] for block in turns[1]["content"][1:]] == [json.loads(CALLS[0][2]), {}]
    assert [block["content"] for block in turns[2]["content"]] == ["of zebra", "of apfel"]


# -- answers --


@pytest.mark.parametrize(
    ("model", "reason"), [("context", "length"), ("pause", "length"), ("refusal", "content_filter")]
)
def test_the_reason_to_end_is_told_whole_and_streamed(client: httpx2.Client, model: str, reason: str) -> None:
    assert ask(client, model).json()["choices"][0]["finish_reason"] == reason
    choices, error = stream(client, model)
    assert (choices[-1]["finish_reason"], error) == (reason, None)


def test_blocks_without_a_place_in_openais_api_are_not_lost(client: httpx2.Client) -> None:
    message = ask(client, "pause").json()["choices"][0]["message"]
    assert message["content"] == "I search. They are striped."
    assert [block["type"] for block in message["other_blocks"]] == ["server_tool_use", "web_search_tool_result"]
    assert message["annotations"][0]["url_citation"]["url"] == "https://example.com/z"
    choices, _ = stream(client, "pause")
    kinds = [block["type"] for choice in choices for block in choice["delta"].get("other_blocks", ())]
    assert kinds == ["server_tool_use", "web_search_tool_result"]


def test_a_reason_that_nobody_knows_is_mended_or_refused(client: httpx2.Client) -> None:
    response = ask(client, "new-reason")
    assert response.json()["choices"][0]["finish_reason"] == "length", "the answer is not told as whole"
    assert response.json()["choices"][0]["native_finish_reason"]
    assert response.headers["x-gateway-repaired"] == "tell-unknown-finish-reason"
    choices, error = stream(client, "new-reason")
    assert (choices[-1]["finish_reason"], error) == ("length", None)
    strict = ask(client, "new-reason", "strict")
    assert (strict.status_code, strict.json()["error"]["code"]) == (502, "upstream_invalid_response")


def test_events_of_tomorrow_do_no_harm(client: httpx2.Client) -> None:
    choices, error = stream(client, "news")
    assert (text_of(choices), error) == (TEXT, None)


# -- models --


def test_every_page_of_models_is_listed(client: httpx2.Client, fake: Upstream) -> None:
    found = client.get("/anthropic/v1/models").json()
    assert [model["id"] for model in found["data"]] == MODELS
    assert found["data"][0] == {
        "id": MODELS[0],
        "object": "model",
        "created": 1763942400,
        "owned_by": "anthropic",
        "display_name": MODELS[0],
        "lifecycle": "active",
    }
    asked = [seen.path for seen in fake.requests if seen.path.startswith("/v1/models?")]
    assert asked[-2:] == ["/v1/models?limit=1000", f"/v1/models?limit=1000&after_id={MODELS[1]}"]


def test_a_model_that_is_missing_is_not_found(client: httpx2.Client) -> None:
    assert client.get(f"/anthropic/v1/models/{MODELS[0]}").json()["id"] == MODELS[0]
    response = client.get("/anthropic/v1/models/none-such")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


# -- errors --


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("status", "expected", "code"),
    [
        (400, 400, None),
        (402, 502, "upstream_error"),
        (404, 404, "model_not_found"),
        (413, 413, None),
        (429, 429, "rate_limit_exceeded"),
        (500, 502, "upstream_error"),
        (504, 504, "upstream_timeout"),
        (529, 503, "upstream_overloaded"),
    ],
)
def test_every_refusal_is_told(
    client: httpx2.Client, status: int, expected: int, code: str | None, streamed: bool
) -> None:
    response = ask(client, f"status-{status}", stream=streamed)
    assert (response.status_code, response.json()["error"]["code"]) == (expected, code)


def test_limits_come_with_the_refusal(client: httpx2.Client) -> None:
    headers = ask(client, "status-429").headers
    assert headers["x-ratelimit-limit-requests"] == "60"
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert re.fullmatch(r"[1-7]s", headers["x-ratelimit-reset-requests"])
    assert headers["anthropic-ratelimit-input-tokens-remaining"] == "9000"
    assert headers["retry-after"] == "7"


def test_an_overload_before_the_first_word_keeps_its_status(client: httpx2.Client) -> None:
    response = ask(client, "stream-overloaded-first", stream=True)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "upstream_overloaded")


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("stream-overloaded", "upstream_overloaded"),
        ("stream-error", "upstream_error"),
        ("stream-cut-late", "upstream_stream_truncated"),
        ("stream-unfinished", "upstream_stream_truncated"),
        ("garbled", "upstream_invalid_response"),
    ],
)
def test_a_stream_that_goes_wrong_ends_in_an_error_and_never_looks_finished(
    client: httpx2.Client, model: str, code: str
) -> None:
    choices, error = stream(client, model)
    assert error is not None
    assert error["code"] == code
    if code == "upstream_stream_truncated":
        assert "'anthropic'" in error["message"]
    assert not any(choice["finish_reason"] for choice in choices)

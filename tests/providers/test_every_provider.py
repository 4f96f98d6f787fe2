"""What every adapter owes, whatever its upstream's wire: asked of the live gateway with a faithful fake behind it."""

import contextlib
import itertools
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import openai
import pytest

from tests.providers.rigs import KEY, RIGS, Rig
from tests.support.behaviours import CALLS, SECRET_MARK, TEXT, THOUGHT, USAGE
from tests.support.client import BODIES, CHAT, EMBED, LEGACY, client_of, frames_of
from tests.support.gateway import HOST, IMPATIENT, ONE_ATTEMPT, TEST_KEY, LiveGateway, SharedGateways
from tests.support.upstream import Upstream, running_upstream

pytestmark = pytest.mark.live

TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("zebra", "apfel")
]


class Bench:
    """A rig that runs: its fake, the gateway in front, and a client."""

    def __init__(self, rig: Rig, fake: Upstream, live: LiveGateway, client: httpx2.Client) -> None:
        self.rig, self.fake, self.live, self.client = rig, fake, live, client

    def ask(self, model: str, operation: str = CHAT, **fields: Any) -> httpx2.Response:
        return self.client.post(operation, json={"model": model, **BODIES[operation], **fields})

    def stream(self, model: str, operation: str = CHAT, **fields: Any) -> tuple[list[dict[str, Any]], Any, bool]:
        """The chunks, the error event's error or None, and whether the terminator came."""
        response = self.ask(model, operation, stream=True, **fields)
        assert response.status_code == 200, response.text
        assert response.headers["content-type"].startswith("text/event-stream")
        payloads = [frame.removeprefix("data: ") for frame in frames_of(response.text) if frame]
        done = payloads[-1:] == ["[DONE]"]
        values = [json.loads(payload) for payload in (payloads[:-1] if done else payloads)]
        error = values.pop()["error"] if values and "error" in values[-1] else None
        return values, error, done


@pytest.fixture(scope="module")
def fakes() -> Iterator[dict[str, Upstream]]:
    """The faithful fake of every provider's upstream."""
    with contextlib.ExitStack() as stack:
        yield {rig.provider: stack.enter_context(running_upstream(rig.behave)) for rig in RIGS}


@pytest.fixture(scope="module")
def everywhere(gateway_for: SharedGateways, fakes: dict[str, Upstream]) -> Iterator[LiveGateway]:
    """One gateway with every adapter, each in front of its fake."""
    live = gateway_for(**environment(fakes))
    yield live
    assert KEY not in live.log()
    assert TEST_KEY not in live.log()


@pytest.fixture(scope="module")
def hurried(gateway_for: SharedGateways, fakes: dict[str, Upstream]) -> LiveGateway:
    """The same, but it waits a second for anything."""
    return gateway_for(**environment(fakes), **IMPATIENT)


def environment(fakes: dict[str, Upstream]) -> dict[str, str]:
    env = dict(ONE_ATTEMPT)
    for rig in RIGS:
        env |= rig.env(fakes[rig.provider])
    return env


@pytest.fixture(scope="module", params=RIGS, ids=str)
def rig(request: pytest.FixtureRequest) -> Rig:
    found: Rig = request.param
    return found


@pytest.fixture(scope="module")
def bench(rig: Rig, fakes: dict[str, Upstream], everywhere: LiveGateway) -> Iterator[Bench]:
    with client_of(everywhere, f"/{rig.provider}/v1/") as client:
        yield Bench(rig, fakes[rig.provider], everywhere, client)


@pytest.fixture(scope="module")
def impatient_bench(rig: Rig, fakes: dict[str, Upstream], hurried: LiveGateway) -> Iterator[Bench]:
    with client_of(hurried, f"/{rig.provider}/v1/") as client:
        yield Bench(rig, fakes[rig.provider], hurried, client)


def refused(response: httpx2.Response) -> dict[str, Any]:
    """The error of an envelope that leaks nothing."""
    envelope: dict[str, dict[str, Any]] = response.json()
    assert list(envelope) == ["error"], response.text
    assert sorted(envelope["error"]) == ["code", "message", "param", "type"]
    for secret in (SECRET_MARK, KEY, TEST_KEY, HOST):
        assert secret not in response.text
    return envelope["error"]


def choices_of(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [choice for chunk in chunks for choice in chunk["choices"]]


def text_of(chunks: list[dict[str, Any]]) -> str:
    return "".join(
        choice["text"] if "text" in choice else choice["delta"].get("content") or "" for choice in choices_of(chunks)
    )


def skip_without(bench: Bench, operation: str) -> bool:
    """Whether the adapter has no such door, which it then says clearly."""
    if operation in bench.rig.operations:
        return False
    response = bench.ask("good", operation)
    assert (response.status_code, refused(response)["code"]) == (400, "unsupported_operation")
    return True


# -- what is good arrives --


def test_a_chat_reply_is_whole(bench: Bench) -> None:
    response = bench.ask("good")
    assert response.status_code == 200, response.text
    assert response.headers["x-gateway-provider"] == bench.rig.provider
    body = response.json()
    (choice,) = body["choices"]
    assert (choice["message"]["role"], choice["message"]["content"]) == ("assistant", TEXT)
    assert (choice["finish_reason"], choice["index"], body["object"]) == ("stop", 0, "chat.completion")
    assert {name: body["usage"][name] for name in USAGE} == USAGE
    assert body["id"]
    assert abs(body["created"] - time.time()) < 10**9


def test_a_chat_stream_is_whole(bench: Bench) -> None:
    chunks, error, done = bench.stream("good")
    assert (error, done, text_of(chunks)) == (None, True, TEXT)
    assert len([choice for choice in choices_of(chunks) if choice["delta"].get("content")]) > 1, "not in one piece"
    assert choices_of(chunks)[0]["delta"]["role"] == "assistant"
    reasons = [choice["finish_reason"] for choice in choices_of(chunks)]
    assert reasons == [None] * (len(reasons) - 1) + ["stop"]
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    assert not any(chunk.get("usage") for chunk in chunks)


@pytest.mark.parametrize("operation", [CHAT, LEGACY])
def test_usage_comes_last_if_asked_for(bench: Bench, operation: str) -> None:
    if skip_without(bench, operation):
        return
    chunks, error, done = bench.stream("good", operation, stream_options={"include_usage": True})
    assert (error, done) == (None, True)
    assert chunks[-1]["choices"] == []
    assert {name: chunks[-1]["usage"][name] for name in USAGE} == USAGE
    assert not any(chunk["usage"] for chunk in chunks[:-1])


def test_a_legacy_completion_is_whole(bench: Bench) -> None:
    if skip_without(bench, LEGACY):
        return
    body = bench.ask("good", LEGACY).json()
    assert (body["choices"][0]["text"], body["choices"][0]["finish_reason"]) == (TEXT, "stop")
    assert {name: body["usage"][name] for name in USAGE} == USAGE
    chunks, error, done = bench.stream("good", LEGACY)
    assert (error, done, text_of(chunks)) == (None, True, TEXT)


def test_vectors_come_in_order(bench: Bench) -> None:
    if skip_without(bench, EMBED):
        return
    body = bench.ask("good", EMBED).json()
    assert [item["index"] for item in body["data"]] == [0, 1]
    assert body["data"][0]["embedding"] != body["data"][1]["embedding"]
    assert all(isinstance(number, float) for item in body["data"] for number in item["embedding"])
    coded = bench.ask("good", EMBED, encoding_format="base64").json()
    assert all(isinstance(item["embedding"], str) for item in coded["data"])


def test_models_are_listed_and_one_is_retrieved(bench: Bench) -> None:
    listed = bench.client.get("models").json()["data"]
    assert listed
    one = bench.client.get(f"models/{listed[0]['id']}")
    assert (one.status_code, one.json()["id"]) == (200, listed[0]["id"])


@pytest.mark.parametrize("operation", [CHAT, LEGACY])
def test_the_token_limit_is_told_as_length(bench: Bench, operation: str) -> None:
    if skip_without(bench, operation):
        return
    assert bench.ask("cut-length", operation).json()["choices"][0]["finish_reason"] == "length"
    chunks, error, done = bench.stream("cut-length", operation)
    assert (error, done, choices_of(chunks)[-1]["finish_reason"]) == (None, True, "length")


# -- tools and reasoning --


@pytest.mark.parametrize(("model", "count"), [("tool-call", 1), ("tool-calls-two", 2)])
def test_tool_calls_arrive_with_ids_names_and_arguments(bench: Bench, model: str, count: int) -> None:
    choice = bench.ask(model, tools=TOOLS).json()["choices"][0]
    calls = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls"
    assert [call["function"]["name"] for call in calls] == [name for _, name, _ in CALLS[:count]]
    assert [json.loads(call["function"]["arguments"]) for call in calls] == [
        json.loads(arguments) for _, _, arguments in CALLS[:count]
    ]
    assert len({call["id"] for call in calls}) == count
    assert {call["type"] for call in calls} == {"function"}


@pytest.mark.parametrize(("model", "count"), [("tool-call", 1), ("tool-calls-two", 2)])
def test_streamed_tool_calls_can_be_put_together(bench: Bench, model: str, count: int) -> None:
    chunks, error, done = bench.stream(model, tools=TOOLS)
    assert (error, done) == (None, True)
    calls: dict[int, dict[str, str]] = {}
    for choice in choices_of(chunks):
        for call in choice["delta"].get("tool_calls") or []:
            if call["index"] not in calls:
                assert call["type"] == "function"
                assert call["id"]
                calls[call["index"]] = {"id": call["id"], "name": call["function"]["name"], "arguments": ""}
            calls[call["index"]]["arguments"] += call["function"].get("arguments") or ""
    assert sorted(calls) == list(range(count))
    assert [(call["name"], json.loads(call["arguments"])) for _, call in sorted(calls.items())] == [
        (name, json.loads(arguments)) for _, name, arguments in CALLS[:count]
    ]
    assert len({call["id"] for call in calls.values()}) == count
    assert choices_of(chunks)[-1]["finish_reason"] == "tool_calls"


def test_a_conversation_with_tools_goes_back_and_forth(bench: Bench) -> None:
    first = bench.ask("tool-calls-two", tools=TOOLS).json()["choices"][0]["message"]
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": f"result {at}"}
        for at, call in enumerate(first["tool_calls"])
    ]
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "go"}, first, *results]
    label = "good#conversation"
    response = bench.client.post(CHAT, json={"model": label, "messages": messages, "tools": TOOLS})
    assert (response.status_code, response.json()["choices"][0]["message"]["content"]) == (200, TEXT), response.text
    sent = bench.fake.last(label).body.decode()
    assert "be brief" in sent
    assert "zebra" in sent
    assert sent.index("result 0") < sent.index("result 1")


def test_reasoning_is_not_lost(bench: Bench) -> None:
    message = bench.ask("thinking").json()["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == (TEXT, THOUGHT)
    chunks, _, done = bench.stream("thinking")
    thought = "".join(choice["delta"].get("reasoning_content") or "" for choice in choices_of(chunks))
    assert (thought, text_of(chunks), done) == (THOUGHT, TEXT, True)


# -- what goes wrong is told --


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("status", [400, 404, 413, 422, 429])
def test_a_refusal_that_the_caller_can_mend_keeps_its_status(bench: Bench, status: int, stream: bool) -> None:
    response = bench.ask(f"status-{status}", stream=stream)
    assert response.status_code == status
    error = refused(response)
    assert str(status) in error["message"]
    if status == 404:
        assert error["code"] in {"model_not_found", "upstream_code"}
    if status == 429:
        assert response.headers["retry-after"] == "7"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_the_operators_affair(bench: Bench, status: int, stream: bool) -> None:
    response = bench.ask(f"status-{status}", stream=stream)
    assert (response.status_code, refused(response)["code"]) == (502, "upstream_auth_error")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("status", [500, 502, 503, 529])
def test_a_failing_upstream_is_a_bad_gateway(bench: Bench, status: int, stream: bool) -> None:
    response = bench.ask(f"status-{status}", stream=stream)
    assert response.status_code in {502, 503}
    assert refused(response)["code"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    "model",
    ["html", "empty-body", "broken-json", "wrong-shape", "close-at-once", "reset-at-once", "redirect", "gzip-bomb"],
)
def test_what_is_no_answer_is_a_bad_gateway(bench: Bench, model: str, stream: bool) -> None:
    response = bench.ask(model, stream=stream)
    assert response.status_code == 502, response.text
    assert refused(response)["code"] in {
        "upstream_invalid_response",
        "upstream_unreachable",
        "upstream_stream_truncated",
    }


def test_silence_is_a_timeout(impatient_bench: Bench) -> None:
    """Wherever it begins, and whether a stream is asked for or not: they are waited for at once."""
    silences = list(itertools.product(["hang-before-headers", "hang-after-headers"], [False, True]))
    with ThreadPoolExecutor() as pool:
        responses = list(pool.map(lambda silence: impatient_bench.ask(silence[0], stream=silence[1]), silences))
    for silence, response in zip(silences, responses, strict=True):
        assert (response.status_code, refused(response)["code"]) == (504, "upstream_timeout"), silence


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("stream-error", None),
        ("stream-cut", "upstream_stream_truncated"),
        ("stream-reset", "upstream_stream_truncated"),
        ("stream-unfinished", "upstream_stream_truncated"),
    ],
)
def test_a_stream_that_breaks_ends_in_an_error_event(bench: Bench, model: str, code: str | None) -> None:
    breaks(bench, model, code)


def test_a_stream_that_stalls_ends_in_an_error_event(impatient_bench: Bench) -> None:
    breaks(impatient_bench, "stalled-stream", "upstream_timeout")


def breaks(bench: Bench, model: str, code: str | None) -> None:
    chunks, error, done = bench.stream(model)
    assert not done
    assert error["code"] in ({code} if code else {"upstream_error", "busy"}), "or the upstream's own"
    assert sorted(error) == ["code", "message", "param", "type"]
    assert text_of(chunks)
    assert not any(choice["finish_reason"] for choice in choices_of(chunks))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_the_upstream_is_left_when_the_client_leaves(bench: Bench, stream: bool) -> None:
    model = "drip" if stream else "hang-before-headers"
    label = f"{model}#left-{stream}"
    body = json.dumps({"model": label, "stream": stream, **BODIES[CHAT]}).encode()
    head = f"POST /{bench.rig.provider}/v1/{CHAT} HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer {TEST_KEY}\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    with socket.create_connection((HOST, bench.live.port), timeout=30) as client:
        client.sendall(head.encode() + body)
        if stream:
            assert client.recv(65536)
        seen = bench.fake.last(label)
    assert seen.gone.wait(15)


def test_the_callers_key_stays_here_and_the_gateways_key_goes_up(bench: Bench) -> None:
    bench.ask("good#keys")
    seen = bench.fake.last("good#keys")
    values = [value for _, value in seen.headers]
    assert not any(TEST_KEY in value for value in values)
    assert any(KEY in value for value in values)


def test_a_parameter_is_never_lost_in_silence(bench: Bench) -> None:
    """What is sent and neither reaches the upstream's request nor is named in the reply would be lost."""
    marks: dict[str, Any] = {"user": "mark-user", "seed": 77001, "stop": ["mark-stop"], "temperature": 0.77003}
    response = bench.ask("good#lost", **marks)
    assert response.status_code == 200, response.text
    sent = bench.fake.last("good#lost").body.decode()
    dropped = response.headers.get("x-gateway-dropped-params", "").split(",")
    for name, value in marks.items():
        mark = value[0] if isinstance(value, list) else str(value)
        assert (mark in sent) is not (name in dropped), name


def test_openais_own_client_cannot_tell(bench: Bench) -> None:
    url = f"{bench.live.base_url}/{bench.rig.provider}/v1"
    with openai.OpenAI(base_url=url, api_key=TEST_KEY, max_retries=0, timeout=15) as client:
        reply = client.chat.completions.create(model="good", messages=[{"role": "user", "content": "hello"}])
        assert reply.choices[0].message.content == TEXT
        with client.chat.completions.stream(model="tool-call", messages=[{"role": "user", "content": "hi"}]) as events:
            final = events.get_final_completion()
        assert final.choices[0].finish_reason == "tool_calls"
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(model="status-429", messages=[{"role": "user", "content": "hello"}])

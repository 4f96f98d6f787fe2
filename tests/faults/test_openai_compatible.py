"""The OpenAI-compatible adapter against every fault: what a client of the live gateway is told, and when."""

import base64
import contextlib
import json
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import httpx2
import pytest

from tests.support.behaviours import MODELS, SECRET_MARK, TEXT, USAGE, VECTORS
from tests.support.client import (
    CHAT,
    EMBED,
    KEY,
    LEGACY,
    NO_CERTIFICATES,
    Events,
    ask as ask_at,
    body_of,
    client_of,
    events_of as read_events,
)
from tests.support.gateway import (
    HOST,
    TEST_KEY,
    UPSTREAM_KEY,
    LiveGateway,
    in_front_of,
    running_gateway,
)
from tests.support.upstream import Upstream

pytestmark = pytest.mark.live

OPENAI = "/openai/v1/"
GONE_S = 15.0  # far less than any of these behaviours would take by itself
TOOL = {
    "type": "function",
    "function": {
        "name": "zebra",
        "parameters": {
            "type": "object",
            "required": ["z", "a"],
            "properties": {"z": {"type": "string"}, "m": {"x-own": [3, {"b": 1, "a": None}]}, "a": {"type": "number"}},
        },
    },
}


def error_of(response: httpx2.Response) -> dict[str, Any]:
    """The error of an envelope that leaks nothing."""
    envelope: dict[str, dict[str, Any]] = response.json()
    assert list(envelope) == ["error"], response.text
    assert sorted(envelope["error"]) == ["code", "message", "param", "type"]
    assert envelope["error"]["message"]
    assert response.headers["x-request-id"]
    for secret in (SECRET_MARK, UPSTREAM_KEY, TEST_KEY, str(HOST)):
        assert secret not in response.text
    return envelope["error"]


def ask(live: LiveGateway, model: str, operation: str = CHAT, **more: Any) -> httpx2.Response:
    return ask_at(live, model, operation, provider="openai", **more)


def events_of(response: httpx2.Response) -> Events:
    """The events of a stream that leaks nothing."""
    assert SECRET_MARK not in response.text
    assert UPSTREAM_KEY not in response.text
    return read_events(response)


# -- what is good arrives as it is --


@pytest.mark.parametrize("operation", [CHAT, LEGACY])
def test_a_good_reply_arrives_unchanged(relay: LiveGateway, upstream: Upstream, operation: str) -> None:
    model = f"good#{operation}"
    got = ask(relay, model, operation)
    with httpx2.Client(trust_env=False, verify=NO_CERTIFICATES) as direct:
        wanted = direct.post(f"{upstream.url}/{operation}", json=body_of(operation, model))
    assert got.status_code == 200, got.text
    assert got.json() == wanted.json()
    assert got.headers["x-gateway-provider"] == "openai"
    assert "x-gateway-repaired" not in got.headers


@pytest.mark.parametrize("operation", [CHAT, LEGACY])
@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": True}}], ids=["plain", "with usage"])
def test_a_good_stream_arrives_unchanged(
    relay: LiveGateway, upstream: Upstream, operation: str, options: dict[str, Any]
) -> None:
    body = body_of(operation, "good", stream=True, **options)
    got = events_of(ask(relay, "good", operation, stream=True, **options))
    with httpx2.Client(trust_env=False, verify=NO_CERTIFICATES) as direct:
        wanted = events_of(direct.post(f"{upstream.url}/{operation}", json=body))
    assert got == wanted
    assert got.done
    assert got.text == TEXT


def test_models_are_listed_and_retrieved(relay: LiveGateway) -> None:
    with client_of(relay, OPENAI) as client:
        listed = client.get("models").json()
        one = client.get("models/up%2Fmodel-a:7b").json()
    assert [model["id"] for model in listed["data"]] == MODELS
    assert one == listed["data"][0]


@pytest.mark.parametrize(
    "given", ["..%2F..%2Fadmin", "%2e%2e/%2e%2e/admin", "a%3Fb=c", "a%23b", "%2F%2Fevil.example%2Fx"]
)
def test_no_model_id_leaves_the_upstreams_models_path(relay: LiveGateway, upstream: Upstream, given: str) -> None:
    before = len(upstream.requests)
    with client_of(relay, OPENAI) as client:
        status = client.get(f"{relay.base_url}/openai/v1/models/{given}").status_code
    assert status in {200, 400, 404}
    for seen in upstream.requests[before:]:
        head, _, rest = seen.path.partition("/v1/models/")
        assert (head, bool(rest)) == ("", True)
        assert not {"..", "?", "#"} & set(rest.split("/"))
        assert "?" not in rest


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        ("good", "base64"),
        ("good", "float"),
        ("good", None),
        ("floats-only", "float"),
        ("floats-only", None),
        ("floats-only", "base64"),
    ],
)
def test_vectors_arrive_in_the_encoding_that_was_asked_for(relay: LiveGateway, model: str, asked: str | None) -> None:
    extra: dict[str, Any] = {"encoding_format": asked} if asked else {}
    data = ask(relay, model, EMBED, input=["a", "b"], **extra).json()["data"]
    assert [item["index"] for item in data] == [0, 1]
    for item, vector in zip(data, VECTORS, strict=True):
        got = item["embedding"]
        if asked == "base64":
            got = struct.unpack("<3f", base64.b64decode(got, validate=True))
        assert list(got) == pytest.approx(vector, abs=1e-6)


# -- what is sloppy is mended, and named --


def test_a_sloppy_reply_arrives_exact(relay: LiveGateway) -> None:
    response = ask(relay, "sloppy")
    assert response.status_code == 200, response.text
    body = response.json()
    assert not {"system_fingerprint", "usage"} & set(body), "null is not allowed there"
    message = {"role": "assistant", "content": TEXT, "refusal": None}
    assert body["choices"] == [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}]


def test_a_sloppy_stream_arrives_exact(relay: LiveGateway) -> None:
    got = events_of(ask(relay, "sloppy", stream=True))
    choices = [choice for chunk in got.chunks for choice in chunk["choices"]]
    assert got.done
    assert got.text == TEXT
    assert all(chunk.get("system_fingerprint", "") is not None for chunk in got.chunks)
    assert all("tool_calls" not in choice["delta"] for choice in choices)
    assert [choice["finish_reason"] for choice in choices] == [None] * (len(choices) - 1) + ["stop"]


def test_a_mended_reply_says_what_was_mended(relay: LiveGateway) -> None:
    assert ask(relay, "sloppy").headers["x-gateway-repaired"]


def test_the_first_chunk_names_the_role_even_if_the_upstream_did_not(relay: LiveGateway) -> None:
    got = events_of(ask(relay, "sloppy", stream=True))
    assert got.chunks[0]["choices"][0]["delta"]["role"] == "assistant"


def test_usage_that_comes_unasked_is_left_out(relay: LiveGateway) -> None:
    got = events_of(ask(relay, "sloppy", stream=True))
    assert not any(chunk.get("usage") for chunk in got.chunks)


def test_usage_inside_the_finish_chunk_gets_a_chunk_of_its_own_when_asked_for(relay: LiveGateway) -> None:
    got = events_of(ask(relay, "sloppy", stream=True, stream_options={"include_usage": True}))
    assert got.chunks[-1]["choices"] == []
    assert got.chunks[-1]["usage"] == USAGE
    assert not any(chunk.get("usage") for chunk in got.chunks[:-1])


@pytest.mark.parametrize("operation", [CHAT, LEGACY])
@pytest.mark.parametrize(
    "model", ["sse-crlf", "sse-comments", "sse-no-space", "sse-bytes", "sse-split-utf8", "finished-without-done"]
)
def test_legal_oddities_of_event_streams_are_understood(relay: LiveGateway, model: str, operation: str) -> None:
    got = events_of(ask(relay, model, operation, stream=True))
    assert (got.error, got.done, got.text) == (None, True, TEXT)


def test_a_compressed_reply_is_read_or_refused_but_never_garbled(relay: LiveGateway) -> None:
    response = ask(relay, "gzip")
    assert response.status_code in {200, 502}
    if response.status_code == 200:
        assert response.json()["choices"][0]["message"]["content"] == TEXT
    else:
        assert error_of(response)["code"] == "upstream_invalid_response"


# -- what the upstream is sent --


def test_tools_and_unknown_fields_reach_the_upstream_unchanged_and_in_order(
    relay: LiveGateway, upstream: Upstream
) -> None:
    sent = body_of(
        CHAT, "order", zz={"b": [1.5, None], "a": True}, tools=[TOOL], aa="Ü\u2028", temperature=0.5, seed=2**53 + 1
    )
    with client_of(relay, OPENAI) as client:
        assert client.post(CHAT, json=sent).status_code == 200
    got = upstream.last("order").json
    assert got == sent
    assert json.dumps(got["tools"]) == json.dumps([TOOL])
    assert json.dumps(got["zz"]) == json.dumps(sent["zz"])
    assert "stream" not in got


def test_the_gateways_key_reaches_the_upstream_and_the_clients_does_not(relay: LiveGateway, upstream: Upstream) -> None:
    private = {"x-request-id": "trace.me-1", "cookie": "a=b", "x-forwarded-for": "10.0.0.9", "openai-organization": "o"}
    ask(relay, "headers", headers=private)
    seen = upstream.last("headers")
    assert seen.header("x-request-id") == "trace.me-1"
    assert seen.header("authorization") == f"Bearer {UPSTREAM_KEY}"
    assert [value for name, value in seen.headers if name == "host"] == [f"{HOST}:{upstream.port}"]
    assert seen.header("cookie") is None
    assert not [value for _, value in seen.headers if TEST_KEY in value]


def test_a_base_url_in_the_body_changes_nothing(relay: LiveGateway, upstream: Upstream) -> None:
    extra: dict[str, Any] = {"api_base": "http://127.0.0.1:9", "base_url": "http://127.0.0.1:9", "api_key": "x"}
    assert ask(relay, "steered", **extra).status_code == 200
    assert upstream.last("steered").header("authorization") == f"Bearer {UPSTREAM_KEY}"


# -- refusals of the upstream --


# Statuses as such are tried in tests/providers/test_every_provider.py: here it is the words of a refusal.
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("dialect", ["nested", "flat"])
@pytest.mark.parametrize("status", [409, 422])
def test_a_refusal_keeps_its_status_code_and_param(
    relay: LiveGateway, upstream: Upstream, status: int, dialect: str, stream: bool
) -> None:
    model = f"status-{status}-{dialect}#{stream}"
    response = ask(relay, model, stream=stream)
    assert response.status_code == status
    error = error_of(response)
    assert (error["code"], error["param"]) == ("upstream_code", "messages[0].content")
    assert f"upstream refuses with {status}" in error["message"]
    assert len(upstream.seen(model)) == 1, "a refusal is not asked for twice"


@pytest.mark.parametrize("dialect", ["string", "detail", "html", "empty"])
@pytest.mark.parametrize("status", [404, 422])
def test_a_refusal_in_another_dialect_keeps_its_status(relay: LiveGateway, status: int, dialect: str) -> None:
    response = ask(relay, f"status-{status}-{dialect}")
    assert response.status_code == status
    message = error_of(response)["message"]
    if dialect in {"string", "detail"}:
        assert f"upstream refuses with {status}" in message


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_rate_limit_keeps_what_tells_the_client_when_to_return(relay: LiveGateway, stream: bool) -> None:
    response = ask(relay, "status-429", stream=stream)
    assert response.headers["retry-after"] == "7"
    assert response.headers["x-ratelimit-limit-requests"] == "60"
    assert response.headers["x-ratelimit-remaining-requests"] == "0"
    assert response.headers["x-ratelimit-reset-requests"] == "7s"


@pytest.mark.parametrize("operation", [CHAT, LEGACY, EMBED])
@pytest.mark.parametrize("status", [401])
def test_the_gateways_own_trouble_with_its_key_is_not_the_clients(
    relay: LiveGateway, status: int, operation: str
) -> None:
    for dialect in ("nested", "string", "html"):
        response = ask(relay, f"status-{status}-{dialect}", operation)
        error = error_of(response)
        assert (response.status_code, error["code"]) == (502, "upstream_auth_error")
        assert "upstream refuses" not in error["message"]
        assert "www-authenticate" not in response.headers


@pytest.mark.parametrize("operation", [LEGACY, EMBED])
@pytest.mark.parametrize("status", [500])
def test_a_broken_upstream_is_a_bad_gateway(relay: LiveGateway, status: int, operation: str) -> None:
    for dialect in ("nested", "html", "empty"):
        response = ask(relay, f"status-{status}-{dialect}", operation)
        assert (response.status_code, error_of(response)["code"]) == (502, "upstream_error")


def test_refusals_on_models_follow_the_same_rules(relay: LiveGateway) -> None:
    with client_of(relay, OPENAI) as client:
        got = [client.get(f"models/status-{status}") for status in (404, 401, 500)]
    assert [response.status_code for response in got] == [404, 502, 502]
    assert [error_of(response)["code"] for response in got[1:]] == ["upstream_auth_error", "upstream_error"]


# -- replies that are none --

BROKEN = ["broken-json", "html", "empty-body", "no-content", "null-body", "wrong-shape", "redirect", "garbage"]


@pytest.mark.parametrize("operation", [CHAT, EMBED])
@pytest.mark.parametrize("model", [*BROKEN, "bad-status-line"])
def test_a_reply_that_is_none_is_an_invalid_response(relay: LiveGateway, model: str, operation: str) -> None:
    response = ask(relay, model, operation)
    assert (response.status_code, error_of(response)["code"]) == (502, "upstream_invalid_response")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed_wherever_it_leads(
    relay: LiveGateway, upstream: Upstream, status: int, stream: bool
) -> None:
    model = f"moved-{status}-{stream}"
    place = f"http://{HOST}:{upstream.port}/elsewhere"
    upstream.program(model, f"HTTP/1.1 {status} X\r\nlocation: {place}\r\ncontent-length: 0\r\n\r\n".encode())
    response = ask(relay, model, stream=stream)
    assert (response.status_code, error_of(response)["code"]) == (502, "upstream_invalid_response")
    assert len(upstream.seen(model)) == 1
    assert not [seen for seen in upstream.requests if seen.path == "/elsewhere"]


@pytest.mark.parametrize("model", [*BROKEN, "stream-error-first", "stream-empty"])
def test_a_stream_that_never_begins_keeps_a_status(relay: LiveGateway, model: str) -> None:
    response = ask(relay, model, stream=True)
    # It says that it is overloaded, which has a status of its own, as in a reply that is not 2xx.
    assert response.status_code == (503 if model == "stream-error-first" else 502), response.text
    error = error_of(response)
    if model in BROKEN:
        assert error["code"] == "upstream_invalid_response"


@pytest.mark.parametrize("model", ["broken-json", "html", "wrong-shape", "redirect"])
def test_a_model_that_is_none_is_an_invalid_response(relay: LiveGateway, model: str) -> None:
    with client_of(relay, OPENAI) as client:
        response = client.get(f"models/{model}")
    assert (response.status_code, error_of(response)["code"]) == (502, "upstream_invalid_response")


def test_an_error_dressed_as_success_is_a_bad_gateway(relay: LiveGateway) -> None:
    response = ask(relay, "error-in-200")
    assert response.status_code == 502
    assert error_of(response)["code"] == "full", "an upstream's own code is kept"


def test_a_missing_vector_is_an_invalid_response(relay: LiveGateway) -> None:
    response = ask(relay, "wrong-vectors", EMBED, input=["a", "b"])
    assert (response.status_code, error_of(response)["code"]) == (502, "upstream_invalid_response")


@contextlib.contextmanager
def peak_of(live: LiveGateway) -> Iterator[list[int]]:
    """By how many bytes the gateway's memory has risen at most while the block ran; the list has it afterwards."""
    before, stop, risen = live.rss(), threading.Event(), [0]

    def watch() -> None:
        while not stop.wait(0.002):
            risen[0] = max(risen[0], live.rss() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield risen
    finally:
        stop.set()
        watcher.join()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("model", ["huge-body", "endless-body", "gzip-bomb", "fat-header", "stream-giant-line"])
def test_a_reply_without_end_is_cut_and_not_kept(
    relay: LiveGateway, upstream: Upstream, model: str, stream: bool
) -> None:
    labelled = f"{model}#{stream}"
    ask(relay, "good", stream=stream)
    with peak_of(relay) as risen:
        response = ask(relay, labelled, stream=stream)
    if model == "stream-giant-line" and stream:
        assert "upstream_invalid_response" in response.text
    else:
        assert (response.status_code, error_of(response)["code"]) == (502, "upstream_invalid_response")
    assert upstream.last(labelled).gone.wait(GONE_S), "it is still being listened to"
    # What does not say its size is read up to the cap on replies.
    most = 64 + 16 if model == "endless-body" or (model == "stream-giant-line" and not stream) else 50
    sys.stdout.write(f"{model}: {risen[0] / 2**20:.1f} MB\n")
    assert risen[0] < most * 2**20


# -- connections that break --


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("model", ["close-at-once", "reset-at-once"])
def test_a_connection_that_breaks_at_once_is_unreachable(relay: LiveGateway, model: str, stream: bool) -> None:
    response = ask(relay, model, stream=stream)
    assert (response.status_code, error_of(response)["code"]) == (502, "upstream_unreachable")


def test_a_reply_cut_short_is_a_bad_gateway(relay: LiveGateway) -> None:
    response = ask(relay, "short-body")
    assert response.status_code == 502
    assert error_of(response)["code"] in {"upstream_invalid_response", "upstream_unreachable"}


# -- upstreams that take their time --


@pytest.mark.parametrize("model", ["hang-before-headers", "hang-after-headers", "loris-headers", "loris-body"])
def test_an_upstream_that_does_not_answer_in_time_is_a_timeout(
    impatient: LiveGateway, upstream: Upstream, model: str
) -> None:
    def told(stream: bool) -> tuple[str, httpx2.Response, float]:
        labelled = f"{model}#timeout-{stream}"
        started = time.monotonic()
        return labelled, ask(impatient, labelled, stream=stream), time.monotonic() - started

    with ThreadPoolExecutor() as pool:
        both = list(pool.map(told, [False, True]))
    for labelled, response, took in both:
        sys.stdout.write(f"{labelled}: told after {took:.2f} s\n")
        assert (response.status_code, error_of(response)["code"]) == (504, "upstream_timeout"), labelled
        assert took > 0.8, labelled
        assert upstream.last(labelled).gone.wait(GONE_S), f"{labelled}: the upstream is still being waited for"


def test_a_stalled_stream_ends_in_an_error_event(impatient: LiveGateway, upstream: Upstream) -> None:
    got = events_of(ask(impatient, "stalled-stream", stream=True))
    assert got.error is not None
    assert (got.error["code"], got.done) == ("upstream_timeout", False)
    assert got.text == "".join(TEXT[:7])
    assert upstream.last("stalled-stream").gone.wait(GONE_S)


def test_a_stream_longer_than_the_timeout_is_not_cut_while_it_flows(impatient: LiveGateway) -> None:
    got = events_of(ask(impatient, "paced", stream=True))
    assert (got.error, got.done, got.text) == (None, True, TEXT)


# -- streams that break --


@pytest.mark.parametrize("operation", [CHAT, LEGACY])
@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("stream-reset", "upstream_stream_truncated"),
        ("stream-cut", "upstream_stream_truncated"),
        ("stream-unfinished", "upstream_stream_truncated"),
        ("stream-broken-json", "upstream_invalid_response"),
        ("stream-wrong-shape", "upstream_invalid_response"),
        ("stream-giant-line", "upstream_invalid_response"),
        ("stream-error", None),
    ],
)
def test_a_stream_that_breaks_ends_in_an_error_event_and_is_not_done(
    relay: LiveGateway, model: str, code: str | None, operation: str
) -> None:
    got = events_of(ask(relay, f"{model}#{operation}", operation, stream=True))
    assert not got.done
    assert got.error is not None
    assert sorted(got.error) == ["code", "message", "param", "type"]
    assert code is None or got.error["code"] == code
    assert got.text.startswith("Grüße")
    assert TEXT.startswith(got.text)
    assert all(not choice["finish_reason"] for chunk in got.chunks for choice in chunk["choices"])


SSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
DONE = b"data: [DONE]\n\n"


def sse_chunk(finish: str | None) -> bytes:
    choice = {"index": 0, "delta": {"role": "assistant", "content": "x"}, "finish_reason": finish}
    value = {"id": "a", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def test_what_follows_done_is_not_passed_on(relay: LiveGateway, upstream: Upstream) -> None:
    upstream.program("after-done", SSE_HEAD + sse_chunk("stop") + DONE + b"data: rubbish\n\n")
    got = events_of(ask(relay, "after-done", stream=True))
    assert (got.error, got.done, got.text) == (None, True, "x")


def test_a_stream_without_a_finish_reason_is_whole_if_it_says_that_it_is_done(
    relay: LiveGateway, upstream: Upstream
) -> None:
    upstream.program("done-unfinished", SSE_HEAD + sse_chunk(None) + DONE)
    got = events_of(ask(relay, "done-unfinished", stream=True))
    assert (got.error, got.done, got.choices[-1]["finish_reason"]) == (None, True, "stop")
    upstream.program("not-done-unfinished", SSE_HEAD + sse_chunk(None))
    got = events_of(ask(relay, "not-done-unfinished", stream=True))
    assert got.error is not None
    assert (got.error["code"], got.done) == ("upstream_stream_truncated", False)


def test_done_alone_is_no_answer(relay: LiveGateway, upstream: Upstream) -> None:
    upstream.program("done-alone", SSE_HEAD + DONE)
    response = ask(relay, "done-alone", stream=True)
    assert response.status_code == 502
    assert error_of(response)["code"].startswith("upstream_")


def test_a_choice_finishes_once(relay: LiveGateway, upstream: Upstream) -> None:
    upstream.program("finished-twice", SSE_HEAD + sse_chunk("stop") * 2 + DONE)
    got = events_of(ask(relay, "finished-twice", stream=True))
    assert [choice["finish_reason"] for chunk in got.chunks for choice in chunk["choices"]].count("stop") == 1


@pytest.mark.parametrize("body", [b"[" * 100_000, rb'{"id":"\ud800"}', b'{"id":NaN}', b"\xff\xfe{}"])
def test_json_that_is_refused_from_clients_is_refused_from_upstreams(
    relay: LiveGateway, upstream: Upstream, body: bytes
) -> None:
    upstream.program(
        "odd-json", b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n", body
    )
    response = ask(relay, "odd-json")
    assert (response.status_code, error_of(response)["code"]) == (502, "upstream_invalid_response")


# -- clients that leave --


@pytest.mark.parametrize("model", ["hang-before-headers", "hang-after-headers", "loris-body"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_client_that_leaves_before_the_answer_frees_the_upstream(
    relay: LiveGateway, upstream: Upstream, model: str, stream: bool
) -> None:
    labelled = f"{model}#left-{stream}"
    with pytest.raises(httpx2.ReadTimeout), client_of(relay, OPENAI) as client:
        client.post(CHAT, json=body_of(CHAT, labelled, stream=stream), timeout=0.4)
    assert upstream.last(labelled).gone.wait(GONE_S), "the upstream was never told"


@pytest.mark.parametrize("operation", [CHAT, LEGACY])
@pytest.mark.parametrize("model", ["drip", "stalled-stream"])
def test_a_client_that_leaves_a_stream_frees_the_upstream(
    relay: LiveGateway, upstream: Upstream, model: str, operation: str
) -> None:
    labelled = f"{model}#left-{operation}"
    body = body_of(operation, labelled, stream=True)
    with client_of(relay, OPENAI) as client, client.stream("POST", operation, json=body) as response:
        assert next(response.iter_lines()).startswith("data: ")
    assert upstream.last(labelled).gone.wait(GONE_S), "the upstream was never told"


def open_raw_stream(live: LiveGateway, model: str) -> socket.socket:
    """A streamed chat over a bare socket with a small window, read by nobody yet."""
    body = json.dumps(body_of(CHAT, model, stream=True)).encode()
    head = (
        f"POST /openai/v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TEST_KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection = socket.socket()
    connection.settimeout(60)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((HOST, live.port))
    connection.sendall(head.encode() + body)
    return connection


def test_a_client_that_does_not_read_slows_the_upstream_down(relay: LiveGateway, upstream: Upstream) -> None:
    ask(relay, "good")
    before = relay.rss()
    with open_raw_stream(relay, "flood") as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        time.sleep(1)
        grown = relay.rss() - before
        assert not upstream.last("flood").gone.is_set(), "200 MB were taken for a client that reads nothing"
    assert grown < 20 * 2**20
    assert upstream.last("flood").gone.wait(GONE_S)


def test_a_client_that_resets_its_connection_frees_the_upstream(relay: LiveGateway, upstream: Upstream) -> None:
    connection = open_raw_stream(relay, "drip#reset")
    assert connection.recv(100).startswith(b"HTTP/1.1 200")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    assert upstream.last("drip#reset").gone.wait(GONE_S), "the upstream was never told"


# -- the end of the gateway, and many at once --


@pytest.mark.slow
def test_a_stream_in_flight_is_finished_after_sigterm(upstream: Upstream) -> None:
    own = running_gateway(ALLOWED_API_KEYS=TEST_KEY, **in_front_of(upstream))
    with own as live, client_of(live, OPENAI) as client:
        body = body_of(CHAT, "paced#sigterm", stream=True)
        with client.stream("POST", CHAT, json=body) as response:
            lines = response.iter_lines()
            first = next(lines)
            live.process.send_signal(signal.SIGTERM)
            rest = [line for line in lines if line]
        code = live.process.wait(60)
        log = live.log()
    assert first.startswith("data: ")
    assert rest[-1] == "data: [DONE]"
    assert code == 0
    assert "Traceback" not in log


@pytest.mark.slow
async def test_a_hundred_streams_at_once_all_complete(relay: LiveGateway) -> None:
    """One after the other they would take longer than the client waits."""
    texts: list[str] = []

    async def one(client: httpx2.AsyncClient, index: int) -> None:
        body = body_of(CHAT, f"paced#many-{index}", stream=True)
        texts.append(events_of(await client.post(CHAT, json=body)).text)

    options: Any = {"limits": httpx2.Limits(max_connections=None), "trust_env": False, "verify": NO_CERTIFICATES}
    async with (
        httpx2.AsyncClient(base_url=relay.base_url + OPENAI, headers=KEY, timeout=60, **options) as client,
        anyio.create_task_group() as group,
    ):
        for index in range(150):
            group.start_soon(one, client, index)
    assert texts == [TEXT] * 150


def test_the_log_of_all_this_holds_no_secret(relay: LiveGateway) -> None:
    for model in ("good", "status-401", "status-403-string", "html", "stream-error"):
        ask(relay, model)
    assert UPSTREAM_KEY not in relay.log()
    assert TEST_KEY not in relay.log()
    assert "Traceback" not in relay.log()


# -- what the gateway keeps between calls --


def test_an_upstreams_cookies_are_not_kept(relay: LiveGateway, upstream: Upstream) -> None:
    head = b"HTTP/1.1 429 Too Many Requests\r\nset-cookie: session=canary\r\ncontent-length: 0\r\n\r\n"
    upstream.program("cookies", head)
    first = ask(relay, "cookies")
    assert first.status_code == 429
    assert "set-cookie" not in first.headers
    ask(relay, "cookies")
    assert "cookie" not in {name for name, _ in upstream.last("cookies").headers}


def test_a_stream_that_drips_for_ever_ends_when_its_time_is_over(upstream: Upstream) -> None:
    limits = {"STREAM_TIMEOUT_S": "1", "STREAM_IDLE_TIMEOUT_S": "30"}
    with running_gateway(ALLOWED_API_KEYS=TEST_KEY, **in_front_of(upstream), **limits) as live:
        got = events_of(ask(live, "stalled-stream", stream=True))
    assert got.error is not None
    assert (got.error["code"], got.done) == ("upstream_timeout", False)

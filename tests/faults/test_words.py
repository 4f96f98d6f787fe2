"""An upstream's words: whatever it says of a failure is in the log, without keys, and reaches whoever can act on it."""

import json
from typing import Any

import pytest

from tests.support.client import CHAT, ask, events_of, eventually
from tests.support.gateway import UPSTREAM_KEY, LiveGateway, SharedGateways, in_front_of
from tests.support.upstream import Upstream, head

pytestmark = pytest.mark.live

PIECE = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"role":"assistant","content":"Hi"},"finish_reason":null}]}\n\n'
)
FULL = "the request exceeds the available context size"
LLAMA = {"code": 400, "message": FULL, "type": "exceed_context_size_error", "n_ctx": 4096}
GROQ = {
    "message": "Failed to call a function.", "type": "invalid_request_error", "code": "tool_use_failed",
    "failed_generation": '<function=w>{"c":1}',
}  # fmt: skip
ROUTED = {"code": 429, "message": "Provider returned error", "metadata": {"raw": "slow down", "provider_name": "X"}}


def reply(status: int, body: bytes, media: str = "application/json") -> bytes:
    return head(status, {"content-type": media, "content-length": str(len(body)), "connection": "close"}) + body


def stream(*events: bytes) -> bytes:
    return head(200, {"content-type": "text/event-stream", "connection": "close"}) + b"".join(events)


def error(value: object) -> bytes:
    return json.dumps({"error": value}).encode()


def choice_that_failed(words: str, holder: str) -> bytes:
    """How OpenRouter tells of a provider that has failed behind it."""
    failed = {"index": 0, holder: {"content": ""}, "finish_reason": "error", "error": {"code": 502, "message": words}}
    return json.dumps({"id": "c", "created": 1, "model": "m", "choices": [failed]}).encode()


def reported(live: LiveGateway, upstream: Upstream, name: str, raw: bytes, *, streamed: bool) -> dict[str, Any]:
    """The error as the caller gets it, whole or as an event."""
    upstream.program(name, raw)
    response = ask(live, name, provider="openai", stream=streamed)
    if response.status_code == 200:
        found = events_of(response).error
        assert found is not None, response.text
        return {**found, "status": 200}
    return {**response.json()["error"], "status": response.status_code}


# Every way to fail with words. `{key}` is the gateway's own key, which nobody is to see.
FAULTS: dict[str, tuple[bytes, bool, str]] = {
    **{
        f"status {status}": (reply(status, error({"message": f"words of {status} {{key}}"})), False, f"of {status}")
        for status in (400, 401, 402, 403, 404, 408, 409, 413, 418, 422, 429, 500, 501, 502, 503, 504, 529)
    },
    "a page": (reply(503, b"<html>words of a page {key}</html>", "text/html"), False, "words of a page"),
    "plain text": (reply(500, b"words of a text {key}", "text/plain"), False, "words of a text"),
    "a redirect": (reply(302, b"words of a redirect {key}", "text/plain"), False, "words of a redirect"),
    "status 200": (reply(200, error({"message": "words of 200 {key}", "code": "own"})), False, "words of 200"),
    "flat": (reply(200, b'{"code":"InvalidParameter","message":"words of flat {key}"}'), False, "words of flat"),
    "in base_resp": (
        reply(200, b'{"base_resp":{"status_code":1008,"status_msg":"words of base {key}"},"choices":null}'),
        False, "words of base",
    ),
    "before a stream": (stream(b"data: " + error({"message": "words before {key}"}) + b"\n\n"), True, "words before"),
    "in a stream": (
        stream(PIECE, b"data: " + error({"message": "words inside {key}"}) + b"\n\n"), True, "words inside",
    ),
    "an event called error": (
        stream(PIECE, b'event: error\ndata: {"message":"words of an event {key}"}\n\n'), True, "words of an event",
    ),
    "an event called error, of text": (
        stream(PIECE, b"event: error\ndata: words of a text event {key}\n\n"), True, "words of a text event",
    ),
    "a line called error": (
        stream(PIECE, b'error: {"code":500,"message":"words of a line {key}"}\n\n'), True, "words of a line",
    ),
    "an error without a field": (
        stream(PIECE, error({"message": "words of a bare object {key}"}) + b"\n\n"), True, "words of a bare object",
    ),
    "an error without a field and an end": (
        stream(PIECE, error({"message": "words of a last object {key}"})), True, "words of a last object",
    ),
    "an event without an end": (
        stream(PIECE, b"data: " + error({"message": "words of a last event {key}"})), True, "words of a last event",
    ),
    "a page in a stream": (
        stream(PIECE, b"<html>words of a page\r\ninside {key}</html>"), True, "words of a page inside",
    ),
    "a text in a stream": (
        stream(PIECE, b"data: words of an event of text {key}\n\n"), True, "words of an event of text",
    ),
    "a text with status 200": (reply(200, b"words of a good text {key}", "text/plain"), False, "words of a good text"),
    "a page with status 200": (reply(200, b"<html>words of a good page {key}", "text/html"), False, "of a good page"),
    "in a choice": (
        reply(200, choice_that_failed("words of a choice {key}", "message")), False, "words of a choice",
    ),
    "in a choice of a chunk": (
        stream(PIECE, b"data: " + choice_that_failed("words of a last choice {key}", "delta") + b"\n\n"), True,
        "words of a last choice",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_the_words_of_every_failure_are_in_the_log_without_keys(
    relay: LiveGateway, upstream: Upstream, case: str
) -> None:
    raw, streamed, words = FAULTS[case]
    key = UPSTREAM_KEY.encode()
    raw = raw.replace(b"{key}", key)
    if not streamed:  # the length that the head says
        start, _, body = raw.partition(b"\r\n\r\n")
        before = len(body) - (len(key) - len(b"{key}")) * body.count(key)
        start = start.replace(f"content-length: {before}".encode(), f"content-length: {len(body)}".encode())
        raw = start + b"\r\n\r\n" + body
    error = reported(relay, upstream, f"words#{case}", raw, streamed=streamed)
    assert UPSTREAM_KEY not in json.dumps(error)
    eventually(lambda: any(words in str(record.get("detail")) for record in relay.records("request failed")))
    assert UPSTREAM_KEY not in relay.log()


@pytest.mark.parametrize("form", ["line", "event", "data", "status"])
@pytest.mark.parametrize("retries", ["0", "2"])
def test_a_refusal_of_llama_cpp_is_one_in_any_form_and_is_not_repeated(
    gateway_for: SharedGateways, upstream: Upstream, form: str, retries: str
) -> None:
    text = json.dumps(LLAMA).encode()
    forms = {
        "line": stream(b"error: " + text + b"\n\n"),
        "event": stream(b"event: error\ndata: " + text + b"\n\n"),
        "data": stream(b"data: " + error(LLAMA) + b"\n\n"),
        "status": reply(400, error(LLAMA)),
    }
    live = gateway_for(**{**in_front_of(upstream), "MAX_RETRIES": retries})
    name = f"llama#{form}-{retries}"
    found = reported(live, upstream, name, forms[form], streamed=True)
    assert (found["status"], found["message"], found["type"]) == (400, FULL, "exceed_context_size_error")
    assert found["n_ctx"] == 4096
    assert found["code"] == "context_length_exceeded", "a code that only repeats the status is none"
    assert len(upstream.seen(name)) == 1


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_what_stands_beside_the_usual_fields_is_kept(relay: LiveGateway, upstream: Upstream, streamed: bool) -> None:
    found = reported(relay, upstream, f"groq#{streamed}", reply(400, error(GROQ)), streamed=streamed)
    assert {name: found[name] for name in GROQ} == GROQ
    found = reported(relay, upstream, f"routed#{streamed}", reply(429, error(ROUTED)), streamed=streamed)
    assert (found["status"], found["code"], found["metadata"]) == (429, "rate_limit_exceeded", ROUTED["metadata"])
    keyed = {**GROQ, "failed_generation": {"headers": [f"Bearer {UPSTREAM_KEY}"]}}
    found = reported(relay, upstream, f"keyed#{streamed}", reply(400, error(keyed)), streamed=streamed)
    assert found["failed_generation"] == {"headers": ["Bearer [key]"]}


def test_a_failure_inside_of_a_stream_keeps_its_own_code(relay: LiveGateway, upstream: Upstream) -> None:
    said = {"code": "engine_exploded", "type": "engine_error", "message": "boom", "metadata": {"raw": "x"}}
    found = reported(relay, upstream, "inside", stream(PIECE, b"data: " + error(said) + b"\n\n"), streamed=True)
    assert {name: found[name] for name in ("code", "type", "metadata")} == {
        name: said[name] for name in ("code", "type", "metadata")
    }
    assert "boom" in found["message"]


FORBIDDEN: dict[str, tuple[dict[str, Any], int]] = {
    "region": (
        {"code": "unsupported_country_region_territory", "message": "Country, region, or territory not supported"}, 403,
    ),
    "moderation": ({"code": 403, "message": "Your input was flagged", "metadata": {"reasons": ["x"]}}, 403),
    "plan": ({"message": "Your plan does not include this model"}, 403),
    "key": ({"message": "Incorrect API key provided: sk-1"}, 502),
    "nothing": ({"message": ""}, 502),
}  # fmt: skip


@pytest.mark.parametrize("case", FORBIDDEN)
def test_403_is_told_as_what_it_is_about(relay: LiveGateway, upstream: Upstream, case: str) -> None:
    said, status = FORBIDDEN[case]
    found = reported(relay, upstream, f"forbidden#{case}", reply(403, error(said)), streamed=False)
    assert found["status"] == status
    if status == 403:
        assert found["message"] == said["message"]
        assert found.get("metadata") == said.get("metadata")
    else:
        assert (found["code"], "check the key" in found["message"]) == ("upstream_auth_error", True)


@pytest.mark.parametrize(
    "body",
    [b"", b"404 page not found", b"<html>nginx</html>", b'{"detail":"Not Found"}',
     b'{"error":{"message":"Unknown request URL: POST /chat/completions","code":"unknown_url"}}',
     b'{"error":{"message":"Invalid URL (POST /chat/completions)","type":"invalid_request_error","code":null}}'],
)  # fmt: skip
def test_a_404_that_is_not_about_the_model_names_the_setting_of_the_address(
    relay: LiveGateway, upstream: Upstream, body: bytes
) -> None:
    found = reported(relay, upstream, f"lost#{hash(body)}", reply(404, body, "text/plain"), streamed=False)
    assert (found["status"], found["code"]) == (404, "upstream_wrong_address")
    assert "OPENAI_BASE_URL" in found["message"]
    upstream.program("lost", reply(404, body))
    assert "PROVIDER_LAB_BASE_URL" in ask(relay, "lost", CHAT, provider="lab").json()["error"]["message"]


def test_a_404_about_the_model_names_it(relay: LiveGateway, upstream: Upstream) -> None:
    found = reported(relay, upstream, "gone-9", reply(404, error({"message": "No such thing."})), streamed=False)
    assert (found["code"], "'gone-9'" in found["message"]) == ("model_not_found", True)
    found = reported(relay, upstream, "gone-8", reply(404, error({"message": "model gone-8 is away"})), streamed=False)
    assert found["message"] == "model gone-8 is away"


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_choice_that_failed_is_the_error_that_it_tells_of(
    relay: LiveGateway, upstream: Upstream, streamed: bool
) -> None:
    words = choice_that_failed("slow down", "delta" if streamed else "message").replace(b"502", b"429")
    raw = stream(PIECE, b"data: " + words + b"\n\n") if streamed else reply(200, words)
    found = reported(relay, upstream, f"choice#{streamed}", raw, streamed=streamed)
    assert (found["message"], found["code"]) == ("slow down", "rate_limit_exceeded")
    assert found["status"] == (200 if streamed else 429)


@pytest.mark.parametrize("rest", [b'{"id":"c","choices":[{"index":0,"delta":{"content":"secret', b'"of nobody else'])
def test_what_is_left_of_an_answer_is_not_taken_for_words(relay: LiveGateway, upstream: Upstream, rest: bytes) -> None:
    name = f"rest#{len(rest)}"
    found = reported(relay, upstream, name, stream(PIECE, rest), streamed=True)
    assert found["code"] == "upstream_stream_truncated"
    eventually(lambda: bool(relay.records("request failed")))
    assert not any("secret" in str(each) or "nobody" in str(each) for each in relay.records("request failed"))


@pytest.mark.parametrize("end", [b"\n\n", b"\n", b""], ids=["whole", "without a blank line", "without an end"])
def test_a_last_chunk_counts_whatever_ends_it(relay: LiveGateway, upstream: Upstream, end: bytes) -> None:
    last = PIECE.rstrip().replace(b'"finish_reason":null', b'"finish_reason":"stop"')
    upstream.program(f"last#{len(end)}", stream(PIECE, last + end))
    events = events_of(ask(relay, f"last#{len(end)}", provider="openai", stream=True))
    assert events.error is None
    assert events.text == "HiHi"


def test_what_comes_after_the_end_counts_no_more_in_a_whole_reply(relay: LiveGateway, upstream: Upstream) -> None:
    last = PIECE.replace(b'"finish_reason":null', b'"finish_reason":"stop"')
    upstream.program("late#whole", stream(PIECE, last, b"data: [DONE]\n\n", PIECE))
    assert ask(relay, "late#whole", provider="openai").json()["choices"][0]["message"]["content"] == "HiHi"

"""One log record a request."""

from collections.abc import Iterator
from typing import Any
from zlib import crc32

import httpx2
import pytest

from tests.support.client import ask as ask_at, client_of, eventually, get, post
from tests.support.gateway import HOST, TEST_KEY, LiveGateway, closed_port, running_gateway
from tests.support.upstream import Upstream

pytestmark = pytest.mark.live

CHAT = {"model": "m", "messages": [{"role": "user", "content": "a-private-question"}]}
ID = "of-the-access-log"


def ask(gateway: LiveGateway, key: str = TEST_KEY, **more: Any) -> httpx2.Response:
    path = "/custom/v1/chat/completions?q=1"
    return post(gateway, path, {**CHAT, **more}, key=key, headers={"x-request-id": ID})


def records_of(gateway: LiveGateway) -> list[dict[str, Any]]:
    return [record for record in gateway.records() if record.get("request_id") == ID]


@pytest.fixture(scope="module")
def quiet() -> Iterator[LiveGateway]:
    """Without records of what went well, in front of an upstream that nobody reaches."""
    with closed_port() as port:
        upstream = {"OPENAI_BASE_URL": f"http://{HOST}:{port}/v1", "OPENAI_API_KEY": "sk-canary"}
        with running_gateway(LOG_LEVEL="warning", **upstream) as live:
            yield live


def test_a_record_says_who_asked_what_and_how_it_went_and_nothing_private(gateway: LiveGateway) -> None:
    assert ask(gateway).status_code == 200
    assert ask(gateway, stream=True).status_code == 200
    assert ask(gateway, key="wrong-key-canary").status_code == 401
    eventually(lambda: len(records_of(gateway)) == 3)  # a record leaves at the end of a turn, behind the reply
    whole, streamed, refused = records_of(gateway)
    assert set(whole) >= {"timestamp", "level", "provider", "status_code", "duration_ms"}
    assert whole["method"] == "POST"
    assert whole["path"] == "/custom/v1/chat/completions"
    assert (whole["provider"], whole["status_code"], whole["level"]) == ("custom", 200, "info")
    assert streamed["status_code"] == 200
    assert (refused["status_code"], refused.get("provider")) == (401, None)
    for private in ("a-private-question", TEST_KEY, "wrong-key-canary"):
        assert private not in gateway.log()


def test_a_quieter_level_leaves_the_records_out(quiet: LiveGateway) -> None:
    assert ask(quiet).status_code == 200
    assert records_of(quiet) == []


def test_why_an_upstream_failed_is_in_the_log_under_the_requests_id(quiet: LiveGateway) -> None:
    reply = ask_at(quiet, "m", provider="openai")
    (failed,) = quiet.records("request failed")
    assert reply.status_code == 502
    assert failed["request_id"] == reply.headers["x-request-id"]
    assert failed["code"] == "upstream_unreachable"
    assert "Connect" in failed["detail"]
    assert "sk-canary" not in quiet.log()


# -- what a record has --


def record_of(live: LiveGateway, request_id: str) -> dict[str, Any]:
    def found() -> list[dict[str, Any]]:
        return [each for each in live.records("request") if each["request_id"] == request_id]

    eventually(lambda: len(found()) == 1)
    return found()[0]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("path", "operation", "fields"),
    [
        ("/lab/v1/chat/completions", "createChatCompletion", {}),
        ("/api/chat", "ollamaChat", {"model": "lab/good"}),
    ],
)
def test_a_record_has_all_that_an_incident_asks_for(
    relay: LiveGateway, path: str, operation: str, fields: dict[str, Any], *, stream: bool
) -> None:
    request_id = f"all-{operation}-{stream}"
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    body = {**CHAT, "model": "good", **fields, "stream": stream}
    headers = {"x-request-id": request_id, "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    assert post(relay, path, body, headers=headers).status_code == 200
    record = record_of(relay, request_id)
    expected = {
        "level": "info",
        "method": "POST",
        "path": path,
        "operation": operation,
        "client": HOST,
        "status_code": 200,
        "end": "whole",
        "model": body["model"],
        "stream": stream,
        "provider": "lab",
        "attempts": 1,
        "trace_id": trace,
        "project": "default",
    }
    assert {name: record.get(name) for name in expected} == expected
    assert record["key_id"].startswith("key_")
    assert 0 <= record["upstream_ms"] <= record["first_byte_ms"] <= record["duration_ms"]
    assert record["tokens_in"] > 0
    assert record["tokens_out"] > 0


@pytest.mark.parametrize(
    ("path", "fields", "streams"),
    [
        ("/lab/v1/chat/completions", {}, False),
        ("/lab/v1/chat/completions", {"stream": None}, False),
        ("/lab/v1/chat/completions", {"model": "status-500", "stream": True}, True),
        ("/api/chat", {"model": "lab/good"}, True),
        ("/api/chat", {"model": "lab/good", "stream": None}, True),
        ("/api/chat", {"model": "lab/good", "stream": False}, False),
        ("/api/chat", {"model": "lab/good", "messages": []}, False),
        ("/api/chat", {"model": "lab/status-500"}, True),
        ("/api/generate", {"model": "lab/good", "messages": None, "prompt": "hello"}, True),
        ("/api/generate", {"model": "lab/good", "messages": None}, False),
        ("/api/show", {"model": "lab/good", "messages": None}, False),
        ("/v1/messages", {"model": "lab/good", "max_tokens": 50}, False),
        ("/v1/messages", {"model": "lab/good", "max_tokens": 50, "stream": True}, True),
        ("/v1/responses", {"model": "lab/good", "messages": None, "input": "hello"}, False),
        ("/v1/responses", {"model": "lab/good", "messages": None, "input": "hello", "stream": True}, True),
    ],
)
def test_a_record_says_whether_the_reply_was_a_stream(
    relay: LiveGateway, path: str, fields: dict[str, Any], *, streams: bool
) -> None:
    request_id = f"streams-{crc32(repr((path, fields)).encode())}"
    body = {name: value for name, value in {**CHAT, "model": "good", **fields}.items() if name != "messages" or value}
    if fields.get("messages") == []:
        body["messages"] = []
    before = counted(relay, streams=streams)
    reply = post(relay, path, body, headers={"x-request-id": request_id})
    assert record_of(relay, request_id)["stream"] is streams
    if reply.status_code == 200:
        assert (b"\n" in reply.content.strip()) is streams
    assert counted(relay, streams=streams) == before + 1


def counted(live: LiveGateway, *, streams: bool) -> int:
    """Requests of the metric for durations that have this label."""
    label = f'stream="{str(streams).lower()}"'
    lines = [line for line in get(live, "/metrics").text.splitlines() if label in line and 'operation="get' not in line]
    return sum(
        int(float(line.split()[-1])) for line in lines if line.startswith("ai_gateway_request_duration_seconds_count")
    )


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [("/v1/nothing", 404, "not_found"), ("/api/nothing", 404, "not_found"), ("/nothing", 404, "not_found")],
)
def test_a_path_of_no_operation_has_its_code(relay: LiveGateway, path: str, status: int, code: str) -> None:
    request_id = f"nowhere{path.replace('/', '-')}"
    with client_of(relay) as client:
        assert client.get(path, headers={"x-request-id": request_id}).status_code == status
        assert record_of(relay, request_id)["code"] == code
        request_id = f"method-{request_id}"
        assert client.delete("/v1/chat/completions", headers={"x-request-id": request_id}).status_code == 405
        assert record_of(relay, request_id)["code"] == "method_not_allowed"


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/lab/v1/chat/completions", {}),
        ("/api/chat", {"model": "lab/paced#gone"}),
        ("/v1/messages", {"model": "lab/paced#gone", "max_tokens": 50}),
        ("/v1/responses", {"model": "lab/paced#gone", "messages": None, "input": "hello"}),
    ],
)
def test_a_client_that_leaves_is_no_error(relay: LiveGateway, path: str, fields: dict[str, Any]) -> None:
    request_id = f"gone{path.replace('/', '-')}"
    body = {**CHAT, "model": "paced#gone", "stream": True, **fields}
    body = {name: value for name, value in body.items() if value is not None}
    with (
        client_of(relay) as client,
        client.stream("POST", path, json=body, headers={"x-request-id": request_id}) as reply,
    ):
        next(reply.iter_bytes())
    record = record_of(relay, request_id)
    assert (record["end"], record.get("code")) == ("left", None)


def test_how_a_request_ended_is_told(relay: LiveGateway, upstream: Upstream) -> None:
    for model, stream, end, code in (
        ("status-500", False, "refused", "upstream_error"),
        ("stream-cut", True, "broken", "upstream_stream_truncated"),
    ):
        ask_at(relay, model, provider="lab", stream=stream, headers={"x-request-id": f"end-{model}"})
        record = record_of(relay, f"end-{model}")
        assert (record["end"], record["code"]) == (end, code), record
    body = {**CHAT, "model": "paced#logged", "stream": True}
    with (
        client_of(relay) as client,
        client.stream("POST", "/lab/v1/chat/completions", json=body, headers={"x-request-id": "end-left"}) as reply,
    ):
        next(reply.iter_bytes())
    upstream.last("paced#logged")
    assert record_of(relay, "end-left")["end"] == "left"


def test_probes_that_go_well_are_not_in_the_log(relay: LiveGateway) -> None:
    for path in ("/healthz", "/ready", "/metrics", "/health", "/"):
        assert get(relay, path).status_code == 200
    ask_at(relay, "good", provider="lab", headers={"x-request-id": "behind-probes"})
    record_of(relay, "behind-probes")
    assert {"/healthz", "/ready", "/metrics", "/health", "/"}.isdisjoint(
        record["path"] for record in relay.records("request") if record["status_code"] == 200
    )


@pytest.mark.parametrize(
    ("sent", "handed_on"),
    [
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", True),
        ("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", True),
        ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", False),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", False),
        ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", False),
        ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", False),
        ("x", False),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_trace_is_handed_on_as_it_came_or_not_at_all(
    relay: LiveGateway, upstream: Upstream, sent: str, *, stream: bool, handed_on: bool
) -> None:
    model = f"good#trace-{sent}-{stream}"
    ask_at(relay, model, provider="lab", stream=stream, headers={"traceparent": sent, "tracestate": "a=1,b=2"})
    got = dict(upstream.last(model).headers)
    assert (got.get("traceparent"), got.get("tracestate")) == ((sent, "a=1,b=2") if handed_on else (None, None))


def test_a_start_and_its_end_are_told() -> None:
    with running_gateway(ALLOWED_API_KEYS=TEST_KEY) as live:
        eventually(lambda: live.records("ready") != [])
        live.process.terminate()
        assert live.process.wait(30) == 0
        assert [each["event"] for each in live.records()] == ["starting", "ready", "stopping", "stopped"]

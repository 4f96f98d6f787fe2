"""Traces: what arrives at a collector for requests of every fate, and what never waits for it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv.attributes import client_attributes, error_attributes, http_attributes, url_attributes

from ai_gateway.contract.call import Call
from ai_gateway.errors import InvalidRequest
from ai_gateway.middleware.tracing import RequestTrace
from ai_gateway.observability.trace_names import PROVIDERS, Name
from ai_gateway.tools.run import tool_span
from tests.support.administration import ADMIN_KEY, Administrator
from tests.support.client import CHAT, ask, body_of, client_of, eventually, get, post
from tests.support.collector import CollectedSpan, Collector, running_collector
from tests.support.command import run_command
from tests.support.doors import OPERATIONS, PATHS, body_for
from tests.support.gateway import HOST, TEST_KEY, UPSTREAM_KEY, LiveGateway, in_front_of, running_gateway
from tests.support.upstream import Seen, Upstream

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
ROUTES = '[routes."either"]\ntargets = ["lab/status-500", "openai/good"]\n'
# Of a call that one upstream answers: its own, the attempt, reserve, the journal twice, settle.
USUAL = 6


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with running_collector() as running:
        yield running


@pytest.fixture(scope="module")
def traced(
    collector: Collector, shared_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveGateway]:
    config = tmp_path_factory.mktemp("traced") / "gateway.toml"
    config.write_text(ROUTES, encoding="utf-8")
    env = in_front_of(shared_upstream) | collector.env | {"GATEWAY_CONFIG": str(config)}
    with running_gateway(ALLOWED_API_KEYS=TEST_KEY, OTEL_SERVICE_NAME="the-gateway", WORKERS="2", **env) as live:
        yield live


def asked(
    live: LiveGateway,
    door: str,
    model: str,
    request_id: str,
    content: Any = "hello",
    *,
    stream: bool = False,
    **more: Any,
) -> int:
    body = {**body_for(door, model, content, stream=stream), **more}
    return post(live, PATHS[door], body, headers={"x-request-id": request_id}).status_code


def onward(seen: Seen) -> tuple[str, str, bool]:
    """What an upstream was told: the trace, the span that it belongs to, and whether it is kept."""
    version, trace_id, span_id, flags = (seen.header("traceparent") or "").split("-")
    assert version == "00"
    return trace_id, span_id, bool(int(flags, 16) & 1)


def by_name(spans: list[CollectedSpan]) -> dict[str, CollectedSpan]:
    return {span.name: span for span in spans}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("door", PATHS)
def test_a_call_is_one_trace_of_it_its_attempt_and_what_is_stored(
    traced: LiveGateway, collector: Collector, upstream: Upstream, door: str, *, stream: bool
) -> None:
    request_id = f"one-trace-{door}-{stream}"
    upstream.forget()
    assert asked(traced, door, "lab/good", request_id, stream=stream) == 200
    own, *others = collector.trace(request_id, USUAL)
    operation = OPERATIONS[door]
    attempt = by_name(others)["chat good"]
    assert sorted(span.name for span in others) == ["chat good", "journal", "journal", "reserve", "settle"]
    assert {span.trace_id for span in others} == {own.trace_id}
    assert (own.name, own.kind, own.parent_id) == (f"POST {operation}", "server", "")
    assert (attempt.kind, attempt.parent_id) == ("client", own.span_id)
    assert all(own.start - 0.001 <= span.start <= span.end <= own.end + 0.001 for span in others)
    reported = {
        Name.OPERATION: "chat",
        Name.PROVIDER: "lab",
        Name.REQUEST_MODEL: "good",
        Name.REQUEST_STREAM: stream,
        Name.ATTEMPT: 1,
    }
    assert {name: attempt.attributes.get(name) for name in reported} == reported
    assert attempt.attributes[Name.INPUT_TOKENS] > 0
    assert attempt.attributes[Name.OUTPUT_TOKENS] > 0
    assert (Name.FIRST_CHUNK in attempt.attributes) is stream
    expected = {
        Name.METHOD: "POST",
        Name.STATUS: 200,
        Name.WIRE: door,
        Name.END: "whole",
        Name.PROJECT: "default",
        Name.REQUEST_MODEL: "lab/good",
    }
    assert {name: own.attributes.get(name) for name in expected} == expected
    assert own.resource["service.name"] == "the-gateway"
    assert not own.failed
    # The upstream is told of the attempt's span, and the log of the trace.
    assert onward(upstream.last("good")) == (own.trace_id, attempt.span_id, True)
    (record,) = [each for each in traced.records("request") if each["request_id"] == request_id]
    assert record["trace_id"] == own.trace_id


def test_a_callers_trace_is_gone_on_with_and_its_decision_kept(
    traced: LiveGateway, collector: Collector, upstream: Upstream
) -> None:
    def sent(request_id: str, *headers: tuple[str, str]) -> tuple[str, str, bool]:
        with client_of(traced) as client:
            all_headers = [("x-request-id", request_id), *headers]
            assert client.post("/lab/v1/chat/completions", json=body_of(CHAT, "good"), headers=all_headers).is_success
        return onward(upstream.last("good"))

    reported = sent("within", ("traceparent", PARENT), ("tracestate", "vendor=1"))
    own, *others = collector.trace("within", USUAL)
    assert (own.trace_id, own.parent_id) == (TRACE, SPAN)
    assert reported == (TRACE, by_name(others)["chat good"].span_id, True)
    assert upstream.last("good").header("tracestate") == "vendor=1"
    # One that its caller does not keep is not kept here either, but goes on, so that others can still be found by it.
    trace_id, _, kept = sent("unkept", ("traceparent", PARENT.replace(TRACE, "a" * 32)[:-1] + "0"))
    assert (trace_id, kept) == ("a" * 32, False)
    # Of what is none, a new one is made.
    for wrong in ("junk", f"00-{'0' * 32}-{SPAN}-01"):
        assert sent(f"wrong-{len(wrong)}", ("traceparent", wrong))[0] != TRACE
    assert sent("two", ("traceparent", PARENT), ("traceparent", PARENT.replace("01", "02")))[0] != TRACE
    collector.trace("two", USUAL)
    assert not any(span.trace_id == "a" * 32 for span in collector.spans)


@pytest.mark.parametrize("door", PATHS)
def test_what_fails_says_so_where_it_failed(
    traced: LiveGateway, collector: Collector, upstream: Upstream, door: str
) -> None:
    assert asked(traced, door, "lab/status-500", f"failed-{door}") == 502
    own, *others = collector.trace(f"failed-{door}", USUAL)
    attempt = by_name(others)["chat status-500"]
    assert (own.failed, own.attributes[Name.ERROR], own.attributes[Name.STATUS]) == (True, "upstream_error", 502)
    assert (attempt.failed, attempt.attributes[Name.STATUS]) == (True, 500)
    assert own.attributes[Name.END] == "refused"

    asked(traced, door, "lab/stream-cut", f"broken-{door}", stream=True)
    own, *others = collector.trace(f"broken-{door}", USUAL)
    attempt = by_name(others)["chat stream-cut"]
    assert (own.attributes[Name.END], own.failed, attempt.failed) == ("broken", True, True)
    assert attempt.attributes[Name.ERROR] == "upstream_stream_truncated"

    # The caller's own mistakes are no failures of the gateway, and nobody was called.
    assert asked(traced, door, "lab/good", f"refused-{door}", 7) == 400
    (own,) = collector.trace(f"refused-{door}", 1)
    assert (own.failed, own.attributes[Name.STATUS]) == (False, 400)
    assert own.attributes[Name.ERROR]


def test_each_attempt_of_a_failover_is_a_span_of_its_own(
    traced: LiveGateway, collector: Collector, upstream: Upstream
) -> None:
    assert asked(traced, "openai", "either", "failover") == 200
    _, *others = collector.trace("failover", USUAL + 1)
    first, second = sorted((span for span in others if span.kind == "client"), key=lambda span: span.start)
    assert (first.failed, first.attributes[Name.PROVIDER]) == (True, "lab")
    assert (second.failed, second.attributes[Name.PROVIDER], second.attributes[Name.ATTEMPT]) == (False, "openai", 2)
    assert first.end <= second.start + 0.001
    assert onward(upstream.last("status-500"))[1] == first.span_id
    assert onward(upstream.last("good"))[1] == second.span_id


def test_whoever_is_not_let_in_and_lists_of_models_have_a_trace_too(traced: LiveGateway, collector: Collector) -> None:
    reply = get(traced, "/v1/models", key="wrong")
    (own,) = collector.trace(reply.headers["x-request-id"], 1)
    assert (own.attributes[Name.STATUS], own.attributes[Name.ERROR]) == (401, "invalid_api_key")
    reply = get(traced, "/lab/v1/models")
    assert reply.status_code == 200
    own, attempt = collector.trace(reply.headers["x-request-id"], 2)
    assert (attempt.kind, attempt.attributes[Name.PROVIDER], attempt.parent_id) == ("client", "lab", own.span_id)


def test_a_client_that_leaves_ends_its_trace_and_settles(
    traced: LiveGateway, collector: Collector, upstream: Upstream
) -> None:
    body = body_of(CHAT, "paced", stream=True)
    with client_of(traced) as client:
        headers = {"x-request-id": "leaving"}
        with client.stream("POST", "/lab/v1/chat/completions", json=body, headers=headers) as reply:
            next(reply.iter_raw())
    own, *others = collector.trace("leaving", USUAL)
    assert own.attributes[Name.END] == "left"
    assert {"chat paced", "settle"} <= {span.name for span in others}


# Of a response in the background: the request's, its own, the attempt, reserve, settle, and twice journal and store.
IN_BACKGROUND = 9


def queued(live: LiveGateway, model: str, request_id: str, **more: Any) -> str:
    body = {"model": model, "input": "hello", "background": True, **more}
    reply = post(live, "/v1/responses", body, headers={"x-request-id": request_id})
    assert (reply.status_code, reply.json()["status"]) == (200, "queued")
    response_id: str = reply.json()["id"]
    return response_id


@pytest.mark.parametrize(
    ("model", "ended"), [("good", (200, None)), ("status-500", (502, "upstream_error"))], ids=["good", "failing"]
)
def test_a_response_in_the_background_is_inside_of_the_request_that_queued_it(
    traced: LiveGateway, collector: Collector, upstream: Upstream, model: str, ended: tuple[int, str | None]
) -> None:
    (status, code), request_id = ended, f"queued-{model}"
    queued(traced, f"lab/{model}", request_id)
    spans = collector.trace(request_id, IN_BACKGROUND)
    assert len(spans) == IN_BACKGROUND
    assert len({span.trace_id for span in spans}) == 1
    named = by_name(spans)
    own, work, attempt = (
        named["POST createResponse"],
        named["background makeBackgroundResponse"],
        named[f"chat {model}"],
    )
    assert (own.parent_id, work.parent_id, work.kind) == ("", own.span_id, "internal")
    assert attempt.parent_id == work.span_id
    inside = [span for span in spans if span.parent_id == work.span_id]
    assert sorted(span.name for span in inside) == [f"chat {model}", "journal", "journal", "reserve", "settle", "store"]
    assert all(work.start - 0.001 <= span.start <= span.end <= work.end + 0.001 for span in inside)
    reported = {
        Name.STATUS: status,
        Name.ERROR: code,
        Name.OPERATION: "chat",
        Name.PROVIDER: "lab",
        Name.PROJECT: "default",
        Name.WIRE: "responses",
        Name.REQUEST_ID: request_id,
        Name.METHOD: None,
    }
    assert {name: work.attributes.get(name) for name in reported} == reported
    assert (work.failed, attempt.failed) == (code is not None, code is not None)
    assert own.attributes[Name.STATUS] == 200
    assert onward(upstream.last(model)) == (own.trace_id, attempt.span_id, True)

    def recorded() -> list[Any]:
        return [each for each in traced.records("request") if each["request_id"] == request_id]

    eventually(lambda: len(recorded()) == 2)
    record = next(each for each in recorded() if each["operation"] == "makeBackgroundResponse")
    assert (record["trace_id"], record["provider"], record.get("code")) == (own.trace_id, "lab", code)
    assert not {"method", "path", "client"} & {name for name, value in record.items() if value is not None}


def test_one_that_is_cancelled_has_its_spans_too(collector: Collector, upstream: Upstream, traced: LiveGateway) -> None:
    response_id = queued(traced, "lab/hang-before-headers#cancelled-trace", "queued-cancelled")
    upstream.last("hang-before-headers#cancelled-trace")
    assert post(traced, f"/v1/responses/{response_id}/cancel", None).json()["status"] == "cancelled"
    named = by_name(collector.trace("queued-cancelled", IN_BACKGROUND - 1))
    work = named["background makeBackgroundResponse"]
    assert (work.attributes[Name.END], work.failed) == ("left", False)
    assert named["chat hang-before-headers#cancelled-trace"].attributes[Name.END] == "left"


def test_one_that_is_cut_off_by_a_stop_has_its_spans_too(upstream: Upstream) -> None:
    with running_collector() as collector:
        settings = {"ALLOWED_API_KEYS": TEST_KEY, "GRACE_PERIOD_S": "1", **in_front_of(upstream), **collector.env}
        with running_gateway(**settings) as live:
            queued(live, "lab/hang-before-headers#cut-trace", "queued-cut")
            upstream.last("hang-before-headers#cut-trace")
            live.process.send_signal(signal.SIGTERM)
            assert live.process.wait(30) == 0
        assert "background makeBackgroundResponse" in by_name(collector.trace("queued-cut", IN_BACKGROUND))


def test_a_response_in_the_background_keeps_its_callers_decision_not_to_be_traced(
    traced: LiveGateway, upstream: Upstream
) -> None:
    upstream.forget()
    headers = {"traceparent": PARENT.replace(TRACE, "b" * 32)[:-1] + "0"}
    body = {"model": "lab/good", "input": "hello", "background": True}
    assert post(traced, "/v1/responses", body, headers=headers).status_code == 200
    trace_id, _, kept = onward(upstream.last("good"))
    assert (trace_id, kept) == ("b" * 32, False)


def test_records_that_go_to_the_store_are_a_trace_of_their_own(traced: LiveGateway, collector: Collector) -> None:
    assert asked(traced, "openai", "lab/good", "shipped") == 200
    eventually(lambda: any(span.name == "ship" for span in collector.spans))
    ship = next(span for span in collector.spans if span.name == "ship")
    assert ship.parent_id == ""
    assert ship.attributes[Name.RECORDS] >= 1


def test_what_is_said_is_in_no_trace_unless_asked_for_and_keys_never(traced: LiveGateway, collector: Collector) -> None:
    content = f"a-private-question {TEST_KEY} {UPSTREAM_KEY}"
    model = f"lab/{UPSTREAM_KEY}"
    asked(traced, "openai", model, "private", content, stop=[f"{TEST_KEY}"])
    collector.trace("private", 2)
    seen = b"".join(collector.bodies)
    assert b"a-private-question" not in seen
    for key in (TEST_KEY, UPSTREAM_KEY):
        assert key.encode() not in seen


def test_every_worker_sends_what_it_served(traced: LiveGateway, collector: Collector) -> None:
    def instances() -> set[str]:
        with ThreadPoolExecutor(16) as clients:  # one by one, they might all be taken by the worker that is awake
            replies = list(clients.map(lambda _: ask(traced, "good", provider="lab"), range(16)))
        assert {reply.status_code for reply in replies} == {200}
        return {str(span.resource["service.instance.id"]) for span in collector.spans}

    eventually(lambda: len(instances()) == 2, within=120)


# -- messages --


@pytest.fixture(scope="module")
def telling(collector: Collector, shared_upstream: Upstream) -> Iterator[LiveGateway]:
    env = in_front_of(shared_upstream) | collector.env
    content = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true", "ADMIN_API_KEY": ADMIN_KEY}
    with running_gateway(ALLOWED_API_KEYS=TEST_KEY, STORE_URL="memory", **content, **env) as live:
        yield live


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("door", PATHS)
def test_messages_are_told_where_that_is_switched_on(
    telling: LiveGateway, collector: Collector, upstream: Upstream, door: str, *, stream: bool
) -> None:
    request_id = f"telling-{door}-{stream}"
    body = body_for(door, "lab/good", f"my key is {TEST_KEY}", stream=stream)
    system = {"responses": {"instructions": "be brief"}, "anthropic": {"system": "be brief"}}.get(door, {})
    if not system:
        body["messages"].insert(0, {"role": "system", "content": "be brief"})
    assert post(telling, PATHS[door], {**body, **system}, headers={"x-request-id": request_id}).status_code == 200
    own, *_ = collector.trace(request_id, USUAL)
    reported, user = json.loads(own.attributes[Name.INPUT_MESSAGES])
    assert reported == {"role": "system", "parts": [{"type": "text", "content": "be brief"}]}
    assert user == {"role": "user", "parts": [{"type": "text", "content": "my key is [key]"}]}
    (said,) = json.loads(own.attributes[Name.OUTPUT_MESSAGES])
    plain = ask(telling, "good", provider="lab").json()["choices"][0]["message"]["content"]
    assert (said["role"], said["parts"]) == ("assistant", [{"type": "text", "content": plain}])


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_messages_of_a_response_in_the_background_are_told_by_its_span(
    telling: LiveGateway, collector: Collector, upstream: Upstream, *, stream: bool
) -> None:
    administrator, where = Administrator(telling), "projects/default/data_retention"
    plain = ask(telling, "good", provider="lab").json()["choices"][0]["message"]["content"]
    for kind, reported in (("modified_abuse_monitoring", False), ("none", True)):
        administrator.post(where, {"retention_type": kind})
        request_id = f"telling-background-{stream}-{kind}"
        body = {"model": "lab/good", "input": f"my key is {TEST_KEY}", "background": True, "stream": stream}
        assert post(telling, "/v1/responses", body, headers={"x-request-id": request_id}).status_code == 200
        work = by_name(collector.trace(request_id, IN_BACKGROUND))["background makeBackgroundResponse"]
        found = [work.attributes.get(name) for name in (Name.INPUT_MESSAGES, Name.OUTPUT_MESSAGES)]
        if not reported:
            assert found == [None, None]
            continue
        (user,), (said,) = (json.loads(str(each)) for each in found)
        assert user["parts"] == [{"type": "text", "content": "my key is [key]"}]
        assert (said["parts"], said["finish_reason"]) == ([{"type": "text", "content": plain}], "completed")
    administrator.post(where, {"retention_type": "organization_default"})


def test_data_retention_keeps_messages_out_of_traces(
    telling: LiveGateway, collector: Collector, upstream: Upstream
) -> None:
    administrator = Administrator(telling)
    where = "projects/default/data_retention"
    for kind, reported in (("zero_data_retention", False), ("none", True), ("modified_abuse_monitoring", False)):
        administrator.post(where, {"retention_type": kind})
        assert asked(telling, "openai", "lab/good", f"kept-{kind}") == 200
        own, *_ = collector.trace(f"kept-{kind}", USUAL)
        assert (Name.INPUT_MESSAGES in own.attributes, Name.OUTPUT_MESSAGES in own.attributes) == (
            reported,
            reported,
        ), kind
    administrator.post(where, {"retention_type": "organization_default"})


# -- sampling, and a collector that is not there --


def test_a_sampler_leaves_traces_out_and_upstreams_learn_of_it(collector: Collector, upstream: Upstream) -> None:
    env = in_front_of(upstream) | collector.env
    sampler = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}
    with running_gateway(ALLOWED_API_KEYS=TEST_KEY, **sampler, **env) as live:
        assert asked(live, "openai", "lab/good", "left-out") == 200
        assert not onward(upstream.last("good"))[2]
    assert not any(span.attributes.get("gateway.request_id") == "left-out" for span in collector.spans)


def dropped(live: LiveGateway) -> int:
    return sum(
        int(float(line.split()[-1]))
        for line in get(live, "/metrics").text.splitlines()
        if line.startswith("ai_gateway_dropped_spans_total")
    )


@pytest.mark.parametrize("mode", ["refuse", "hang", "gone"])
def test_a_collector_that_is_away_holds_nothing_up_and_what_is_lost_is_counted(upstream: Upstream, mode: str) -> None:
    with running_collector() as collector:
        collector.mode = mode
        address = collector.env if mode != "gone" else {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:1"}
        timeout = {"OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
        with running_gateway(ALLOWED_API_KEYS=TEST_KEY, **in_front_of(upstream), **address, **timeout) as live:
            for number in range(20):
                assert asked(live, "openai", "lab/good", f"away-{mode}-{number}") == 200
            eventually(lambda: dropped(live) > 0)
            eventually(lambda: "does not take spans" in live.log())
            if mode == "refuse":
                collector.mode = "good"
                assert asked(live, "openai", "lab/good", "back") == 200
                collector.trace("back", USUAL)
                eventually(lambda: "takes spans again" in live.log())
            collector.mode = "hang"
            assert asked(live, "openai", "lab/good", "last") == 200
            began = time.monotonic()
            live.process.send_signal(signal.SIGTERM)
            assert live.process.wait(30) == 0
            assert time.monotonic() - began < 20  # the grace time of requests is longer


def test_what_waits_is_sent_when_the_gateway_stops(upstream: Upstream) -> None:
    with running_collector() as collector:
        headers = {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20collector-secret-1,x-tenant=a"}
        env = in_front_of(upstream) | collector.env | headers
        with running_gateway(ALLOWED_API_KEYS=TEST_KEY, **env) as live:
            assert asked(live, "openai", "lab/good", "the-last-one") == 200
            live.process.send_signal(signal.SIGTERM)
            assert live.process.wait(30) == 0
            assert "collector-secret" not in live.log()
        own, *others = collector.trace("the-last-one", USUAL)
        assert {span.trace_id for span in others} == {own.trace_id}
        assert collector.requests[0]["authorization"] == "Bearer collector-secret-1"
        assert collector.requests[0]["x-tenant"] == "a"
        assert collector.requests[0][":path"] == "/v1/traces"


# -- parts --


def test_names_are_those_of_the_conventions_where_these_have_some() -> None:
    modules = (gen_ai_attributes, http_attributes, url_attributes, client_attributes, error_attributes)
    known = {value for module in modules for value in vars(module).values() if isinstance(value, str)}
    own = {name for name in Name if not name.startswith("gateway.")}
    assert own <= known
    providers = {each.value for each in gen_ai_attributes.GenAiProviderNameValues}
    assert set(PROVIDERS.values()) <= providers
    assert not providers & set(PROVIDERS), "it has two names"


def test_a_tool_is_a_span_inside_of_the_calls_and_fails_as_one() -> None:
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tracer = provider.get_tracer("test")
    call = Call("createResponse", "r1", trace=RequestTrace(tracer, tracer.start_span("request"), ""))
    with tool_span(call, "web_search", "call_1") as headers:
        assert headers["traceparent"].startswith("00-")
    with pytest.raises(InvalidRequest), tool_span(call, "web_search", "call_2"):
        raise InvalidRequest("no", code="wrong_query")
    good, bad = kept.get_finished_spans()
    assert good.name == bad.name == "execute_tool web_search"
    reported = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "web_search",
        "gen_ai.tool.call.id": "call_1",
        "gen_ai.tool.type": "function",
    }
    assert dict(good.attributes or {}) == reported
    assert (bad.attributes or {})["error.type"] == "wrong_query"
    assert not bad.status.is_ok
    with tool_span(Call("createResponse", "r2"), "web_search", "call_3") as headers:
        assert headers == {}


@pytest.mark.slow
def test_without_a_collector_nothing_of_it_is_imported() -> None:
    program = (
        "import sys, ai_gateway.cli.starting, ai_gateway.server.run, ai_gateway.app.build as b\n"
        "from ai_gateway.app.configuration import read_configuration\n"
        "b.build(read_configuration())\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry.sdk')]\n"
    )
    env = {"PATH": os.environ["PATH"], "STORE_URL": "memory", "CUSTOM_PROVIDER": "true"}
    subprocess.run([sys.executable, "-c", program], env=env, check=True, timeout=120)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "must look like http://collector:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:secret-1@collector", "must look like http://collector:4318"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "secret-1", "must look like authorization=Bearer%20abc"),
        ("OTEL_TRACES_SAMPLER", "sometimes", "is not one of"),
        ("OTEL_TRACES_SAMPLER_ARG", "2", "1"),
    ],
)
def test_settings_that_cannot_be_followed_stop_the_start(name: str, value: str, problem: str) -> None:
    refused = run_command("serve", **{name: value})
    assert refused.returncode == 2
    assert name in refused.stderr
    assert problem in refused.stderr
    if "secret" in value and "HEADERS" in name:
        assert "secret-1" not in refused.stderr

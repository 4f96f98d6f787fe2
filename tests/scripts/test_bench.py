"""The bench counts right and leaves nothing behind; how fast anything is, no test judges."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest
from pydantic_core import from_json

from gateway_contract.openai.models import CreateChatCompletionResponse, CreateChatCompletionStreamResponse
from scripts.bench.load import Reply
from scripts.bench.measure import (
    STREAM_EVENTS,
    Kind,
    OpenStreams,
    Sample,
    Skipped,
    Start,
    measure_load,
    measure_start,
    measure_streams,
    merged,
)
from scripts.bench.processes import (
    ROOT,
    Program,
    Running,
    gateway_program,
    relay_program,
    running,
    unchecked_program,
    upstream_program,
    wait_until_listening,
)
from scripts.bench.report import REQUEST_CPU, as_json, lines
from scripts.bench.session import Plan, Results, run
from scripts.bench.upstream import EVENTS, REPLY

_WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(REPLY), REPLY)
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
_TINY = Plan(concurrencies=(1, 16), rounds=1, seconds=0.05, starts=1, streams=20, events=3)


def _chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces, b""))


@pytest.fixture(scope="module")
def upstream() -> Iterator[Running]:
    with running(upstream_program()) as target:
        wait_until_listening(target)
        yield target


def _front(name: str, upstream: Running) -> Program:
    programs = {"relay": relay_program, "gateway": gateway_program, "unchecked": unchecked_program}
    return programs[name](upstream.program)


def test_the_mock_upstream_is_exact() -> None:
    CreateChatCompletionResponse.model_validate(from_json(REPLY), strict=True)
    for event in EVENTS:
        data = event.removeprefix(b"data: ").removesuffix(b"\n\n")
        CreateChatCompletionStreamResponse.model_validate(from_json(data), strict=True)


def test_a_whole_reply_is_complete_at_its_last_byte() -> None:
    reply = Reply(None)
    assert [reply.feed(_WHOLE[at : at + 1]) for at in range(len(_WHOLE))] == [False] * (len(_WHOLE) - 1) + [True]
    assert reply.flaw() is None


def test_a_stream_is_complete_at_its_last_chunk() -> None:
    stream = _STREAM_HEAD + _chunked(*EVENTS, b"data: [DONE]\n\n")
    reply = Reply(len(EVENTS))
    assert [reply.feed(stream[at : at + 1]) for at in range(len(stream))] == [False] * (len(stream) - 1) + [True]
    assert reply.flaw() is None


@pytest.mark.parametrize(
    ("received", "events", "flaw"),
    [
        (b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n", None, "status 502"),
        (_WHOLE + b"x", None, "longer than declared"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", None, "not a chat completion"),
        (_STREAM_HEAD + _chunked(*EVENTS), 3, "stream without its end"),
        (_STREAM_HEAD + _chunked(EVENTS[0], b"data: [DONE]\n\n"), 3, "1 events instead of 3"),
    ],
)
def test_a_wrong_reply_has_a_name(received: bytes, events: int | None, flaw: str) -> None:
    reply = Reply(events)
    assert reply.feed(received)
    assert reply.flaw() == flaw


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["json", "stream"])
@pytest.mark.parametrize("name", ["relay", "gateway", "unchecked"])
def test_a_cell_counts_whole_replies_only(name: str, kind: Kind, upstream: Running) -> None:
    with running(_front(name, upstream)) as target:
        wait_until_listening(target)
        sample = measure_load(target, kind, 4, 0.3)
    assert sample.errors == {}
    assert sample.requests >= 4
    assert sample.rps > 0
    assert 0 < sample.first_p50_ms <= sample.p50_ms <= sample.p99_ms
    assert sample.cpu_us_per_event == (sample.cpu_us_per_request / STREAM_EVENTS if kind == "stream" else None)


@pytest.mark.slow
def test_a_refusal_is_an_error(upstream: Running) -> None:
    program = _front("gateway", upstream)
    with running(program) as target:
        wait_until_listening(target)
        elsewhere = Program("gateway", program.port, "/nowhere", ())
        sample = measure_load(Running(elsewhere, target.pid, target.began), "json", 3, 0.1)
    assert sample.requests == 0
    assert sample.errors == {"status 404": 3, "connection closed": 3}


@pytest.mark.slow
def test_a_start_and_open_streams_are_measured_in_a_fresh_process(upstream: Running) -> None:
    program = _front("gateway", upstream)
    start = measure_start(program, None)
    assert start.cold_s > 0
    assert start.rss_started_mb > 0
    held = measure_streams(program, None, 20, 3)
    assert isinstance(held, OpenStreams)
    assert held.errors == {}
    assert held.rss_mb > 0


def test_streams_are_skipped_where_too_few_files_may_be_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.bench.measure.allow_open_files", lambda _: 256)
    held = measure_streams(Program("gateway", 1, "/", ()), None, 1_000, 4)
    assert isinstance(held, Skipped)
    assert held.reason == "1000 streams need 2100 open files, the limit is 256: raise it with ulimit -n"


def _sample(target: str, cpu: float, errors: dict[str, int] | None = None) -> Sample:
    return Sample("json", 16, target, 10, 100.0, cpu, None, 1.0, 2.0, 1.0, errors or {})


def test_rounds_become_medians_and_errors_add_up() -> None:
    cell = merged([_sample("gateway", cpu, {"status 502": 1}) for cpu in (200.0, 900.0, 250.0)])
    assert cell.cpu_us_per_request == 250.0
    assert cell.requests == 30
    assert cell.errors == {"status 502": 3}


@pytest.mark.parametrize(("value", "verdict"), [(150, "ok, aim met"), (151, "ok"), (300, "ok"), (301, "over")])
def test_the_budget_is_judged(value: float, verdict: str) -> None:
    assert REQUEST_CPU.verdict(value) == verdict


def test_the_report_names_ratios_budgets_skips_and_failures() -> None:
    cells = [_sample("upstream", 10.0), _sample("relay", 100.0), _sample("gateway", 250.0, {"status 502": 2})]
    cells.append(_sample("unchecked", 200.0))
    starts = [Start("relay", 0.2, 40.0, 40.0), Start("gateway", 0.5, 70.0, 80.0)]
    results = Results(cells, starts, [Skipped("too few files")] * 2)
    text = "\n".join(lines(results))
    for expected in (
        "2.50",
        "CPU us/request 250 <= 300, aim 150: ok",
        "conformance % 25 <= 25, aim 15: ok",
        "idle MB 80 <= 100, aim 75: ok",
        "too few files",
    ):
        assert expected in text
    assert "2 x gateway, json, c=16: status 502" in text
    assert json.loads(json.dumps(as_json(results)))["errors"] == {"gateway, json, c=16: status 502": 2}


@pytest.mark.slow
def test_a_session_measures_every_target_in_every_cell() -> None:
    affinity = os.sched_getaffinity(0) if sys.platform == "linux" else None
    results = run(_TINY, lambda _: None)
    assert results.errors() == {}
    assert {(cell.kind, cell.concurrency, cell.target) for cell in results.cells} == {
        (kind, concurrency, target)
        for kind in ("json", "stream")
        for concurrency in _TINY.concurrencies
        for target in ("upstream", "relay", "gateway", "unchecked")
    }
    assert [start.target for start in results.starts] == ["relay", "gateway"]
    if sys.platform == "linux":
        assert os.sched_getaffinity(0) == affinity


@pytest.mark.slow
@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_bench_leaves_no_process(told: signal.Signals) -> None:
    bench = subprocess.Popen(
        [sys.executable, "-m", "scripts.bench", "--quick"], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        assert bench.stderr is not None
        assert b"round 1" in bench.stderr.readline()
        time.sleep(0.5)  # it is under load now
        started = psutil.Process(bench.pid).children()
        bench.send_signal(told)
        _, said = bench.communicate(timeout=90)
    finally:
        if bench.poll() is None:
            bench.kill()
            bench.communicate()
    assert len(started) == 4
    assert bench.returncode == 130, said.decode()
    assert not [process for process in started if process.is_running()]

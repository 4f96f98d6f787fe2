"""The bench counts right, judges right, and leaves nothing behind; and the gateway keeps to the baseline.

Only the last of these depends on speed, and on nothing but ratios within one run.
"""

import gc
import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from pydantic_core import from_json

from gateway_contract.openai.models import CreateChatCompletionResponse, CreateChatCompletionStreamResponse
from scripts.bench import baseline
from scripts.bench.__main__ import exit_code, main
from scripts.bench.baseline import Baseline, Ratio, compared
from scripts.bench.budget import BUDGETS, Budget
from scripts.bench.cells import ACCOUNTS_VALKEY, CELLS, NGINX, RELAY, Cell, cell
from scripts.bench.fresh import (
    LongBodies,
    OpenStreams,
    Start,
    measure_garbage,
    measure_long_bodies,
    measure_start,
    measure_streams,
)
from scripts.bench.garbage import unreachable
from scripts.bench.instructions import COUNTED, Instructions
from scripts.bench.load import Reply, chat_job, connected
from scripts.bench.machine import hardware, interpreter, sentence
from scripts.bench.measure import Sample, in_loop, measure_load, merged
from scripts.bench.peers import Packaged, nginx
from scripts.bench.processes import (
    ROOT,
    Program,
    Running,
    Skipped,
    cpu_seconds,
    gateway_program,
    relay_program,
    running,
    unchecked_program,
    upstream_program,
    valkey_program,
    wait_until_listening,
)
from scripts.bench.report import as_json, comparison_lines, lines
from scripts.bench.results import Results
from scripts.bench.session import Plan, run
from scripts.bench.upstream import EVENTS, REPLY
from tests.support.processes import is_alive

_WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(REPLY), REPLY)
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
_NOTHING = Plan(cells=(), starts=0, long_bodies=0, streams=0, garbage=0)
_SOME = tuple(cell(name) for name in ("whole-1", "whole-16", "burst-16", "paced-64"))
_TINY = Plan(cells=_SOME, rounds=1, seconds=0.05, starts=1, long_bodies=20, streams=20, events=3, garbage=20)
_ELSEWHERE = Program("nobody", 1, "/", ())


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


# What comes back


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


@pytest.mark.parametrize("size", [100_000, 5_000_000])
def test_a_body_is_filled_up(size: int) -> None:
    head, _, body = chat_job(_ELSEWHERE, body=size).request.partition(b"\r\n\r\n")
    assert 0.99 * size < len(body) < 1.01 * size
    assert b"content-length: %d" % len(body) in head


# What is measured


def test_so_many_requests_are_sent_and_no_more(upstream: Running) -> None:
    async def send() -> tuple[int, int]:
        async with connected(upstream.program.port, 3) as load:
            whole = await load.count(chat_job(upstream.program), 10, 30)
            stream = await load.count(chat_job(upstream.program, events=5, gap_ms=1), 4, 30)
        assert whole.errors == stream.errors == {}
        return len(whole.latencies), stream.events

    assert in_loop(send()) == (10, 4 * 5)


def test_cpu_time_is_that_of_the_process() -> None:
    before, began = cpu_seconds(os.getpid()), time.process_time()
    while (burned := time.process_time() - began) < 0.05:
        sum(range(1_000))
    assert cpu_seconds(os.getpid()) - before >= 0.8 * burned


@pytest.fixture(scope="module", params=["relay", "gateway", "unchecked"])
def started(request: pytest.FixtureRequest, upstream: Running) -> Iterator[Running]:
    with running(_front(request.param, upstream)) as target:
        wait_until_listening(target)
        yield target


@pytest.mark.slow
@pytest.mark.parametrize("name", ["whole-16", "burst-16"])
def test_a_cell_counts_whole_replies_only(name: str, started: Running) -> None:
    sample = measure_load(started, cell(name), 0.3)
    assert sample.errors == {}
    assert sample.requests >= 16
    assert sample.rps > 0
    assert sample.cpu_us > 0
    assert 0 < sample.first_p50_ms <= sample.p50_ms <= sample.p99_ms


@pytest.mark.slow
def test_a_refusal_is_an_error(upstream: Running) -> None:
    program = _front("gateway", upstream)
    with running(program) as target:
        wait_until_listening(target)
        elsewhere = replace(program, path="/nowhere")
        sample = measure_load(replace(target, program=elsewhere), Cell("any", "any", 3), 0.1)
    assert sample.requests == 0
    assert sample.errors == {"status 404": 3, "connection closed": 3}


@pytest.mark.slow
def test_a_start_memory_and_open_streams_are_measured_in_a_fresh_process(upstream: Running) -> None:
    program = _front("gateway", upstream)
    start = measure_start(program, None)
    assert start.cold_s > 0
    assert 0 < start.rss_started_mb <= start.rss_answered_mb
    long = measure_long_bodies(program, None, 40)
    assert (long.requests, long.errors) == (40, {})
    assert long.rss_before_mb > 0
    held = measure_streams(program, None, 20, 3)
    assert isinstance(held, OpenStreams)
    assert held.errors == {}
    assert held.rss_mb > 0


def test_streams_are_skipped_where_too_few_files_may_be_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.bench.fresh.allow_open_files", lambda _: 256)
    held = measure_streams(_ELSEWHERE, None, 1_000, 4)
    assert held == Skipped("1000 streams need 2100 open files, the limit is 256: raise it with ulimit -n")


def test_what_only_a_collector_frees_is_counted_once() -> None:
    class Knot:
        def __init__(self) -> None:
            self.itself = self

    name = f"{Knot.__module__}.{Knot.__qualname__}"
    enabled = gc.isenabled()
    gc.disable()
    try:
        for _ in range(3):
            Knot()
        assert unreachable()[name] == 3
        assert name not in unreachable()
    finally:
        if enabled:
            gc.enable()


@pytest.mark.slow
def test_requests_leave_nothing_to_the_collector(upstream: Running) -> None:
    for found in measure_garbage(upstream.program, None, 200):
        assert (found.requests, found.errors) == (200, {})
        assert found.types == {}, found.kind


# Peers


def test_a_peer_is_installed_only_if_that_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installer = tmp_path / "installer"
    installer.write_text('#!/bin/sh\necho "$@" >> "$LOG"\nfor last; do :; done\n[ "$1" = pip ] || mkdir -p "$last"\n')
    installer.chmod(0o755)
    monkeypatch.setenv("UV", str(installer))
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    peer = Packaged("peer", "peer==1.0", lambda command, _: Program("peer", 1, "/", (str(command),)), tmp_path)
    assert peer(_ELSEWHERE) == Skipped("peer is not installed: run with --peers peer")
    assert not (tmp_path / "log").exists()
    program = peer(_ELSEWHERE, install=True)
    assert isinstance(program, Program)
    assert program.command == (str(tmp_path / "peer" / "bin" / "peer"),)
    assert (tmp_path / "log").read_text().splitlines()[-1].endswith("peer==1.0")
    installer.unlink()
    assert isinstance(peer(_ELSEWHERE), Program)  # it is there now


def test_a_peer_that_cannot_be_installed_is_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installer = tmp_path / "installer"
    installer.write_text("#!/bin/sh\necho no such package >&2\nexit 1\n")
    installer.chmod(0o755)
    monkeypatch.setenv("UV", str(installer))
    peer = Packaged("peer", "peer==1.0", lambda *_: _ELSEWHERE, tmp_path)
    assert peer(_ELSEWHERE, install=True) == Skipped("peer could not be installed: no such package")


def test_the_interpreter_and_its_build_are_named() -> None:
    assert f"Python {sys.version.split()[0]} (PGO " in sentence()
    options = str(sysconfig.get_config_var("CONFIG_ARGS"))
    assert ("PGO yes" in sentence()) is ("--enable-optimizations" in options)


def test_an_unknown_peer_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--peers", "nginx,wget"])
    assert "wget: not among nginx, vllm-router, litellm" in capsys.readouterr().err


def test_nginx_relays_where_it_is_installed(upstream: Running) -> None:
    program = nginx(upstream.program)
    if isinstance(program, Skipped):
        assert "`apt-get install nginx`" in program.reason
        return
    with running(program) as target:
        wait_until_listening(target)
        for name in ("whole-16", "burst-16", "body-100k"):
            sample = measure_load(target, cell(name), 0.1)
            assert (sample.errors, sample.requests >= 16) == ({}, True)


# How it is judged


def _sample(target: str, *slices: float, name: str = "whole-16", errors: dict[str, int] | None = None) -> Sample:
    return Sample(name, target, 10, 100.0, slices, 1.0, 2.0, 1.0, errors or {})


def test_rounds_become_medians_and_errors_add_up() -> None:
    whole = merged([_sample("gateway", cpu, errors={"status 502": 1}) for cpu in (200.0, 900.0, 250.0)])
    assert whole.slices == (200.0, 900.0, 250.0)
    assert whole.cpu_us == 250.0
    assert whole.requests == 30
    assert whole.errors == {"status 502": 3}


def test_a_ratio_is_the_median_of_rounds_in_which_both_ran() -> None:
    # The machine was slow in the second round, for both.
    results = Results(cells=[_sample("relay", 100.0, 400.0, 110.0), _sample("gateway", 200.0, 840.0, 198.0)])
    assert results.ratio("whole-16", "gateway", "relay") == 2.0
    assert results.undisturbed_ratio("whole-16", "gateway", "relay") == 1.8
    assert results.ratio("whole-16", "gateway", "nginx") is None
    assert results.ratio("whole-64", "gateway", "relay") is None


@pytest.mark.parametrize(
    ("at_least", "value", "verdict"),
    [
        (False, 1.5, "ok, aim met"),
        (False, 1.51, "ok"),
        (False, 3, "ok"),
        (False, 3.01, "over"),
        (True, 2.99, "over"),
        (True, 3, "ok"),
        (True, 4.5, "ok, aim met"),
    ],
)
def test_the_budget_is_judged(at_least: bool, value: float, verdict: str) -> None:
    aim = 4.5 if at_least else 1.5
    assert Budget("any", "x", 3, aim, lambda _: None, at_least=at_least).verdict(value) == verdict


def _measured(gateway: float = 150.0) -> Results:
    samples = [
        _sample(target, cpu * cell(name).counted, name=name)
        for name in (each.name for each in CELLS)
        for target, cpu in (("upstream", 10.0), ("relay", 100.0), ("gateway", gateway), ("nginx", 20.0))
    ]
    samples += [_sample("unchecked", 100.0), _sample("litellm", 10_000.0), _sample("vllm-router", 50.0)]
    instructions = [Instructions(name, target, 500.0) for name in COUNTED for target in ("relay", "gateway")]
    return Results(
        cells=samples,
        starts=[Start("relay", 0.2, 40.0, 40.0), Start("gateway", 0.5, 70.0, 80.0)],
        long_bodies=[LongBodies("gateway", 20_000, 70.0, 81.0)],
        streams=[OpenStreams("gateway", 1_000, 120.0, 40.0)],
        instructions=instructions,
    )


def _rows(text: str) -> list[str]:
    return [re.sub(r" {2,}", " | ", line.strip()) for line in text.splitlines()]


def test_the_report_names_figures_budgets_skips_and_failures() -> None:
    results = _measured()
    results.skipped.append(Skipped("too few files"))
    results.cells.append(_sample("gateway", 1.0, name="whole-1", errors={"status 502": 2}))
    results.cells.append(_sample("litellm", 1.0, name="whole-1", errors={"status 500": 3}))
    rows = _rows("\n".join(lines(results)))
    for expected in (
        "gateway | 150.0 | 7.50 | 1.50 | 100 | 1.00 | 2.00",
        "gateway | 20000 | 70 | 81",
        "burst stream of 50 events, c=16 | gateway | 500 | 10.0 | 1.00",
        "whole reply, c=16 | 7.5 | x nginx | 8 | 6 | ok",
        "whole reply beside LiteLLM | 66.67 | x less | >= 50 | >= 75 | ok",
        "streamed event beside LiteLLM | - | x less | >= 80 | >= 95 | not measured",
        "whole reply beside vllm-router | 3 | x vllm-router | 3.5 | 2.5 | ok",
        "conformance, of a whole reply | 50 | % | 25 | 15 | over",
        "memory after the first request | 80 | MB | 100 | 75 | ok",
        "memory with 1,000 open streams | 120 | MB | 200 | 150 | ok, aim met",
        "instructions per request | 500 | kI | 750 | 600 | ok, aim met",
        "skipped: too few files",
        "2 x gateway, whole-1: status 502",
        "3 x litellm, whole-1: status 500",
    ):
        assert expected in rows
    document = json.loads(json.dumps(as_json(results)))
    assert document["errors"] == {"gateway, whole-1: status 502": 2}
    assert document["peers_errors"] == {"litellm, whole-1: status 500": 3}


def test_the_budget_is_documented_as_it_is() -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    rows = [tuple(part.strip() for part in line.strip("|").split("|")) for line in page.splitlines()]
    for budget in BUDGETS:
        bounds = [f"{bound:g} {budget.unit}".strip() for bound in (budget.must, budget.aim)]
        assert (budget.figure, *bounds) in rows


_HERE = {"interpreter": interpreter(), "machine": hardware()}


def _baseline(results: Results, **place: dict[str, object]) -> Baseline:
    return Baseline.model_validate({**_HERE, **place, "ratios": baseline.ratios(results)})


@pytest.mark.parametrize(
    ("rounds", "code"), [((180.0, 160.0, 200.0, 210.0, 190.0), 0), ((190.0, 160.0, 185.0, 210.0, 190.0), 1)]
)
def test_a_regression_is_in_three_of_four_rounds(rounds: tuple[float, ...], code: int) -> None:
    relay = _sample("relay", *(100.0,) * len(rounds))
    before = _baseline(Results(cells=[_sample("relay", 100.0), _sample("gateway", 158.0)]))
    assert exit_code(Results(cells=[relay, _sample("gateway", *rounds)]), before) == code


@pytest.mark.parametrize(("gateway", "code"), [(150.0, 0), (100.0, 0), (171.0, 0), (174.0, 1)])
def test_beyond_1_15_of_the_baseline_is_a_regression(gateway: float, code: int) -> None:
    before, now = _baseline(_measured()), _measured(gateway)
    assert exit_code(now, before) == code
    assert exit_code(now, None) == 0
    text = "\n".join(comparison_lines(now, before))
    assert ("REGRESSED" in text) is (code == 1)
    assert baseline.suspects(now, before) == ({each.name for each in CELLS if each.kept} if code else set())


def test_more_instructions_are_a_regression_that_is_not_measured_again() -> None:
    before, now = _baseline(_measured()), _measured()
    now.instructions = [replace(each, kilo=600.0) if each.target == "gateway" else each for each in now.instructions]
    assert exit_code(now, before) == 1
    assert baseline.suspects(now, before) == set()


def test_a_failed_request_fails_whatever_the_figures_are() -> None:
    results = _measured()
    results.cells.append(_sample("gateway", 1.0, errors={"status 502": 1}))
    assert exit_code(results, None) == exit_code(results, _baseline(_measured())) == 1


def test_nothing_to_compare_is_no_success() -> None:
    assert exit_code(Results(), _baseline(_measured())) == 1


def test_peers_failures_are_their_own() -> None:
    results = _measured()
    results.cells.append(_sample("litellm", 1.0, errors={"status 502": 1}))
    assert exit_code(results, None) == 0


@pytest.mark.parametrize(
    "place",
    [
        {"machine": {**hardware(), "cpu": "another"}},
        {"interpreter": {**interpreter(), "pgo": not interpreter()["pgo"]}},
        {"interpreter": {**interpreter(), "version": "3.99.0"}},
    ],
)
def test_elsewhere_only_portable_ratios_are_compared(place: dict[str, dict[str, object]]) -> None:
    now = _measured()
    here = {(each.now.cell, each.now.of, each.now.yardstick) for each in baseline.check(now, _baseline(now))}
    elsewhere = {
        (each.now.cell, each.now.of, each.now.yardstick) for each in baseline.check(now, _baseline(now, **place))
    }
    portable = {("whole-16", "time", RELAY), ("paced-64", "time", RELAY)}
    assert elsewhere == portable | {(name, "instructions", RELAY) for name in COUNTED}
    assert here == elsewhere | {(each.name, "time", to) for each in CELLS if each.kept for to in (RELAY, NGINX)}


def test_a_patch_release_of_the_interpreter_is_the_same_kind() -> None:
    other = str(interpreter()["version"]).rpartition(".")[0] + ".99"
    assert _baseline(_measured(), interpreter={**interpreter(), "version": other}).taken_here


def test_only_what_both_have_is_compared() -> None:
    now = Ratio(cell="whole-16", of="time", yardstick=RELAY, value=2.0)
    nginx_only = Ratio(cell="whole-16", of="time", yardstick=NGINX, value=1.0)
    assert compared([now], [nginx_only], portable_only=False) == []


def test_a_baseline_is_read_as_it_was_written(tmp_path: Path) -> None:
    baseline.save(_measured(), tmp_path / "baseline.json")
    assert baseline.load(tmp_path / "baseline.json") == _baseline(_measured())


def test_the_committed_baseline_has_every_kept_cell() -> None:
    committed = {(each.cell, each.of, each.yardstick) for each in baseline.load().ratios}
    assert committed >= {(each.name, "time", RELAY) for each in CELLS if each.kept}
    assert committed >= {(name, "instructions", RELAY) for name in COUNTED}


# As a whole


@pytest.mark.slow
def test_a_session_measures_every_target_in_every_cell() -> None:
    affinity = os.sched_getaffinity(0) if sys.platform == "linux" else None
    rechecked: list[Results] = []

    def recheck(results: Results) -> set[str]:
        rechecked.append(replace(results))
        return {"whole-16"}

    results = run(_TINY, lambda _: None, recheck)
    assert results.errors() == {}
    valkey = valkey_program()
    missing = {ACCOUNTS_VALKEY} if isinstance(valkey, Skipped) else set()
    assert {(each.cell, each.target) for each in results.cells} == {
        (each.name, target) for each in _SOME for target in ("relay", "gateway", *each.extra) if target not in missing
    }
    assert (valkey in results.skipped) == bool(missing)
    again = [each for each in results.cells if each not in rechecked[0].cells]
    assert {each.cell for each in again} == {"whole-16"}
    assert [start.target for start in results.starts] == ["relay", "gateway"]
    assert [each.requests for each in results.long_bodies] == [20, 20]
    assert [each.unreachable for each in results.garbage] == [0, 0]
    if sys.platform == "linux":
        assert os.sched_getaffinity(0) == affinity


@pytest.mark.slow
@pytest.mark.parametrize("signal_sent", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_bench_leaves_no_process(signal_sent: signal.Signals) -> None:
    bench = subprocess.Popen(
        [sys.executable, "-m", "scripts.bench", "--quick"], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        assert bench.stderr is not None
        assert any(b"round 1" in line for line in bench.stderr)
        time.sleep(0.5)  # it is under load now
        started = psutil.Process(bench.pid).children()
        bench.send_signal(signal_sent)
        _, written = bench.communicate(timeout=90)
    finally:
        if bench.poll() is None:
            bench.kill()
            bench.communicate()
    assert len(started) >= 4  # upstream, relay, gateway and unchecked; nginx, where it is installed
    assert bench.returncode == 130, written.decode()
    assert not [process for process in started if is_alive(process)]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_gateway_keeps_to_the_baseline() -> None:
    """By instructions where they can be counted, which repeat on a busy machine; else by CPU time and more leniently.

    Time is measured in many short slices beside the relay's, and a second time before it fails.
    """
    before = baseline.load()
    results = run(replace(_NOTHING, counted=("whole-16", "burst-16")), lambda _: None)
    if results.instructions:
        assert exit_code(results, before) == 0, "\n".join(comparison_lines(results, before))
        return
    cells = tuple(replace(cell(name), extra=()) for name in ("whole-16", "paced-64"))
    timed = replace(_NOTHING, cells=cells, rounds=9, seconds=0.25)
    results = run(timed, lambda _: None, lambda first: baseline.suspects(first, before))
    assert results.errors() == {}
    changes = {each.now.figure: each.change for each in baseline.check(results, before)}
    assert len(changes) == 2
    assert max(changes.values()) <= 1.3, changes

"""What a record of the access log is made of: parts that are kept, and never more of them than that."""

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, override

import pytest

from ai_gateway.contract.call import Call, Caller, Notes, Reservation
from ai_gateway.contract.outcome import Outcome
from ai_gateway.contract.tokens import Tokens
from ai_gateway.middleware import access_log
from ai_gateway.middleware.access_log import AccessLog
from ai_gateway.observability.logging import configure_logging, drain
from ai_gateway.redaction import remember

CALLER = Caller("key_1", "a", trusted=True, project_id="proj_1")


@pytest.fixture(autouse=True)
def _info(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    configure_logging("info")
    drain(10)
    capfd.readouterr()
    yield
    configure_logging("error")


def outcome(path: str = "/lab/v1/chat/completions", *, call: Call | None = None, **more: Any) -> Outcome:
    ended = Outcome("req_1", "POST", path, 100.0, call, 200, first_byte=100.25, ended=101.5, client="10.0.0.1")
    ended.operation = "createChatCompletion"
    for name, value in more.items():
        setattr(ended, name, value)
    return ended


def called(model: object = "m", *, rounds: int = 0, **notes: Any) -> Call:
    attempts = [Notes("lab", started=1.0, answered=1.125, attempts=1, **notes)]
    before = [Call("createChatCompletion", "req_1")] * rounds
    return Call("createChatCompletion", "req_1", CALLER, parsed={"model": model}, attempts=attempts, rounds=before)


def lines_of(capfd: pytest.CaptureFixture[str], *outcomes: Outcome) -> list[str]:
    log = AccessLog()
    for each in outcomes:
        log.ended(each)
    drain(10)
    return capfd.readouterr().err.splitlines()


def test_a_record_is_the_same_whether_its_parts_are_new_or_kept(capfd: pytest.CaptureFixture[str]) -> None:
    call = called(upstream_model="m-1", tokens=Tokens(7, 5, 3), repairs={"b", "a"}, dropped={"seed"})
    lines = lines_of(capfd, *(outcome(call=call, trace_id="0" * 31 + "1", streamed=True) for _ in range(2)))
    assert len({line.partition('"level"')[2] for line in lines}) == 1
    record = json.loads(lines[0])
    del record["timestamp"]
    assert list(record.items()) == [
        ("level", "info"),
        ("event", "request"),
        ("request_id", "req_1"),
        ("method", "POST"),
        ("path", "/lab/v1/chat/completions"),
        ("operation", "createChatCompletion"),
        ("client", "10.0.0.1"),
        ("status_code", 200),
        ("end", "whole"),
        ("duration_ms", 1500.0),
        ("first_byte_ms", 250.0),
        ("trace_id", "0" * 31 + "1"),
        ("key_id", "key_1"),
        ("project", "proj_1"),
        ("model", "m"),
        ("stream", True),
        ("provider", "lab"),
        ("upstream_model", "m-1"),
        ("attempts", 1),
        ("tokens_in", 10),
        ("tokens_out", 5),
        ("tokens_cached", 3),
        ("repairs", ["a", "b"]),
        ("dropped", ["seed"]),
        ("upstream_ms", 125.0),
    ]


def test_what_there_is_nothing_to_say_of_is_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    (line,) = lines_of(capfd, Outcome("req_1", "", "", 100.0, Call("createChatCompletion", "req_1"), ended=100.0))
    record = json.loads(line)
    assert [name for name, value in record.items() if value is None] == [
        *("method", "path", "operation", "client", "status_code"),
    ]
    assert set(record) - {"timestamp"} == {
        *("level", "event", "request_id", "method", "path", "operation", "client", "status_code", "end"),
        "duration_ms",
    }


@pytest.mark.parametrize("seconds", [0.0, 0.00001, 0.0123, 0.1, 1.999999, 61.07, 86_400.5])
def test_times_are_cut_off_behind_two_places_of_a_millisecond(
    capfd: pytest.CaptureFixture[str], seconds: float
) -> None:
    (line,) = lines_of(capfd, outcome(started=0.0, first_byte=seconds, ended=seconds))
    expected = json.dumps(int(seconds * 100_000) / 100)
    assert f'"duration_ms":{expected},"first_byte_ms":{expected}}}' in line


def test_several_rounds_count_all_their_tokens(capfd: pytest.CaptureFixture[str]) -> None:
    call = called(rounds=1, tokens=Tokens(7, 5))
    call.attempts.insert(0, Notes("lab", tokens=Tokens(100, 10)))
    record = json.loads(lines_of(capfd, outcome(call=call))[0])
    assert (record["rounds"], record["tokens_in"], record["tokens_out"]) == (2, 107, 15)


@pytest.mark.parametrize("model", [None, 5, "", "a" * 300, 'quo"te\\', "größe\u2028", ["m"]])
def test_any_model_is_told_in_one_line(capfd: pytest.CaptureFixture[str], model: object) -> None:
    for line in lines_of(capfd, outcome(call=called(model)), outcome(call=called(model))):
        assert json.loads(line)["model"] == (model[:256] if isinstance(model, str) else None)
        assert "\u2028" not in line


def test_a_key_that_is_learnt_later_is_redacted_in_parts_that_were_kept(capfd: pytest.CaptureFixture[str]) -> None:
    secret = "learnt-later-0123456789"
    say = outcome(f"/{secret}", call=called(secret))
    assert lines_of(capfd, say)[0].count(secret) == 2
    remember(secret)
    (line,) = lines_of(capfd, say)
    assert secret not in line
    assert line.count("[key]") == 2
    assert not [values for values in access_log._known if secret in str(values)]


def test_no_more_parts_are_kept_than_their_bound(capfd: pytest.CaptureFixture[str]) -> None:
    lines_of(capfd, *(outcome(f"/{number}", call=called(f"m-{number}")) for number in range(3_000)))
    assert len(access_log._known) <= 1024
    long = "long" * 100_000
    lines_of(capfd, outcome("/" + long), outcome(call=called(long, upstream_model=long)))
    assert max(len(part) for part in access_log._known.values()) <= 1024
    assert max(len(str(values)) for values in access_log._known) <= 2048


class Costs(Reservation):
    """A reservation that has come to this."""

    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self, pico: int) -> None:
        self.pico = pico

    @override
    def ran(self, call_id: str, run: object) -> None:
        raise NotImplementedError

    @override
    def cost(self) -> int:
        return self.pico

    @override
    async def settle(self) -> None:
        raise NotImplementedError

    @override
    def abandon(self) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("pico", "usd"),
    [
        (40_000_000, "0.00004"),
        (1, "0.000000000001"),
        (99_999_999, "0.000099999999"),
        (100_000_000, "0.0001"),
        (0, "0.0"),
        (1_230_000_000_000, "1.23"),
        (10**12 * 10**6, "1000000.0"),
    ],
)
def test_a_cost_is_written_without_an_exponent(capfd: pytest.CaptureFixture[str], pico: int, usd: str) -> None:
    """As people and most collectors of logs read money."""
    call = called()
    call.reservation = Costs(pico)
    (line,) = lines_of(capfd, outcome(call=call))
    assert line.endswith(f',"cost_usd":{usd}}}')
    assert json.loads(line)["cost_usd"] == pico / 10**12

"""The parts of the probe that no live server shows: odd replies, refusals, what is shown of a text, progress."""

import asyncio
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from ai_gateway.probe.catalogue import CHECKS, GROUPS
from ai_gateway.probe.check import RULES, Check
from ai_gateway.probe.judge import rejected, supported_json
from ai_gateway.probe.reply import ABSENT, Reply, count, dig, is_set, items, string
from ai_gateway.probe.report import Watch
from ai_gateway.probe.run import run, shorten
from ai_gateway.probe.target import Target, Unusable
from ai_gateway.probe.verdict import Failed, Outcome, Skipped, Verdict
from tests.support.upstream import Exchange, running_upstream

ROOT = Path(__file__).parents[2]
SCHEMAS = json.loads((ROOT / "generated/gateway_contract/openapi.json").read_text())["components"]["schemas"]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_every_check_holds_against_a_schema_or_a_named_rule(check: Check) -> None:
    assert check.rule in SCHEMAS or check.rule in RULES
    assert check.title
    assert check.group in GROUPS


def test_checks_are_many_and_have_names_of_their_own() -> None:
    assert len(CHECKS) >= 60
    assert len({check.id for check in CHECKS}) == len({(check.group, check.title) for check in CHECKS}) == len(CHECKS)
    assert RULES.keys() <= {check.rule for check in CHECKS}


def refusal(status: int, code: str | None, param: str | None = None, **headers: str) -> Reply:
    error = {"message": "not here", "type": "invalid_request_error", "param": param, "code": code}
    return Reply(status, {"content-type": "application/json", **headers}, json.dumps({"error": error}).encode())


@pytest.mark.parametrize(
    "reply",
    [
        refusal(400, "unsupported_parameter"),
        refusal(400, "unsupported_value", "n"),
        refusal(404, "model_not_supported"),
        refusal(400, None, "n"),
        refusal(400, "invalid_value", "n[0]"),
    ],
)
def test_a_clean_refusal_of_an_option_is_a_skip(reply: Reply) -> None:
    with pytest.raises(Skipped, match="not here"):
        supported_json(reply, "n")


@pytest.mark.parametrize(
    "reply",
    [
        refusal(422, "unsupported_parameter"),
        refusal(429, "unsupported_parameter"),
        refusal(500, "unsupported_parameter"),
        refusal(401, "invalid_api_key"),
        refusal(400, None),
        refusal(400, "invalid_value", "model"),
        refusal(404, "model_not_found"),
        Reply(400, {"content-type": "application/json"}, b'{"detail": "unsupported_parameter n"}'),
        Reply(400, {"content-type": "application/json"}, b"unsupported"),
        Reply(400, {"content-type": "text/html"}, refusal(400, "unsupported_parameter").body),
    ],
)
def test_any_other_refusal_is_a_failure(reply: Reply) -> None:
    with pytest.raises(Failed):
        supported_json(reply, "n")


def test_a_missing_endpoint_is_a_skip_only_where_it_may_be_missing() -> None:
    reply = refusal(404, "not_found")
    with pytest.raises(Skipped):
        supported_json(reply, "model", endpoint=True)
    with pytest.raises(Failed):
        supported_json(reply, "model")


def test_a_refusal_must_blame_the_right_field_with_the_right_code() -> None:
    assert rejected(refusal(400, "x", "messages[0].role"), 400, param="messages").param == "messages[0].role"
    for asked in ({"param": "message"}, {"error_code": "y"}):
        with pytest.raises(Failed):
            rejected(refusal(400, "x", "messages[0].role"), 400, **asked)


def test_looks_into_a_reply_never_stumble() -> None:
    value = {"a": [{"b": 1, "c": None, "d": True, "e": "x"}]}
    assert dig(value, "a", 0, "b") == count(value, "a", 0, "b") == 1
    assert dig(value, "a", 1) is dig(value, "a", "b") is dig(value, "x") is ABSENT
    assert count(value, "a", 0, "d") == count(value, "nowhere") == -1
    assert (string(value, "a", 0, "e"), string(value, "a"), items(value, "a", 0)) == ("x", "", [])
    assert not is_set(value, "a", 0, "c")
    assert is_set(value, "a")


def test_what_is_shown_is_short_and_plain_and_without_the_key() -> None:
    assert shorten("a\x1b[31m\nb sk-1 c", "sk-1") == "a [31m b [key] c"
    assert shorten(json.dumps('k"1'), 'k"1') == '"[key]"'
    assert shorten("x" * 395 + "sk-secret", "sk-secret") == "x" * 395 + "[key]"
    assert len(shorten("x" * 10_000, None)) < 500


def outcome(verdict: Verdict = Verdict.PASSED) -> Outcome:
    return Outcome("chat-reply", "chat", "A title", "a-rule", verdict)


def test_people_are_shown_a_bar() -> None:
    written = io.StringIO()
    with Watch(2, Console(file=written, force_terminal=True, width=80)) as watch:
        watch(outcome())
        watch(outcome())
    assert "chat-reply" in written.getvalue()
    assert "2/2" in written.getvalue()


def test_programs_are_shown_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with Watch(2) as watch:
        watch(outcome())
        watch(outcome(Verdict.FAILED))
    assert capsys.readouterr().err.splitlines() == ["[1/2] passed  chat-reply", "[2/2] failed  chat-reply"]


ODDITIES = {
    "null": b"null",
    "number": b"5",
    "list": b"[[[]]]",
    "text": b"hello",
    "empty": b"",
    "bytes": b"\xff\xfe",
    "choices": b'{"choices": 5, "data": {"a": 1}, "usage": [], "error": null}',
    "nulls": b'{"choices": [null], "data": [null], "id": {}, "usage": {"total_tokens": true}}',
    "message": b'{"choices": [{"message": 5, "delta": [], "index": {}}], "data": [{"embedding": {"a": []}}]}',
    "calls": b'{"choices": [{"index": [], "message": {"tool_calls": [{"id": {}, "function": {"arguments": 5}}]}}]}',
    "vectors": b'{"data": [{"embedding": []}, {"embedding": "&"}, {"embedding": "YQ=="}, {"embedding": ["a"]}]}',
    "short": b'{"data": [{"embedding": [0]}, {"embedding": [1, 2]}, {"embedding": []}]}',
    "huge": b'{"data": [{"embedding": [1e308, 1e308]}, {"embedding": [1e308, 1e308]}]}',
    "done": b"data: [DONE]\n\n",
    "events": b'data: 5\n\ndata: {"choices": [{"index": {}, "delta": {"tool_calls": [{"index": []}, 5]}}]}\n\n',
    "deltas": b'data: {"choices": [{"delta": {"tool_calls": [{"index": 0}, {"index": 0, "id": "a"}]}}]}\n\n',
    "long": b"data: " + b"x" * 2_000_000,
}


@pytest.mark.parametrize("body", ODDITIES.values(), ids=ODDITIES.keys())
@pytest.mark.parametrize("status", [200, 400])
async def test_no_reply_however_odd_stops_the_probe(body: bytes, status: int) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.reply(body, status=status)

    with running_upstream(answer) as upstream:
        target = Target(upstream.url, "key", model="m", timeout_s=10)
        result = await run(target, CHECKS, 4, lambda _: None)
    assert len(result.outcomes) == len(CHECKS)
    assert result.of(Verdict.FAILED)
    confused = [one for one in result.outcomes if one.expected == "an answer that can be judged"]
    assert confused == []


async def test_a_server_that_goes_away_fails_the_rest() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.json({"object": "list", "data": []})

    def close(_: Outcome) -> None:
        """The checks after the first meet nobody."""

    with running_upstream(answer) as upstream:
        address = upstream.url
        first = await run(Target(address, model="m", timeout_s=5), CHECKS[:1], 1, close)
    assert first.of(Verdict.PASSED)
    with pytest.raises(Unusable, match="cannot reach"):
        await run(Target(address, model="m", timeout_s=5), CHECKS[:1], 1, close)


async def test_a_reply_that_never_ends_is_cut_off() -> None:
    async def answer(exchange: Exchange) -> None:
        if exchange.seen.path.endswith("/models"):
            await exchange.json({"object": "list", "data": []})
            return
        await exchange.open_stream()
        for _ in range(400):
            await exchange.chunk(b"x" * 65_536)

    with running_upstream(answer) as upstream:
        chosen = [check for check in CHECKS if check.id == "chat-reply"]
        result = await run(Target(upstream.url, model="m", timeout_s=20), chosen, 1, lambda _: None)
    assert result.outcomes[0].expected.startswith("a reply of at most")


async def test_a_check_that_itself_fails_is_told_and_stops_nothing() -> None:
    async def confused(_: object) -> None:
        raise KeyError("choices")

    async def answer(exchange: Exchange) -> None:
        await exchange.json({})

    with running_upstream(answer) as upstream:
        check = Check("x", "chat", "t", "http", confused)
        result = await run(Target(upstream.url, model="m"), [check], 1, lambda _: None)
    assert result.outcomes[0].seen == "KeyError('choices')"


async def test_the_same_question_is_asked_once() -> None:
    async def answer(exchange: Exchange) -> None:
        await asyncio.sleep(0.01)
        await exchange.json({"object": "list", "data": []})

    with running_upstream(answer) as upstream:
        chosen = [check for check in CHECKS if check.id in {"chat-reply", "chat-text", "chat-usage", "models-list"}]
        await run(Target(upstream.url, model="m"), chosen, 4, lambda _: None)
        assert len(upstream.requests) == 2


async def test_no_check_passes_on_a_server_that_only_fails() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.reply(b"Internal Server Error", status=500, content_type="text/plain")

    with running_upstream(answer) as upstream:
        result = await run(Target(upstream.url, "key", model="m"), CHECKS, 4, lambda _: None)
    assert [one.id for one in result.of(Verdict.PASSED)] == []
    assert result.of(Verdict.SKIPPED) == []

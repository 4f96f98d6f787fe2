"""Models with several targets: a live gateway between two fault upstreams, and what the client sees of it."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.support.application import running_application
from tests.support.behaviours import RATE_LIMITS, SECRET_MARK, TEXT, VECTORS, behave
from tests.support.client import CHAT, ask, body_of, client_of, eventually
from tests.support.gateway import TEST_KEY, LiveGateway, running_gateway
from tests.support.upstream import Upstream, running_upstream

ASK = [{"role": "user", "content": "hello"}]
UPSTREAM_KEY = "sk-upstream-of-one"
CONFIG = """
[providers.one]
base_url = "{one}"
api_key_env = "ONE_KEY"
unknown_params = "drop"

[providers.two]
base_url = "{two}"

[providers.dead]
base_url = "http://127.0.0.1:9/v1"

[aliases]
nick = "good"
"""
# Every way to fail that another target may not share, as the first target's behaviour.
PASSED_ON = [
    "status-500", "status-503", "status-429", "status-401", "status-402", "status-408", "hang-before-headers",
    "hang-after-headers", "close-at-once", "reset-at-once", "garbage", "short-body", "broken-json", "html",
    "empty-body", "wrong-shape", "redirect", "error-in-200",
]  # fmt: skip
STREAM_ONLY = ["stream-empty", "stream-error-first"]
KEPT = ["status-400", "status-404", "status-409", "status-413", "status-422"]


def _routes() -> str:
    names = (*PASSED_ON, *STREAM_ONLY, *KEPT, "stream-cut", "stalled-stream", "good")
    lines = [f'[routes."{name}"]\ntargets = ["one/{name}", "two/second#{name}"]' for name in names]
    lines.append('[routes.unreachable]\ntargets = ["dead/x", "two/second#unreachable"]')
    lines.append('[routes.all-fail]\ntargets = ["one/status-429#all", "two/status-500#all", "dead/x"]')
    lines.append('[routes.policies]\ntargets = ["one/status-500#p", "two/good#p"]')
    lines.append('[routes.drip]\ntargets = ["one/hang-before-headers#leave", "two/good#leave"]')
    lines.append('[routes.done-then-half]\ntargets = ["one/only-done", "two/half#done"]')
    lines.append('[routes."one/taken"]\ntargets = ["two/good#taken", "one/taken"]')
    lines.append('[routes.mixed]\nmode = "weighted"\nweights = [1, 1]\ntargets = ["one/good#w", "two/good#w"]')
    return "\n".join(lines)


@pytest.fixture(scope="module")
def upstreams() -> Iterator[tuple[Upstream, Upstream]]:
    with running_upstream(behave) as one, running_upstream(behave) as two:
        yield one, two


@pytest.fixture(scope="module")
def live(upstreams: tuple[Upstream, Upstream], tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    one, two = upstreams
    config = tmp_path_factory.mktemp("routes") / "gateway.toml"
    config.write_text(CONFIG.format(one=one.url, two=two.url) + _routes(), encoding="utf-8")
    with running_gateway(
        BREAKER_THRESHOLD="0",
        MAX_RETRIES="0",
        GATEWAY_CONFIG=str(config),
        ONE_KEY=UPSTREAM_KEY,
        REQUEST_TIMEOUT_S="3",
        STREAM_IDLE_TIMEOUT_S="3",
        ALLOWED_API_KEYS=TEST_KEY,
    ) as running:
        yield running


def reported(reply: httpx2.Response) -> tuple[str | None, ...]:
    return tuple(reply.headers.get(f"x-gateway-{name}") for name in ("provider", "model", "attempts"))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("model", [*PASSED_ON, "unreachable"])
def test_what_another_target_may_not_share_is_passed_on_to_it(live: LiveGateway, model: str, stream: bool) -> None:
    reply = ask(live, model, stream=stream)
    assert reply.status_code == 200, reply.text
    assert reported(reply) == ("two", f"second#{model}", "2")
    assert ("data: [DONE]" in reply.text) is stream
    assert SECRET_MARK not in reply.text
    assert "retry-after" not in reply.headers


@pytest.mark.parametrize("model", STREAM_ONLY)
def test_a_stream_that_fails_before_its_first_chunk_is_passed_on(live: LiveGateway, model: str) -> None:
    reply = ask(live, model, stream=True)
    assert (reply.status_code, reported(reply)[0]) == (200, "two")
    assert reply.text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("legacy", [False, True], ids=["chat", "completions"])
def test_the_end_that_a_failed_target_declared_is_not_the_next_ones(
    live: LiveGateway, upstreams: tuple[Upstream, Upstream], legacy: bool
) -> None:
    """The first target says [DONE] and nothing else; the second breaks off after one of two choices."""
    kind = "text_completion" if legacy else "chat.completion.chunk"
    choice = {"index": 0, "finish_reason": "stop", "logprobs": None} | (
        {"text": "half"} if legacy else {"delta": {"role": "assistant", "content": "half"}}
    )
    chunk = {"id": "c", "object": kind, "created": 1, "model": "m", "choices": [choice]}
    event = b"data: " + json.dumps(chunk).encode() + b"\n\n"
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    upstreams[0].program("only-done", head + b"data: [DONE]\n\n")
    upstreams[1].program("half#done", head + event)
    reply = ask(live, "done-then-half", "completions" if legacy else "chat/completions", n=2, stream=True)
    assert reported(reply)[0] == "two"
    assert "half" in reply.text
    assert "[DONE]" not in reply.text
    assert "upstream_stream_truncated" in reply.text


@pytest.mark.parametrize("operation", ["completions", "embeddings"])
def test_every_operation_has_its_fallback(live: LiveGateway, operation: str) -> None:
    reply = ask(live, "status-500", operation)
    assert (reply.status_code, reported(reply)[0]) == (200, "two")
    if operation == "embeddings":
        assert reply.json()["data"][0]["embedding"] == VECTORS[0]
    else:
        assert reply.json()["choices"][0]["text"] == TEXT


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("model", KEPT)
def test_what_the_caller_must_mend_goes_to_nobody_else(
    live: LiveGateway, upstreams: tuple[Upstream, Upstream], model: str, stream: bool
) -> None:
    reply = ask(live, model, stream=stream)
    assert reply.status_code == int(model[-3:])
    assert reply.json()["error"]["code"] == "upstream_code"
    assert reported(reply)[0::2] == ("one", "1")
    assert upstreams[1].seen(f"second#{model}") == []


@pytest.mark.parametrize("model", ["stream-cut", "stalled-stream"])
def test_after_the_first_chunk_a_failure_is_the_callers_to_see(
    live: LiveGateway, upstreams: tuple[Upstream, Upstream], model: str
) -> None:
    reply = ask(live, model, stream=True)
    assert (reply.status_code, reported(reply)[0]) == (200, "one")
    assert "[DONE]" not in reply.text
    assert '"error"' in reply.text
    assert upstreams[1].seen(f"second#{model}") == []


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_when_all_fail_the_last_failure_says_how_many_and_the_wait_of_the_429_is_kept(
    live: LiveGateway, stream: bool
) -> None:
    reply = ask(live, "all-fail", stream=stream)
    error = reply.json()["error"]
    assert (reply.status_code, error["code"]) == (502, "upstream_unreachable")
    assert "All 3 targets" in error["message"]
    assert reported(reply) == ("dead", "x", "3")
    assert reply.headers["retry-after"] == RATE_LIMITS["retry-after"]
    assert "x-ratelimit-limit-requests" not in reply.headers, "that is of an upstream that did not answer"


def test_each_target_gets_the_clients_own_body_under_its_own_policies(
    live: LiveGateway, upstreams: tuple[Upstream, Upstream]
) -> None:
    reply = ask(live, "policies", own_field={"a": 1}, seed=3)
    assert (reply.status_code, reported(reply)[0]) == (200, "two")
    assert "x-gateway-dropped-params" not in reply.headers, "the first target dropped it, the second one did not"
    first, last = upstreams[0].last("status-500#p").json, upstreams[1].last("good#p").json
    assert first == {"model": "status-500#p", "messages": ASK, "seed": 3}
    assert last == {"model": "good#p", "messages": ASK, "seed": 3, "own_field": {"a": 1}}


def test_a_route_may_stand_behind_an_alias_and_before_a_prefix(live: LiveGateway) -> None:
    assert reported(ask(live, "nick")) == ("one", "good", "1")
    assert reported(ask(live, "one/taken")) == ("two", "good#taken", "1")


def test_a_call_without_a_route_stays_with_its_provider(live: LiveGateway) -> None:
    reply = ask(live, "one/status-500")
    assert (reply.status_code, reported(reply)) == (502, ("one", "status-500", "1"))


def test_weights_share_the_calls_among_the_targets(live: LiveGateway) -> None:
    answered = [reported(ask(live, "mixed"))[0] for _ in range(24)]
    assert set(answered) == {"one", "two"}


def test_a_client_that_leaves_ends_the_attempts(live: LiveGateway, upstreams: tuple[Upstream, Upstream]) -> None:
    before = len(live.log())
    with client_of(live) as client, pytest.raises(httpx2.ReadTimeout):
        client.post("/v1/chat/completions", json=body_of(CHAT, "drip"), timeout=0.5)
    assert upstreams[0].last("hang-before-headers#leave").gone.wait(60)
    eventually(lambda: "client left" in live.log()[before:])  # it is over then
    assert upstreams[1].seen("good#leave") == []


def test_each_failed_attempt_is_one_line_in_the_log(live: LiveGateway) -> None:
    reply = ask(live, "all-fail")
    records = [json.loads(line) for line in live.log().splitlines() if line.startswith("{")]
    mine = [record for record in records if record.get("request_id") == reply.headers["x-request-id"]]
    failed = [record for record in mine if record["event"] == "attempt failed"]
    assert [(record["provider"], record["attempt"], record["targets"]) for record in failed] == [
        ("one", 1, 3), ("two", 2, 3), ("dead", 3, 3)
    ]  # fmt: skip
    assert UPSTREAM_KEY not in live.log()


def test_the_list_shows_routes_and_aliases_and_each_can_be_retrieved(live: LiveGateway) -> None:
    import openai

    with openai.OpenAI(base_url=f"{live.base_url}/v1", api_key=TEST_KEY) as client:
        ids = [model.id for model in client.models.list()]
        assert {"nick", "good", "mixed", "one/taken"} <= set(ids)
        for name in ("nick", "mixed", "one/taken"):
            first, again = client.models.retrieve(name), client.models.retrieve(name)
            assert (first.id, first) == (name, again)


def test_the_sdk_streams_through_a_fallback(live: LiveGateway) -> None:
    import openai

    with openai.OpenAI(base_url=f"{live.base_url}/v1", api_key=TEST_KEY, max_retries=0) as client:
        chunks = client.chat.completions.create(
            model="close-at-once", messages=[{"role": "user", "content": "x"}], stream=True
        )
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == TEXT


async def test_one_gateway_can_have_the_built_in_provider_as_its_last_resort(tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(
        '[providers.dead]\nbase_url = "http://127.0.0.1:9/v1"\n[routes.safe]\ntargets = ["dead/x", "custom/safe"]',
        encoding="utf-8",
    )
    async with running_application(GATEWAY_CONFIG=str(config)) as http:
        reply = await http.post("/v1/chat/completions", json=body_of(CHAT, "safe"))
    assert (reply.status_code, reported(reply)) == (200, ("custom", None, "2"))


async def test_a_target_that_only_fails_is_not_asked_for_a_while_and_nobody_answers_under_anothers_headers(
    upstreams: tuple[Upstream, Upstream], tmp_path: Path
) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(
        CONFIG.format(one=upstreams[0].url, two=upstreams[1].url)
        + '[routes.guarded]\ntargets = ["one/status-500#guarded", "two/good#guarded"]\n'
        + '[routes.last]\ntargets = ["two/status-429#last", "one/x"]',
        encoding="utf-8",
    )
    env = {"GATEWAY_CONFIG": str(config), "ONE_KEY": UPSTREAM_KEY, "BREAKER_THRESHOLD": "1"}
    async with running_application(**env) as http:
        replies = [await http.post("/v1/chat/completions", json=body_of(CHAT, "guarded")) for _ in range(3)]
        assert [reported(reply) for reply in replies] == [
            ("two", "good#guarded", "2"),
            ("two", "good#guarded", "1"),
            ("two", "good#guarded", "1"),
        ]
        reply = await http.post("/v1/chat/completions", json=body_of(CHAT, "last"))
        assert (reply.status_code, reported(reply)) == (503, ("one", None, "1"))
        assert "All 2 targets" in reply.json()["error"]["message"]
    assert len(upstreams[0].seen("status-500#guarded")) == 1

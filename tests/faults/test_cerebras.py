"""The gateway in front of Cerebras: its SDK carries our bytes and adds nothing to what the caller asked for."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from cerebras.cloud.sdk import Cerebras

from tests.support.behaviours import TEXT
from tests.support.client import CHAT, EMBED, ask as ask_at, client_of, get
from tests.support.fake_cerebras import behave
from tests.support.gateway import (
    HOST,
    IMPATIENT,
    ONE_ATTEMPT,
    LiveGateway,
    SharedGateways,
    closed_port,
    running_gateway,
)
from tests.support.upstream import Upstream, running_upstream

pytestmark = pytest.mark.live

KEY = "sk-upstream-cerebras-77"


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream(behave) as running:
        yield running


@pytest.fixture(scope="module")
def live(upstream: Upstream) -> Iterator[LiveGateway]:
    with closed_port() as port:
        env = {**dict.fromkeys(("HTTP_PROXY", "http_proxy"), f"http://{HOST}:{port}"), "CEREBRAS_API_KEY": KEY}
        env["CEREBRAS_BASE_URL"] = f"http://{HOST}:{upstream.port}"
        with running_gateway(**env, **ONE_ATTEMPT) as running:
            yield running
            assert KEY not in running.log()
    assert not [seen.path for seen in upstream.requests if "warming" in seen.path]


@pytest.fixture(scope="module")
def impatient(gateway_for: SharedGateways, upstream: Upstream) -> LiveGateway:
    address = f"http://{HOST}:{upstream.port}"
    return gateway_for(CEREBRAS_BASE_URL=address, CEREBRAS_API_KEY=KEY, **IMPATIENT, **ONE_ATTEMPT)


def ask(live: LiveGateway, model: str, operation: str = CHAT, **fields: Any) -> httpx2.Response:
    return ask_at(live, model, operation, provider="cerebras", **fields)


@pytest.mark.parametrize("stream", ["true", "false"])
def test_the_body_goes_up_as_it_came(live: LiveGateway, upstream: Upstream, stream: str) -> None:
    schema = '{"zz":{"default":1.0,"max":123456789012345678901234567890},"aa":["ü",null]}'
    tools = f'[{{"type":"function","function":{{"name":"f","parameters":{schema},"strict":true}}}}]'
    own = '"reasoning_format":"parsed","clear_thinking":false,"min_tokens":2'
    model = f"good#bytes-{stream}"
    raw = f'{{"model":"{model}","messages":[{{"role":"user","content":"x"}}],"stream":{stream},"tools":{tools},{own}}}'
    with client_of(live) as client:
        headers = {"content-type": "application/json"}
        response = client.post(f"/cerebras/v1/{CHAT}", content=raw.encode(), headers=headers)
    assert response.status_code == 200, response.text
    seen = upstream.last(model)
    counted = ',"stream_options":{"include_usage":true}' if stream == "true" else ""
    assert seen.json == json.loads(f"{raw[:-1]}{counted}}}")
    assert schema in seen.body.decode()
    assert seen.body.decode().endswith(f"{own}{counted}}}")
    assert seen.path == "/v1/chat/completions"
    assert (seen.header("authorization"), seen.header("accept-encoding")) == (f"Bearer {KEY}", "identity")


@pytest.mark.parametrize("stream", [True, False])
def test_every_header_is_sent_once(live: LiveGateway, upstream: Upstream, stream: bool) -> None:
    model = f"good#headers-{stream}"
    assert ask(live, model, stream=stream).status_code == 200
    seen = upstream.last(model)
    assert once(seen.headers)
    assert (seen.header("accept"), seen.header("content-type")) == (
        "text/event-stream" if stream else "application/json",
        "application/json",
    )
    assert str(seen.header("user-agent")).startswith("ai-gateway/")
    listed = get(live, "/cerebras/v1/models")
    assert listed.status_code == 200
    assert all(once(seen.headers) for seen in upstream.requests)


def once(headers: list[tuple[str, str]]) -> bool:
    names = [name.lower() for name, _ in headers]
    return len(names) > 3 and sorted(names) == sorted(set(names))


def test_what_clients_send_by_habit_and_cerebras_does_not_know_is_dropped_and_named(
    live: LiveGateway, upstream: Upstream
) -> None:
    response = ask(live, "good#habit", store=False, metadata={"a": "b"}, safety_identifier="s", user="u")
    assert response.status_code == 200, response.text
    assert response.headers["x-gateway-dropped-params"] == "metadata,safety_identifier,store"
    assert upstream.last("good#habit").json["user"] == "u"


def test_what_would_change_the_answer_is_left_to_cerebras_to_refuse(live: LiveGateway) -> None:
    response = ask(live, "good", verbosity="low")
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "wrong_api_format", "validation_error")
    assert "verbosity" in error["message"]


def test_a_sloppy_reply_is_mended_as_from_any_upstream_of_this_wire(live: LiveGateway) -> None:
    response = ask(live, "sloppy")
    assert response.headers["x-gateway-repaired"]
    assert response.json()["choices"][0]["message"]["refusal"] is None


@pytest.mark.parametrize("model", ["sse-crlf", "sse-comments", "sse-bytes", "sse-split-utf8", "finished-without-done"])
def test_every_legal_stream_is_read(live: LiveGateway, model: str) -> None:
    response = ask(live, model, stream=True)
    values = [json.loads(frame[6:]) for frame in response.text.split("\n\n") if frame.startswith("data: {")]
    assert "".join(value["choices"][0]["delta"].get("content") or "" for value in values) == TEXT
    assert response.text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("model", ["status-500", "status-429", "status-408", "close-at-once", "hang-before-headers"])
@pytest.mark.parametrize("stream", [False, True])
def test_the_sdk_never_asks_twice(impatient: LiveGateway, upstream: Upstream, model: str, stream: bool) -> None:
    label = f"{model}#once-{stream}"
    assert ask(impatient, label, stream=stream).status_code >= 400
    assert len(upstream.seen(label)) == 1


@pytest.mark.parametrize("model", ["loris-headers", "loris-body", "huge-body", "garbage", "short-body", "no-content"])
def test_what_is_no_answer_is_told(impatient: LiveGateway, model: str) -> None:
    response = ask(impatient, model)
    late = model.startswith("loris")
    assert response.status_code == (504 if late else 502)
    assert response.json()["error"]["code"] == ("upstream_timeout" if late else "upstream_invalid_response")


def test_it_makes_no_vectors(live: LiveGateway) -> None:
    response = ask(live, "m", EMBED)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "unsupported_operation")


def test_a_base_url_that_has_its_version_already_is_taken_too(upstream: Upstream) -> None:
    with running_gateway(CEREBRAS_BASE_URL=upstream.url + "/", CEREBRAS_API_KEY=KEY) as running:
        assert ask(running, "good#versioned").status_code == 200
    assert upstream.last("good#versioned").path == "/v1/chat/completions"


def test_cerebras_own_client_can_be_pointed_at_the_gateway(live: LiveGateway) -> None:
    url = f"{live.base_url}/cerebras"
    with Cerebras(api_key="none", base_url=url, max_retries=0, warm_tcp_connection=False) as client:
        reply: Any = client.chat.completions.create(model="good", messages=[{"role": "user", "content": "hi"}])
        assert reply.choices[0].message.content == TEXT
        chunks: Any = client.chat.completions.create(
            model="good", messages=[{"role": "user", "content": "hi"}], stream=True
        )
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == TEXT

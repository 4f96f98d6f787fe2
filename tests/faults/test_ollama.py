"""The gateway in front of an Ollama server: what is sent over the wire, what comes back, and what goes wrong."""

import asyncio
import base64
import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from ai_gateway.contract.body import validate
from ai_gateway.contract.call import Attempt, Call, Notes
from ai_gateway.errors import GatewayError, UpstreamTimeout
from ai_gateway.observability.metrics import Event, counted
from ai_gateway.providers.catalog import ROWS
from ai_gateway.providers.http.egress import Egress
from ai_gateway.providers.ollama.provider import Ollama
from ai_gateway.providers.upstream import Timeouts, Upstream as Configured
from gateway_contract.openai import models
from tests.support.behaviours import SECRET_MARK, TEXT, VECTORS, WORDS
from tests.support.client import (
    BODIES,
    CHAT,
    EMBED,
    LEGACY,
    NO_CERTIFICATES,
    ask as ask_at,
    body_of,
    client_of,
    events_of,
)
from tests.support.fake_ollama import CREATED, CROWD, MODELS
from tests.support.gateway import (
    HOST,
    IMPATIENT,
    ONE_ATTEMPT,
    LiveGateway,
    SharedGateways,
    closed_port,
    running_gateway,
)
from tests.support.upstream import Exchange, Upstream, running_upstream

KEY = "sk-upstream-ollama-77"
ODD = TEXT + "a\x85b\u2028c\x0cd"  # what text libraries take for ends of lines


@pytest.fixture(scope="module")
def upstream(ollama_upstream: Upstream) -> Upstream:
    return ollama_upstream


@pytest.fixture(scope="module")
def live(upstream: Upstream) -> Iterator[LiveGateway]:
    with closed_port() as port:  # who asks the environment for a proxy gets nowhere
        env = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"), f"http://{HOST}:{port}")
        with running_gateway(OLLAMA_HOST=f"http://{HOST}:{upstream.port}", **env) as running:
            yield running


@pytest.fixture(scope="module")
def forwarding(upstream: Upstream) -> Iterator[LiveGateway]:
    """Sends on unknown fields, takes no inexact reply, fetches images, and has a key."""
    env = {"UNKNOWN_PARAMS": "forward", "CONFORMANCE": "enforce", "FETCH_IMAGES": "true", "OLLAMA_API_KEY": KEY}
    with running_gateway(OLLAMA_HOST=f"{HOST}:{upstream.port}", **env, **ONE_ATTEMPT) as running:
        yield running
        assert KEY not in running.log()


@pytest.fixture(scope="module")
def impatient(gateway_for: SharedGateways, upstream: Upstream) -> LiveGateway:
    return gateway_for(OLLAMA_HOST=f"{HOST}:{upstream.port}", **IMPATIENT, **ONE_ATTEMPT)


def ask(live: LiveGateway, model: str, operation: str = CHAT, **fields: Any) -> httpx2.Response:
    return ask_at(live, model, operation, provider="ollama", **fields)


def streamed(live: LiveGateway, model: str, operation: str = CHAT, **fields: Any) -> tuple[str, Any, bool]:
    """The text, the error event's error or None, and whether the terminator came."""
    response = ask(live, model, operation, stream=True, **fields)
    assert SECRET_MARK not in response.text
    read = events_of(response)
    return read.text, read.error, read.done


# -- what is good arrives --


@pytest.mark.parametrize("operation", [CHAT, LEGACY])
@pytest.mark.parametrize("model", ["line-bytes", "line-blank", "line-together", "line-after-done"])
def test_lines_may_be_cut_and_spaced_in_any_way(live: LiveGateway, model: str, operation: str) -> None:
    assert streamed(live, model, operation) == (ODD, None, True)


@pytest.mark.parametrize("model", [None, *MODELS])
def test_models_are_listed_and_found_by_their_names(live: LiveGateway, model: str | None) -> None:
    url = f"{live.base_url}/ollama/v1/models"
    with client_of(live) as client:
        if model is None:
            assert [one["id"] for one in client.get(url).json()["data"]] == MODELS
            assert client.get(f"{url}/library-model").json()["id"] == "library-model:latest"
            assert client.get(f"{url}/none").json()["error"]["code"] == "model_not_found"
        else:
            owner = "library" if "/" not in model else "maker"
            assert client.get(f"{url}/{model}").json() == {
                "id": model,
                "object": "model",
                "created": CREATED,
                "owned_by": owner,
                "size": 1,
            }


def test_what_the_model_says_of_itself_is_in_the_reply(live: LiveGateway) -> None:
    body = ask(live, "tool-calls-ids").json()
    (choice,) = body["choices"]
    assert [call["id"] for call in choice["message"]["tool_calls"]] == ["call_own0", "call_own1"]
    assert choice["message"]["content"] == "Let me see."
    assert body["created"] == CREATED
    assert ask(live, "tool-call-text").json()["choices"][0]["message"]["tool_calls"][0]["function"] == {
        "name": "zebra",
        "arguments": '{"z": 1}',
    }


def test_a_prompt_that_was_still_known_counts_as_none(live: LiveGateway) -> None:
    assert ask(live, "cached-prompt").json()["usage"] == {
        "prompt_tokens": 0,
        "completion_tokens": 4,
        "total_tokens": 4,
    }
    assert ask(live, "loaded").json()["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("operation", [CHAT, LEGACY])
@pytest.mark.parametrize(
    ("reason", "finish", "named"),
    [
        ("length", "length", None),
        ("unload", "stop", None),
        ("MAX_TOKENS", "length", "map-finish-reason"),
        ("safety", "content_filter", "map-finish-reason"),
        ("whatever", "length", "tell-unknown-finish-reason"),
    ],
)
def test_a_reason_to_end_that_is_not_ollamas_is_named(
    live: LiveGateway, reason: str, finish: str, named: str | None, operation: str
) -> None:
    response = ask(live, f"ended-{reason}", operation)
    assert response.json()["choices"][0]["finish_reason"] == finish
    assert response.headers.get("x-gateway-repaired") == named
    native = reason if named else None
    assert response.json()["choices"][0].get("native_finish_reason") == native
    streamed_text = ask(live, f"ended-{reason}", operation, stream=True).text
    assert f'"finish_reason":"{finish}"' in streamed_text
    assert (f'"native_finish_reason":"{native}"' in streamed_text) is (native is not None)


@pytest.mark.parametrize("operation", [CHAT, LEGACY])
def test_an_answer_that_ended_in_an_error_is_no_answer(live: LiveGateway, operation: str) -> None:
    assert ask(live, "ended-error", operation).json()["error"]["code"] == "upstream_error"
    text, error, done = streamed(live, "ended-error", operation)
    assert (text, error["code"], done) == (TEXT, "upstream_error", False)


def test_a_gateway_that_takes_no_inexact_reply_takes_no_unknown_reason(forwarding: LiveGateway) -> None:
    assert ask(forwarding, "ended-whatever").json()["error"]["code"] == "upstream_invalid_response"
    assert ask(forwarding, "ended-length").status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_log_probabilities_come_through(live: LiveGateway, stream: bool) -> None:
    response = ask(live, "logprobs", logprobs=True, top_logprobs=2, stream=stream)
    if not stream:
        tokens = response.json()["choices"][0]["logprobs"]["content"]
    else:
        values = [json.loads(frame[6:]) for frame in response.text.split("\n\n") if frame.startswith("data: {")]
        tokens = [
            token for value in values for token in (value["choices"][0].get("logprobs") or {"content": []})["content"]
        ]
    assert [token["token"] for token in tokens] == WORDS
    assert [len(token["top_logprobs"]) for token in tokens] == [2] * 4
    assert ask(live, "logprobs", LEGACY, logprobs=2).json()["choices"][0]["logprobs"]["tokens"] == WORDS


@pytest.mark.parametrize("asked", ["float", "base64", None])
def test_vectors_are_exact_in_either_encoding(forwarding: LiveGateway, asked: str | None) -> None:
    response = ask(forwarding, "good", EMBED, **({"encoding_format": asked} if asked else {}))
    assert response.status_code == 200, response.text
    assert "x-gateway-repaired" not in response.headers
    for item, vector in zip(response.json()["data"], VECTORS, strict=True):
        got = item["embedding"]
        if asked == "base64":
            got = struct.unpack("<3f", base64.b64decode(got, validate=True))
        assert list(got) == pytest.approx(vector, abs=1e-6)
    short = ask(forwarding, "good", EMBED, dimensions=2).json()
    assert [len(item["embedding"]) for item in short["data"]] == [2, 2]


# -- what is sent --


def test_a_tools_schema_reaches_the_server_key_by_key(live: LiveGateway, upstream: Upstream) -> None:
    inner = '{"zz":{"anyOf":[{"$ref":"#/$defs/q"}],"default":1.0},"aa":{"minimum":2,"properties":{"b":{},"a":{}}}}'
    schema = f'{{"type":"object","properties":{inner},"x":[1]}}'
    tools = f'[{{"type":"function","function":{{"name":"f","parameters":{schema}}}}}]'
    raw = f'{{"model":"good#schema","messages":[{{"role":"user","content":"x"}}],"tools":{tools}}}'
    headers = {"content-type": "application/json"}
    with client_of(live) as client:
        response = client.post(f"/ollama/v1/{CHAT}", content=raw.encode(), headers=headers)
    assert response.status_code == 200, response.text
    assert schema in upstream.last("good#schema").body.decode()


def test_ollamas_own_fields_are_dropped_and_named_unless_they_are_to_be_forwarded(
    live: LiveGateway, forwarding: LiveGateway, upstream: Upstream
) -> None:
    own: dict[str, Any] = {"keep_alive": "5m", "options": {"num_ctx": 4096}, "think": False}
    response = ask(live, "good#own-dropped", temperature=0.5, **own)
    assert response.headers["x-gateway-dropped-params"] == "keep_alive,options,think"
    assert upstream.last("good#own-dropped").json["options"] == {"temperature": 0.5}
    response = ask(forwarding, "good#own", temperature=0.5, user="u", **own)
    sent = upstream.last("good#own").json
    assert response.headers["x-gateway-dropped-params"] == "user"
    assert (sent["keep_alive"], sent["think"]) == ("5m", False)
    assert sent["options"] == {"num_ctx": 4096, "temperature": 0.5}


def test_names_inside_are_told_beside_those_of_fields_streamed_too(live: LiveGateway) -> None:
    messages = [{"role": "user", "content": "x", "name": "Ann"}]
    for stream in (False, True):
        response = ask(live, "good", messages=messages, store=False, stream=stream)
        assert response.headers["x-gateway-dropped-params"] == "messages.name,store"


@pytest.mark.parametrize("field", ["functions", "function_call", "web_search_options", "moderation"])
def test_what_would_change_the_answer_is_refused(live: LiveGateway, field: str) -> None:
    values: dict[str, Any] = {"functions": [{"name": "f"}], "function_call": "auto", "moderation": {"model": "m"}}
    error = ask(live, "good", **{field: values.get(field, {})}).json()["error"]
    assert (error["code"], error["param"]) == ("unsupported_parameter", field)


@pytest.mark.parametrize("stream", [False, True])
def test_a_value_that_cannot_be_honoured_is_400_and_names_its_place(live: LiveGateway, stream: bool) -> None:
    response = ask(live, "good", n=2, stream=stream)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "n")
    response = ask(live, "good", LEGACY, prompt=["a", "b"], stream=stream)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "prompt")


def test_the_key_goes_to_its_own_host_and_nothing_is_remembered(
    live: LiveGateway, forwarding: LiveGateway, upstream: Upstream
) -> None:
    assert ask(forwarding, "good#key").status_code == 200
    assert upstream.last("good#key").header("authorization") == f"Bearer {KEY}"
    assert ask(live, "good#keyless").status_code == 200
    seen = upstream.last("good#keyless")
    assert seen.header("authorization") is None
    assert seen.header("accept-encoding") == "identity"
    assert seen.header("x-request-id")
    names = [name.lower() for name, _ in seen.headers]
    assert sorted(names) == sorted(set(names))
    assert str(seen.header("user-agent")).startswith("ai-gateway/")
    for _ in range(2):
        assert ask(live, "set-cookie").json()["choices"][0]["message"]["content"] == "None"


# -- images --


def with_image(url: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]}


def test_an_image_elsewhere_is_refused_or_must_be_public(
    live: LiveGateway, forwarding: LiveGateway, upstream: Upstream
) -> None:
    before = len(upstream.requests)
    for gateway, code in ((live, "unsupported_value"), (forwarding, None)):
        for host in (f"127.0.0.1:{upstream.port}", f"2130706433:{upstream.port}", "169.254.169.254"):
            response = ask(gateway, "good#image", **with_image(f"http://{host}/a.png"))
            error = response.json()["error"]
            assert (response.status_code, error["code"]) == (400, code)
            assert error["param"] == "messages[0].content[0].image_url.url"
            assert response.headers["x-gateway-provider"] == "ollama"
            assert "x-gateway-attempts" not in response.headers, "nobody was asked"
    assert len(upstream.requests) == before


async def test_a_fetched_image_goes_into_the_request(upstream: Upstream) -> None:
    async def picture(exchange: Exchange) -> None:
        await exchange.reply(b"\x89PNG", content_type="image/png")

    with running_upstream(picture) as pictures:
        provider = Ollama(configured(upstream.port), Egress(lambda _: True))
        try:
            image = with_image(f"http://127.0.0.1:{pictures.port}/a.png")
            body = validate(models.CreateChatCompletionRequest, {"model": "good#fetched", **image})
            await provider.create_chat_completion(Attempt(Call("createChatCompletion", "r")), body)
            many = [
                {"role": "user", "content": [with_image(f"http://h/{at}")["messages"][0]["content"][0]]}
                for at in range(17)
            ]
            crowd = validate(models.CreateChatCompletionRequest, {"model": "good#crowd", "messages": many})
            with pytest.raises(GatewayError, match="At most 16"):
                await provider.create_chat_completion(Attempt(Call("createChatCompletion", "r")), crowd)
        finally:
            await provider.aclose()
    assert upstream.last("good#fetched").json["messages"][0]["images"] == [base64.b64encode(b"\x89PNG").decode()]


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_images_and_answer_share_one_deadline(upstream: Upstream, stream: bool) -> None:
    async def slow_picture(exchange: Exchange) -> None:
        await asyncio.sleep(2.5)
        await exchange.reply(b"\x89PNG", content_type="image/png")

    with running_upstream(slow_picture) as pictures:
        row = configured(upstream.port)
        provider = Ollama(replace(row, timeouts=replace(row.timeouts, request=5)), Egress(lambda _: True))
        model = f"hang-before-headers#deadline-{stream}"
        image = with_image(f"http://127.0.0.1:{pictures.port}/a.png")
        body = validate(models.CreateChatCompletionRequest, {"model": model, **image})
        attempt = Attempt(Call("createChatCompletion", "r"))
        streamed = provider.stream_chat_completion(attempt, body)
        try:
            with pytest.raises(UpstreamTimeout):
                await (anext(streamed) if stream else provider.create_chat_completion(attempt, body))
        finally:
            await provider.aclose()
    (seen,) = upstream.seen(model)
    assert seen.gone.wait(15)
    assert seen.gone_at - seen.at < 4.5, "the answer had five seconds of its own"


def configured(port: int, key: str | None = None) -> Configured:
    row = next(row for row in ROWS if row.name == "ollama")
    timeouts = Timeouts(connect=1, request=5, stream_idle=5, stream=5)
    return Configured("lab", f"http://127.0.0.1:{port}", SecretStr(key) if key else None, timeouts, row)


async def test_a_key_in_the_environment_is_not_sent_to_a_host_without_one(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", KEY)
    monkeypatch.setenv("OLLAMA_HOST", "http://127.0.0.1:9")
    provider = Ollama(configured(upstream.port))
    try:
        body = validate(models.CreateChatCompletionRequest, {"model": "good#environment", **BODIES[CHAT]})
        await provider.create_chat_completion(Attempt(Call("createChatCompletion", "r")), body)
    finally:
        await provider.aclose()
    assert upstream.last("good#environment").header("authorization") is None


async def test_what_has_no_place_inside_a_message_is_counted(upstream: Upstream) -> None:
    provider = Ollama(replace(configured(upstream.port), name="counted"))
    fields = {"messages": [{"role": "user", "content": "x", "name": "Ada", "own": 1}], "parallel_tool_calls": False}
    attempt = Attempt(Call("createChatCompletion", "r"), Notes("counted"))
    try:
        body = validate(
            models.CreateChatCompletionRequest,
            {"model": "good#counted", "tools": [{"type": "function", "function": {"name": "f"}}], **fields},
        )
        await provider.create_chat_completion(attempt, body)
    finally:
        await provider.aclose()
    assert attempt.notes.dropped == {"messages.name", "messages.own", "parallel_tool_calls"}
    counts = {field: count for (name, field), count in counted(Event.DROPPED).items() if name == "counted"}
    assert counts == {"other": 1, "parallel_tool_calls": 1}


# -- what goes wrong is told --


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("status-400", 400, None),
        ("status-404", 404, "model_not_found"),
        ("status-503", 502, "upstream_error"),
        ("error-object", 502, "full"),
        ("stream-error-first", 502, "upstream_error"),
        ("stream-broken-json", 200, "upstream_invalid_response"),
        ("stream-giant-line", 200, "upstream_invalid_response"),
        ("loris-headers", 504, "upstream_timeout"),
        ("loris-body", 504, "upstream_timeout"),
        ("garbage", 502, "upstream_invalid_response"),
        ("huge-body", 502, "upstream_invalid_response"),
        ("null-body", 502, "upstream_invalid_response"),
        ("no-content", 502, "upstream_invalid_response"),
    ],
)
def test_a_fault_of_a_stream_is_told(impatient: LiveGateway, model: str, status: int, code: str | None) -> None:
    if status == 200:
        text, error, done = streamed(impatient, model)
        assert (text, error["code"], done) == ("".join(WORDS[:2]), code, False)
        return
    response = ask(impatient, model, stream=True)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code), response.text
    assert SECRET_MARK not in response.text


@pytest.mark.parametrize("model", ["loris-headers", "loris-body", "short-body", "huge-body", "null-body"])
def test_a_fault_of_a_whole_reply_is_told_and_does_not_swell(impatient: LiveGateway, model: str) -> None:
    before = impatient.rss()
    response = ask(impatient, model)
    late = model.startswith("loris")
    assert response.status_code == (504 if late else 502)
    assert response.json()["error"]["code"] == ("upstream_timeout" if late else "upstream_invalid_response")
    assert impatient.rss() - before < 150 * 2**20


def test_numbers_that_are_none_are_no_vectors(forwarding: LiveGateway) -> None:
    response = ask(forwarding, "nan-vectors", EMBED)
    assert (response.status_code, response.json()["error"]["code"]) == (502, "upstream_invalid_response")


@pytest.mark.parametrize("model", ["status-500", "status-429", "close-at-once", "hang-before-headers"])
def test_the_sdk_never_asks_twice(impatient: LiveGateway, upstream: Upstream, model: str) -> None:
    ask(impatient, f"{model}#once")
    assert len(upstream.seen(f"{model}#once")) == 1


def test_a_stream_that_was_read_to_its_end_leaves_its_connection_open(live: LiveGateway, upstream: Upstream) -> None:
    assert streamed(live, "good#kept")[2]
    assert not upstream.last("good#kept").gone.wait(0.5)


async def test_more_streams_than_an_sdk_has_connections_run_side_by_side(live: LiveGateway, upstream: Upstream) -> None:
    body = body_of(CHAT, "crowd", stream=True)
    options: Any = {"limits": httpx2.Limits(max_connections=CROWD), "trust_env": False, "verify": NO_CERTIFICATES}
    async with httpx2.AsyncClient(timeout=60, **options) as client:
        url = f"{live.base_url}/ollama/v1/{CHAT}"
        replies = await asyncio.gather(*(client.post(url, json=body) for _ in range(CROWD)))
    assert all(reply.text.endswith("data: [DONE]\n\n") for reply in replies)
    assert len(upstream.seen("crowd")) == CROWD


# -- who is imported --


@pytest.mark.slow
def test_no_sdk_is_imported_for_a_provider_that_nobody_configured() -> None:
    program = (
        "import sys; from ai_gateway.app.build import get_app; get_app();"
        "print(sorted({'ollama', 'cerebras', 'httpx', 'httpcore'} & set(sys.modules)))"
    )
    for env, expected in (({}, []), ({"OLLAMA_HOST": "gpu"}, ["httpcore", "httpx", "ollama"])):
        done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == str(expected)


def test_openais_client_works_with_ollamas_tools_vectors_and_streams(live: LiveGateway) -> None:
    import openai

    with ExitStack() as stack:
        client = stack.enter_context(
            openai.OpenAI(base_url=f"{live.base_url}/ollama/v1", api_key="none", max_retries=0, timeout=15)
        )
        vectors = client.embeddings.create(model="good", input=["one", "two"])  # base64, unasked
        assert [item.embedding for item in vectors.data] == [pytest.approx(vector, abs=1e-6) for vector in VECTORS]
        with client.chat.completions.stream(
            model="tool-calls-two", messages=[{"role": "user", "content": "hi"}]
        ) as events:
            calls = events.get_final_completion().choices[0].message.tool_calls or []
        assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == [
            ("zebra", {"z": "ä", "n": 1}),
            ("apfel", {}),
        ]
        chunks = list(client.completions.create(model="good", prompt="hi", stream=True))
        assert "".join(chunk.choices[0].text for chunk in chunks) == TEXT
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="status-404", messages=[{"role": "user", "content": "hi"}])

"""`/v1` as clients use it: names of every kind, no name at all, and two upstreams of which one is not well."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx2
import jsonschema_rs
import pytest

from tests.support.application import running_application
from tests.support.behaviours import TEXT
from tests.support.client import get, post as post_to
from tests.support.command import run_command
from tests.support.gateway import TEST_KEY, LiveGateway, SharedGateways
from tests.support.upstream import Exchange, Upstream, running_upstream

ASK: Any = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def sick() -> Iterator[Upstream]:
    async def hang(exchange: Exchange) -> None:
        await exchange.hang()

    with running_upstream(hang) as running:
        yield running


@pytest.fixture(scope="module")
def live(
    gateway_for: SharedGateways, upstream: Upstream, sick: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> LiveGateway:
    mapping = tmp_path_factory.mktemp("map") / "map.json"
    mapping.write_text(
        json.dumps({"fast": "openai/gpt-4o-mini", "gpt-3*": "openai/was-3*", "default_model": "fast"}), encoding="utf-8"
    )
    return gateway_for(
        OPENAI_BASE_URL=upstream.url, OPENAI_API_KEY="sk-up", VLLM_BASE_URL=sick.url, MODEL_MAPPING_FILE=str(mapping)
    )


def post(live: LiveGateway, body: Any, path: str = "/v1/chat/completions") -> httpx2.Response:
    return post_to(live, path, body)


@pytest.mark.parametrize(
    ("asked", "called"),
    [("fast", "gpt-4o-mini"), ("gpt-3.5", "was-3.5"), ("openai/any/thing:1", "any/thing:1"), ("plain-model", None)],
)
def test_the_sdk_reaches_a_model_by_every_kind_of_name(live: LiveGateway, asked: str, called: str | None) -> None:
    import openai

    with openai.OpenAI(base_url=f"{live.base_url}/v1", api_key=TEST_KEY) as client:
        raw = client.chat.completions.with_raw_response.create(model=asked, messages=ASK)
        assert raw.headers["x-gateway-provider"] == "openai"
        assert raw.headers.get("x-gateway-model") == called
        assert raw.parse().model == (called or asked)
        chunks = list(client.chat.completions.create(model=asked, messages=ASK, stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == TEXT


@pytest.mark.parametrize("model", [{}, {"model": None}, {"model": ""}], ids=["absent", "null", "empty"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": ASK}),
        ("/v1/completions", {"prompt": "x"}),
        ("/v1/embeddings", {"input": "x"}),
    ],
)
def test_a_request_that_names_no_model_gets_the_default(
    live: LiveGateway, path: str, body: dict[str, Any], model: dict[str, Any]
) -> None:
    reply = post(live, {**body, **model}, path)
    assert reply.status_code == 200, reply.text
    assert (reply.headers["x-gateway-provider"], reply.headers["x-gateway-model"]) == ("openai", "gpt-4o-mini")


@pytest.mark.parametrize("model", [7, [], {}, True])
def test_a_model_of_another_type_is_no_missing_one(live: LiveGateway, model: object) -> None:
    reply = post(live, {"messages": ASK, "model": model})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "model")


@pytest.mark.parametrize("body", [[], "x", 1, False])
def test_a_body_that_is_no_object_is_refused_as_ever(live: LiveGateway, body: Any) -> None:
    assert post(live, body).status_code == 400


def test_a_provider_in_the_path_has_no_default(live: LiveGateway) -> None:
    reply = post(live, {"messages": ASK}, "/openai/v1/chat/completions")
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "missing_required_parameter")


def test_without_a_default_a_model_is_required(gateway: LiveGateway) -> None:
    reply = post(gateway, {"messages": ASK})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "model")


def test_the_served_contract_says_what_may_be_left_out(live: LiveGateway, gateway: LiveGateway) -> None:
    def takes(served: LiveGateway, path: str) -> bool:
        contract = get(served, "/openapi.json").json()
        schema = contract["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        oracle = jsonschema_rs.Draft202012Validator({**schema, "components": contract["components"]})
        return all(oracle.is_valid({"messages": ASK, **model}) for model in ({}, {"model": None}))

    assert takes(live, "/v1/chat/completions")
    assert not takes(live, "/{provider}/v1/chat/completions")
    assert not takes(gateway, "/v1/chat/completions")


def test_a_provider_that_hangs_is_named_and_costs_the_list_a_moment_once(live: LiveGateway, sick: Upstream) -> None:
    first = get(live, "/v1/models")
    asked = len(sick.seen("models-list"))
    again = [get(live, "/v1/models") for _ in range(5)]
    for reply in (first, *again):
        assert reply.headers["x-gateway-models-missing"] == "vllm"
        found = [model["id"] for model in reply.json()["data"]]
        assert found[:1] == ["fast"]
        assert {"openai/plain-model", "openai/up/model-a:7b", "custom/custom-chat"} <= set(found)
        assert len(found) == len(set(found))
    assert len(sick.seen("models-list")) == asked
    report = get(live, "/health").json()
    states = {provider["name"]: provider["state"] for provider in report["providers"]}
    assert (report["status"], states) == ("degraded", {"openai": "ready", "vllm": "unreachable", "custom": "ready"})


def test_every_id_of_the_list_can_be_retrieved_and_asked(live: LiveGateway) -> None:
    import openai

    with openai.OpenAI(base_url=f"{live.base_url}/v1", api_key=TEST_KEY) as client:
        for model in list(client.models.list()):
            assert client.models.retrieve(model.id) == model
            reply = client.chat.completions.create(model=model.id, messages=ASK)
            assert reply.choices[0].message.content


def test_an_unknown_model_is_404_with_what_there_is_and_which_provider_is_unavailable(live: LiveGateway) -> None:
    reply = post(live, {"model": "plain-modle", "messages": ASK})
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")
    assert "Did you mean 'openai/plain-model'?" in error["message"]
    assert "Unavailable: vllm." in error["message"]


@pytest.mark.parametrize("model", ["openai/a\r\nx-evil: 1", "openai/ü\x7f", "openai/" + "x" * 5_000, "openai/%41"])
def test_a_model_name_cannot_write_headers(live: LiveGateway, model: str) -> None:
    reply = post(live, {"model": model, "messages": ASK})
    assert reply.status_code == 200
    shown = reply.headers["x-gateway-model"]
    assert "x-evil" not in reply.headers
    assert shown.isascii()
    assert shown.isprintable()
    assert len(shown) <= 256


@pytest.mark.slow
async def test_health_asks_in_the_background_and_never_waits(upstream: Upstream, sick: Upstream) -> None:
    env = {"OPENAI_BASE_URL": upstream.url, "OPENAI_API_KEY": "k", "VLLM_BASE_URL": sick.url}
    async with running_application(**env) as http:
        first = (await http.get("/health")).json()
        assert {provider["state"] for provider in first["providers"][:2]} == {"unknown"}
        with anyio.fail_after(60):
            while (await http.get("/health")).json()["status"] != "degraded":  # noqa: ASYNC110 - it tells nobody
                await anyio.sleep(0.05)


async def served(**env: str) -> Any:
    async with running_application(**env) as http:
        return (await http.get("/v1/models")).json()


def test_the_command_line_prints_the_same_list(upstream: Upstream, tmp_path: Path) -> None:
    mapping = tmp_path / "map.json"
    env = {"OPENAI_BASE_URL": upstream.url, "OPENAI_API_KEY": "sk-canary", "MODEL_MAPPING_FILE": str(mapping)}
    mapping.write_text('{"fast": "openai/plain-model"}', encoding="utf-8")
    shown = run_command("models", **env)
    rows = dict(line.split() for line in shown.stdout.splitlines())
    assert (shown.returncode, shown.stderr) == (0, "")
    assert (rows["fast"], rows["openai/up/model-a:7b"]) == ("openai", "upstream")
    assert json.loads(run_command("models", "--json", **env).stdout) == asyncio.run(served(**env))


def test_the_command_line_says_which_provider_is_unavailable_and_what_is_wrong() -> None:
    silent = run_command("models", VLLM_BASE_URL="http://127.0.0.1:9/v1", LOG_LEVEL="error")
    assert (silent.returncode, silent.stderr) == (1, "ai-gateway: unavailable: vllm\n")
    assert "custom/custom-chat" in silent.stdout
    wrong = run_command("models", MODEL_MAPPING_FILE="none.json")
    assert wrong.returncode == 2
    assert "cannot be read" in wrong.stderr

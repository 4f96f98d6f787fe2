"""Request fields on their way through the gateway to an upstream that remembers what it was sent."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings, strategies as st
from pydantic import SecretStr

from ai_gateway.app.build import build
from ai_gateway.app.configuration import read_configuration
from ai_gateway.contract.body import parse_json, validate
from ai_gateway.contract.call import DROPPED_HEADER, Call
from ai_gateway.contract.stream import Stream
from ai_gateway.contract.write import to_json
from ai_gateway.gateway import Gateway
from ai_gateway.providers.openai.policies import SAME_WIRE
from ai_gateway.providers.openai.provider import OpenAICompatible
from ai_gateway.providers.upstream import ProviderRow, Timeouts, Upstream as Configured
from ai_gateway.routing.provider_models import Catalogue
from ai_gateway.routing.registry import Registry
from ai_gateway.routing.resolver import Routing
from gateway_contract.openai import models
from gateway_contract.openai.parameters import Policies
from tests.support.upstream import Upstream

CHAT, LEGACY, EMBED = "/lab/v1/chat/completions", "/lab/v1/completions", "/lab/v1/embeddings"
JSON = {"content-type": "application/json"}
PICKY: Policies = {
    **SAME_WIRE,
    "createChatCompletion": {**SAME_WIRE["createChatCompletion"], "user": "dropped", "store": "refused"},
}
# Keys out of every alphabet, numbers that a careless reader changes, text that a careless writer escapes.
SCHEMA = (
    '{"type":"object","$defs":{"z":{"maximum":123456789012345678901234567890,"minimum":-1.0},"a":{}},'
    '"properties":{"zebra":{"multipleOf":0.1,"type":"number"},"apfel":{"enum":["ü","🙂","\u2028",null,1,1.0]},'
    '"10":{},"9":{}},"required":["zebra","apfel"],"additionalProperties":false,"x-own":[18446744073709551616,-0.0,[]]}'
)
TOOLS = (
    '[{"function":{"strict":true,"parameters":' + SCHEMA + ',"name":"zz","x-more":{"b":1,"a":2}},"type":"function"},'
    '{"type":"custom","custom":{"name":"aa","description":"Ünï"}}]'
)
FORMAT = '{"json_schema":{"schema":' + SCHEMA + ',"name":"n"},"type":"json_schema"}'
OWN = '{"z":{"y":[1.0,2,{"b":null,"a":true}]},"a":9007199254740993,"z2":"é","tiny":5e-324}'


@pytest.fixture
def anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, upstream: Upstream) -> Path:
    """A directory where the upstream is the provider `lab`, by its table in gateway.toml."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOG_LEVEL", "error")
    (tmp_path / "gateway.toml").write_text(f'[providers.lab]\nbase_url = "{upstream.url}"\n', encoding="utf-8")
    return tmp_path


@asynccontextmanager
async def client(**given: Any) -> AsyncIterator[httpx2.AsyncClient]:
    app = build(read_configuration(**given)).asgi
    transport = httpx2.ASGITransport(app, client=("127.0.0.1", 1))
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:9000") as http,
    ):
        yield http


def chat(model: str, **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Hello"}], **fields}


@pytest.mark.usefixtures("anywhere")
@pytest.mark.parametrize("stream", ["true", "false"])
async def test_a_request_reaches_the_upstream_byte_for_byte(upstream: Upstream, stream: str) -> None:
    model = f"order#{stream}"
    sent = (
        f'{{"own":{OWN},"tools":{TOOLS},"stream":{stream},"model":"{model}","response_format":{FORMAT},'
        '"messages":[{"content":"Grüße","x-b":{"d":1,"c":2.0},"x-a":1,"role":"user"}],"seed":9007199254740993,"also":1}'
    )
    async with client() as http:
        reply = await http.post(CHAT, content=sent.encode(), headers=JSON)
    assert reply.status_code == 200
    got = upstream.last(model).body.decode()
    # What a stream used is always wanted; the gateway asks for it behind all that the caller sent.
    assert got == (f'{sent[:-1]},"stream_options":{{"include_usage":true}}}}' if stream == "true" else sent)


@pytest.mark.usefixtures("anywhere")
async def test_a_number_may_be_spelled_differently_but_stays_the_same_number(upstream: Upstream) -> None:
    sent = '{"model":"spelled","messages":[{"role":"user","content":"x"}],"own":[1e3,1E-7,1.50,100e-2,0.1e1,-0.0]}'
    async with client() as http:
        assert (await http.post(CHAT, content=sent.encode(), headers=JSON)).status_code == 200
    got = upstream.last("spelled").json["own"]
    assert [repr(number) for number in got] == ["1000.0", "1e-07", "1.5", "1.0", "1.0", "-0.0"]


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(10**40), max_value=10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abz-_ü🙂19", max_size=4), inner, max_size=5),
    max_leaves=20,
)
SCHEMAS = st.dictionaries(st.text("abz-_ü🙂19", max_size=4), JSON_VALUES, max_size=6)


@pytest.mark.slow
@settings(max_examples=300)
@given(schema=SCHEMAS, own=JSON_VALUES, ascii_only=st.booleans())
def test_any_schema_and_any_unknown_field_keep_their_order_and_values(
    schema: dict[str, Any], own: Any, ascii_only: bool
) -> None:
    sent = chat(
        "m",
        tools=[{"type": "function", "function": {"name": "f", "parameters": schema}}],
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
        **{"x-own": own},
    )
    raw = json.dumps(sent, ensure_ascii=ascii_only).encode()
    got = json.loads(to_json(validate(models.CreateChatCompletionRequest, parse_json(raw))))
    assert json.dumps(got["tools"]) == json.dumps(sent["tools"])
    assert json.dumps(got["response_format"]) == json.dumps(sent["response_format"])
    assert json.dumps(got["x-own"]) == json.dumps(own)


@pytest.mark.usefixtures("anywhere")
@pytest.mark.parametrize("stream", [True, False])
async def test_dropped_unknown_fields_do_not_reach_the_upstream_and_are_named(upstream: Upstream, stream: bool) -> None:
    body = chat(f"dropped#{stream}", stream=stream, temperature=0.5, zz={"a": 1}, aa=None)
    async with client(unknown_params="drop") as http:
        reply = await http.post(CHAT, json=body)
    assert (reply.status_code, reply.headers[DROPPED_HEADER]) == (200, "aa,zz")
    kept = {name: value for name, value in body.items() if name not in {"aa", "zz"}}
    counted = {"stream_options": {"include_usage": True}} if stream else {}
    assert upstream.last(f"dropped#{stream}").json == kept | counted


@pytest.mark.usefixtures("anywhere")
async def test_a_refusal_of_the_upstream_still_names_what_was_dropped() -> None:
    async with client(unknown_params="drop") as http:
        reply = await http.post(CHAT, json=chat("status-429", zz=1))
    assert (reply.status_code, reply.headers[DROPPED_HEADER]) == (429, "zz")


@pytest.mark.usefixtures("anywhere")
@pytest.mark.parametrize(
    ("path", "body"), [(CHAT, chat("rejected", zz=1)), (LEGACY, {"model": "rejected", "prompt": "x", "zz": 1})]
)
async def test_rejected_unknown_fields_are_400_before_the_upstream_is_asked(
    upstream: Upstream, path: str, body: dict[str, Any]
) -> None:
    async with client(unknown_params="reject") as http:
        reply = await http.post(path, json=body)
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (400, "unknown_parameter", "zz")
    assert reply.headers["x-gateway-provider"] == "lab"
    assert upstream.seen("rejected") == []


async def test_a_providers_own_table_wins_over_the_general_setting(anywhere: Path, upstream: Upstream) -> None:
    config = anywhere / "gateway.toml"
    config.write_text(f'{config.read_text(encoding="utf-8")}unknown_params = "drop"\n', encoding="utf-8")
    async with client(unknown_params="reject") as http:
        assert (await http.post(CHAT, json=chat("table", zz=1))).headers[DROPPED_HEADER] == "zz"
        assert (await http.post("/custom/v1/chat/completions", json=chat("table", zz=1))).status_code == 400
    assert "zz" not in upstream.last("table").json


@pytest.mark.usefixtures("anywhere")
async def test_a_further_field_of_an_embedding_request_is_one_as_any_other(upstream: Upstream) -> None:
    async with client(unknown_params="reject") as http:
        reply = await http.post(EMBED, json={"model": "closed", "input": "x", "zz": 1})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "unknown_parameter")
    assert upstream.seen("closed") == []
    for unknown in ("forward", "drop"):
        async with client(unknown_params=unknown) as http:
            await http.post(EMBED, json={"model": f"closed-{unknown}", "input": "x", "zz": 1})
    assert upstream.last("closed-forward").json["zz"] == 1
    assert "zz" not in upstream.last("closed-drop").json


async def test_policies_of_a_row_hold_before_its_upstream_is_called(upstream: Upstream) -> None:
    timeouts = Timeouts(connect=5, request=5, stream_idle=5, stream=5)
    row = ProviderRow("lab", upstream.url, "LAB_API_KEY", policies=PICKY)
    provider = OpenAICompatible(Configured("lab", upstream.url, SecretStr("k"), timeouts, row))
    gateway = Gateway(Routing(Registry([provider]), Catalogue([provider])))
    call = Call(operation="any", request_id="r", provider="lab")
    try:
        body = validate(models.CreateChatCompletionRequest, chat("picky", user="u", seed=1))
        await gateway.chat(call, body)
        streaming = validate(models.CreateChatCompletionRequest, chat("picky#s", user="u", stream=True))
        reply = await gateway.chat(call, streaming)
        assert isinstance(reply, Stream)
        assert [chunk async for chunk in reply.items]
    finally:
        await gateway.aclose()
    assert call.notes.headers()[DROPPED_HEADER] == "user"
    assert upstream.last("picky").json == chat("picky", seed=1)
    assert upstream.last("picky#s").json == chat("picky#s", stream=True, stream_options={"include_usage": True})


async def test_the_ledger_tells_of_every_configured_provider_and_needs_a_key(anywhere: Path) -> None:
    config = anywhere / "gateway.toml"
    config.write_text(f'{config.read_text(encoding="utf-8")}unknown_params = "drop"\n', encoding="utf-8")
    async with client(allowed_api_keys=["k"]) as http:
        assert (await http.get("/v1/parameters")).status_code == 401
        reply = await http.get("/v1/parameters", headers={"authorization": "Bearer k"})
    providers = {each["provider"]: each["operations"] for each in reply.json()["providers"]}
    assert list(providers) == ["lab", "custom"]
    operations = {each.pop("operation"): each for each in providers["lab"]}
    assert {name: each.pop("unknown") for name, each in operations.items()} == {
        "createChatCompletion": "drop",
        "createCompletion": "drop",
        "createEmbedding": "reject",
    }
    assert operations["createEmbedding"] == {
        "forwarded": ["dimensions", "encoding_format", "input", "user"],
        "mapped": ["model"],
        "dropped": [],
        "refused": [],
    }
    spoken = next(each for each in providers["custom"] if each["operation"] == "createChatCompletion")
    assert "audio" in spoken["dropped"]
    assert "temperature" in spoken["dropped"]
    listed = [name for policy in ("forwarded", "mapped", "dropped", "refused") for name in spoken[policy]]
    assert sorted(listed) == sorted(models.CreateChatCompletionRequest.model_fields)


@pytest.mark.usefixtures("anywhere")
async def test_a_provider_called_parameters_does_not_stand_in_the_ledgers_way(
    monkeypatch: pytest.MonkeyPatch, upstream: Upstream
) -> None:
    monkeypatch.setenv("PROVIDER_PARAMETERS_BASE_URL", upstream.url)
    async with client() as http:
        assert (await http.get("/parameters/v1/models")).status_code == 200
        assert (await http.get("/v1/parameters")).json()["providers"]


@pytest.mark.usefixtures("anywhere")
async def test_an_upstream_that_refuses_the_wish_for_usage_is_called_without_it_from_then_on(
    upstream: Upstream,
) -> None:
    """The caller did not ask for it, so the refusal is not the caller's either."""
    async with client() as http:
        for _ in range(2):
            reply = await http.post(CHAT, json=chat("no-usage-option", stream=True))
            assert (reply.status_code, reply.text.count("[DONE]")) == (200, 1)
        asked = await http.post(CHAT, json=chat("no-usage-option", stream=True, stream_options={"include_usage": True}))
    assert [("stream_options" in seen.json) for seen in upstream.seen("no-usage-option")] == [True, False, False, True]
    assert (asked.status_code, asked.json()["error"]["param"]) == (400, "stream_options")

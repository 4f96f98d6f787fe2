"""The quirks of each known upstream, seen on the wire at an upstream that remembers what it was sent."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from ai_gateway.contract.call import DROPPED_HEADER
from ai_gateway.providers.catalog import ROWS
from ai_gateway.providers.openai.policies import SAME_WIRE
from ai_gateway.providers.openai.quirks import Quirks
from ai_gateway.providers.upstream import OPENAI_COMPATIBLE
from tests.support.application import running_application
from tests.support.behaviours import TEXT, USAGE, behave
from tests.support.client import BODIES, CHAT, EMBED, LEGACY, body_of, client_of
from tests.support.fake_mistral import mistral_wire
from tests.support.gateway import running_gateway
from tests.support.upstream import Exchange, Upstream, running_upstream

SAME = [row for row in ROWS if row.adapter == OPENAI_COMPATIBLE]


@dataclass(frozen=True)
class Case:
    """What a client sends to a provider, what its upstream is to see of it, and what the reply is to name."""

    provider: str
    sent: dict[str, Any]
    seen: dict[str, Any]
    named: str | None = None
    operation: str = CHAT


LIMIT = {"max_completion_tokens": 5}
DEVELOPER = {"role": "developer", "content": [{"type": "text", "text": "Be brief."}], "name": "d"}
USER = {"role": "user", "content": "developer"}
TOLD = {"messages": [DEVELOPER, USER, DEVELOPER]}
AS_SYSTEM = {"messages": [{**DEVELOPER, "role": "system"}, USER, {**DEVELOPER, "role": "system"}]}
CASES = [
    *(Case(name, LIMIT, {"max_tokens": 5}) for name in ("together", "mistral", "deepseek", "llamacpp", "lmstudio")),
    *(Case(name, LIMIT, LIMIT) for name in ("openai", "openrouter", "fireworks", "groq", "vllm")),
    *(Case(row.name, {"max_tokens": 5}, {"max_tokens": 5}) for row in SAME),
    Case("mistral", {"seed": 7}, {"random_seed": 7}),
    Case("mistral", {"seed": 7}, {"random_seed": 7}, operation=LEGACY),
    Case("mistral", {"dimensions": 3}, {"output_dimension": 3}, operation=EMBED),
    Case("mistral", {"seed": 7, "random_seed": 7, "top_p": 0.5}, {"random_seed": 7, "top_p": 0.5}),
    Case("mistral", {"max_tokens": None, **LIMIT}, {"max_tokens": 5}),
    Case("mistral", {**LIMIT, "max_tokens": None}, {"max_tokens": 5}),
    Case("mistral", {"max_completion_tokens": None, "seed": None, "max_tokens": 5}, {"max_tokens": 5}),
    Case("mistral", {"store": False, "user": "u", "top_p": 0.5}, {"top_p": 0.5}, named="store,user"),
    Case("mistral", {"user": "u"}, {}, named="user", operation=EMBED),
    Case("mistral", {"logprobs": False, "logit_bias": {}}, {}),
    Case("mistral", {"logprobs": True}, {"logprobs": True}),
    Case("groq", {"logprobs": False, "top_logprobs": 0, "logit_bias": {}}, {}),
    Case("groq", {"logprobs": None, "logit_bias": None}, {}),
    Case("groq", {"logprobs": True, "top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
    Case("groq", {"logprobs": 0}, {"logprobs": 0}, operation=LEGACY),
    Case("groq", {"service_tier": "on_demand"}, {"service_tier": "on_demand"}),
    Case("groq", {"service_tier": "performance"}, {"service_tier": "performance"}),
    Case("groq", {"reasoning_effort": "default"}, {"reasoning_effort": "default"}),
    Case("llamacpp", {"temperature": None, "user": None, "own": None, "top_p": 0.5}, {"top_p": 0.5}),
    *(Case(row.name, TOLD, AS_SYSTEM if row.name in {"llamacpp", "jan"} else TOLD) for row in SAME),
    Case("llamacpp", {"suffix": None, "seed": None}, {}, operation=LEGACY),
    Case("sglang", {"n": None, "logprobs": None, "frequency_penalty": None, "top_p": 0.5}, {"top_p": 0.5}),
    Case("sglang", {"n": None, "max_tokens": None}, {}, operation=LEGACY),
    Case("vllm", {"temperature": None, "own": None}, {"temperature": None, "own": None}),
    Case("openai", {"store": False, "user": "u", "seed": 1}, {"store": False, "user": "u", "seed": 1}),
]


async def quirky(exchange: Exchange) -> None:
    """A good upstream, which lists its models as Together does where it is asked for `/bare`."""
    if exchange.seen.path == "/bare/v1/models":
        await exchange.json([{"id": "a/b", "object": "model", "created": 5, "organization": "Acme", "type": "chat"}])
    else:
        await behave(exchange)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream(quirky) as running:
        yield running


@pytest.fixture(scope="module")
def client(upstream: Upstream) -> Iterator[httpx2.Client]:
    """Of a gateway with every known provider, each with a key, at the one upstream."""
    env = {row.key_env: "sk-0123456789" for row in SAME} | {row.base_url_env: upstream.url for row in SAME}
    env["TOGETHER_BASE_URL"] = upstream.url.replace("/v1", "/bare/v1")
    env["OPENROUTER_HTTP_REFERER"] = "https://gateway.example.com"
    with running_gateway(**env) as live, client_of(live) as http:
        yield http


def ask(client: httpx2.Client, provider: str, operation: str, model: str, **fields: Any) -> httpx2.Response:
    return client.post(f"/{provider}/v1/{operation}", json=body_of(operation, model, **fields))


@pytest.mark.parametrize(("at", "case"), [*enumerate(CASES)], ids=lambda value: getattr(value, "provider", value))
def test_a_request_reaches_the_upstream_in_its_own_words(
    client: httpx2.Client, upstream: Upstream, at: int, case: Case
) -> None:
    model = f"good#case-{at}"
    reply = ask(client, case.provider, case.operation, model, **case.sent)
    assert reply.status_code == 200, reply.text
    assert upstream.last(model).json == {"model": model, **BODIES[case.operation], **case.seen}
    assert reply.headers.get(DROPPED_HEADER) == case.named
    if case.operation == CHAT:
        ask(client, case.provider, CHAT, f"{model}-s", stream=True, **case.sent)
        assert upstream.last(f"{model}-s").json.items() >= case.seen.items()


@pytest.mark.parametrize(
    ("provider", "fields", "param"),
    [
        ("mistral", {"max_tokens": 4, "max_completion_tokens": 5}, "max_completion_tokens"),
        ("mistral", {"seed": 4, "random_seed": 5}, "seed"),
        ("deepseek", {"max_tokens": 4, "max_completion_tokens": 5}, "max_completion_tokens"),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_two_names_for_one_thing_are_400_when_they_disagree(
    client: httpx2.Client, upstream: Upstream, provider: str, fields: dict[str, int], param: str, *, stream: bool
) -> None:
    reply = ask(client, provider, CHAT, f"good#two-{provider}-{param}", stream=stream, **fields)
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (400, "unsupported_value", param)
    assert upstream.seen(f"good#two-{provider}-{param}") == []


TOKENS = {"tokens": [1, 2, 3], "token-lists": [[1, 2], [3]]}


@pytest.mark.parametrize("row", SAME, ids=lambda row: row.name)
@pytest.mark.parametrize("kind", TOKENS)
def test_tokens_are_embedded_or_refused_before_the_upstream_is_called(
    client: httpx2.Client, upstream: Upstream, row: Any, kind: str
) -> None:
    model = f"good#{row.name}-{kind}"
    reply = ask(client, row.name, EMBED, model, input=TOKENS[kind])
    if row.quirks.token_arrays:
        assert upstream.last(model).json["input"] == TOKENS[kind]
        return
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (400, "unsupported_value", "input")
    assert "array of strings" in error["message"]
    assert upstream.seen(model) == []


def test_the_upstreams_that_embed_texts_only_are_those_that_say_so() -> None:
    assert {row.name for row in ROWS if not row.quirks.token_arrays} == {"together", "mistral", "lmstudio", "infinity"}


def test_usage_that_comes_unasked_is_passed_on_only_if_asked_for(client: httpx2.Client, upstream: Upstream) -> None:
    for asked in (True, False):
        model = f"sloppy#usage-{asked}"
        reply = ask(client, "mistral", CHAT, model, stream=True, stream_options={"include_usage": asked})
        assert "stream_options" not in upstream.last(model).json
        assert DROPPED_HEADER not in reply.headers
        chunks = [json.loads(line[6:]) for line in reply.text.split("\n\n") if line.startswith("data: {")]
        usage = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
        assert [{name: each[name] for name in USAGE} for each in usage] == ([USAGE] if asked else [])


def test_a_bare_list_of_models_is_a_list_of_models(client: httpx2.Client) -> None:
    reply = client.get("/together/v1/models")
    assert reply.status_code == 200, reply.text
    listed = reply.json()
    assert listed["object"] == "list"
    assert [(model["id"], model["owned_by"], model["created"]) for model in listed["data"]] == [("a/b", "Acme", 5)]
    assert "together/a/b" in [model["id"] for model in client.get("/v1/models").json()["data"]]


async def test_a_list_in_its_object_is_taken_from_the_same_upstream_too(upstream: Upstream) -> None:
    async with running_application(TOGETHER_API_KEY="k", TOGETHER_BASE_URL=upstream.url) as http:
        assert len((await http.get("/together/v1/models")).json()["data"]) == 2


async def test_an_array_is_no_list_of_models_where_no_row_says_so(upstream: Upstream) -> None:
    url = upstream.url.replace("/v1", "/bare/v1")
    async with running_application(GROQ_API_KEY="k", GROQ_BASE_URL=url) as http:
        reply = await http.get("/groq/v1/models")
    assert (reply.status_code, reply.json()["error"]["code"]) == (502, "upstream_invalid_response")


def test_openrouter_is_told_who_asks(client: httpx2.Client, upstream: Upstream) -> None:
    assert ask(client, "openrouter", CHAT, "good#attribution").status_code == 200
    seen = upstream.last("good#attribution")
    assert seen.header("x-title") == "Universal AI Gateway"
    assert seen.header("http-referer") == "https://gateway.example.com"
    assert ask(client, "openai", CHAT, "good#no-attribution").status_code == 200
    assert upstream.last("good#no-attribution").header("x-title") is None


@pytest.mark.parametrize(("reported", "header"), [("My app", "My app"), ("none", None), ("NONE", None)])
async def test_the_operator_decides_what_openrouter_is_told(
    upstream: Upstream, reported: str, header: str | None
) -> None:
    env = {"OPENROUTER_API_KEY": "k", "OPENROUTER_BASE_URL": upstream.url, "OPENROUTER_X_TITLE": reported}
    async with running_application(**env) as http:
        reply = await http.post(f"/openrouter/v1/{CHAT}", json=body_of(CHAT, f"good#told-{reported}"))
    assert reply.json()["choices"][0]["message"]["content"] == TEXT
    seen = upstream.last(f"good#told-{reported}")
    assert (seen.header("x-title"), seen.header("http-referer")) == (header, None)


@pytest.mark.parametrize(
    ("provider", "ours", "theirs"),
    [
        ("llamacpp", "my-request", None),
        ("llamacpp", "req_0b6c1b1e2f5d4b579d550c9f5a1e7a10", "0b6c1b1e-2f5d-4b57-9d55-0c9f5a1e7a10"),
        ("llamacpp", "req_" + "5a" * 16, None),
        ("llamacpp", "5a" * 16, "5a" * 16),
        ("llamacpp", "0b6c1b1e-2f5d-4b57-9d55-0c9f5a1e7a10", "0b6c1b1e-2f5d-4b57-9d55-0c9f5a1e7a10"),
        ("llamacpp", "5a" * 15, None),
        ("vllm", "my-request", "my-request"),
    ],
)
def test_an_upstream_that_wants_uuids_gets_no_other_request_id(
    client: httpx2.Client, upstream: Upstream, provider: str, ours: str, theirs: str | None
) -> None:
    model = f"good#id-{provider}-{ours}"
    body = {"model": model, **BODIES[CHAT]}
    reply = client.post(f"/{provider}/v1/{CHAT}", json=body, headers={"x-request-id": ours})
    assert (reply.status_code, reply.headers["x-request-id"]) == (200, ours)
    assert upstream.last(model).header("x-request-id") == theirs


def test_an_id_of_the_gateway_is_a_uuid_to_an_upstream_that_wants_one(
    client: httpx2.Client, upstream: Upstream
) -> None:
    reply = ask(client, "llamacpp", CHAT, "good#own-id")
    seen = upstream.last("good#own-id").header("x-request-id")
    assert seen
    assert (uuid.UUID(seen).version, str(uuid.UUID(seen))) == (4, seen)
    assert reply.headers["x-request-id"] == f"req_{uuid.UUID(seen).hex}"


def test_the_ledger_of_a_provider_counts_its_quirks(client: httpx2.Client) -> None:
    providers = {each["provider"]: each["operations"] for each in client.get("/v1/parameters").json()["providers"]}
    chat = next(each for each in providers["mistral"] if each["operation"] == "createChatCompletion")
    assert {"seed", "max_completion_tokens", "stream_options", "logprobs"} <= set(chat["mapped"])
    assert {"store", "user"} <= set(chat["dropped"])
    plain = next(each for each in providers["openai"] if each["operation"] == "createChatCompletion")
    assert (plain["mapped"], plain["dropped"], plain["refused"]) == (["model"], [], [])


def test_quirks_change_what_a_row_declares_and_nothing_else() -> None:
    quirks = Quirks(renamed={"seed": "random_seed"}, dropped=frozenset({"user"}), refused=frozenset({"n"}))
    decided = quirks.policies(SAME_WIRE)
    changed = {
        (operation, name): policy
        for operation, fields in decided.items()
        for name, policy in fields.items()  # type: ignore[attr-defined] # a TypedDict's values are objects to mypy
        if policy != SAME_WIRE[operation][name]  # type: ignore[literal-required]
    }
    assert changed == {
        ("createChatCompletion", "seed"): "mapped",
        ("createCompletion", "seed"): "mapped",
        ("createChatCompletion", "user"): "dropped",
        ("createCompletion", "user"): "dropped",
        ("createEmbedding", "user"): "dropped",
        ("createChatCompletion", "n"): "refused",
        ("createCompletion", "n"): "refused",
    }
    assert Quirks().policies(SAME_WIRE) == SAME_WIRE


async def test_what_mistral_does_not_know_it_refuses_in_words_that_name_it() -> None:
    common = {"store": False, "user": "u", "seed": 1, "max_completion_tokens": 5, "logprobs": False, "n": 1}
    with running_upstream(mistral_wire) as strict:
        async with running_application(MISTRAL_API_KEY="k", MISTRAL_BASE_URL=strict.url) as http:
            reply = await http.post(f"/mistral/v1/{CHAT}", json=body_of(CHAT, "good", logprobs=True))
            fine = await http.post(f"/mistral/v1/{CHAT}", json=body_of(CHAT, "good", **common))
    assert (reply.status_code, reply.json()["error"]["param"]) == (422, "logprobs")
    assert fine.status_code == 200


@pytest.mark.parametrize(("path", "takes"), [("openrouter", True), ("groq", False), ("openai", False), ("vllm", False)])
def test_who_wants_no_thinking_on_ollamas_wire_gets_an_answer_everywhere(
    client: httpx2.Client, upstream: Upstream, path: str, takes: bool
) -> None:
    body = {
        "model": f"{path}/good#still-{path}",
        "messages": [{"role": "user", "content": "hi"}],
        "think": False,
        "stream": False,
    }
    reply = client.post("/api/chat", json=body)
    assert reply.status_code == 200
    assert upstream.last(f"good#still-{path}").json.get("reasoning_effort") == ("none" if takes else None)
    assert reply.headers.get(DROPPED_HEADER) == (None if takes else "think")


@pytest.mark.parametrize("door", ["api/chat", "api/generate"])
def test_another_server_under_openais_name_gets_the_limit_that_all_know(
    client: httpx2.Client, upstream: Upstream, door: str
) -> None:
    asked = {"messages": [{"role": "user", "content": "hi"}]} if door == "api/chat" else {"prompt": "hi"}
    body = {"model": "openai/good#limited", **asked, "options": {"num_predict": 5}, "stream": False}
    assert client.post(f"/{door}", json=body).status_code == 200
    assert upstream.last("good#limited").json["max_tokens"] == 5


def test_openai_itself_gets_the_limit_that_all_its_models_take() -> None:
    row = next(row for row in ROWS if row.name == "openai")
    chat = {"messages": [], "max_tokens": 5, "reasoning_effort": "low"}
    worded = {"messages": [], "max_completion_tokens": 5, "reasoning_effort": "low"}
    assert row.quirks.from_other_wires(chat) == (worded, set())
    text = {"prompt": "p", "max_tokens": 5}
    assert row.quirks.from_other_wires(text) == (text, set())

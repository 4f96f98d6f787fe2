"""Callers of Ollama's wire in front of an Ollama server: what they say arrives as they said it, and so do answers."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.support.behaviours import TEXT, THOUGHT, WORDS
from tests.support.client import get, post
from tests.support.fake_ollama import METRICS, MODELS, SHOWN
from tests.support.gateway import LiveGateway, running_gateway
from tests.support.upstream import Upstream

pytestmark = pytest.mark.live

type Json = dict[str, Any]
PNG = "iVBORw0KGgo="
SCHEMA = {"type": "object", "properties": {"z": {"type": "string"}, "a": {"type": "integer"}}}
OPTIONS = {"temperature": 2.5, "top_k": 5, "num_ctx": 8192, "mirostat": 2, "stop": ["END"], "num_predict": -2}
EXTRAS = {
    "options": OPTIONS,
    "keep_alive": "5m",
    "format": SCHEMA,
    "think": "max",
    "truncate": False,
    "odd": {"a": [1]},
}
TALK = [
    {"role": "user", "content": "see", "images": [PNG]},
    {"role": "assistant", "content": "", "thinking": "hm", "tool_calls": [
        {"function": {"name": "zebra", "arguments": {"z": "ä", "n": 1}}}]},
    {"role": "tool", "content": "1", "tool_name": "zebra"},
]  # fmt: skip
SAY = [{"role": "user", "content": "see"}]
TOOLS = [{"type": "function", "function": {"name": "zebra", "parameters": SCHEMA}}]


@pytest.fixture(scope="module")
def server(ollama_upstream: Upstream) -> Upstream:
    return ollama_upstream


@pytest.fixture(scope="module")
def live(beside_ollama: LiveGateway) -> LiveGateway:
    return beside_ollama


def ask(live: LiveGateway, operation: str, body: Json) -> httpx2.Response:
    return post(live, f"/api/{operation}", body)


def lines(reply: httpx2.Response) -> list[Json]:
    assert reply.status_code == 200, reply.text
    return [json.loads(line) for line in reply.content.decode().split("\n")[:-1]]


@pytest.mark.parametrize("stream", [True, False])
def test_a_chat_arrives_as_it_was_said(live: LiveGateway, server: Upstream, stream: bool) -> None:
    said = {"messages": TALK, "tools": TOOLS, **EXTRAS}
    reply = ask(live, "chat", {"model": "ollama/said", "stream": stream, **said})
    assert lines(reply)[-1]["done_reason"] == "stop" if stream else reply.json()["message"]["content"] == TEXT
    assert server.last("said").path == "/api/chat"
    assert server.last("said").json == {"model": "said", "stream": stream, **said}
    assert "x-gateway-dropped-params" not in reply.headers


@pytest.mark.parametrize("stream", [True, False])
def test_a_prompt_arrives_as_it_was_said(live: LiveGateway, server: Upstream, stream: bool) -> None:
    said = {"prompt": "p", "system": "s", "template": "{{ .Prompt }}", "context": [1, 2], "images": [PNG], **EXTRAS}
    reply = ask(live, "generate", {"model": "ollama/prompt", "stream": stream, **said})
    assert ("".join(line["response"] for line in lines(reply)) if stream else reply.json()["response"]) == TEXT
    assert server.last("prompt").path == "/api/generate"
    assert server.last("prompt").json == {"model": "prompt", "stream": stream, "raw": False, **said}


def test_a_data_url_arrives_as_the_base64_that_the_server_takes(live: LiveGateway, server: Upstream) -> None:
    talk = [{"role": "user", "content": "see", "images": [f"data:image/png;base64,{PNG}"]}]
    lines(ask(live, "chat", {"model": "ollama/url", "messages": talk}))
    assert server.last("url").json["messages"] == [{"role": "user", "content": "see", "images": [PNG]}]


def test_texts_to_embed_arrive_with_their_options(live: LiveGateway, server: Upstream) -> None:
    said = {"input": ["a", "b"], "truncate": True, "options": {"num_ctx": 9}, "keep_alive": 0, "dimensions": 2}
    reply = ask(live, "embed", {"model": "ollama/vectors", **said}).json()
    assert [len(vector) for vector in reply["embeddings"]] == [2, 2]
    assert reply["prompt_eval_count"] == 5
    assert server.last("vectors").json == {"model": "vectors", **said}
    older = ask(live, "embeddings", {"model": "ollama/older", "prompt": "a", "options": {"num_ctx": 9}}).json()
    assert len(older["embedding"]) == 3
    assert server.last("older").json == {"model": "older", "input": "a", "options": {"num_ctx": 9}}


def test_a_model_is_loaded_and_unloaded_where_it_is(live: LiveGateway, server: Upstream) -> None:
    assert ask(live, "chat", {"model": "ollama/loaded#c", "messages": []}).json()["done_reason"] == "load"
    assert server.last("loaded#c").json == {"model": "loaded#c", "messages": [], "stream": False}
    unload = {"model": "ollama/loaded#g", "keep_alive": 0}
    assert ask(live, "generate", unload).json()["done_reason"] == "unload"
    assert server.last("loaded#g").json["keep_alive"] == 0


def test_thoughts_and_calls_come_back_as_the_server_said_them(live: LiveGateway) -> None:
    found = lines(ask(live, "chat", {"model": "ollama/thinking", "messages": TALK[:1]}))
    assert "".join(line["message"].get("thinking", "") for line in found) == THOUGHT
    assert [line["message"]["content"] for line in found if line["message"]["content"]] == WORDS
    assert (found[-1]["prompt_eval_count"], found[-1]["eval_count"]) == (7, 4)
    for stream in (True, False):
        reply = ask(live, "chat", {"model": "ollama/tool-calls-ids", "messages": TALK[:1], "stream": stream})
        said = [line["message"] for line in lines(reply)] if stream else [reply.json()["message"]]
        calls = [call for message in said for call in message.get("tool_calls", [])]
        assert [(call["id"], call["function"]["name"]) for call in calls] == [
            ("call_own0", "zebra"), ("call_own1", "apfel"),
        ]  # fmt: skip
        assert [call["function"]["index"] for call in calls] == [0, 1]


@pytest.mark.parametrize(("path", "asked"), [("chat", {"messages": TALK[:1]}), ("generate", {"prompt": "p"})])
@pytest.mark.parametrize("stream", [True, False])
def test_the_servers_own_times_are_told(live: LiveGateway, path: str, asked: dict[str, Any], stream: bool) -> None:
    reply = ask(live, path, {"model": "ollama/good", "stream": stream, **asked})
    last = lines(reply)[-1] if stream else reply.json()
    assert {name: last[name] for name in METRICS} == METRICS


@pytest.mark.parametrize("stream", [True, False])
def test_times_that_are_none_are_left_out_and_the_answer_is_not(live: LiveGateway, stream: bool) -> None:
    reply = ask(live, "chat", {"model": "ollama/odd-times", "stream": stream, "messages": TALK[:1]})
    last = lines(reply)[-1] if stream else reply.json()
    assert (last["done"], last["total_duration"]) == (True, 7)
    assert not {"load_duration", "prompt_eval_duration", "eval_duration"} & last.keys()


def test_the_time_that_vectors_took_is_the_servers_too(live: LiveGateway) -> None:
    reply = ask(live, "embed", {"model": "ollama/good", "input": "a"}).json()
    assert (reply["total_duration"], reply["load_duration"]) == (METRICS["total_duration"], METRICS["load_duration"])


@pytest.mark.parametrize("field", ["model", "name"])
def test_a_model_is_shown_as_its_server_shows_it(live: LiveGateway, server: Upstream, field: str) -> None:
    shown = ask(live, "show", {field: "ollama/library-model", "verbose": True, "odd": 1})
    assert shown.json() == SHOWN
    assert "x-gateway-dropped-params" not in shown.headers
    asked = server.last("library-model")
    assert (asked.path, asked.json) == ("/api/show", {"model": "library-model", "verbose": True, "odd": 1})


def test_a_field_that_cannot_be_told_costs_no_other(live: LiveGateway) -> None:
    shown = ask(live, "show", {"model": "ollama/odd-times"}).json()
    assert shown.pop("modified_at") == "2024-01-01T00:00:00Z"
    assert shown == {name: value for name, value in SHOWN.items() if name != "modified_at"}


def test_a_model_that_its_server_does_not_know_is_not_found(live: LiveGateway) -> None:
    missing = ask(live, "show", {"model": "ollama/status-404"})
    assert missing.status_code == 404
    assert missing.json()["error"].startswith("model 'ollama/status-404' not found")


@pytest.mark.parametrize("fault", ["stream-error", "stream-cut", "stream-reset", "stream-unfinished"])
def test_a_stream_that_breaks_ends_in_an_error_and_is_never_done(live: LiveGateway, fault: str) -> None:
    found = lines(ask(live, "chat", {"model": f"ollama/{fault}", "messages": TALK[:1]}))
    assert list(found[-1]) == ["error"]
    assert not any(line.get("done") for line in found)


def test_the_servers_models_are_listed_with_what_it_says_of_them(live: LiveGateway) -> None:
    listed = {model["name"]: model for model in get(live, "/api/tags").json()["models"]}
    assert {f"ollama/{name}" for name in MODELS} <= listed.keys()
    assert listed["ollama/library-model:latest"]["size"] == 1
    assert "lab/plain-model:latest" in listed
    assert len({model["digest"] for model in listed.values()}) == len(listed)


@pytest.mark.parametrize(
    ("name", "answers"),
    [
        ("library-model", "library-model:latest"),
        ("library-model:latest", "library-model:latest"),
        ("maker/model:7b", "maker/model:7b"),
        ("ollama/library-model:latest", "library-model:latest"),
        ("ollama/library-model", "library-model"),
    ],
)
def test_a_name_leads_to_the_server_with_its_tag_and_without(
    live: LiveGateway, server: Upstream, name: str, answers: str
) -> None:
    before = len(server.seen(answers))
    reply = ask(live, "chat", {"model": name, "messages": TALK[:1], "stream": False})
    assert reply.json()["model"] == name
    assert len(server.seen(answers)) == before + 1


@pytest.mark.parametrize("name", ["plain-model", "plain-model:latest", "lab/plain-model:latest", "lab/plain-model"])
def test_a_tag_that_ollama_adds_is_no_part_of_another_providers_name(
    live: LiveGateway, upstream: Upstream, name: str
) -> None:
    before = len(upstream.seen("plain-model"))
    reply = ask(live, "chat", {"model": name, "messages": TALK[:1], "stream": False, "options": {"top_k": 1}})
    assert reply.json()["message"]["content"] == TEXT
    assert len(upstream.seen("plain-model")) == before + 1
    assert reply.headers["x-gateway-dropped-params"] == "options.top_k"


def test_every_name_that_is_listed_here_leads_to_its_model_at_v1_as_well(live: LiveGateway, upstream: Upstream) -> None:
    """Continue and Open WebUI read the names at `/api/tags` and ask at `/v1`."""
    for name in [model["name"] for model in get(live, "/api/tags").json()["models"]]:
        asked = post(live, "/v1/chat/completions", {"model": name, "messages": SAY})
        assert asked.status_code == 200, asked.text
        assert get(live, f"/v1/models/{name}").status_code == 200
    before = len(upstream.seen("plain-model"))
    for name in ("lab/plain-model:latest", "plain-model:latest"):
        text = post(live, "/v1/completions", {"model": name, "prompt": "x"})
        vectors = post(live, "/v1/embeddings", {"model": name, "input": "x"})
        assert (text.status_code, vectors.status_code) == (200, 200)
        assert text.headers["x-gateway-model"] == "plain-model"
    assert len(upstream.seen("plain-model")) == before + 4
    assert upstream.seen("plain-model:latest") == []


def test_a_tag_that_nobody_lists_stays_part_of_the_name_at_v1(live: LiveGateway, upstream: Upstream) -> None:
    """A server that has such models may not list them."""
    body = {"model": "lab/unlisted:latest", "messages": SAY}
    assert post(live, "/v1/chat/completions", body).status_code == 200
    assert len(upstream.seen("unlisted:latest")) == 1


def test_a_name_that_nobody_knows_is_missed_in_ollamas_words(live: LiveGateway) -> None:
    for name in ("nobody", "nobody:latest", "nobody:7b"):
        reply = ask(live, "chat", {"model": name, "messages": TALK[:1]})
        assert reply.status_code == 404
        assert reply.json()["error"].startswith(f"model '{name}' not found: ")


def test_what_a_provider_drops_is_named_in_the_callers_words(live: LiveGateway) -> None:
    body = {"model": "custom/m", "messages": TALK[:1], "options": {"temperature": 0, "seed": 1}, "think": True}
    reply = ask(live, "chat", {**body, "stream": False, "keep_alive": 1, "odd": 1})
    dropped = reply.headers["x-gateway-dropped-params"].split(",")
    assert {"keep_alive", "odd", "options.temperature"} <= set(dropped)
    assert not {"temperature", "reasoning_effort", "stream_options"} & set(dropped)


PLAN = """
[aliases]
short = "ollama/aliased"

[routes."mixed"]
targets = ["lab/status-503#mixed", "ollama/second"]
"""


@pytest.fixture(scope="module")
def planned(server: Upstream, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    config = tmp_path_factory.mktemp("plan") / "gateway.toml"
    config.write_text(PLAN, encoding="utf-8")
    env = {"OLLAMA_HOST": f"http://127.0.0.1:{server.port}", "PROVIDER_LAB_BASE_URL": upstream.url}
    with running_gateway(GATEWAY_CONFIG=str(config), UNKNOWN_PARAMS="reject", MAX_RETRIES="0", **env) as running:
        yield running


def test_an_alias_is_a_name_like_any_other(planned: LiveGateway, server: Upstream) -> None:
    for name in ("short", "short:latest"):
        reply = ask(planned, "chat", {"model": name, "messages": TALK[:1], "stream": False, "options": OPTIONS})
        assert reply.json()["model"] == name
    assert server.last("aliased").json["options"] == OPTIONS
    assert len(server.seen("aliased")) == 2


def test_where_unknown_fields_are_refused_those_that_ask_for_nothing_are_not(planned: LiveGateway) -> None:
    """The official command line sends some with every request."""
    body = {"model": "lab/good", "messages": SAY, "stream": False}
    quiet = ask(planned, "chat", {**body, "_debug_render_only": False, "odd": None, "odder": ""})
    assert quiet.status_code == 200, quiet.text
    assert "x-gateway-dropped-params" not in quiet.headers
    assert ask(planned, "chat", {**body, "odd": 1}).status_code == 400


def test_a_plan_of_two_wires_is_translated_for_both(planned: LiveGateway, server: Upstream) -> None:
    body = {"model": "mixed", "messages": TALK[:1], "options": {"seed": 3, "top_k": 1}, "keep_alive": "1m"}
    reply = ask(planned, "chat", body)
    assert "".join(line["message"]["content"] for line in lines(reply)) == TEXT
    sent = server.last("second").json
    assert sent["options"] == {"seed": 3}
    assert "keep_alive" not in sent
    assert reply.headers["x-gateway-provider"] == "ollama"
    assert set(reply.headers["x-gateway-dropped-params"].split(",")) >= {"keep_alive", "options.top_k"}


def test_unknown_fields_are_refused_where_the_operator_says_so_but_for_the_servers_own_callers(
    planned: LiveGateway, server: Upstream
) -> None:
    body = {"messages": TALK[:1], "stream": False, "tomorrow": 1}
    refused = ask(planned, "chat", {"model": "lab/m", **body})
    assert refused.status_code == 400
    assert list(refused.json()) == ["error"]
    assert ask(planned, "chat", {"model": "ollama/odd", **body}).status_code == 200
    assert server.last("odd").json["tomorrow"] == 1

"""What programs that only know Ollama really send, replayed byte for byte, and one of them itself."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.client import NO_CERTIFICATES, frames_of
from tests.support.gateway import TEST_KEY, LiveGateway

pytestmark = pytest.mark.live

type Json = dict[str, Any]
BEARER = {"authorization": f"Bearer {TEST_KEY}"}
TOOL = {"type": "function", "function": {"name": "lookup", "description": "Look up", "parameters": {
    "type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"], "additionalProperties": False,
    "$schema": "http://json-schema.org/draft-07/schema#"}}}  # fmt: skip


class Program:
    """A program's way to ask: its headers, and JSON as it writes it."""

    def __init__(self, base_url: str, **headers: str) -> None:
        self.client = httpx2.Client(
            base_url=base_url, headers={**BEARER, **headers}, timeout=60, trust_env=False, verify=NO_CERTIFICATES
        )

    def ask(self, method: str, path: str, body: Json | None = None) -> httpx2.Response:
        reply = self.client.request(method, path, content=None if body is None else json.dumps(body))
        assert reply.status_code == 200, reply.text
        return reply

    def lines(self, path: str, body: Json) -> list[Json]:
        reply = self.ask("POST", path, body)
        assert reply.headers["content-type"] == "application/x-ndjson"
        assert reply.text.endswith("\n")
        found = [json.loads(line) for line in reply.text.splitlines()]
        assert [line["done"] for line in found] == [False] * (len(found) - 1) + [True]
        return found

    def deltas(self, body: Json) -> list[Json]:
        """What the chunks of an answer on OpenAI's wire add."""
        events = frames_of(self.ask("POST", "/v1/chat/completions", body).text)
        assert events[-2:] == ["data: [DONE]", ""]
        chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
        assert chunks[-1]["usage"]["total_tokens"] > 0
        return [choice["delta"] for chunk in chunks for choice in chunk["choices"]]


@pytest.fixture
def n8n(gateway: LiveGateway) -> Iterator[Program]:
    program = Program(
        gateway.base_url, **{"content-type": "application/json", "accept": "application/json", "accept-language": "*",
                             "sec-fetch-mode": "cors", "user-agent": "ollama-js/0.6.4 (x64 linux Node.js/v20.20.0)"},
    )  # fmt: skip
    yield program
    program.client.close()


@pytest.fixture
def webui(gateway: LiveGateway) -> Iterator[Program]:
    program = Program(gateway.base_url, **{
        "content-type": "application/json", "accept": "*/*", "user-agent": "Python/3.11 aiohttp/3.13.3"})  # fmt: skip
    yield program
    program.client.close()


@pytest.fixture
def cli(gateway: LiveGateway) -> Iterator[Program]:
    program = Program(gateway.base_url, **{
        "content-type": "application/json", "accept": "application/json", "user-agent": "ollama/0.13.5 (amd64 linux)"},
    )  # fmt: skip
    yield program
    program.client.close()


@pytest.fixture
def sdk(gateway: LiveGateway) -> Iterator[Program]:
    """Ollama's Python SDK, as `llm-ollama` and LlamaIndex use it."""
    program = Program(gateway.base_url, **{
        "content-type": "application/json", "accept": "application/json",
        "user-agent": "ollama-python/0.6.3 (x86_64 linux) Python/3.12.1"})  # fmt: skip
    yield program
    program.client.close()


@pytest.fixture
def continues(gateway: LiveGateway) -> Iterator[Program]:
    """Continue, whose provider for Ollama is OpenAI's Node SDK."""
    program = Program(gateway.base_url, **{
        "content-type": "application/json", "accept": "application/json", "user-agent": "ls/JS 5.23.2",
        "x-stainless-lang": "js", "x-stainless-retry-count": "0"})  # fmt: skip
    yield program
    program.client.close()


@pytest.fixture
def curl(gateway: LiveGateway) -> Iterator[Program]:
    program = Program(gateway.base_url, **{"content-type": "application/x-www-form-urlencoded", "accept": "*/*"})
    yield program
    program.client.close()


def test_n8n_offers_the_models_and_its_chat_node_is_answered(n8n: Program) -> None:
    name = n8n.ask("GET", "/api/tags").json()["models"][0]["name"]
    options = {"temperature": 0.7, "num_ctx": 2048, "num_gpu": -1, "low_vram": False, "main_gpu": 0, "num_batch": 512,
               "num_predict": -1, "penalize_newline": True, "repeat_last_n": 64, "repeat_penalty": 1, "top_k": -1,
               "top_p": 1, "use_mlock": False, "use_mmap": True, "vocab_only": False}  # fmt: skip
    talk: list[Json] = [
        {"role": "system", "content": "You are helpful."},
        {"role": "user", "content": "lookup the tides"},
    ]
    body = {"model": name, "messages": talk, "options": options, "keep_alive": "5m", "stream": True, "tools": [TOOL]}
    found = n8n.lines("/api/chat", body)
    call = found[0]["message"]["tool_calls"][0]
    assert isinstance(call["function"]["arguments"]["q"], str)
    talk += [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "id": call["id"],
                    "type": "function",
                    "function": {
                        "id": call["id"],
                        "type": "function",
                        "name": "lookup",
                        "arguments": call["function"]["arguments"],
                    },
                }
            ],
        },
        {"role": "tool", "content": "high", "tool_call_id": call["id"]},
    ]
    answer = n8n.lines("/api/chat", {**body, "messages": talk})
    assert "".join(line["message"]["content"] for line in answer)


def test_open_webui_finds_the_models_by_the_names_that_it_makes(webui: Program) -> None:
    assert webui.ask("GET", "/api/version").json()["version"].split(".")[0].isdecimal()
    models = {model["model"]: model for model in webui.ask("GET", "/api/tags").json()["models"]}
    assert webui.ask("GET", "/api/ps").json() == {"models": []}
    # It adds the tag to whatever has none, and then looks the name up in the list.
    assert all(":" in name and models[name]["name"] == name for name in models)
    chat = next(name for name in models if name.startswith("custom-chat"))
    shown = webui.ask("POST", "/api/show", {"model": chat}).json()
    assert shown["details"]
    body = {"model": chat, "messages": [{"role": "user", "content": "Hi"}], "options": {"num_keep": None, "stop": None},
            "stream": True, "keep_alive": None, "format": None, "tools": None}  # fmt: skip
    last = webui.lines("/api/chat", body)[-1]
    assert last["eval_count"] / (last["eval_duration"] / 1e9) > 0
    assert webui.ask("POST", "/api/chat", {**body, "stream": False}).json()["done"] is True
    vectors = webui.ask("POST", "/api/embed", {"model": "custom-embedding:latest", "input": ["a", "b"]}).json()
    assert len(vectors["embeddings"]) == 2


def test_the_official_command_line_runs_a_model(cli: Program) -> None:
    assert cli.ask("HEAD", "/").text == ""
    assert cli.ask("GET", "/").text == "Ollama is running"
    show = {"model": "custom-chat", "system": "", "template": "", "verbose": False, "options": None, "name": ""}
    assert cli.ask("POST", "/api/show", show).json()["capabilities"] == ["completion", "tools"]
    load = {"model": "custom-chat", "prompt": "", "suffix": "", "system": "", "template": "", "options": None,
            "_debug_render_only": False}  # fmt: skip
    assert cli.ask("POST", "/api/generate", load).json()["done_reason"] == "load"
    reply = cli.ask("POST", "/api/generate", {**load, "prompt": "Hello", "options": {}})
    assert "x-gateway-dropped-params" not in reply.headers
    talk = {"model": "custom-chat", "messages": [{"role": "user", "content": "Hello"}], "options": {},
            "_debug_render_only": False}  # fmt: skip
    assert cli.lines("/api/chat", talk)[-1]["done_reason"] == "stop"


def test_the_documented_curl_needs_no_content_type(curl: Program) -> None:
    assert curl.lines("/api/generate", {"model": "custom-chat", "prompt": "Why is the sky blue?"})
    assert curl.ask("POST", "/api/embed", {"model": "custom-embedding", "input": "Why?"}).json()["embeddings"]
    older = {"name": "custom-chat"}
    assert curl.ask("POST", "/api/show", older).json()["model_info"]["general.basename"] == "custom-chat"
    both = curl.ask("POST", "/api/embeddings", {"model": "custom-embedding", "prompt": ["a", "b"]}).json()
    assert both["embedding"] == both["embeddings"][0]
    assert len(both["embeddings"]) == 2


def test_llm_tells_models_apart_and_its_chats_are_answered(sdk: Program) -> None:
    models = sdk.ask("GET", "/api/tags").json()["models"]
    assert len({model["digest"] for model in models}) == len(models)  # it takes those of one digest for one model
    offered = {model["model"]: sdk.ask("POST", "/api/show", {"model": model["model"]}).json() for model in models}
    chat = next(name for name, shown in offered.items() if {"completion", "tools"} <= set(shown["capabilities"]))
    embedding = next(name for name, shown in offered.items() if shown["capabilities"] == ["embedding"])
    talk: list[Json] = [{"role": "user", "content": "lookup the tides"}]
    body = {"model": chat, "stream": True, "options": {}, "messages": talk, "tools": [TOOL]}
    call = sdk.lines("/api/chat", body)[0]["message"]["tool_calls"][0]["function"]
    talk += [
        {"role": "assistant", "tool_calls": [{"function": {"name": "lookup", "arguments": call["arguments"]}}]},
        {"role": "tool", "content": "high", "tool_name": "lookup"},
    ]
    assert sdk.lines("/api/chat", body)[0]["message"]["content"]
    schema = {"type": "object", "properties": {"title": {"type": "string"}, "score": {"type": "integer"}},
              "required": ["title", "score"]}  # fmt: skip
    asked = {"model": chat, "stream": False, "options": {"temperature": 0.3, "num_predict": 60}, "format": schema,
             "messages": [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "rate it"}],
             "tools": []}  # fmt: skip
    assert isinstance(json.loads(sdk.ask("POST", "/api/chat", asked).json()["message"]["content"])["score"], int)
    vectors = sdk.ask("POST", "/api/embed", {"model": embedding, "input": ["some words"], "truncate": True}).json()
    assert len(vectors["embeddings"]) == 1


def test_llamaindex_is_answered_though_its_results_name_no_call(sdk: Program) -> None:
    assert sdk.ask("POST", "/api/show", {"model": "custom-chat"}).json()["capabilities"]
    base = {"model": "custom-chat", "stream": False, "options": {"temperature": None, "num_ctx": 3900}}
    talk: list[Json] = [{"role": "user", "content": "lookup the tides"}]
    asked = sdk.ask("POST", "/api/chat", {**base, "messages": talk, "tools": [TOOL]}).json()
    function = asked["message"]["tool_calls"][0]["function"]
    call = {"function": {"name": function["name"], "arguments": function["arguments"]}}
    talk += [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "content": "rain"}]
    reply = sdk.ask("POST", "/api/chat", {**base, "messages": talk, "tools": []})
    assert reply.json()["message"]["content"]
    assert reply.headers["x-gateway-dropped-params"] == "options.num_ctx"
    thinks = {**base, "options": {"temperature": 0.1, "num_ctx": 2048}, "keep_alive": "10m", "think": True,
              "messages": [{"role": "user", "content": "what", "images": ["iVBORw0KGgp4eA=="]}], "tools": [],
              }  # fmt: skip
    assert sdk.ask("POST", "/api/chat", thinks).json()["done_reason"] == "stop"
    texts = {"model": "custom-embedding", "input": ["a", "b", "c"], "options": {}}
    assert len(sdk.ask("POST", "/api/embed", texts).json()["embeddings"]) == 3


def test_continue_calls_openais_chat_with_ollamas_names(continues: Program) -> None:
    name = continues.ask("GET", "/api/tags").json()["models"][0]["name"]
    talk: list[Json] = [
        {"role": "system", "content": "You are an agent."},
        {"role": "user", "content": "lookup the tides"},
    ]
    body = {"model": name, "messages": talk, "stream": True, "stream_options": {"include_usage": True}, "tools": [TOOL]}
    deltas = continues.deltas(body)
    calls = [call for delta in deltas for call in delta.get("tool_calls", [])]
    function = {"name": "lookup", "arguments": "".join(call["function"].get("arguments", "") for call in calls)}
    assert json.loads(function["arguments"])["q"]
    called = {"role": "assistant", "content": "", "tool_calls": [
        {"id": calls[0]["id"], "type": "function", "function": function}]}  # fmt: skip
    talk += [called, {"role": "tool", "content": "high", "tool_call_id": calls[0]["id"]}]
    assert "".join(delta.get("content") or "" for delta in continues.deltas(body))


def test_lines_stay_lines_for_clients_that_know_all_of_unicodes_line_ends(curl: Program) -> None:
    """httpx splits a decoded stream at every one of them, inside of texts as well."""
    odd = "a\u2028b\u2029c\u0085d"
    found = curl.lines("/api/chat", {"model": odd, "messages": [{"role": "user", "content": "Hi"}]})
    assert {line["model"] for line in found} == {odd}


@pytest.fixture(scope="module")
def langchain(gateway: LiveGateway) -> Json:
    """What a program of LangChain's got; a process of its own, because LangChain leaves its connections open."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.contract.langchain_program"],
        env={"PATH": os.environ["PATH"], "GATEWAY_URL": gateway.base_url, "GATEWAY_KEY": TEST_KEY},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: Json = json.loads(done.stdout)
    return found


def test_langchain_chats_streams_and_counts(langchain: Json) -> None:
    assert "test double" in langchain["chat"]
    assert langchain["reason"] == "length"
    assert langchain["tokens"] == 20
    assert len(langchain["pieces"]) > 5


def test_langchain_calls_tools_and_reads_structures(langchain: Json) -> None:
    assert langchain["called"] == "get_weather"
    assert langchain["after"]
    assert isinstance(langchain["structure"]["score"], int)


def test_langchain_embeds_and_completes(langchain: Json) -> None:
    assert len(langchain["vectors"]) == 2
    assert langchain["completion"]

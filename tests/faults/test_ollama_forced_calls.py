"""A forced tool call at an Ollama server: forced by the form of the answer, and a call again on the way back."""

import json
from typing import Any

import pytest

from ai_gateway.translate.chat_ollama.forced import ForcedCall, ForcedContent, forcing_format
from tests.support.client import CHAT, ask, body_of, client_of, events_of, post
from tests.support.gateway import TEST_KEY, LiveGateway
from tests.support.upstream import Upstream

ARGUMENTS = {"city": "Par\u00eds", "n": [1, 2]}


def tool(name: str, **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": [*properties]}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


WEATHER, CLOCK = tool("weather", city={"type": "string"}), tool("clock")
NAMED = {"type": "function", "function": {"name": "weather"}}
ALLOWED = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [WEATHER, CLOCK]}}
CHOICES: dict[str, tuple[Any, str]] = {
    "named": (NAMED, "weather"),
    "required": ("required", "clock"),
    "allowed": (ALLOWED, "clock"),
}


def forcing(choice: Any, **more: Any) -> dict[str, Any]:
    return {"tools": [WEATHER, CLOCK], "tool_choice": choice, **more}


@pytest.mark.parametrize("kind", CHOICES)
def test_the_answer_is_a_call_whole_and_streamed(
    beside_ollama: LiveGateway, ollama_upstream: Upstream, kind: str
) -> None:
    choice, name = CHOICES[kind]
    model = f"obedient#{kind}"
    reply = ask(beside_ollama, model, provider="ollama", **forcing(choice))
    (answer,) = reply.json()["choices"]
    (call,) = answer["message"]["tool_calls"]
    assert (answer["message"]["content"], answer["finish_reason"]) == (None, "tool_calls")
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == (name, ARGUMENTS)
    assert "x-gateway-dropped-params" not in reply.headers
    sent = ollama_upstream.last(model).json
    assert [each["function"]["name"] for each in sent["tools"]][-1] == name
    body = body_of(CHAT, model, stream=True, **forcing(choice))
    events = events_of(post(beside_ollama, "/ollama/v1/chat/completions", body))
    deltas = [choice["delta"] for choice in events.choices]
    pieces = [piece for delta in deltas for piece in delta.get("tool_calls", [])]
    assert not any(delta.get("content") for delta in deltas)
    assert [piece["function"]["name"] for piece in pieces if piece["function"].get("name")] == [name]
    assert json.loads("".join(piece["function"]["arguments"] for piece in pieces)) == ARGUMENTS
    assert {piece["index"] for piece in pieces} == {0}
    assert (len(pieces) > 1) is (kind == "named")  # it comes as it is written where its name is known
    assert events.choices[-1]["finish_reason"] == "tool_calls"


def test_openais_client_makes_one_call_of_the_stream(beside_ollama: LiveGateway) -> None:
    import openai

    with openai.OpenAI(base_url=f"{beside_ollama.base_url}/ollama/v1", api_key=TEST_KEY, max_retries=0) as client:
        asked: Any = {"model": "obedient", "messages": [{"role": "user", "content": "x"}], **forcing(NAMED)}
        with client.chat.completions.stream(**asked) as events:
            (call,) = events.get_final_completion().choices[0].message.tool_calls or []
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", ARGUMENTS)


def test_what_a_limit_cut_off_is_a_call_cut_off(beside_ollama: LiveGateway) -> None:
    reply = ask(beside_ollama, "obedient-cut", provider="ollama", **forcing(NAMED))
    (answer,) = reply.json()["choices"]
    assert answer["message"]["tool_calls"][0]["function"]["arguments"] == '{"city": "Par'
    assert answer["finish_reason"] == "length"


@pytest.mark.parametrize("kind", CHOICES)
def test_a_server_that_knows_no_format_keeps_its_words_and_the_choice_is_named(
    beside_ollama: LiveGateway, kind: str
) -> None:
    plain = ask(beside_ollama, "good", provider="ollama")
    reply = ask(beside_ollama, "good", provider="ollama", **forcing(CHOICES[kind][0]))
    assert reply.json()["choices"][0]["message"]["content"] == plain.json()["choices"][0]["message"]["content"]
    assert reply.headers["x-gateway-dropped-params"] == "tool_choice"
    body = body_of(CHAT, "good", stream=True, **forcing(CHOICES[kind][0]))
    with client_of(beside_ollama) as client:
        events = events_of(client.post("/ollama/v1/chat/completions", json=body))
    assert events.text == plain.json()["choices"][0]["message"]["content"]


def test_a_call_that_the_server_makes_itself_is_that_call(beside_ollama: LiveGateway) -> None:
    free = ask(beside_ollama, "tool-calls-ids", provider="ollama").json()["choices"][0]["message"]["tool_calls"]
    reply = ask(beside_ollama, "tool-calls-ids", provider="ollama", **forcing("required"))
    assert reply.json()["choices"][0]["message"]["tool_calls"] == free


def test_what_schemas_refer_to_moves_with_them() -> None:
    recursive = {"$defs": {"node": {"properties": {"next": {"$ref": "#/$defs/node"}}}}, "$ref": "#/$defs/node"}
    tools: list[dict[str, Any]] = [
        {"function": {"name": "a", "parameters": {**recursive, "enum": [{"$ref": "#/kept"}]}}},
        {"function": {"name": "b", "parameters": {}}},
    ]
    made: Any = forcing_format(tools)
    assert made["$defs"]["a"]["$ref"] == "#/$defs/a/$defs/node"
    assert made["$defs"]["a"]["$defs"]["node"]["properties"]["next"]["$ref"] == "#/$defs/a/$defs/node"
    assert made["$defs"]["a"]["enum"] == [{"$ref": "#/kept"}]
    assert made["$defs"]["b"] == {"type": "object", "properties": {}}
    assert [call["properties"]["name"]["const"] for call in made["anyOf"]] == ["a", "b"]
    assert forcing_format(tools[:1]) == tools[0]["function"]["parameters"]


@pytest.mark.parametrize("content", ["", "words", "[1]", "7", '{"name": "no", "arguments": {}}', '{"name": "a"}', "{"])
def test_what_is_no_call_stays_text(content: str) -> None:
    forced = ForcedCall(["a", "b"])
    assert forced.call(content, cut=False) is None
    stream = ForcedContent(forced)
    text = "".join(stream.feed(letter)[0] for letter in content)
    assert text + "".join(str(kept) for kept in stream.end(cut=False)) == content


def test_an_answer_without_end_is_not_kept_for_ever() -> None:
    stream = ForcedContent(ForcedCall(["a", "b"]))
    piece = "{" + "x" * 100_000
    shown = [stream.feed(piece)[0] for _ in range(20)]
    assert "".join(shown) == piece * 20
    assert not list(stream.end(cut=True))

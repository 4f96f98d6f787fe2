"""Tools that the gateway runs for a request of the Messages API, with their native blocks and events."""

import json
from typing import Any

import pytest

from scripts.fuzz.message_grammar import check, events_of
from tests.support.client import post
from tests.support.gateway import LiveGateway
from tests.support.responses import valid
from tests.support.upstream import Upstream
from tests.tools.scripted import SCRIPTS, Call, Says, search

pytestmark = pytest.mark.live

STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
CODE = {"type": "code_execution_20250522", "name": "code_execution"}
FETCH = {"type": "web_fetch_20250910", "name": "web_fetch"}
WEATHER = {
    "name": "get_weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TIDES = 'Use gateway_web_search {"query": "tides"}.'


def body_of(prompt: Any, *tools: dict[str, Any], **fields: Any) -> dict[str, Any]:
    messages = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
    return {"model": "custom-chat", "max_tokens": 1000, "messages": messages, "tools": list(tools), **fields}


def asked(live: LiveGateway, body: dict[str, Any], path: str = "/v1/messages", *, stream: bool = False) -> Any:
    """The message, and what the reply names as dropped."""
    reply = post(live, path, {**body, "stream": stream})
    assert reply.status_code == 200, reply.text
    message: Any = check(reply.content).message if stream else reply.json()
    for event in events_of(reply.content) if stream else ():
        valid("AnthropicMessageStreamEvent").validate(event)
    for block in message["content"]:
        if (said := block.pop("input_json", None)) is not None:
            block["input"] = json.loads(said)
    valid("AnthropicMessage").validate(message)
    return message, reply.headers.get("x-gateway-dropped-params", "")


def scripted(live: LiveGateway, name: str, *rounds: Says, stream: bool = False, **body: Any) -> Any:
    """The message where the model says these rounds."""
    SCRIPTS[name] = list(rounds)
    fields = body_of("Hello", **{"model": name, **body})
    fields["tools"] = body.get("tools", [SEARCH])
    return asked(live, fields, "/lab/v1/messages", stream=stream)[0]


def kinds(message: dict[str, Any]) -> list[str]:
    return [block["type"] for block in message["content"]]


@STREAM
def test_a_search_is_a_call_of_the_servers_and_its_result(gateway: LiveGateway, stream: bool) -> None:
    message, dropped = asked(gateway, body_of(TIDES, SEARCH), stream=stream)
    assert dropped == ""
    use, result, text = message["content"]
    assert (use["type"], use["name"], use["input"]) == ("server_tool_use", "web_search", {"query": "tides"})
    assert (result["type"], result["tool_use_id"]) == ("web_search_tool_result", use["id"])
    assert [each["type"] for each in result["content"]] == ["web_search_result"] * 5
    (citation,) = text["citations"]
    assert citation["type"] == "web_search_result_location"
    assert citation["url"] == result["content"][0]["url"]
    assert citation["cited_text"].startswith("A page that was made up for the query: tides.")
    assert message["stop_reason"] == "end_turn"
    assert message["usage"]["server_tool_use"] == {"web_search_requests": 1, "web_fetch_requests": 0}


def test_a_stream_comes_to_the_whole_message(gateway: LiveGateway) -> None:
    prompt = f"{TIDES} afterwards {TIDES.replace('tides', 'moons')}"
    whole, streamed = (asked(gateway, body_of(prompt, SEARCH), stream=stream)[0] for stream in (False, True))
    assert kinds(whole).count("web_search_tool_result") == 2
    assert streamed["content"] == whole["content"]
    assert streamed["usage"] == whole["usage"]


@STREAM
def test_the_next_request_shows_the_model_all_of_it(tooled: LiveGateway, model: Upstream, stream: bool) -> None:
    name = f"again-{stream}"
    both = Says("I search.", (search("a"), search("b")))
    message = scripted(tooled, name, both, Says("Found [1]."), stream=stream)
    assert kinds(message) == ["text", *["server_tool_use"] * 2, *["web_search_tool_result"] * 2, "text"]
    first = model.last(name).json["messages"]
    history = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": message["content"]},
        {"role": "user", "content": "And?"},
    ]
    SCRIPTS[name] = [Says("Done.")]
    _, dropped = asked(tooled, body_of(history, SEARCH, model=name), "/lab/v1/messages")
    assert dropped == ""
    again = model.last(name).json["messages"]
    assert [each["role"] for each in again] == ["user", "assistant", "tool", "tool", "assistant", "user"]
    assert [each["function"]["name"] for each in again[1]["tool_calls"]] == ["gateway_web_search"] * 2
    reported = {each["content"] for each in first if each["role"] == "tool"}
    assert {each["content"] for each in again if each["role"] == "tool"} == reported
    assert again[1]["content"] == "I search."


@STREAM
def test_a_clients_own_call_ends_the_turn_beside_the_servers(tooled: LiveGateway, stream: bool) -> None:
    mixed = Says(calls=(Call("get_weather", '{"city": "Oslo"}'), search("a")))
    message = scripted(tooled, f"mixed-{stream}", mixed, tools=[SEARCH, WEATHER], stream=stream)
    assert sorted(kinds(message)) == ["server_tool_use", "tool_use", "web_search_tool_result"]
    assert message["stop_reason"] == "tool_use"
    call = next(block for block in message["content"] if block["type"] == "tool_use")
    assert call["input"] == {"city": "Oslo"}
    SCRIPTS[f"mixed-{stream}"] = [Says("It rains.")]
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": "Rain."}
    history = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": message["content"]},
        {"role": "user", "content": [result]},
    ]
    body = body_of(history, SEARCH, WEATHER, model=f"mixed-{stream}")
    assert asked(tooled, body, "/lab/v1/messages", stream=stream)[0]["content"][-1]["text"] == "It rains."


@STREAM
def test_a_search_that_fails_says_why(tooled: LiveGateway, stream: bool) -> None:
    calls = Says(
        calls=(search("search-fails"), Call("gateway_web_search", '{"q": 1}'), Call("gateway_web_search", "["))
    )
    message = scripted(tooled, f"fails-{stream}", calls, Says("No."), stream=stream)
    results = [block for block in message["content"] if block["type"] == "web_search_tool_result"]
    codes = sorted(block["content"]["error_code"] for block in results)
    assert codes == ["invalid_tool_input", "invalid_tool_input", "unavailable"]
    assert message["usage"]["server_tool_use"]["web_search_requests"] == 0


@STREAM
def test_max_uses_bounds_the_searches(tooled: LiveGateway, model: Upstream, stream: bool) -> None:
    name = f"uses-{stream}"
    rounds = Says(calls=(search("a"),)), Says(calls=(search("b"),)), Says("Enough.")
    message = scripted(tooled, name, *rounds, tools=[{**SEARCH, "max_uses": 1}], stream=stream)
    results = [block["content"] for block in message["content"] if block["type"] == "web_search_tool_result"]
    assert isinstance(results[0], list)
    assert results[1] == {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"}
    assert model.last(name).json["messages"][-1]["content"].startswith("Not run")


def test_domains_and_the_users_place_reach_the_search(tooled: LiveGateway, model: Upstream) -> None:
    place = {"type": "approximate", "city": "Bergen", "country": "NO"}
    tool = {**SEARCH, "allowed_domains": ["example.edu"], "user_location": place}
    message = scripted(tooled, "domains", Says(calls=(search("a"),)), Says("Yes."), tools=[tool])
    found = message["content"][1]["content"]
    assert found
    assert all(each["url"].startswith("https://example.edu/") for each in found)
    (function,) = (tool["function"] for tool in model.last("domains").json["tools"])
    assert "Bergen, NO" in function["description"]


def test_a_part_of_a_domain_is_refused(tooled: LiveGateway) -> None:
    body = body_of("Hi", {**SEARCH, "allowed_domains": ["example.com", "example.org/blog"]}, model="part")
    refused = post(tooled, "/lab/v1/messages", body)
    assert refused.status_code == 400, refused.text
    assert "tools.0.allowed_domains.1" in refused.json()["error"]["message"]


@STREAM
def test_a_tool_that_the_gateway_has_not_is_dropped_by_name(tooled: LiveGateway, stream: bool) -> None:
    SCRIPTS["none"] = [Says("Hello.")]
    body = body_of("Hi", CODE, FETCH, WEATHER, model="none", tool_choice={"type": "auto"})
    message, dropped = asked(tooled, body, "/lab/v1/messages", stream=stream)
    assert kinds(message) == ["text"]
    assert sorted(dropped.split(",")) == ["tools.code_execution_20250522", "tools.web_fetch_20250910"]


@pytest.mark.parametrize(
    ("tools", "choice"),
    [
        ([CODE], {"type": "any"}),
        ([CODE], {"type": "tool", "name": "code_execution"}),
        ([CODE, WEATHER], {"type": "tool", "name": "code_execution"}),
        ([CODE, SEARCH], {"type": "tool", "name": "code_execution"}),
        ([SEARCH], {"type": "tool", "name": "nothing"}),
        ([SEARCH], {"type": "tool", "name": "gateway:memory"}),
        ([{"type": "gateway:code_execution"}], {"type": "auto"}),
        ([{"type": "gateway:web_search", "max_results": 0}], {"type": "auto"}),
        ([{"type": "gateway:web_search", "nothing": 1}], {"type": "auto"}),
        ([SEARCH, {**WEATHER, "name": "web_search"}], {"type": "auto"}),
        ([SEARCH, {**WEATHER, "name": "gateway_web_search"}], {"type": "auto"}),
    ],
)
@STREAM
def test_what_cannot_be_is_a_400(tooled: LiveGateway, tools: Any, choice: Any, stream: bool) -> None:
    SCRIPTS["none"] = [Says("Hello.")]
    body = body_of("Hi", *tools, model="none", tool_choice=choice, stream=stream)
    refused = post(tooled, "/lab/v1/messages", body)
    assert refused.status_code == 400, refused.text
    assert refused.json()["error"]["type"] == "invalid_request_error"


@STREAM
def test_a_search_can_be_forced_once(tooled: LiveGateway, model: Upstream, stream: bool) -> None:
    choice = {"type": "tool", "name": "web_search"}
    name = f"forced-{stream}"
    scripted(tooled, name, Says(calls=(search(),)), Says("Yes."), tool_choice=choice, stream=stream)
    choices = [seen.json["tool_choice"] for seen in model.seen(name)]
    assert choices == [{"type": "function", "function": {"name": "gateway_web_search"}}, "auto"]


def test_a_tool_without_a_name_can_be_forced_by_its_type(gateway: LiveGateway) -> None:
    choice = {"type": "tool", "name": "gateway:web_search"}
    message, _ = asked(gateway, body_of("Hello.", {"type": "gateway:web_search"}, tool_choice=choice))
    assert message["content"][0]["type"] == "server_tool_use"


@STREAM
def test_a_round_that_breaks_after_a_tool_is_told_as_an_error(tooled: LiveGateway, stream: bool) -> None:
    SCRIPTS["broken"] = [Says(calls=(search(),)), Says(status=500)]
    reply = post(tooled, "/lab/v1/messages", body_of("Hi", SEARCH, model="broken", stream=stream))
    if not stream:
        assert reply.status_code == 502, reply.text
        return
    checked = check(reply.content)
    assert checked.error is not None
    assert "web_search_tool_result" in reply.text


@STREAM
def test_types_of_the_gateways_own_work_as_in_chat(gateway: LiveGateway, stream: bool) -> None:
    body = body_of(TIDES, {"type": "gateway:web_search", "max_results": 2})
    message, dropped = asked(gateway, body, stream=stream)
    assert dropped == ""
    assert len(message["content"][1]["content"]) == 2


def test_hints_of_a_claimed_tool_are_named(gateway: LiveGateway) -> None:
    cached = {**SEARCH, "cache_control": {"type": "ephemeral"}}
    assert asked(gateway, body_of("Hello", cached))[1] == "tools.cache_control"
    newer = {"type": "web_search_20260318", "name": "web_search", "defer_loading": True, "strict": True}
    assert asked(gateway, body_of("Hello", newer))[1] == "tools.defer_loading,tools.strict"
    assert asked(gateway, body_of("Hello", {**newer, "defer_loading": False, "strict": False}))[1] == ""

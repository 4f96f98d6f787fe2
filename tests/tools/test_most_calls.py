"""`max_tool_calls` of the Responses API: so many calls of the gateway's tools are run, and the others are ignored."""

from typing import Any

import pytest

from tests.support.client import post
from tests.support.gateway import LiveGateway
from tests.support.responses import events_of, valid
from tests.support.upstream import Upstream
from tests.tools.asking import requests_for
from tests.tools.scripted import SCRIPTS, Call, Says, search

pytestmark = pytest.mark.live

BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
WEATHER = {"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {}}}


def responded(
    live: LiveGateway, name: str, most: int | None, *rounds: Says, stream: bool, **fields: Any
) -> dict[str, Any]:
    SCRIPTS[name] = list(rounds)
    body = {"model": name, "input": "Hello", "tools": [{"type": "web_search"}, WEATHER], "stream": stream, **fields}
    reply = post(live, "/lab/v1/responses", {**body, "max_tool_calls": most})
    assert reply.status_code == 200, reply.text
    assert "max_tool_calls" not in reply.headers.get("x-gateway-dropped-params", "")
    response: dict[str, Any] = events_of(reply.text)[-1]["response"] if stream else reply.json()
    valid("Response").validate(response)
    assert response["max_tool_calls"] == most
    return response


def searched(response: dict[str, Any]) -> list[str]:
    return [item["action"]["query"] for item in response["output"] if item["type"] == "web_search_call"]


def offered(request: dict[str, Any]) -> list[str]:
    return [tool["function"]["name"] for tool in request.get("tools", ())]


@BOTH
def test_calls_beyond_it_are_ignored_in_one_round(tooled: LiveGateway, model: Upstream, *, stream: bool) -> None:
    name = f"most-one-round-{stream}"
    calls = tuple(map(search, ("one", "two", "three")))
    response = responded(tooled, name, 2, Says(calls=calls), Says("Done."), stream=stream)
    assert sorted(searched(response)) == ["one", "two"]
    assert (response["status"], response["output"][-1]["content"][0]["text"]) == ("completed", "Done.")
    first, second = requests_for(model, name)
    assert offered(first) == ["get_weather", "gateway_web_search"]
    # The model does not see that it called for more, and is not offered what it may not call.
    assert [call["id"] for call in second["messages"][1]["tool_calls"]] == ["call_0_0", "call_0_1"]
    assert offered(second) == ["get_weather"]


@BOTH
def test_it_is_for_all_rounds_together(tooled: LiveGateway, model: Upstream, *, stream: bool) -> None:
    name = f"most-rounds-{stream}"
    rounds = (Says(calls=(search("one"),)), Says(calls=(search("two"), search("three"))), Says("Done."))
    response = responded(tooled, name, 2, *rounds, stream=stream)
    assert searched(response) == ["one", "two"]
    assert response["status"] == "completed"
    assert [offered(each)[1:] for each in requests_for(model, name)] == [["gateway_web_search"]] * 2 + [[]]


@pytest.mark.parametrize(("choice", "left"), [("required", "required"), ({"type": "web_search_preview"}, "auto")])
@BOTH
def test_none_offers_none(tooled: LiveGateway, model: Upstream, choice: Any, left: str, *, stream: bool) -> None:
    name = f"most-none-{left}-{stream}"
    response = responded(tooled, name, 0, Says("Done."), stream=stream, tool_choice=choice)
    assert (searched(response), response["status"]) == ([], "completed")
    (request,) = requests_for(model, name)
    assert (offered(request), request["tool_choice"]) == (["get_weather"], left)


@BOTH
def test_the_clients_own_calls_do_not_count(tooled: LiveGateway, *, stream: bool) -> None:
    mixed = (search("one"), Call("get_weather", "{}"), search("two"), Call("get_weather", "{}"))
    response = responded(tooled, f"most-mixed-{stream}", 1, Says(calls=mixed), stream=stream)
    assert searched(response) == ["one"]
    assert [item["type"] for item in response["output"]].count("function_call") == 2


@BOTH
def test_without_it_nothing_is_ignored(tooled: LiveGateway, *, stream: bool) -> None:
    calls = tuple(map(search, ("one", "two", "three")))
    response = responded(tooled, f"most-any-{stream}", None, Says(calls=calls), Says("Done."), stream=stream)
    assert len(searched(response)) == 3


def test_less_than_none_is_refused(tooled: LiveGateway) -> None:
    reply = post(tooled, "/lab/v1/responses", {"model": "x", "input": "Hello", "max_tool_calls": -1})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "max_tool_calls")


def test_without_tools_of_the_gateways_it_has_no_effect_and_is_echoed(relay: LiveGateway) -> None:
    body = {"model": "good", "input": "Hello", "max_tool_calls": 3, "tools": [{"type": "web_search"}, WEATHER]}
    reply = post(relay, "/lab/v1/responses", body)
    assert reply.json()["max_tool_calls"] == 3
    assert reply.headers["x-gateway-dropped-params"] == "tools.web_search"

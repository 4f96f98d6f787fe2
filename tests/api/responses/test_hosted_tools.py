"""Tools that the gateway runs for a request of the Responses API, with their native items and events."""

from typing import Any

import pytest

from tests.support.client import post
from tests.support.gateway import LiveGateway
from tests.support.responses import events_of, valid

pytestmark = pytest.mark.live

SEARCH = {"model": "custom-chat", "input": "Use gateway_web_search for tides.", "tools": [{"type": "web_search"}]}


def asked(live: LiveGateway, body: dict[str, Any]) -> dict[str, Any]:
    reply = post(live, "/v1/responses", body)
    assert reply.status_code == 200, reply.text
    assert "tools.web_search" not in reply.headers.get("x-gateway-dropped-params", "")
    response: dict[str, Any] = events_of(reply.text)[-1]["response"] if body.get("stream") else reply.json()
    valid("Response").validate(response)
    return response


@pytest.mark.parametrize("stream", [False, True])
def test_a_search_of_the_gateways_is_an_item_of_its_own(gateway: LiveGateway, stream: bool) -> None:
    response = asked(gateway, {**SEARCH, "stream": stream})
    kinds = [item["type"] for item in response["output"]]
    assert kinds[-1] == "message"
    (search,) = (item for item in response["output"] if item["type"] == "web_search_call")
    assert search["status"] == "completed"
    assert search["action"]["type"] == "search"
    assert search["action"]["query"]


def test_a_stream_tells_the_states_of_a_search(gateway: LiveGateway) -> None:
    events = events_of(post(gateway, "/v1/responses", {**SEARCH, "stream": True}).text)
    states = [event["type"] for event in events if event["type"].startswith("response.web_search_call.")]
    assert states == [f"response.web_search_call.{state}" for state in ("in_progress", "searching", "completed")]


def test_a_search_that_may_not_leave_an_index_is_none_of_the_gateways(gateway: LiveGateway) -> None:
    body = {**SEARCH, "tools": [{"type": "web_search", "external_web_access": False}]}
    reply = post(gateway, "/v1/responses", body)
    assert reply.status_code == 200, reply.text
    assert reply.headers["x-gateway-dropped-params"] == "tools.web_search"


@pytest.mark.parametrize("kind", ["web_search_preview", "web_search", "web_search_2025_08_26"])
def test_a_search_can_be_chosen(gateway: LiveGateway, kind: str) -> None:
    body = {**SEARCH, "input": "Tides.", "tools": [{"type": kind}]}
    response = asked(gateway, {**body, "tool_choice": {"type": kind}})
    assert response["output"][0]["type"] == "web_search_call"


def test_a_search_is_left_out_where_the_gateway_has_none(relay: LiveGateway) -> None:
    reply = post(relay, "/lab/v1/responses", {**SEARCH, "model": "good"})
    assert reply.status_code == 200, reply.text
    assert reply.headers["x-gateway-dropped-params"] == "tools.web_search"

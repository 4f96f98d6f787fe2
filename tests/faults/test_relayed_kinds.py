"""Kinds that the contract of the Responses API does not list: upstreams of this wire get them, chats cannot."""

from typing import Any

import pytest

from tests.faults.test_relay import gate, respond, speaking
from tests.support.client import client_of
from tests.support.gateway import LiveGateway
from tests.support.upstream import Upstream

__all__ = ["gate", "speaking"]  # fixtures

NEW_TOOL = {"type": "x_search", "allowed_x_handles": ["a"]}
OWN_TOOL = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}
IMAGE = {"type": "input_image", "image_url": "https://a.example/b.png"}
# What the contract does not list, and what becomes of it in a chat: the names of what is dropped, or else a refusal.
UNLISTED: dict[str, tuple[dict[str, Any], str | None]] = {
    "a tool": ({"tools": [NEW_TOOL, OWN_TOOL]}, "tools.x_search"),
    "only such a tool": ({"tools": [NEW_TOOL], "tool_choice": "auto"}, "tools.x_search"),
    "only such a tool, which is to be called": ({"tools": [NEW_TOOL], "tool_choice": "required"}, None),
    "a choice of a tool": ({"tools": [NEW_TOOL, OWN_TOOL], "tool_choice": {"type": "x_search"}}, None),
    "an item": ({"input": [{"role": "user", "content": "Hello"}, {"type": "new_call", "what": 1}]}, None),
    "a part": ({"input": [{"role": "user", "content": [{"type": "input_video", "video_url": "x"}]}]}, None),
    "a part of a result": (
        {"input": [{"type": "function_call_output", "call_id": "c", "output": [{"type": "input_video"}]}]}, None,
    ),
    "a detail": ({"input": [{"role": "user", "content": [{**IMAGE, "detail": "ultra"}]}]}, None),
    "a format": ({"text": {"format": {"type": "grammar", "definition": "start: x"}, "verbosity": "low"}}, None),
    "values": (
        {"service_tier": "spot", "truncation": "smart", "reasoning": {"effort": "ultra"}, "text": {"verbosity": "max"}},
        "reasoning.effort,service_tier,text.verbosity,truncation",
    ),
    "what to include": ({"include": ["new.thing", "reasoning.encrypted_content"]}, "include"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNLISTED)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_what_the_contract_does_not_list_reaches_an_upstream_of_the_wire(
    gate: LiveGateway, speaking: Upstream, case: str, *, stream: bool
) -> None:
    fields, _ = UNLISTED[case]
    model = f"good#{case}-{stream}"
    response = respond(gate, model, stream=stream, **fields)
    assert response.status_code == 200, response.text
    assert speaking.last(model).json == {"model": model, "input": "Hello", "stream": stream, **fields}
    assert "x-gateway-dropped-params" not in response.headers


@pytest.mark.parametrize("case", UNLISTED)
def test_where_it_becomes_a_chat_it_is_dropped_by_name_or_refused(
    gate: LiveGateway, speaking: Upstream, case: str
) -> None:
    fields, dropped = UNLISTED[case]
    response = respond(gate, f"lacks#{case}", provider="older", **fields)
    if dropped is None:
        assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")
        return
    assert response.status_code == 200, response.text
    assert response.headers["x-gateway-dropped-params"] == dropped
    sent = speaking.last(f"lacks#{case}")
    assert sent.path.endswith("/chat/completions")
    assert [tool["function"]["name"] for tool in sent.json.get("tools", [])] == (["look"] if case == "a tool" else [])


@pytest.mark.parametrize("case", UNLISTED)
def test_the_built_in_provider_takes_what_the_contract_lists(gate: LiveGateway, case: str) -> None:
    assert respond(gate, "custom-chat", provider="custom", **UNLISTED[case][0]).status_code == 400


def test_what_is_wrong_stays_wrong_beside_it(gate: LiveGateway) -> None:
    response = respond(gate, "good#wrong", tools=[NEW_TOOL], temperature="hot")
    assert response.status_code == 400
    for path in ("/lab/v1/responses/input_tokens", "/lab/v1/responses/compact"):
        with client_of(gate) as client:
            body = {"model": "good#wrong", "input": [{"type": "new_call"}]}
            assert client.post(path, json=body).status_code == 400


def test_an_item_that_nobody_here_knows_is_kept_for_the_next_response(gate: LiveGateway, speaking: Upstream) -> None:
    item = {"type": "new_call", "id": "new_1", "what": {"ever": 1}}
    first = respond(gate, "own-id#first", input=[{"role": "user", "content": "Hello"}, item]).json()
    response = respond(gate, "own-id#next", previous_response_id=first["id"])
    assert response.status_code == 200, response.text
    assert item in speaking.last("own-id#next").json["input"]
    with client_of(gate) as client:
        listed = client.get(f"/v1/responses/{first['id']}/input_items?order=asc").json()["data"]
    assert listed[1] == item

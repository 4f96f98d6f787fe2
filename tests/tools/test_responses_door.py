"""Tools that the gateway runs for requests of the Responses API: servers of the Model Context Protocol, the gateway's
own types, and what a stream tells while they run."""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from scripts.fuzz.response_grammar import check
from tests.support.client import client_of, eventually, get, post
from tests.support.gateway import TEST_KEY, LiveGateway, running_gateway
from tests.support.responses import events_of, valid
from tests.support.upstream import Upstream
from tests.tools.scripted import SCRIPTS, Call, Says, search
from tests.tools.test_hosted import OTHER_KEY, call_of, environment

pytestmark = pytest.mark.live

STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
MCP = {"type": "mcp", "server_label": "lab", "require_approval": "never"}
ADD = call_of("mcp_lab_add", a=1, b=2)


def asked(
    doors: LiveGateway, given: Any, *tools: Any, path: str = "/v1/responses", stream: bool = False, **body: Any
) -> Any:
    """The response, and what the reply names as dropped; a stream is checked event by event."""
    fields = {"model": "custom-chat", "input": given, "tools": list(tools), "stream": stream, **body}
    reply = post(doors, path, fields)
    assert reply.status_code == 200, reply.text
    if stream:
        check(reply.content)
        events = events_of(reply.text)
        for event in events:
            valid("ResponseStreamEvent").validate(event)
        response = events[-1]["response"]
    else:
        response = reply.json()
    valid("Response").validate(response)
    assert response["status"] == "completed"
    return response, reply.headers.get("x-gateway-dropped-params", "")


def of_kind(response: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [item for item in response["output"] if item["type"] == kind]


@STREAM
def test_a_listed_server_is_listed_and_called(doors: LiveGateway, stream: bool) -> None:
    response, dropped = asked(doors, f"Use {ADD}.", MCP, stream=stream)
    assert dropped == ""
    listing, call, message = response["output"]
    assert listing["type"] == "mcp_list_tools"
    assert sorted(tool["name"] for tool in listing["tools"]) == ["add", "echo", "slow"]
    assert (call["type"], call["server_label"], call["name"]) == ("mcp_call", "lab", "add")
    assert (json.loads(call["arguments"]), call["output"], call["status"]) == ({"a": 1, "b": 2}, "3", "completed")
    assert message["type"] == "message"


def test_a_stream_tells_what_a_server_does_when_it_does_it(doors: LiveGateway) -> None:
    fields = {"model": "custom-chat", "input": f"Use {ADD}.", "tools": [MCP], "stream": True}
    kinds = [event["type"].removeprefix("response.") for event in events_of(post(doors, "/v1/responses", fields).text)]
    assert kinds[2:6] == [
        *("output_item.added", "mcp_list_tools.in_progress", "mcp_list_tools.completed", "output_item.done")
    ]
    assert kinds[6:12] == [
        *("output_item.added", "mcp_call.in_progress", "mcp_call_arguments.delta", "mcp_call_arguments.done"),
        *("mcp_call.completed", "output_item.done"),
    ]


@STREAM
def test_a_server_is_found_by_its_address_under_any_label(doors: LiveGateway, mcp_address: str, stream: bool) -> None:
    tool = {**MCP, "server_label": "mine", "server_url": mcp_address, "authorization": "secret-token"}
    response, dropped = asked(doors, f"Use {ADD}.", tool, stream=stream)
    assert dropped == "tools.mcp.authorization"
    assert of_kind(response, "mcp_call")[0]["server_label"] == "mine"
    assert "secret-token" not in json.dumps(response)


@pytest.mark.parametrize(
    "tool",
    [
        {**MCP, "server_label": "other"},
        {**MCP, "server_url": "http://127.0.0.1:9/other"},
        {**MCP, "connector_id": "connector_gmail"},
        {**MCP, "require_approval": "always"},
        {**MCP, "require_approval": {"never": {"tool_names": ["nothing"]}}},
        {**MCP, "allowed_tools": ["nothing"]},
    ],
)
def test_what_cannot_be_called_is_dropped_by_name_or_refused_where_it_is_chosen(doors: LiveGateway, tool: Any) -> None:
    response, dropped = asked(doors, "Hello.", tool)
    assert dropped == "tools.mcp"
    assert [item["type"] for item in response["output"]] == ["message"]
    body = {"model": "custom-chat", "input": "Hello.", "tools": [tool]}
    for choice in ("required", {"type": "mcp", "server_label": tool["server_label"]}):
        refused = post(doors, "/v1/responses", {**body, "tool_choice": choice})
        assert refused.status_code == 400, refused.text


@STREAM
def test_a_request_narrows_what_a_server_has(doors: LiveGateway, stream: bool) -> None:
    response, _ = asked(doors, "Hello.", {**MCP, "allowed_tools": ["echo", "secret"]}, stream=stream)
    assert [tool["name"] for tool in response["output"][0]["tools"]] == ["echo"]
    approved = {**MCP, "require_approval": {"never": {"tool_names": ["add"]}}}
    response, dropped = asked(doors, "Hello.", approved, stream=stream)
    assert [tool["name"] for tool in response["output"][0]["tools"]] == ["add"]
    assert dropped == "tools.mcp.require_approval"


@STREAM
def test_a_server_that_does_not_answer_is_told_and_the_answer_comes(doors: LiveGateway, stream: bool) -> None:
    response, _ = asked(doors, "Hello.", {**MCP, "server_label": "dead"}, stream=stream)
    listing, message = response["output"]
    assert (listing["type"], listing["tools"]) == ("mcp_list_tools", [])
    assert listing["error"]
    assert message["type"] == "message"


@STREAM
def test_a_servers_tool_can_be_chosen(doors: LiveGateway, model: Upstream, stream: bool) -> None:
    name = f"chosen-{stream}"
    SCRIPTS[name] = [Says(calls=(Call("gateway_mcp_lab_echo", '{"text": "a"}'),)), Says("Done.")]
    choice = {"type": "mcp", "server_label": "lab", "name": "echo"}
    body: Any = {"model": name, "tool_choice": choice, "path": "/lab/v1/responses", "stream": stream}
    response, _ = asked(doors, "Hi", MCP, **body)
    assert of_kind(response, "mcp_call")[0]["output"] == "a"
    choices = [seen.json["tool_choice"] for seen in model.seen(name)]
    assert choices == [{"type": "function", "function": {"name": "gateway_mcp_lab_echo"}}, "auto"]


@STREAM
def test_a_slow_tool_fails_and_the_answer_comes(doors: LiveGateway, stream: bool) -> None:
    name = f"slow-{stream}"
    SCRIPTS[name] = [Says(calls=(Call("gateway_mcp_lab_slow", '{"seconds": 60}'),)), Says("Too slow.")]
    response, _ = asked(doors, "Hi", MCP, model=name, path="/lab/v1/responses", stream=stream)
    (call,) = of_kind(response, "mcp_call")
    assert (call["status"], call["output"]) == ("failed", None)
    assert call["error"]["type"] == "mcp_tool_execution_error"
    assert response["output"][-1]["content"][0]["text"] == "Too slow."


@STREAM
def test_the_history_of_a_stored_response_is_shown_to_the_model(
    doors: LiveGateway, model: Upstream, stream: bool
) -> None:
    name = f"stored-{stream}"
    code = Call("gateway_code_execution", '{"code": "6 * 7"}')
    both = Says("I do.", (Call("gateway_mcp_lab_echo", '{"text": "hello"}'), code))
    SCRIPTS[name] = [both, Says("Done.")]
    tools = MCP, {"type": "code_interpreter", "container": {"type": "auto"}}
    body: Any = {"model": name, "path": "/lab/v1/responses", "stream": stream, "store": True}
    first, _ = asked(doors, "Hi", *tools, **body)
    kinds = [item["type"] for item in first["output"]]
    assert kinds == ["mcp_list_tools", "message", "mcp_call", "code_interpreter_call", "message"]
    again = {**body, "previous_response_id": first["id"]}
    SCRIPTS[name] = [Says("And on.")]
    asks: Any = [("And?", again), ([*first["output"], {"role": "user", "content": "And?"}], body)]
    for items, fields in asks:
        response, dropped = asked(doors, items, *tools, **fields)
        assert dropped == ""
        assert [item["type"] for item in response["output"]] == ["message"], "what a server has is told once"
        reported = [each for each in model.last(name).json["messages"] if each["role"] != "user"]
        assert [each["role"] for each in reported] == ["assistant", "tool", "tool", "assistant"]
        names = [each["function"]["name"] for each in reported[0]["tool_calls"]]
        assert names == ["gateway_mcp_lab_echo", "gateway_code_execution"]
        assert [each["content"] for each in reported[1:]] == ["hello", "42", "Done."]


@STREAM
def test_types_of_the_gateways_own_work_as_in_chat(doors: LiveGateway, stream: bool) -> None:
    for tool, prompt, kind in (
        ({"type": "gateway:web_search", "max_results": 2}, call_of("web_search", query="a"), "web_search_call"),
        ({"type": "gateway:code_execution"}, call_of("code_execution", code="1 + 1"), "code_interpreter_call"),
        ({"type": "gateway:memory"}, call_of("memory_save", content="x"), "mcp_call"),
        ({"type": "gateway:mcp", "servers": ["lab"]}, ADD, "mcp_call"),
    ):
        response, dropped = asked(doors, f"Use {prompt}.", tool, stream=stream)
        assert dropped == ""
        (item,) = of_kind(response, kind)
        assert item["status"] == "completed"
        assert item.get("server_label") == {"gateway:mcp": "lab", "gateway:memory": "gateway"}.get(str(tool["type"]))
    chosen, _ = asked(
        doors, "Hi", {"type": "gateway:web_search"}, stream=stream, tool_choice={"type": "gateway:web_search"}
    )
    assert chosen["output"][0]["type"] == "web_search_call"


@pytest.mark.parametrize(
    ("tool", "param", "code"),
    [
        ({"type": "gateway:web_search", "max_results": 0}, "max_results", "invalid_value"),
        ({"type": "gateway:web_search", "allowed_domains": [""]}, "allowed_domains[0]", "invalid_value"),
        ({"type": "web_search", "filters": {"allowed_domains": [""]}}, "filters.allowed_domains[0]", "invalid_value"),
        ({"type": "gateway:web_search", "nothing": 1}, "nothing", "unknown_parameter"),
        ({"type": "gateway:nothing"}, "type", "invalid_value"),
        ({"type": "gateway:mcp", "server_url": "http://127.0.0.1:1/"}, "server_url", "unknown_parameter"),
    ],
)
def test_wrong_types_and_options_are_a_400(doors: LiveGateway, tool: dict[str, Any], param: str, code: str) -> None:
    refused = post(doors, "/v1/responses", {"model": "custom-chat", "input": "Hi", "tools": [tool]})
    assert refused.status_code == 400, refused.text
    error = refused.json()["error"]
    assert (error["param"], error["code"]) == (f"tools[0].{param}", code)


def test_code_is_told_while_it_runs(doors: LiveGateway) -> None:
    tool = {"type": "code_interpreter", "container": {"type": "auto"}}
    fields = {"model": "custom-chat", "input": call_of("code_execution", code="1 + 1"), "tools": [tool], "stream": True}
    events = events_of(post(doors, "/v1/responses", fields).text)
    kinds = [event["type"].removeprefix("response.") for event in events]
    at = kinds.index("output_item.added")
    assert kinds[at : at + 7] == [
        *("output_item.added", "code_interpreter_call.in_progress", "code_interpreter_call_code.delta"),
        *("code_interpreter_call_code.done", "code_interpreter_call.interpreting", "code_interpreter_call.completed"),
        "output_item.done",
    ]
    assert events[at]["item"]["code"] == ""
    assert events[at + 6]["item"]["code"] == "1 + 1"


def test_items_of_calls_at_once_are_open_beside_each_other(doors: LiveGateway) -> None:
    SCRIPTS["beside"] = [
        Says(calls=(Call("gateway_mcp_lab_slow", '{"seconds": 0.5}'), search("a"))),
        Says("Done [1]."),
    ]
    fields = {"model": "beside", "input": "Hi", "tools": [MCP, {"type": "web_search"}], "stream": True}
    reply = post(doors, "/lab/v1/responses", fields)
    check(reply.content)
    events = events_of(reply.text)
    reported = [
        event["type"].removeprefix("response.")
        for event in events
        if event["type"].endswith(("call.in_progress", "call.completed"))
    ]
    assert reported == [
        *("mcp_call.in_progress", "web_search_call.in_progress", "web_search_call.completed", "mcp_call.completed")
    ]
    assert [item["type"] for item in events[-1]["response"]["output"]][1:3] == ["mcp_call", "web_search_call"]
    annotations = events[-1]["response"]["output"][-1]["content"][0]["annotations"]
    assert [(each["start_index"], each["end_index"]) for each in annotations] == [(5, 8)]


@STREAM
def test_texts_around_searches_have_their_own_references(doors: LiveGateway, stream: bool) -> None:
    name = f"around-{stream}"
    SCRIPTS[name] = [Says("I look.", (search("a"),)), Says("See [1].", (search("b"),)), Says("And [6].")]
    response, _ = asked(doors, "Hi", {"type": "web_search"}, model=name, path="/lab/v1/responses", stream=stream)
    messages = of_kind(response, "message")
    assert [each["content"][0]["text"] for each in messages] == ["I look.", "See [1].", "And [6]."]
    assert [
        [(each["start_index"], each["end_index"]) for each in message["content"][0]["annotations"]]
        for message in messages
    ] == [[], [(4, 7)], [(4, 7)]]


def test_sources_are_told_where_they_are_asked_for(doors: LiveGateway) -> None:
    prompt = call_of("web_search", query="a")
    response, _ = asked(doors, prompt, {"type": "web_search"}, include=["web_search_call.action.sources"])
    (call,) = of_kind(response, "web_search_call")
    assert len(call["action"]["sources"]) == 5


def test_a_round_that_breaks_after_a_tool_ends_as_failed(doors: LiveGateway) -> None:
    SCRIPTS["broken"] = [Says(calls=(search("a"),)), Says(status=500)]
    body = {"model": "broken", "input": "Hi", "tools": [{"type": "web_search"}], "stream": True}
    reply = post(doors, "/lab/v1/responses", body)
    response = check(reply.content)
    assert response["status"] == "failed"
    assert [item["type"] for item in response["output"]] == ["web_search_call"]


def test_a_client_that_leaves_while_a_tool_runs_ends_it(doors: LiveGateway, model: Upstream) -> None:
    SCRIPTS["left"] = [Says(calls=(Call("gateway_mcp_lab_slow", '{"seconds": 60}'),)), Says("Never.")]
    body = {"model": "left", "input": "Hi", "tools": [MCP], "stream": True}
    head = {"Authorization": f"Bearer {TEST_KEY}"}
    with httpx2.stream("POST", f"{doors.base_url}/lab/v1/responses", json=body, headers=head, timeout=30) as reply:
        for line in reply.iter_lines():
            if "mcp_call.in_progress" in line:
                break  # it is told as soon as the tool has begun

    def is_over() -> bool:
        return any(record.get("model") == "left" and record["end"] == "left" for record in doors.records("request"))

    eventually(is_over)
    assert len(model.seen("left")) == 1


def test_what_a_client_may_call_beside_it_is_left(doors: LiveGateway, model: Upstream) -> None:
    own = {"type": "function", "name": "own", "parameters": {"type": "object", "properties": {}}}
    SCRIPTS["allowed"] = [Says("Hi.")]
    allowed = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp", "server_label": "lab"}]}
    asked(doors, "Hi", MCP, own, {"type": "web_search"}, model="allowed", path="/lab/v1/responses", tool_choice=allowed)
    names = {tool["function"]["name"] for tool in model.last("allowed").json["tools"]}
    assert names == {f"gateway_mcp_lab_{name}" for name in ("add", "echo", "slow")}


def test_servers_of_a_project_are_none_of_anothers(mcp_address: str, tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(f'[mcp.lab]\nurl = "{mcp_address}"\nprojects = ["elsewhere"]\n')
    with running_gateway(**environment(config)) as other:
        body = {"model": "custom-chat", "input": "Hi", "tools": [{**MCP, "server_url": mcp_address}]}
        reply = post(other, "/v1/responses", body, key=OTHER_KEY)
        assert reply.status_code == 200, reply.text
        assert reply.headers["x-gateway-dropped-params"] == "tools.mcp"


@STREAM
def test_a_clients_own_calls_end_the_turn_beside_those_that_run_here(
    doors: LiveGateway, model: Upstream, stream: bool
) -> None:
    name = f"mixed-{stream}"
    own = {"type": "function", "name": "own", "parameters": {"type": "object", "properties": {}}}
    patch = {"type": "custom", "name": "patch"}
    calls = Call("own"), Call("gateway_mcp_lab_add", '{"a": 1, "b": 1}'), Call("patch", '{"input": "x"}')
    SCRIPTS[name] = [Says("I call.", calls)]
    fields: Any = {"model": name, "path": "/lab/v1/responses", "stream": stream}
    response, _ = asked(doors, "Hi", MCP, own, patch, **fields)
    kinds = [item["type"] for item in response["output"]]
    assert kinds[:2] == ["mcp_list_tools", "message"]
    assert sorted(kinds[2:]) == ["custom_tool_call", "function_call", "mcp_call"]
    SCRIPTS[name] = [Says("Done.")]
    outputs = [
        {"type": f"{item['type']}_output", "call_id": item["call_id"], "output": "ok"}
        for item in response["output"]
        if "call_id" in item
    ]
    again, _ = asked(doors, outputs, MCP, own, patch, previous_response_id=response["id"], **fields)
    assert again["output"][-1]["content"][0]["text"] == "Done."
    reported = model.last(name).json["messages"]
    called = {call["id"] for message in reported for call in message.get("tool_calls", ())}
    assert {message["tool_call_id"] for message in reported if message["role"] == "tool"} == called
    assert len(called) == 3


@STREAM
@pytest.mark.parametrize("background", [False, True])
def test_a_model_that_calls_without_end_is_stopped_and_its_tools_are_listed_once(
    doors: LiveGateway, model: Upstream, stream: bool, background: bool
) -> None:
    name = f"endless-{stream}-{background}"
    SCRIPTS[name] = [Says(calls=(Call("gateway_mcp_lab_echo", '{"text": "a"}'),))]
    body = {"model": name, "input": "Hi", "tools": [MCP], "stream": stream, "background": background}
    reply = post(doors, "/lab/v1/responses", body)
    if stream:
        response = check(reply.content)
    elif background:
        path = f"/v1/responses/{reply.json()['id']}"
        eventually(lambda: get(doors, path).json()["status"] not in {"queued", "in_progress"})
        response = get(doors, path).json()
    else:
        response = reply.json()
    valid("Response").validate(response)
    assert response["status"] in {"completed", "incomplete"}
    assert [item["type"] for item in response["output"]].count("mcp_list_tools") == 1
    calls = of_kind(response, "mcp_call")
    assert 1 < len(calls) < 20
    assert {call["status"] for call in calls} == {"completed"}
    assert len(model.seen(name)) <= len(calls) + 1


@STREAM
@pytest.mark.parametrize("end", ["cancelled", "failed"])
def test_one_in_the_background_that_ends_early_keeps_what_was_run(
    doors: LiveGateway, model: Upstream, stream: bool, end: str
) -> None:
    name = f"early-{end}-{stream}"
    last = Says("Never.", pause_s=60) if end == "cancelled" else Says(status=400)
    SCRIPTS[name] = [Says("I look.", (Call("gateway_mcp_lab_echo", '{"text": "a"}'),)), last]
    body = {"model": name, "input": "Hi", "tools": [MCP], "background": True, "stream": stream}
    with client_of(doors) as client, client.stream("POST", "/lab/v1/responses", json=body) as reply:
        response_id = next(reply.iter_text()).partition('"id":"')[2].partition('"')[0]
    eventually(lambda: len(model.seen(name)) == 2)
    path = f"/v1/responses/{response_id}"
    if end == "cancelled":
        assert post(doors, f"{path}/cancel", None).json()["status"] == "cancelled"
        assert model.last(name).gone.wait(20)
    eventually(lambda: get(doors, path).json()["status"] == end)
    response = get(doors, path).json()
    valid("Response").validate(response)
    assert [item["type"] for item in response["output"]] == ["mcp_list_tools", "message", "mcp_call"]
    assert response["output"][1]["content"][0]["text"] == "I look."
    assert (response["output"][2]["output"], response["output"][2]["status"]) == ("a", "completed")
    if stream:
        assert check(get(doors, f"{path}?stream=true").content) == response

"""Whole responses of an upstream that speaks chat."""

from typing import Any

import httpx2
import pytest

from scripts.fuzz.response_grammar import check
from tests.support.client import KEY, eventually, get, post
from tests.support.gateway import LiveGateway, SharedGateways
from tests.support.responses import USAGE, Chatting, called, events_of, valid
from tests.support.upstream import Upstream

pytestmark = pytest.mark.live

FUNCTION = {"type": "function", "name": "read", "description": "Reads.", "parameters": {"type": "object"}}


@pytest.fixture(scope="module")
def chat(relay: LiveGateway, upstream: Upstream) -> Chatting:
    return Chatting(relay, upstream)


def test_a_whole_reply_has_the_fields_of_both_documents(chat: Chatting) -> None:
    response, asked = chat.ask({"content": "yes"}, instructions="Be brief.", metadata={"a": "b"}, temperature=None)
    assert asked["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}]
    assert "metadata" not in asked
    assert "temperature" not in asked
    expected: dict[str, Any] = {
        "status": "completed", "error": None, "incomplete_details": None, "instructions": "Be brief.",
        "metadata": {"a": "b"}, "temperature": 1.0, "top_p": 1.0, "parallel_tool_calls": True, "tools": [],
        "tool_choice": "auto", "truncation": "disabled", "text": {"format": {"type": "text"}}, "presence_penalty": 0.0,
        "frequency_penalty": 0.0, "top_logprobs": 0, "reasoning": {"effort": None, "summary": None},
        "max_output_tokens": None, "max_tool_calls": None, "background": False, "service_tier": "default",
        "safety_identifier": None, "prompt_cache_key": None, "previous_response_id": None, "object": "response",
    }  # fmt: skip
    assert {name: response[name] for name in expected} == expected
    assert response["usage"] == {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 11,
    }
    (item,) = response["output"]
    assert item["content"] == [{"type": "output_text", "text": "yes", "annotations": [], "logprobs": []}]
    assert response["id"].startswith("resp_")
    assert item["id"].startswith("msg_")


def test_usage_that_the_provider_does_not_tell_is_null(chat: Chatting) -> None:
    response, _ = chat.ask({"content": "yes"}, usage=None)
    assert response["usage"] is None


def test_fields_become_those_of_chat(chat: Chatting) -> None:
    schema = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    text = {"format": {"type": "json_schema", "name": "n", "schema": schema, "strict": True}, "verbosity": "low"}
    response, asked = chat.ask(
        {"content": "{}"},
        text=text,
        reasoning={"effort": "low", "summary": "auto"},
        max_output_tokens=50,
        top_logprobs=2,
        safety_identifier="s",
        prompt_cache_key="k",
        service_tier="flex",
        tools=[FUNCTION],
        parallel_tool_calls=False,
        tool_choice="required",
        include=["message.output_text.logprobs"],
    )
    named = {"name": "n", "schema": schema, "strict": True}
    assert asked["response_format"] == {"type": "json_schema", "json_schema": named}
    assert (asked["verbosity"], asked["reasoning_effort"], asked["logprobs"], asked["top_logprobs"]) == (
        "low", "low", True, 2,
    )  # fmt: skip
    assert 50 in {asked.get("max_tokens"), asked.get("max_completion_tokens")}
    same = ("safety_identifier", "prompt_cache_key", "service_tier", "parallel_tool_calls", "tool_choice")
    assert [asked[name] for name in same] == ["s", "k", "flex", False, "required"]
    assert asked["tools"] == [
        {"type": "function", "function": {name: FUNCTION[name] for name in ("name", "description", "parameters")}}
    ]
    assert response["tools"] == [{**FUNCTION, "strict": False}]
    assert response["text"]["verbosity"] == "low"


def test_reasoning_and_calls_are_items_of_their_own(chat: Chatting) -> None:
    message = {
        "content": "I look.",
        "reasoning_content": "hm",
        "tool_calls": [called("read", {}), called("n__f", {}, "b")],
    }
    tools = [
        FUNCTION,
        {"type": "namespace", "name": "n", "description": "", "tools": [{"type": "function", "name": "f"}]},
    ]
    response, _ = chat.ask(message, finish="tool_calls", tools=tools)
    assert [item["type"] for item in response["output"]] == ["reasoning", "message", "function_call", "function_call"]
    assert response["output"][0]["summary"] == [{"type": "summary_text", "text": "hm"}]
    assert (response["output"][3]["namespace"], response["output"][3]["name"]) == ("n", "f")
    assert len({item["id"] for item in response["output"]}) == 4


def test_a_mere_call_has_no_message_beside_it(chat: Chatting) -> None:
    response, _ = chat.ask({"tool_calls": [called("read", {})]}, finish="tool_calls", tools=[FUNCTION])
    assert [item["type"] for item in response["output"]] == ["function_call"]


@pytest.mark.parametrize(("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_an_answer_that_is_cut_off_is_incomplete(chat: Chatting, finish: str, reason: str) -> None:
    response, _ = chat.ask({"content": "half"}, finish=finish)
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": reason})
    assert response["output"][0]["status"] == "incomplete"


def test_a_refusal_is_a_part(chat: Chatting) -> None:
    response, _ = chat.ask({"refusal": "No."})
    assert response["status"] == "completed"
    assert response["output"][0]["content"] == [{"type": "refusal", "refusal": "No."}]


def test_reasoning_is_sealed_if_that_is_asked_for_and_goes_back(chat: Chatting) -> None:
    said = {"content": "yes", "reasoning_content": "hm"}
    response, _ = chat.ask(said, include=["reasoning.encrypted_content"])
    assert response["output"][0]["encrypted_content"].startswith("gw1.")
    _, asked = chat.ask({"content": "and"}, input=[{"role": "user", "content": "a"}, *response["output"]])
    assert asked["messages"][1]["reasoning_content"] == "hm"
    bare, _ = chat.ask(said)
    assert "encrypted_content" not in bare["output"][0]


def test_images_of_outputs_follow_all_results_where_results_hold_texts_only(chat: Chatting) -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"}
    items = [
        {"type": "function_call", "name": "see", "call_id": "a", "arguments": "{}"},
        {"type": "function_call", "name": "read", "call_id": "b", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": [image]},
        {"type": "function_call_output", "call_id": "b", "output": [{"type": "input_text", "text": "t"}]},
    ]
    _, asked = chat.ask({"content": "yes"}, input=items)
    assert [message["role"] for message in asked["messages"]] == ["assistant", "tool", "tool", "user"]
    assert asked["messages"][1]["content"]
    assert asked["messages"][2]["content"] == "t"
    assert asked["messages"][3]["content"][-1]["image_url"]["url"] == image["image_url"]


@pytest.mark.parametrize(
    ("provider", "sent"), [("deepseek", True), ("moonshot", True), ("mistral", False), ("groq", False)]
)
def test_reasoning_goes_back_to_providers_that_take_it_and_to_no_other(
    gateway_for: SharedGateways, upstream: Upstream, provider: str, sent: bool
) -> None:
    name = provider.upper()
    live = gateway_for(**{f"{name}_API_KEY": "k", f"{name}_BASE_URL": upstream.url})
    summary = [{"type": "summary_text", "text": "hm"}]
    items = [
        {"role": "user", "content": "a"},
        {"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": "foreign"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    reply = post(live, f"/{provider}/v1/responses", {"model": f"good#{provider}", "input": items})
    assert reply.status_code == 200, reply.text
    message = upstream.last(f"good#{provider}").json["messages"][1]
    assert (message.get("reasoning_content") == "hm") is sent
    dropped = reply.headers.get("x-gateway-dropped-params", "").split(",")
    assert ("input.reasoning" in dropped) is not sent


def test_a_search_for_tools_keeps_the_description_that_it_has(chat: Chatting) -> None:
    schema = {"type": "object", "properties": {"query": {"type": "string"}}}
    tool = {"type": "tool_search", "execution": "client", "parameters": schema}
    _, asked = chat.ask({"content": "x"}, tools=[tool])
    assert asked["tools"] == [{"type": "function", "function": {"name": "tool_search", "parameters": schema}}]


def refused(live: LiveGateway, body: dict[str, Any], status: int = 400) -> dict[str, Any]:
    reply = post(live, "/lab/v1/responses", {"model": "good", "input": "x", **body})
    assert reply.status_code == status, reply.text
    error: dict[str, Any] = reply.json()["error"]
    return error


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"conversation": "c"}, "conversation", "unsupported_parameter"),
        ({"prompt": {"id": "p"}}, "prompt", "unsupported_parameter"),
        ({"tool_choice": {"type": "web_search_preview"}}, "tool_choice.type", "unsupported_value"),
        ({"tool_choice": "required", "tools": [{"type": "web_search"}]}, "tool_choice", "unsupported_value"),
        ({"tool_choice": {"type": "function", "name": "f"}}, "tool_choice.name", "invalid_value"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].call_id", "missing_required_parameter"),
        ({"input": [{"role": "user", "content": "a"}, {"type": "nothing"}]}, "input[1].type", "invalid_value"),
        ({"input": []}, "input", "missing_required_parameter"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_done_is_refused_by_name(
    relay: LiveGateway, body: dict[str, Any], param: str, code: str
) -> None:
    error = refused(relay, body)
    assert (error["param"], error["code"]) == (param, code)


def test_one_bad_item_among_many_is_told_by_its_field(relay: LiveGateway) -> None:
    items: list[dict[str, Any]] = [{"role": "user", "content": f"{at}"} for at in range(40)]
    items[17] = {"type": "function_call_output", "call_id": "c", "output": 5}
    error = refused(relay, {"input": items})
    assert error["param"] == "input[17].output"
    assert len(error["message"]) < 500


@pytest.mark.parametrize("tool", ["web_search", "image_generation"])
def test_tools_of_servers_are_left_out_and_named(relay: LiveGateway, upstream: Upstream, tool: str) -> None:
    body = {"model": f"good#{tool}", "input": "x", "tools": [{"type": tool}, FUNCTION], "client_metadata": {"a": "b"}}
    reply = post(relay, "/lab/v1/responses", body)
    assert reply.status_code == 200, reply.text
    assert reply.headers["x-gateway-dropped-params"].split(",") == ["client_metadata", f"tools.{tool}"]
    assert [each["function"]["name"] for each in upstream.last(f"good#{tool}").json["tools"]] == ["read"]
    assert "web_search_options" not in upstream.last(f"good#{tool}").json


def test_an_upstreams_refusal_keeps_its_status(relay: LiveGateway) -> None:
    error = refused(relay, {"model": "status-429"}, 429)
    assert error["code"] == "upstream_code"


def test_a_websocket_is_refused_at_once(gateway: LiveGateway) -> None:
    upgrade = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13", **KEY}
    with httpx2.Client(trust_env=False) as client:
        for path in ("/v1/responses", "/custom/v1/responses"):
            reply = client.get(gateway.base_url + path, headers=upgrade)
            assert reply.status_code == 426
            assert reply.json()["error"]["code"] == "upgrade_required"
            assert reply.headers["upgrade"]
        plain = client.get(f"{gateway.base_url}/v1/responses", headers=KEY)
        assert (plain.status_code, plain.headers["allow"]) == (405, "POST")
        assert client.head(f"{gateway.base_url}/v1/responses", headers=KEY).status_code == 405


@pytest.mark.parametrize(
    ("path", "allowed"), [("input_tokens", "POST"), ("compact", "POST"), ("resp_1", "DELETE, GET, HEAD")]
)
def test_a_path_that_is_written_out_has_its_own_methods_alone(gateway: LiveGateway, path: str, allowed: str) -> None:
    with httpx2.Client(trust_env=False) as client:
        for base in ("/v1", "/custom/v1"):
            reply = client.put(f"{gateway.base_url}{base}/responses/{path}", headers=KEY)
            assert (reply.status_code, reply.headers["allow"]) == (405, allowed)


def test_tokens_are_counted_of_everything(gateway: LiveGateway) -> None:
    def count(**body: Any) -> int:
        reply = post(gateway, "/v1/responses/input_tokens", {"model": "custom-chat", **body})
        assert reply.status_code == 200, reply.text
        valid("TokenCountsResource").validate(reply.json())
        tokens: int = reply.json()["input_tokens"]
        return tokens

    short = count(input="hello")
    assert 0 < short < count(input="hello", instructions="Be brief.")
    assert short < count(input="hello", tools=[FUNCTION])
    image = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 90_000, "detail": "auto"}
    assert 1_000 < count(input=[{"role": "user", "content": [image]}]) < 5_000


def test_files_and_forms_take_tokens_as_well(gateway: LiveGateway) -> None:
    def counted(content: Any = "x", **more: Any) -> int:
        body = {"model": "custom-chat", "input": [{"role": "user", "content": content}], **more}
        reply = post(gateway, "/v1/responses/input_tokens", body)
        assert reply.status_code == 200, reply.text
        tokens: int = reply.json()["input_tokens"]
        return tokens

    file = {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64," + "A" * 400_000}
    assert counted([file]) > 300_000 / 4
    image = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 400_000}
    assert counted([image]) < 10_000
    form = {"type": "json_schema", "name": "a", "schema": {"type": "object", "description": "d" * 4_000}}
    assert counted(text={"format": form}) > counted(text={"format": {"type": "text"}}) + 1_000


def test_items_that_agents_send_without_their_ids_are_taken(chat: Chatting) -> None:
    action = {"type": "exec", "command": ["ls"], "env": {}}
    items: list[dict[str, Any]] = [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "content": None},
        {"type": "local_shell_call", "call_id": "c", "status": "completed", "action": action},
        {"type": "function_call_output", "call_id": "c", "output": "r"},
        {"type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "q"}},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]},
        {"type": "reasoning", "id": None, "summary": [], "encrypted_content": None},
    ]
    for given in (items, [{"id": None, **item} for item in items]):
        response, asked = chat.ask({"content": "ok"}, input=[{"role": "user", "content": "x"}, *given])
        assert response["status"] == "completed"
        _, call, result, *_ = asked["messages"]
        assert (call["tool_calls"][0]["id"], call["reasoning_content"], result["content"]) == ("c", "hm", "r")


def test_what_would_do_is_told_without_what_only_the_contract_calls_so(gateway: LiveGateway) -> None:
    for body in ({"input": [{"type": "odd"}]}, {"text": {"format": {"type": "odd"}}}, {"tools": [{"type": "odd"}]}):
        message = post(gateway, "/v1/responses", {"model": "custom-chat", "input": "x", **body}).json()["error"][
            "message"
        ]
        assert message.count("one of") == 1
        assert "''" not in message
        assert "'null'" not in message


def test_a_compaction_stands_for_what_was_said(gateway: LiveGateway) -> None:
    asked = {"model": "custom-chat", "input": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    reply = post(gateway, "/v1/responses/compact", asked)
    assert reply.status_code == 200, reply.text
    valid("CompactResource").validate(reply.json())
    (item,) = reply.json()["output"]
    assert item["type"] == "compaction"
    went_on = post(
        gateway, "/v1/responses", {"model": "custom-chat", "input": [item, {"role": "user", "content": "c"}]}
    )
    assert went_on.status_code == 200, went_on.text
    assert went_on.json()["usage"]["input_tokens"] > 30


@pytest.mark.parametrize("path", ["input_tokens", "compact"])
@pytest.mark.parametrize("odd", [5, "x", True, [5], {"a": 1}, [{}], [{"type": "x"}]], ids=str)
def test_fields_of_a_response_that_other_operations_lack_are_none_of_theirs(
    gateway: LiveGateway, path: str, odd: object
) -> None:
    lacking = {
        "input_tokens": ("prompt_cache_options", "temperature", "service_tier", "metadata", "include"),
        "compact": ("tools", "text", "temperature", "metadata", "reasoning", "include", "parallel_tool_calls"),
    }
    for name in lacking[path]:
        reply = post(gateway, f"/v1/responses/{path}", {"model": "custom-chat", "input": "a", name: odd})
        assert reply.status_code == 200, (name, reply.text)
        assert name in reply.headers["x-gateway-dropped-params"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_trigger_at_the_end_asks_for_a_compaction(gateway: LiveGateway, stream: bool) -> None:
    items = [{"role": "user", "content": "a"}, {"type": "compaction_trigger"}]
    body = {"model": "custom-chat", "input": items, "stream": stream, "tools": [FUNCTION], "tool_choice": "auto"}
    reply = post(gateway, "/v1/responses", body)
    assert reply.status_code == 200, reply.text
    response = events_of(reply.text)[-1]["response"] if stream else reply.json()
    valid("Response").validate(response)
    assert [item["type"] for item in response["output"]] == ["compaction"]
    assert response["status"] == "completed"
    assert get(gateway, f"/v1/responses/{response['id']}").json() == response
    later = post(gateway, "/v1/responses", {**body, "background": True})
    if stream:
        kept = check(later.content)
        assert check(get(gateway, f"/v1/responses/{kept['id']}?stream=true").content) == kept
    else:
        assert later.json()["status"] == "queued"
        path = f"/v1/responses/{later.json()['id']}"
        eventually(lambda: get(gateway, path).json()["status"] == "completed")
        kept = get(gateway, path).json()
    assert [item["type"] for item in kept["output"]] == ["compaction"]
    went_on = {"model": "custom-chat", "input": [*response["output"], {"role": "user", "content": "c"}]}
    assert post(gateway, "/v1/responses", went_on).status_code == 200


def test_a_stored_response_of_nobody_is_not_found(gateway: LiveGateway) -> None:
    reply = get(gateway, "/v1/responses/resp_nothing")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")


def test_usage_is_what_the_upstream_said(chat: Chatting) -> None:
    response, _ = chat.ask({"content": "x"}, usage={**USAGE, "prompt_tokens_details": None})
    assert response["usage"]["input_tokens_details"] == {"cached_tokens": 0, "cache_write_tokens": 0}

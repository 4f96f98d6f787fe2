"""The loop: a model calls tools of the gateway, which run between its rounds; the caller gets one answer."""

import json
from typing import Any

import pytest

from tests.support.client import events_of, frames_of, post
from tests.support.gateway import LiveGateway
from tests.support.upstream import Upstream
from tests.tools.asking import SEARCH, WEATHER, asked, message_of, requests_for
from tests.tools.scripted import SCRIPTS, USAGE, Call, Says, search

pytestmark = pytest.mark.live

BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
WEATHER_CALL = Call("get_weather", '{"city":"Oslo"}')


@BOTH
def test_a_tool_is_run_and_the_model_goes_on_with_its_result(
    tooled: LiveGateway, model: Upstream, stream: bool
) -> None:
    name = f"goes-on-{stream}"
    reply = asked(tooled, name, Says(calls=(search("tea"),)), Says("Found it."), stream=stream)
    message = message_of(reply)
    assert message["content"] == "Found it."
    assert "tool_calls" not in message
    (run,) = message["gateway_tool_calls"]
    assert (run["id"], run["status"], run["tool"], run["round"]) == ("call_0_0", "completed", "gateway:web_search", 1)
    assert run["function"] == {"name": "gateway_web_search", "arguments": '{"query": "tea"}'}
    first, second = requests_for(model, name)
    assert [tool["function"]["name"] for tool in first["tools"]] == ["gateway_web_search"]
    assert second["messages"][1]["tool_calls"][0]["id"] == "call_0_0"
    assert second["messages"][2] == run["result"]
    assert "Results for: tea" in run["result"]["content"]
    assert reply["usage"] == {name: 2 * count for name, count in USAGE.items()}
    assert reply["choices"][0]["finish_reason"] == "stop"


@BOTH
def test_what_a_model_says_before_it_calls_is_kept(tooled: LiveGateway, stream: bool) -> None:
    reply = asked(tooled, "talks", Says("I look. ", (search(),)), Says("So it is."), stream=stream)
    assert message_of(reply)["content"] == "I look. So it is."


@BOTH
def test_several_calls_run_together_and_results_have_the_ids_of_their_calls(
    tooled: LiveGateway, model: Upstream, stream: bool
) -> None:
    name = f"several-{stream}"
    queries = ["one", "two", "three"]
    reply = asked(tooled, name, Says(calls=tuple(map(search, queries))), Says("Done."), stream=stream)
    runs = message_of(reply)["gateway_tool_calls"]
    assert [run["index"] for run in runs] == [0, 1, 2]
    for run, query in zip(sorted(runs, key=lambda run: str(run["id"])), queries, strict=True):
        assert run["result"]["tool_call_id"] == run["id"]
        assert f"Results for: {query}" in run["result"]["content"]
    answers = requests_for(model, name)[1]["messages"][2:]
    assert [answer["tool_call_id"] for answer in answers] == ["call_0_0", "call_0_1", "call_0_2"]


@BOTH
def test_a_tool_that_fails_is_a_result_and_no_failed_request(tooled: LiveGateway, stream: bool) -> None:
    calls = (
        search("search-fails"),
        Call("gateway_web_search", "[1]"),
        Call("gateway_web_search", "{"),
        Call("gateway_web_search", '{"query": 3}'),
    )
    message = message_of(asked(tooled, "fails", Says(calls=calls), Says("Sorry."), stream=stream))
    assert [run["status"] for run in message["gateway_tool_calls"]] == ["failed"] * 4
    assert message["content"] == "Sorry."
    texts = [run["result"]["content"] for run in sorted(message["gateway_tool_calls"], key=lambda run: run["index"])]
    assert "failed" in texts[0]
    assert "not a JSON object" in texts[1]
    assert "not JSON" in texts[2]
    assert "'query'" in texts[3]


@BOTH
def test_calls_of_the_callers_own_functions_go_back_alone(tooled: LiveGateway, model: Upstream, stream: bool) -> None:
    name = f"mixed-{stream}"
    rounds = Says(calls=(search(), WEATHER_CALL, search("b"))), Says("never")
    reply = asked(tooled, name, *rounds, tools=(WEATHER, SEARCH), stream=stream)
    message = message_of(reply)
    assert [call["function"]["name"] for call in message["tool_calls"]] == ["get_weather"]
    assert message["tool_calls"][0].get("index", 0) == 0, "numbered as if there were no others"
    assert message["tool_calls"][0]["function"]["arguments"] == WEATHER_CALL.arguments
    assert len(message["gateway_tool_calls"]) == 2
    assert reply["choices"][0]["finish_reason"] == "tool_calls"
    assert len(requests_for(model, name)) == 1


@BOTH
def test_what_was_run_can_be_sent_back_and_makes_the_history_complete(
    tooled: LiveGateway, model: Upstream, stream: bool
) -> None:
    rounds = Says(calls=(search(), WEATHER_CALL)), Says("Cold.")
    message = message_of(asked(tooled, "sent-back", *rounds, tools=(WEATHER, SEARCH), stream=stream))
    call = message["tool_calls"][0]
    messages = [
        {"role": "user", "content": "Hello"},
        message,
        {"role": "tool", "tool_call_id": call["id"], "content": "-5"},
    ]
    body = {"model": "sent-back", "messages": messages, "tools": [WEATHER, SEARCH]}
    SCRIPTS["sent-back"] = [Says("Cold.")]
    assert post(tooled, "/lab/v1/chat/completions", body).status_code == 200
    sent = requests_for(model, "sent-back")[-1]["messages"]
    assert [one["role"] for one in sent] == ["user", "assistant", "tool", "assistant", "tool"]
    assert sent[1]["tool_calls"][0]["id"] == sent[2]["tool_call_id"] == message["gateway_tool_calls"][0]["id"]
    assert sent[2]["content"] == message["gateway_tool_calls"][0]["result"]["content"]
    assert sent[3]["tool_calls"] == [call]
    assert not any("gateway_tool_calls" in one for one in sent)


def test_a_history_with_our_calls_is_complete_for_a_request_without_tools_as_well(
    tooled: LiveGateway, model: Upstream
) -> None:
    message = message_of(asked(tooled, "later", Says("I look. ", (search(),)), Says("So it is.")))
    SCRIPTS["later"] = [Says("Yes.")]
    messages = [{"role": "user", "content": "Hello"}, message, {"role": "user", "content": "And?"}]
    assert post(tooled, "/lab/v1/chat/completions", {"model": "later", "messages": messages}).status_code == 200
    sent = requests_for(model, "later")[-1]
    assert [one["role"] for one in sent["messages"]] == ["user", "assistant", "tool", "assistant", "user"]
    assert sent["messages"][3]["content"] == "I look. So it is."
    assert "tools" not in sent


def test_a_function_that_happens_to_have_the_name_is_the_callers(tooled: LiveGateway, model: Upstream) -> None:
    own = {"type": "function", "function": {"name": "web_search", "parameters": {"type": "object"}}}
    reply = asked(tooled, "own", Says(calls=(Call("web_search"),)), tools=(own,))
    assert message_of(reply)["tool_calls"][0]["function"]["name"] == "web_search"
    assert "gateway_tool_calls" not in message_of(reply)
    prefixed = {"type": "function", "function": {"name": "gateway_web_search", "parameters": {"type": "object"}}}
    reply = asked(tooled, "prefixed", Says(calls=(search(),)), tools=(prefixed,))
    assert message_of(reply)["tool_calls"][0]["function"]["name"] == "gateway_web_search"


def test_a_name_of_both_is_refused(tooled: LiveGateway) -> None:
    own = {"type": "function", "function": {"name": "gateway_web_search"}}
    body = {"model": "m", "messages": [{"role": "user", "content": "a"}], "tools": [SEARCH, own]}
    response = post(tooled, "/lab/v1/chat/completions", body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "tools[1].function.name"


@BOTH
def test_a_tool_that_nobody_offered_is_not_run(tooled: LiveGateway, model: Upstream, stream: bool) -> None:
    calls = (Call("gateway_code_execution", '{"code": "1"}'),)
    message = message_of(asked(tooled, "made-up", Says(calls=calls), Says("Oh."), stream=stream))
    (run,) = message["gateway_tool_calls"]
    assert (run["status"], run["result"]["content"]) == ("failed", "There is no tool 'gateway_code_execution'.")
    assert message["content"] == "Oh."


@BOTH
def test_a_model_that_never_ends_is_asked_once_more_without_tools(
    tooled: LiveGateway, model: Upstream, stream: bool
) -> None:
    name = f"endless-{stream}"
    reply = asked(tooled, name, Says("Again. ", (search(),)), stream=stream)
    asks = requests_for(model, name)
    assert len(asks) == 4, "three rounds with tools, and the last without"
    assert ["tools" in each for each in asks] == [True, True, True, False]
    assert "tool_choice" not in asks[-1]
    message = message_of(reply)
    assert len(message["gateway_tool_calls"]) == 3
    assert "tool_calls" not in message, "a call that is not run is nobody's"
    assert reply["choices"][0]["finish_reason"] == "length"
    assert message["content"] == "Again. " * 4


@BOTH
@pytest.mark.parametrize(
    "choice",
    ["required", {"type": "gateway:web_search"}, {"type": "function", "function": {"name": "gateway_web_search"}}],
    ids=["required", "type", "function"],
)
def test_a_forced_tool_is_forced_once(tooled: LiveGateway, model: Upstream, choice: Any, stream: bool) -> None:
    name = f"forced-{choice if isinstance(choice, str) else choice['type']}-{stream}"
    asked(tooled, name, Says(calls=(search(),)), Says("Done."), tool_choice=choice, stream=stream)
    first, second = requests_for(model, name)
    named = {"type": "function", "function": {"name": "gateway_web_search"}}
    assert first["tool_choice"] == ("required" if choice == "required" else named)
    assert second["tool_choice"] == "auto"


def test_tools_of_ours_can_be_among_those_that_are_allowed(tooled: LiveGateway, model: Upstream) -> None:
    allowed = {"mode": "required", "tools": [{"type": "gateway:web_search"}]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    asked(tooled, "allowed", Says(calls=(search(),)), Says("Done."), tools=(WEATHER, SEARCH), tool_choice=choice)
    first, second = requests_for(model, "allowed")
    named = [{"type": "function", "function": {"name": "gateway_web_search"}}]
    assert first["tool_choice"]["allowed_tools"] == {"mode": "required", "tools": named}
    assert second["tool_choice"]["allowed_tools"] == {"mode": "auto", "tools": named}


def test_a_choice_of_a_tool_that_is_not_there_is_refused(tooled: LiveGateway) -> None:
    body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "a"}], "tools": [SEARCH]}
    body["tool_choice"] = {"type": "gateway:memory"}
    response = post(tooled, "/lab/v1/chat/completions", body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "tool_choice.type")


@BOTH
def test_no_more_calls_run_at_once_than_may(tooled: LiveGateway, stream: bool) -> None:
    calls = tuple(search(f"q{at}") for at in range(6))
    message = message_of(asked(tooled, "many", Says(calls=calls), Says("Done."), stream=stream))
    runs = sorted(message["gateway_tool_calls"], key=lambda run: run["index"])
    assert [run["status"] for run in runs] == ["completed"] * 4 + ["failed"] * 2
    assert "no more than 4" in runs[-1]["result"]["content"]


@BOTH
def test_a_long_result_is_cut_off_with_a_mark(tooled: LiveGateway, stream: bool) -> None:
    tools = ({"type": "gateway:web_search", "max_results": 20},)
    rounds = Says(calls=(search("ü" * 300),)), Says("Done.")
    (run,) = message_of(asked(tooled, "long", *rounds, tools=tools, stream=stream))["gateway_tool_calls"]
    kept, mark = run["result"]["content"].rsplit("\n", 1)
    assert len(kept.encode()) <= 2000
    assert mark.startswith("[cut off here: these are the first 2000 of ")


@BOTH
def test_calls_with_one_id_are_told_apart(tooled: LiveGateway, model: Upstream, stream: bool) -> None:
    name = f"one-id-{stream}"
    calls = (Call("gateway_web_search", '{"query": "a"}', "same"), Call("gateway_web_search", '{"query": "b"}', "same"))
    message = message_of(asked(tooled, name, Says(calls=calls), Says("Done."), stream=stream))
    assert len({run["id"] for run in message["gateway_tool_calls"]}) == 2
    sent = requests_for(model, name)[1]["messages"]
    assert [call["id"] for call in sent[1]["tool_calls"]] == [one["tool_call_id"] for one in sent[2:]]


@BOTH
def test_what_an_upstream_wants_back_with_its_calls_it_gets(tooled: LiveGateway, model: Upstream, stream: bool) -> None:
    name = f"thinks-{stream}"
    rounds = (
        Says(calls=(search(),), extras={"reasoning_content": "Hm."}),
        Says("Done.", extras={"reasoning_content": "Ah."}),
    )
    message = message_of(asked(tooled, name, *rounds, stream=stream))
    assert requests_for(model, name)[1]["messages"][1]["reasoning_content"] == "Hm."
    assert message["reasoning_content"] == "Hm.Ah."


def test_several_choices_are_refused(tooled: LiveGateway) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "a"}], "tools": [SEARCH], "n": 2}
    response = post(tooled, "/lab/v1/chat/completions", body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "n")


@pytest.mark.parametrize("kind", ["gateway:memory", "gateway:code_execution", "gateway:mcp"])
def test_a_tool_that_is_not_switched_on_is_refused(tooled: LiveGateway, kind: str) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "a"}], "tools": [{"type": kind}]}
    response = post(tooled, "/lab/v1/chat/completions", body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("tool_not_available", "tools[0].type")
    assert "gateway:web_search" in error["message"]


def test_an_option_that_there_is_not_is_refused(tooled: LiveGateway) -> None:
    tools = [{"type": "gateway:web_search", "depth": 3}]
    body = {"model": "m", "messages": [{"role": "user", "content": "a"}], "tools": tools}
    response = post(tooled, "/lab/v1/chat/completions", body)
    assert response.status_code == 400
    assert "depth" in json.dumps(response.json()["error"])


def test_a_round_that_fails_after_others_is_an_error_with_its_own_status(tooled: LiveGateway) -> None:
    SCRIPTS["breaks"] = [Says(calls=(search(),)), Says(status=429)]
    body = {"model": "breaks", "messages": [{"role": "user", "content": "a"}], "tools": [SEARCH]}
    assert post(tooled, "/lab/v1/chat/completions", body).status_code == 429
    streamed = post(tooled, "/lab/v1/chat/completions", {**body, "stream": True})
    assert streamed.status_code == 200
    assert '"code"' in streamed.text
    assert "[DONE]" not in streamed.text


def test_a_stream_tells_when_a_tool_starts_and_when_it_is_over(tooled: LiveGateway) -> None:
    SCRIPTS["tells"] = [Says("I look. ", (search(),)), Says("Done.")]
    body = {"model": "tells", "messages": [{"role": "user", "content": "a"}], "tools": [SEARCH], "stream": True}
    chunks = events_of(post(tooled, "/lab/v1/chat/completions", body)).chunks
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    reported = ["text" if delta.get("content") else delta["gateway_tool_calls"][0].get("status", "started")
            for delta in deltas if delta.get("content") or "gateway_tool_calls" in delta]  # fmt: skip
    assert reported == ["text", "text", "started", "completed", "text"]
    assert not any("usage" in chunk and chunk["usage"] for chunk in chunks), "it was not asked for"


@BOTH
def test_kinds_of_tools_that_only_an_upstream_knows_go_on_to_it(
    tooled: LiveGateway, model: Upstream, stream: bool
) -> None:
    name, own = f"kinds-{stream}", {"type": "openrouter:datetime", "timezone": "UTC"}
    message = message_of(
        asked(tooled, name, Says(calls=(search(),)), Says("Done."), tools=(own, WEATHER, SEARCH), stream=stream)
    )
    assert len(message["gateway_tool_calls"]) == 1
    for body in requests_for(model, name):
        assert body["tools"][:2] == [own, WEATHER]
        assert [tool["function"]["name"] for tool in body["tools"][2:]] == ["gateway_web_search"]


def test_several_choices_beside_earlier_rounds_or_a_search_that_is_not_claimed_are_all_told(
    gateway: LiveGateway,
) -> None:
    body = {"model": "custom-chat", "messages": [{"role": "user", "content": "gateway_web_search"}], "tools": [SEARCH]}
    ran = message_of(post(gateway, "/custom/v1/chat/completions", body).json())["gateway_tool_calls"]
    cases: list[dict[str, Any]] = [
        {"messages": [{"role": "user", "content": "Hi"}], "web_search_options": {}},
        {"messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello", "gateway_tool_calls": ran},
            {"role": "user", "content": "And?"},
        ]},
    ]  # fmt: skip
    for fields in cases:
        for stream in (False, True):
            more: dict[str, Any] = {"model": "custom-chat", "n": 3, "stream": stream, **fields}
            reply = post(gateway, "/custom/v1/chat/completions", more)
            assert reply.status_code == 200, reply.text
            events = [event.removeprefix("data: ") for event in frames_of(reply.text) if event] if stream else []
            chunks = [json.loads(event) for event in events if event != "[DONE]"] or [reply.json()]
            choices = [choice for chunk in chunks for choice in chunk["choices"]]
            assert sorted(each["index"] for each in choices if each["finish_reason"]) == [0, 1, 2]
            assert all("usage" not in chunk for chunk in chunks) or not stream

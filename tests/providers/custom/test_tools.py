"""Which tools are called follows rules a caller can foresee, and arguments are valid for their schema."""

import json
from typing import Any

import jsonschema_rs
import pytest

from ai_gateway.errors import InvalidRequest
from tests.providers.custom.asking import CLOCK, HELLO, NOTE, WEATHER, Json, chat, streamed_chat

BOTH = [WEATHER, CLOCK]
USE_WEATHER = [{"role": "user", "content": "Please use get_weather for Oslo."}]


def allowing(mode: str, *names: str) -> Json:
    listed = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": listed}}


def calls_in(reply: Json, choice: int = 0) -> list[Json]:
    """The calls of a choice, whose message must then look as clients expect."""
    made = reply["choices"][choice]
    calls: list[Json] = made["message"].get("tool_calls", [])
    assert (made["finish_reason"] == "tool_calls") is bool(calls)
    assert (made["message"]["content"] is None) is bool(calls)
    return calls


def names_in(reply: Json) -> list[str]:
    return [call[call["type"]]["name"] for call in calls_in(reply)]


async def test_auto_calls_the_tool_named_by_the_user_with_valid_arguments() -> None:
    (call,) = calls_in(await chat(messages=USE_WEATHER, tools=BOTH))
    assert call["id"].startswith("call_")
    assert call["type"] == "function"
    jsonschema_rs.validate(WEATHER["function"]["parameters"], json.loads(call["function"]["arguments"]))
    assert set(json.loads(call["function"]["arguments"])) == {"city", "unit", "place"}


@pytest.mark.parametrize(
    ("said", "called"),
    [
        ("Hello", []),
        ("get_weather and get_time", ["get_weather", "get_time"]),
        ("get_time, then get_weather", ["get_weather", "get_time"]),
        ("get_weathers forget_time", []),
        ("`get_time`", ["get_time"]),
        ([{"type": "text", "text": "call"}, {"type": "text", "text": "get_time"}], ["get_time"]),
    ],
)
async def test_auto_calls_every_tool_whose_name_is_a_word_of_the_message(said: Any, called: list[str]) -> None:
    assert names_in(await chat(messages=[{"role": "user", "content": said}], tools=BOTH)) == called


async def test_parallel_tool_calls_false_makes_one_call() -> None:
    said = [{"role": "user", "content": "get_weather and get_time"}]
    assert names_in(await chat(messages=said, tools=BOTH, parallel_tool_calls=False)) == ["get_weather"]


async def test_after_a_tool_has_answered_the_reply_is_text() -> None:
    (call,) = calls_in(await chat(messages=USE_WEATHER, tools=BOTH))
    answered = [
        *USE_WEATHER,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "Sunny; get_weather is done.", "tool_call_id": call["id"]},
    ]
    assert names_in(await chat(messages=answered, tools=BOTH)) == []


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ("none", []),
        ("auto", ["get_weather"]),
        ("required", ["get_weather"]),
        ({"type": "function", "function": {"name": "get_time"}}, ["get_time"]),
        ({"type": "custom", "custom": {"name": "take_note"}}, ["take_note"]),
    ],
)
async def test_tool_choice_decides(choice: Any, called: list[str]) -> None:
    assert names_in(await chat(messages=USE_WEATHER, tools=[*BOTH, NOTE], tool_choice=choice)) == called


async def test_required_calls_the_first_tool_when_none_is_named() -> None:
    assert names_in(await chat(tools=BOTH, tool_choice="required")) == ["get_weather"]


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"tools": BOTH, "tool_choice": {"type": "function", "function": {"name": "unheard_of"}}}, "tool_choice"),
        ({"tools": BOTH, "tool_choice": {"type": "custom", "custom": {"name": "get_time"}}}, "tool_choice"),
        ({"tools": [NOTE], "tool_choice": {"type": "function", "function": {"name": "take_note"}}}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "get_time"}}}, "tool_choice"),
        ({"tools": [], "tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": BOTH, "tool_choice": allowing("auto", "get_time", "unheard_of")}, "tool_choice"),
        ({"tool_choice": allowing("auto", "get_time")}, "tool_choice"),
        ({"functions": [CLOCK["function"]], "function_call": {"name": "unheard_of"}}, "function_call"),
        ({"function_call": {"name": "get_time"}}, "function_call"),
    ],
)
@pytest.mark.parametrize("ask", [chat, streamed_chat])
async def test_a_call_of_what_was_not_offered_is_refused(ask: Any, options: Json, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await ask(**options)
    assert (caught.value.status, caught.value.param) == (400, field)
    assert field in str(caught.value)


@pytest.mark.parametrize("name", ["get-time", "get.time", "-x-", "ünï-1", "a-b-c"])
async def test_a_name_of_several_words_is_found_only_by_itself(name: str) -> None:
    tool = {"type": "function", "function": {"name": name}}
    for said, called in ((f"please {name}!", [name]), (name, [name]), (f"x{name}y", []), (f"{name}9 {name}_", [])):
        assert names_in(await chat(messages=[{"role": "user", "content": said}], tools=[tool])) == called


@pytest.mark.parametrize(
    ("mode", "messages", "called"),
    [
        ("auto", HELLO, []),
        ("auto", USE_WEATHER, []),
        ("required", USE_WEATHER, ["get_time"]),
        ("auto", [{"role": "user", "content": "get_time"}], ["get_time"]),
    ],
)
async def test_allowed_tools_narrow_the_choice(mode: str, messages: Any, called: list[str]) -> None:
    allowed = {"mode": mode, "tools": [{"type": "function", "function": {"name": "get_time"}}, {"odd": 1}]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    assert names_in(await chat(messages=messages, tools=BOTH, tool_choice=choice)) == called


async def test_missing_parameters_are_an_empty_object() -> None:
    (call,) = calls_in(await chat(tools=[CLOCK], tool_choice="required"))
    assert call["function"]["arguments"] == "{}"
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    (call,) = calls_in(await chat(tools=[tool], tool_choice="required"))
    assert call["function"]["arguments"] == "{}"


async def test_each_choice_and_call_has_an_id_of_its_own() -> None:
    said = [{"role": "user", "content": "get_weather and get_time"}]
    reply = await chat(messages=said, tools=BOTH, n=3)
    again = await chat(messages=said, tools=BOTH, n=3)
    calls = [call for choice in range(3) for call in calls_in(reply, choice)]
    assert len({call["id"] for call in calls}) == 6
    assert calls == [call for choice in range(3) for call in calls_in(again, choice)]


async def test_calls_come_before_response_format_and_token_limits() -> None:
    reply = await chat(
        messages=USE_WEATHER, tools=BOTH, response_format={"type": "json_object"}, max_tokens=1, logprobs=True
    )
    assert names_in(reply) == ["get_weather"]
    assert reply["choices"][0]["logprobs"] is None
    assert reply["usage"]["completion_tokens"] > 1


@pytest.mark.parametrize(
    ("grammar", "starts"),
    [
        ({"syntax": "regex", "definition": r"note: [a-z]{3}"}, "note: "),
        ({"syntax": "regex", "definition": r"(?<=x)"}, ""),
        ({"syntax": "lark", "definition": "start: /a/"}, ""),
    ],
)
async def test_a_custom_tool_gets_text_that_follows_its_regex(grammar: Json, starts: str) -> None:
    tool = {"type": "custom", "custom": {"name": "n", "format": {"type": "grammar", "grammar": grammar}}}
    (call,) = calls_in(await chat(tools=[tool], tool_choice="required"))
    assert call["type"] == "custom"
    assert call["custom"]["input"].startswith(starts)
    assert call["custom"]["input"]


@pytest.mark.parametrize("format_", [None, {"type": "text"}])
async def test_a_custom_tool_without_a_grammar_gets_words(format_: Any) -> None:
    tool = {"type": "custom", "custom": {"name": "n", "format": format_}}
    (call,) = calls_in(await chat(tools=[tool], tool_choice="required"))
    assert " " in call["custom"]["input"]


FUNCTIONS = [WEATHER["function"], CLOCK["function"]]


@pytest.mark.parametrize(
    ("messages", "choice", "called"),
    [
        (USE_WEATHER, None, "get_weather"),
        (USE_WEATHER, "auto", "get_weather"),
        (USE_WEATHER, "none", None),
        (HELLO, None, None),
        (HELLO, {"name": "get_time"}, "get_time"),
    ],
)
async def test_the_older_functions_follow_the_same_rules(messages: Any, choice: Any, called: str | None) -> None:
    (made,) = (await chat(messages=messages, functions=FUNCTIONS, function_call=choice))["choices"]
    assert made["message"].get("function_call", {"name": None})["name"] == called
    assert made["finish_reason"] == ("function_call" if called else "stop")
    if called:
        assert isinstance(json.loads(made["message"]["function_call"]["arguments"]), dict)

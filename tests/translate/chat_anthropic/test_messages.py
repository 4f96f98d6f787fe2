"""Conversations: what each message becomes, where it stands, and what cannot be said."""

import base64
import json
from typing import Any

import pytest

from ai_gateway.translate.chat_anthropic.messages import OPENING
from tests.translate.asking_anthropic import TOOL, refused, sent, translated, turns

PNG = "iVBORw0KGgo="
PDF = base64.b64encode(b"%PDF-1.4").decode()
OLD = "claude-sonnet-4-5"


def user(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **more}


def assistant(content: Any = None, *calls: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **({"tool_calls": list(calls)} if calls else {}), **more}


def call(ident: str, arguments: str = "{}", name: str = "zebra") -> dict[str, Any]:
    return {"id": ident, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(ident: str, content: Any = "striped", **more: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": ident, "content": content, **more}


def system(content: Any, role: str = "system") -> dict[str, Any]:
    return {"role": role, "content": content}


def text(*said: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": one} for one in said]


def part(**fields: Any) -> list[dict[str, Any]]:
    return [{"type": next(iter(fields)), **fields}]


# -- instructions --


def test_leading_instructions_are_the_system_prompt_in_order() -> None:
    first = system("one")
    parts = system([{"type": "text", "text": "two"}, {"type": "text", "text": " "}, {"type": "text", "text": "three"}])
    body = sent(messages=[first, system("", "developer"), parts, system("four", "developer"), user("Hello")])
    assert body["system"] == text("one", "two", "three", "four")
    assert body["messages"] == [user(text("Hello"))]


def test_later_instructions_keep_their_place_and_say_what_they_are() -> None:
    found = turns(
        system("first"), user("Hello"), system("be brief"), assistant("Hi"), system("now French", "developer")
    )
    assert found == [
        user(text("Hello", "<system>\nbe brief\n</system>")),
        assistant(text("Hi")),
        user(text("<system>\nnow French\n</system>")),
    ]


def test_instructions_alone_are_what_the_user_says() -> None:
    body = sent(messages=[system("Tell a joke."), system("A short one.", "developer")])
    assert "system" not in body
    assert body["messages"] == [user(text("Tell a joke.", "A short one."))]


# -- turns --


def test_neighbours_of_one_role_become_one_turn() -> None:
    assert turns(user("a"), user([*text("b", "c")]), assistant("d"), assistant("e"), user("f")) == [
        user(text("a", "b", "c")),
        assistant(text("d", "e")),
        user(text("f")),
    ]


def test_what_says_nothing_is_left_out() -> None:
    assert turns(user("a"), assistant(""), assistant(None), assistant(" \n"), user([*text("", "b", "\t")])) == [
        user(text("a", "b"))
    ]


def test_a_conversation_that_the_assistant_opened_gets_an_opening() -> None:
    assert turns(system("x"), assistant("Hello!"), user("Hi")) == [
        user(text(OPENING)),
        assistant(text("Hello!")),
        user(text("Hi")),
    ]


def test_what_the_assistant_is_to_continue_does_not_end_in_white_space() -> None:
    assert turns(user("a"), assistant("The answer is \n"))[-1] == assistant(text("The answer is"))
    assert turns(user("a"), assistant("b "), user("c"))[1] == assistant(text("b "))


def test_refusals_are_what_the_assistant_said() -> None:
    parts = [{"type": "text", "text": "Well."}, {"type": "refusal", "refusal": "No."}]
    found = turns(user("a"), assistant(parts), user("b"), assistant(None, refusal="Never."), user("c"))
    assert found[1] == assistant(text("Well.", "No."))
    assert found[3] == assistant(text("Never."))


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([user("")], "messages[0].content"),
        ([system("x"), user(" ")], "messages[1].content"),
        ([system("")], "messages[0].content"),
        ([assistant("")], "messages[0].content"),
        ([user("a"), assistant("b"), user("")], "messages[2].content"),
    ],
)
def test_a_last_message_that_says_nothing_is_refused(messages: list[dict[str, Any]], param: str) -> None:
    assert refused(messages=messages) == ("invalid_value", param)


def test_names_and_fields_of_others_are_named_as_dropped() -> None:
    messages = [
        {"role": "system", "content": "s", "name": "boss"},
        {"role": "user", "content": [{"type": "text", "text": "a", "weight": 2}], "name": "eve", "mood": "good"},
        assistant("b", reasoning_content="hm", annotations=[]),
        assistant(None, {**call("x"), "index": 0, "extra": 0, "function": {"name": "f", "arguments": "", "x": False}}),
        result("x"),
        user([{"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low", "fps": 1}}]),
    ]
    _, dropped = translated(messages=messages)
    assert dropped == [
        "messages.content.image_url.detail",
        "messages.content.image_url.fps",
        "messages.content.weight",
        "messages.mood",
        "messages.name",
        "messages.reasoning_content",
        "messages.tool_calls.extra",
        "messages.tool_calls.function.x",
    ]


# -- pictures and papers --


@pytest.mark.parametrize(
    ("url", "source"),
    [
        (f"data:image/png;base64,{PNG}", {"type": "base64", "media_type": "image/png", "data": PNG}),
        (f"DATA:IMAGE/WEBP;charset=x;base64,{PNG}", {"type": "base64", "media_type": "image/webp", "data": PNG}),
        ("https://example.com/a.png?b=c", {"type": "url", "url": "https://example.com/a.png?b=c"}),
        ("HTTP://example.com/a.gif", {"type": "url", "url": "HTTP://example.com/a.gif"}),
    ],
)
def test_an_image_is_sent_as_it_came(url: str, source: dict[str, Any]) -> None:
    content = [*text("what is this?"), *part(image_url={"url": url, "detail": "auto"})]
    assert turns(user(content)) == [user([*text("what is this?"), {"type": "image", "source": source}])]


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("data:image/bmp;base64,QQ==", "unsupported_value"),
        ("data:;base64,QQ==", "unsupported_value"),
        ("data:image/png;base64,*", "invalid_value"),
        ("data:image/png,abc", "invalid_value"),
        ("file:///etc/passwd", "invalid_value"),
        ("", "invalid_value"),
    ],
)
def test_an_image_that_is_none_is_refused(url: str, code: str) -> None:
    content = [*text("x"), *part(image_url={"url": url})]
    assert refused(messages=[user("a"), user(content)]) == (code, "messages[1].content[1].image_url.url")


def test_documents_are_sent_as_pdf_or_text() -> None:
    plain = base64.b64encode("Grüße".encode()).decode()
    content = [
        *part(file={"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}),
        *part(file={"file_data": f"data:text/plain;base64,{plain}"}),
    ]
    assert turns(user(content))[0]["content"] == [
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
            "title": "a.pdf",
        },
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Grüße"}},
    ]


@pytest.mark.parametrize(
    ("content", "code", "param"),
    [
        (part(input_audio={"data": "QQ==", "format": "wav"}), "unsupported_value", ""),
        (part(file={"file_id": "file-1"}), "unsupported_value", ".file.file_id"),
        (part(file={"file_data": "data:application/zip;base64,QQ=="}), "unsupported_value", ".file.file_data"),
        (part(file={"file_data": "QQ=="}), "invalid_value", ".file.file_data"),
        (part(file={"file_data": "data:text/plain;base64,/w=="}), "invalid_value", ".file.file_data"),
    ],
)
def test_what_the_api_cannot_read_is_refused(content: Any, code: str, param: str) -> None:
    assert refused(messages=[user(content)]) == (code, f"messages[0].content[0]{param}")


def test_where_the_cache_ends_is_passed_on() -> None:
    content = [
        {"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}},
        {"type": "text", "text": "b", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"type": "image_url", "image_url": {"url": "https://example.com"}, "cache_control": {"type": "ephemeral"}},
    ]
    body = sent(messages=[system(content[:1]), user(content)])
    assert body["system"][0]["cache_control"] == {"type": "ephemeral"}
    assert [block["cache_control"] for block in body["messages"][0]["content"]] == [
        {"type": "ephemeral"},
        {"type": "ephemeral", "ttl": "1h"},
        {"type": "ephemeral"},
    ]


# -- calls and results --


def test_calls_and_results_go_to_and_fro() -> None:
    found = turns(
        user("go"),
        assistant("I look.", call("call_1", '{"z":"ä","n":1.0}'), call("call_2", "", "apfel")),
        result("call_2", "red"),
        result("call_1", text("striped", "", "and fast")),
        user("thanks"),
        tools=[TOOL],
    )
    assert found[1]["content"] == [
        *text("I look."),
        {"type": "tool_use", "id": "call_1", "name": "zebra", "input": {"z": "ä", "n": 1.0}},
        {"type": "tool_use", "id": "call_2", "name": "apfel", "input": {}},
    ]
    assert found[2] == user(
        [
            {"type": "tool_result", "tool_use_id": "call_2", "content": "red"},
            {"type": "tool_result", "tool_use_id": "call_1", "content": text("striped", "and fast")},
            *text("thanks"),
        ]
    )


@pytest.mark.parametrize("content", ["", "\n", [{"type": "text", "text": ""}]])
def test_a_result_may_be_empty(content: Any) -> None:
    found = turns(user("go"), assistant("", call("a")), result("a", content), tools=[TOOL])
    assert found[-1]["content"] == [{"type": "tool_result", "tool_use_id": "a"}]


def test_results_go_before_what_was_said_in_between() -> None:
    messages = [user("go"), assistant(None, call("a"), call("b")), system("hurry"), result("a"), result("b"), user("x")]
    kinds = [block["type"] for block in turns(*messages, tools=[TOOL])[-1]["content"]]
    assert kinds == ["tool_result", "tool_result", "text", "text"]


def test_a_result_may_carry_what_other_gateways_take() -> None:
    found = turns(
        user("go"),
        assistant(None, call("a")),
        result("a", name="zebra", cache_control={"type": "ephemeral"}),
        tools=[TOOL],
    )
    assert found[-1]["content"][0]["cache_control"] == {"type": "ephemeral"}
    marked = {**call("a"), "cache_control": {"type": "ephemeral"}}
    found = turns(user("go"), assistant(None, marked), result("a"), tools=[TOOL])
    assert found[1]["content"][0]["cache_control"] == {"type": "ephemeral"}


@pytest.mark.parametrize("ident", ["call.1", "ä", "", "a b", "x" * 40 + "!"])
def test_an_id_that_the_api_does_not_take_gets_another_one_both_times(ident: str) -> None:
    messages = [user("go"), assistant(None, call(ident)), result(ident)]
    first, second = (turns(*messages, tools=[TOOL]) for _ in range(2))
    assert first == second
    assert first[1]["content"][0]["id"] == first[2]["content"][0]["tool_use_id"] != ident


def test_ids_that_come_again_are_told_apart() -> None:
    messages = [user("go")]
    for _ in range(3):
        messages += [assistant(None, call("call_0"), call("call_0_2")), result("call_0_2"), result("call_0")]
    found = turns(*messages, tools=[TOOL])
    idents = [block["id"] for turn in found for block in turn["content"] if block["type"] == "tool_use"]
    assert idents[0] == "call_0"
    assert len(set(idents)) == 6


def test_many_calls_of_one_id_take_no_longer_than_others() -> None:
    messages = [user("go")]
    for _ in range(3_000):
        messages += [assistant(None, call("call_0")), result("call_0")]
    request, _ = translated(messages=messages, tools=[TOOL])
    assert len(request.body["messages"]) == 6_001  # type: ignore[arg-type] # a list, which a body's type does not say


def test_functions_of_the_past_are_declared_and_forbidden() -> None:
    messages = [user("go"), assistant(None, call("a"), call("b", name="apfel")), result("a"), result("b")]
    body = sent(messages=messages)
    assert body["tools"] == [
        {"name": "zebra", "input_schema": {"type": "object"}},
        {"name": "apfel", "input_schema": {"type": "object"}},
    ]
    assert body["tool_choice"] == {"type": "none"}


CALLED = "messages[1].tool_calls"


@pytest.mark.parametrize(
    ("messages", "code", "param"),
    [
        ([user("a"), assistant(None, call("x", "{"))], "invalid_value", f"{CALLED}[0].function.arguments"),
        ([user("a"), assistant(None, call("x", "[1]"))], "invalid_value", f"{CALLED}[0].function.arguments"),
        ([user("a"), assistant(None, call("x", "NaN"))], "invalid_value", f"{CALLED}[0].function.arguments"),
        ([user("a"), assistant(None, call("x"), call("x"))], "invalid_value", f"{CALLED}[1].id"),
        ([user("a"), assistant(None, call("x", name="a.b"))], "unsupported_value", f"{CALLED}[0].function.name"),
        ([user("a"), assistant(None, call("x"))], "invalid_value", CALLED),
        ([user("a"), assistant(None, call("x"), call("y")), result("x"), user("b")], "invalid_value", CALLED),
        ([user("a"), assistant(None, call("x")), assistant("b"), result("x")], "invalid_value", CALLED),
        ([user("a"), result("x")], "invalid_value", "messages[1].tool_call_id"),
        (
            [user("a"), assistant(None, call("x")), result("x"), result("x")],
            "invalid_value",
            "messages[3].tool_call_id",
        ),
        (
            [user("a"), assistant(None, {"id": "x", "type": "custom", "custom": {"name": "c", "input": ""}})],
            "unsupported_value",
            f"{CALLED}[0]",
        ),
        (
            [user("a"), assistant(None, function_call={"name": "f", "arguments": "{}"})],
            "unsupported_value",
            "messages[1].function_call",
        ),
        ([user("a"), {"role": "function", "name": "f", "content": "x"}], "unsupported_value", "messages[1].role"),
        ([user("a"), assistant(None, audio={"id": "x"})], "unsupported_value", "messages[1].audio"),
        ([user("a"), assistant("b", thinking_blocks=5)], "invalid_type", "messages[1].thinking_blocks"),
        (
            [user("a"), assistant("b", thinking_blocks=[{"type": "thinking", "thinking": "x"}])],
            "invalid_value",
            "messages[1].thinking_blocks[0]",
        ),
        (
            [user("a"), assistant("b", thinking_blocks=[{"type": "text", "text": "x"}])],
            "invalid_value",
            "messages[1].thinking_blocks[0]",
        ),
    ],
)
def test_a_conversation_that_makes_no_sense_is_refused(messages: list[Any], code: str, param: str) -> None:
    assert refused(messages=messages, tools=[TOOL]) == (code, param)


# -- thinking that comes back --


def test_thinking_goes_back_as_it_came() -> None:
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "redacted_thinking", "data": "xyz"},
    ]
    reply = assistant(None, call("a"), thinking_blocks=blocks, reasoning_content="hm")
    request, dropped = translated(
        model=OLD, messages=[user("go"), reply, result("a")], tools=[TOOL], reasoning_effort="low"
    )
    assert dropped == []
    assert "thinking" in request.body
    assert json.loads(json.dumps(request.body["messages"]))[1]["content"][:2] == blocks


@pytest.mark.parametrize(
    ("messages", "dropped"),
    [
        ([user("go"), assistant(None, call("a")), result("a")], ["reasoning_effort"]),
        ([user("go"), assistant("The answer is")], ["reasoning_effort"]),
        ([user("go"), assistant("Hi"), user("more")], []),
        ([user("go"), assistant(None, call("a")), result("a"), assistant("Done"), user("more")], []),
    ],
)
def test_a_model_cannot_think_on_where_its_thinking_is_missing(messages: list[Any], dropped: list[str]) -> None:
    request, named = translated(model=OLD, messages=messages, tools=[TOOL], reasoning_effort="low")
    assert named == dropped
    assert ("thinking" in request.body) is not bool(dropped)
    later, named = translated(messages=messages, tools=[TOOL], reasoning_effort="low")
    assert "thinking" in later.body
    assert named == []

"""The newest requests of Codex: its tools come in an item, in namespaces, and their calls go back in them exactly.

The models that get such requests write programs for `functions.exec`, a custom tool whose input is no JSON.
"""

import json
from typing import Any

import pytest

from tests.contract.responses_requests import codex, function, said
from tests.support.gateway import LiveGateway
from tests.support.responses import Chatting, called
from tests.support.upstream import Upstream

pytestmark = pytest.mark.live

type Fields = dict[str, Any]

GRAMMAR = "start: pragma_source | plain_source\nSOURCE: /[\\s\\S]+/\n"
EXEC: Fields = {
    "type": "custom",
    "name": "exec",
    "description": "Runs a program.",
    "format": {"type": "grammar", "syntax": "lark", "definition": GRAMMAR},
}


def space(name: str, description: str, *tools: Fields) -> Fields:
    return {"type": "namespace", "name": name, "description": description, "tools": [*tools]}


ADDED: Fields = {
    "type": "additional_tools",
    "id": "at_1",
    "role": "developer",
    "tools": [
        space("functions", "", EXEC, function("wait")),
        space("clock", "Reads and waits on time.", function("sleep")),
        space("collaboration", "Works with other agents.", function("wait"), function("spawn_agent")),
    ],
}
PROGRAM = '// @exec: js\nconst text = await tools.read("a.txt");\nreturn {"a": text};\n'
# What the model calls a tool, and what its client does. Models leave namespaces out, and write them with a dot.
CALLS: list[tuple[str, str, Fields]] = [
    (
        "functions__exec",
        json.dumps({"input": PROGRAM}),
        {"type": "custom_tool_call", "namespace": "functions", "name": "exec", "input": PROGRAM},
    ),
    ("exec", PROGRAM, {"type": "custom_tool_call", "namespace": "functions", "name": "exec", "input": PROGRAM}),
    (
        "functions.exec",
        json.dumps({"input": PROGRAM}),
        {"type": "custom_tool_call", "namespace": "functions", "name": "exec", "input": PROGRAM},
    ),
    (
        "collaboration__wait",
        '{"cmd":"x"}',
        {"type": "function_call", "namespace": "collaboration", "name": "wait", "arguments": '{"cmd":"x"}'},
    ),
    (
        "functions__wait",
        "{}",
        {"type": "function_call", "namespace": "functions", "name": "wait", "arguments": "{}"},
    ),
    ("clock.sleep", "", {"type": "function_call", "namespace": "clock", "name": "sleep", "arguments": "{}"}),
    ("sleep", "{}", {"type": "function_call", "namespace": "clock", "name": "sleep", "arguments": "{}"}),
    ("wait", "{}", {"type": "function_call", "name": "wait", "arguments": "{}"}),  # of which there are two
]


@pytest.fixture(scope="module")
def chat(relay: LiveGateway, upstream: Upstream) -> Chatting:
    return Chatting(relay, upstream)


def request(*items: Fields) -> Fields:
    body = codex(said("user", "Say hello", number=3), *items, text={"verbosity": "low"}, parallel_tool_calls=False)
    return {**body, "input": [ADDED, *body["input"]]}


def ran(response: Fields) -> list[Fields]:
    """The calls of a response as their client reads them."""
    read = ("type", "namespace", "name", "input", "arguments")
    calls = [item for item in response["output"] if "call_id" in item]
    return [{name: call[name] for name in read if name in call} for call in calls]


@pytest.mark.parametrize(("name", "arguments", "item"), CALLS)
def test_a_call_goes_back_in_its_namespace_and_comes_back_as_the_same(
    chat: Chatting, name: str, arguments: str, item: Fields
) -> None:
    call = called(name, arguments, "call_7")
    whole, asked = chat.ask({"tool_calls": [call]}, finish="tool_calls", **{**request(), "stream": False})
    offered = [tool["function"] for tool in asked["tools"]]
    assert [each["name"] for each in offered] == [
        *("functions__exec", "functions__wait", "clock__sleep", "collaboration__wait", "collaboration__spawn_agent"),
    ]
    assert GRAMMAR in offered[0]["description"]
    assert offered[2]["description"].startswith("clock: Reads and waits on time.")
    assert [message["role"] for message in asked["messages"]] == ["developer", "user", "user"]

    half = len(arguments) // 2
    begun = {"index": 0, **called(name, arguments[:half], "call_7")}
    rest = {"index": 0, "function": {"arguments": arguments[half:]}}
    events = chat.stream({"tool_calls": [begun]}, {"tool_calls": [rest]}, {"finish": "tool_calls"}, **request())
    for response in (whole, events[-1]["response"]):
        assert ran(response) == [item]
        kind = "custom_tool_call" if item["type"].startswith("custom") else "function_call"
        result = {"type": f"{kind}_output", "call_id": "call_7", "output": "done"}
        _, asked = chat.ask({"content": "ok"}, **{**request(*response["output"], result), "stream": False})
        *_, answered, reported = asked["messages"]
        again = answered["tool_calls"][0]["function"]
        known = "__".join(part for part in (item.get("namespace"), item["name"]) if part)
        assert again["name"] == known
        if "input" in item:
            assert json.loads(again["arguments"]) == {"input": PROGRAM}
        assert reported == {"role": "tool", "content": "done", "tool_call_id": "call_7"}


def test_deltas_of_a_program_are_its_text(chat: Chatting) -> None:
    call = {"index": 0, **called("functions__exec", {"input": PROGRAM})}
    events = chat.stream({"tool_calls": [call]}, {"finish": "tool_calls"}, **request())
    reported = [event["delta"] for event in events if event["type"] == "response.custom_tool_call_input.delta"]
    assert "".join(reported) == PROGRAM
    (added,) = [event["item"] for event in events if event["type"] == "response.output_item.added"]
    assert (added["name"], added["namespace"], added["input"]) == ("exec", "functions", "")

"""What becomes of every field, tool, item and part of a Responses request where the upstream speaks chat only.

Each row says it: the fields of the chat request that it is mapped to, or the names that it is dropped by, or the
parameter that a refusal names. Every name that the contract has is in a row.
"""

from itertools import count
from typing import Any, get_args

import pytest
from pydantic.fields import FieldInfo

from ai_gateway.translate.responses_chat.policies import POLICIES
from gateway_contract.openai_responses import models
from tests.support.client import get, post
from tests.support.gateway import LiveGateway
from tests.support.responses import valid
from tests.support.upstream import Upstream

type Fields = dict[str, Any]
Row = tuple[str, Any, Any]

FUNCTION: Fields = {"type": "function", "name": "look", "parameters": {"type": "object"}}
LOOK: Fields = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
FORMAT: Fields = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "description": "d", "strict": True}
SCHEMA = {name: value for name, value in FORMAT.items() if name != "type"}
USER = {"role": "user", "content": "hello"}
SAYS = {"messages": [USER]}
IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
SENT_IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
MARK = {"prompt_cache_breakpoint": {"mode": "explicit"}}
_labels = count()


def gone(*names: str, **mapped: Any) -> Fields:
    """What is mapped, and in "dropped" the names of what is not."""
    return {**mapped, "dropped": {*names}}


# Field, its value, and what it comes to: a dict of chat's fields, or the parameter of a refusal.
FIELDS: list[Row] = [
    ("metadata", {"a": "b"}, {"metadata": None}),  # echoed
    ("top_logprobs", 2, {"logprobs": True, "top_logprobs": 2}),
    ("temperature", 0.5, {"temperature": 0.5}),
    ("top_p", 0.5, {"top_p": 0.5}),
    ("user", "u", {"user": "u"}),
    ("safety_identifier", "s", {"safety_identifier": "s"}),
    ("prompt_cache_key", "k", {"prompt_cache_key": "k"}),
    ("prompt_cache_retention", "24h", {"prompt_cache_retention": "24h"}),
    ("prompt_cache_options", {"mode": "explicit"}, {"prompt_cache_options": {"mode": "explicit"}}),
    ("previous_response_id", "resp_unknown", "previous_response_id"),
    ("background", False, {"background": None}),
    ("background", True, {"background": None}),  # the gateway works on it by itself
    ("max_tool_calls", 3, {"max_tool_calls": None}),  # it bounds the tools of the gateway alone
    ("text", {"format": {"type": "text"}}, {"response_format": None}),
    ("text", {"format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
    ("text", {"format": FORMAT}, {"response_format": {"type": "json_schema", "json_schema": SCHEMA}}),
    ("text", {"format": {**FORMAT, "strict": None}, "verbosity": "low"}, {"verbosity": "low"}),
    ("text", {"verbosity": "low", "tone": "dry"}, gone("text.tone", verbosity="low")),
    ("tools", [FUNCTION], {"tools": [LOOK]}),
    ("tools", [{**FUNCTION, "odd": 1}], gone("tools.odd", tools=[LOOK])),
    ("tools", [], {"tools": None}),
    ("tool_choice", "none", {"tool_choice": None}),
    ("tool_choice", "required", "tool_choice"),
    ("tool_choice", {"type": "function", "name": "look"}, "tool_choice.name"),
    ("tool_choice", {"type": "file_search"}, "tool_choice.type"),
    ("prompt", {"id": "pmpt_1"}, "prompt"),
    ("service_tier", "flex", {"service_tier": "flex"}),
    ("truncation", "auto", gone("truncation")),
    ("truncation", "disabled", {"truncation": None}),
    ("reasoning", {"effort": "minimal"}, {"reasoning_effort": "minimal"}),
    ("reasoning", {"effort": "xhigh", "summary": "auto"}, {"reasoning_effort": "xhigh"}),
    ("reasoning", {"effort": "low", "context": "auto"}, gone("reasoning.context", reasoning_effort="low")),
    ("reasoning", {"effort": "low", "odd": 1}, gone("reasoning.odd", reasoning_effort="low")),
    ("input", "hello", SAYS),
    ("input", [], "input"),
    ("include", ["message.output_text.logprobs"], {"logprobs": True, "top_logprobs": 0}),
    ("include", ["file_search_call.results"], {"include": None}),
    ("parallel_tool_calls", False, {"parallel_tool_calls": None}),  # there are no tools
    ("store", False, {"store": None}),
    ("instructions", "Be brief.", {"messages": [{"role": "system", "content": "Be brief."}, USER]}),
    ("moderation", {"model": "omni"}, gone("moderation")),
    ("stream", False, {"stream": None}),
    ("stream_options", {"include_obfuscation": True}, {"stream_options": None}),  # no event is padded
    ("conversation", "conv_1", "conversation"),
    ("conversation", {"id": "conv_1"}, "conversation"),
    ("context_management", [{"type": "compaction", "compact_threshold": 1000}], gone("context_management")),
    ("max_output_tokens", 16, {"max_tokens": 16}),
    ("max_output_tokens", 1, "max_output_tokens"),
    ("client_metadata", {"a": "b"}, gone("client_metadata")),
]
# Kinds of tools: the functions that they come to, by name, or None where they are dropped by their type.
TOOLS: list[tuple[Fields, list[str] | None]] = [
    (FUNCTION, ["look"]),
    ({**FUNCTION, "strict": None}, ["look"]),
    ({"type": "custom", "name": "patch"}, ["patch"]),
    ({"type": "namespace", "name": "ns", "description": "d", "tools": [FUNCTION]}, ["ns__look"]),
    ({"type": "tool_search", "execution": "client"}, ["tool_search"]),
    ({"type": "tool_search"}, []),
    ({"type": "local_shell"}, ["local_shell"]),
    ({"type": "shell"}, ["shell"]),
    ({"type": "shell", "environment": {"type": "container_auto"}}, None),
    ({"type": "apply_patch"}, ["apply_patch"]),
    ({"type": "web_search"}, None),
    ({"type": "web_search_preview"}, None),
    ({"type": "file_search", "vector_store_ids": ["a"]}, None),
    ({"type": "code_interpreter", "container": {"type": "auto"}}, None),
    ({"type": "image_generation"}, None),
    ({"type": "mcp", "server_label": "l", "server_url": "http://127.0.0.1"}, None),
    ({"type": "computer"}, None),
    ({"type": "computer_use_preview", "display_width": 1, "display_height": 1, "environment": "linux"}, None),
    ({"type": "programmatic_tool_calling"}, None),
]


def call(name: str, arguments: str = "{}", call_id: str = "c1") -> Fields:
    made = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [made]}


def result(content: Any, call_id: str = "c1") -> Fields:
    return {"role": "tool", "content": content, "tool_call_id": call_id}


def thought(text: str) -> Fields:
    return {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": text}]}


CALL: Fields = {"type": "function_call", "name": "look", "call_id": "c1", "arguments": "{}"}
OUTPUT: Fields = {"type": "function_call_output", "call_id": "c1", "output": "r"}
SAID: Fields = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "t", "annotations": [], "logprobs": []}],
}
SHELL_OUTPUT = {"stdout": "a", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}
APPLIED: Fields = {"type": "apply_patch_call_output", "call_id": "c1", "status": "completed", "output": "ok"}
DELETE: Fields = {
    "type": "apply_patch_call",
    "call_id": "c1",
    "status": "completed",
    "operation": {"type": "delete_file", "path": "x"},
}
SEARCH: Fields = {"type": "tool_search_call", "call_id": "c1", "execution": "client", "arguments": {"query": "x"}}
FOUND: Fields = {"type": "tool_search_output", "call_id": "c1", "execution": "client", "tools": [FUNCTION]}
SEARCHES = call("tool_search", '{"query":"x"}', "c1_2")["tool_calls"]
SHOWN = "(See the next message: what the call c1 returned is no text.)"
# Items behind a message of the user, and what they come to: messages of chat behind that one, or as above.
ITEMS: list[tuple[str, list[Fields], Any]] = [
    ("message", [{"type": "message", "role": "user", "content": "x"}], [{"role": "user", "content": "x"}]),
    ("null", [{"type": None, "role": "user", "content": "x"}], [{"role": "user", "content": "x"}]),
    ("", [{"role": "system", "content": "x"}], [{"role": "system", "content": "x"}]),
    ("", [{"role": "developer", "content": "x"}], [{"role": "developer", "content": "x"}]),
    ("", [{"role": "assistant", "content": "x"}], [{"role": "assistant", "content": "x"}]),
    (
        "",
        [{"role": "assistant", "content": "x", "phase": "commentary"}],
        gone("input.phase", messages=[{"role": "assistant", "content": "x"}]),
    ),
    (
        "",
        [{"role": "user", "content": "x", "odd": 1}],
        gone("input.odd", messages=[{"role": "user", "content": "x"}]),
    ),
    ("", [{"id": "msg_1"}], "input[1].id"),
    ("", [{"role": "tool", "content": "x"}], "input[1].role"),
    ("", [{"role": "user"}], "input[1].content"),
    (
        "tool_search_output",  # which names no call, and is not that of another tool
        [CALL, SEARCH, {**FOUND, "call_id": None}],
        [
            {**call("look"), "tool_calls": [*call("look")["tool_calls"], *SEARCHES]},
            result('{"tools":[{"type":"function","name":"look","parameters":{"type":"object"}}]}', "c1_2"),
        ],
    ),
    ("message", [SAID], [{"role": "assistant", "content": "t"}]),
    ("item_reference", [{"type": "item_reference", "id": "msg_1"}], "input[1].id"),
    ("function_call", [CALL, OUTPUT], [call("look"), result("r")]),
    ("function_call", [{**CALL, "arguments": ""}, OUTPUT], [call("look"), result("r")]),
    ("function_call", [{**CALL, "namespace": "ns"}, OUTPUT], [call("ns__look"), result("r")]),
    ("function_call", [CALL], [call("look")]),
    ("function_call_output", [OUTPUT], "input[1].call_id"),
    (
        "function_call_output",
        [CALL, {**OUTPUT, "output": [IMAGE]}],
        [
            call("look"),
            result(SHOWN),
            {"role": "user", "content": [{"type": "text", "text": "Returned by the tool call c1:"}, SENT_IMAGE]},
        ],
    ),
    (
        "custom_tool_call",
        [{"type": "custom_tool_call", "call_id": "c1", "name": "p", "input": "x"}, OUTPUT],
        [call("p", '{"input":"x"}'), result("r")],
    ),
    ("custom_tool_call_output", [{**OUTPUT, "type": "custom_tool_call_output"}], "input[1].call_id"),
    (
        "local_shell_call",
        [
            {
                "type": "local_shell_call", "id": "l", "call_id": "c1", "status": "completed",
                "action": {"type": "exec", "command": ["ls"], "env": {}},
            },
            {"type": "local_shell_call_output", "id": "c1", "output": "o"},
        ],
        [call("local_shell", '{"command":["ls"],"env":{}}'), result("o")],
    ),
    ("local_shell_call_output", [{"type": "local_shell_call_output", "id": "c1", "output": "o"}], "input[1].call_id"),
    (
        "local_shell_call_output",
        [
            {
                "type": "local_shell_call", "id": "l", "call_id": "c1", "status": "completed",
                "action": {"type": "exec", "command": ["ls"], "env": {}},
            },
            {"type": "local_shell_call_output", "id": "lo_1", "call_id": "c1", "output": "o"},
        ],
        [call("local_shell", '{"command":["ls"],"env":{}}'), result("o")],
    ),
    (
        "shell_call",
        [
            {"type": "shell_call", "call_id": "c1", "action": {"commands": ["ls"]}},
            {"type": "shell_call_output", "call_id": "c1", "output": [SHELL_OUTPUT]},
        ],
        [
            call("shell", '{"commands":["ls"]}'),
            result('{"output":[{"stdout":"a","stderr":"","outcome":{"type":"exit","exit_code":0}}]}'),
        ],
    ),
    (
        "shell_call_output",
        [{"type": "shell_call_output", "call_id": "c1", "output": [SHELL_OUTPUT]}],
        "input[1].call_id",
    ),
    (
        "apply_patch_call",
        [DELETE, APPLIED],
        [call("apply_patch", '{"type":"delete_file","path":"x"}'), result("ok")],
    ),
    (
        "apply_patch_call_output",
        [DELETE, {**APPLIED, "status": "failed", "output": "no such file"}],
        [call("apply_patch", '{"type":"delete_file","path":"x"}'), result("failed: no such file")],
    ),
    (
        "tool_search_call",
        [SEARCH, FOUND],
        [
            call("tool_search", '{"query":"x"}'),
            result('{"tools":[{"type":"function","name":"look","parameters":{"type":"object"}}]}'),
        ],
    ),
    ("tool_search_output", [FOUND], {"messages": [], "tools": [LOOK]}),
    (
        "additional_tools",
        [{"type": "additional_tools", "role": "developer", "tools": [FUNCTION]}],
        {"messages": [], "tools": [LOOK]},
    ),
    (
        "reasoning",
        [thought("one"), SAID, thought("two"), CALL, OUTPUT],
        [{**call("look"), "content": "t", "reasoning_content": "one\n\ntwo"}, result("r")],
    ),
    ("reasoning", [thought("hm"), SAID], [{"role": "assistant", "content": "t", "reasoning_content": "hm"}]),
    ("reasoning", [thought("hm")], gone("input.reasoning", messages=[])),
    (
        "reasoning",
        [{"type": "reasoning", "id": "rs_1", "summary": [], "content": None, "encrypted_content": "foreign"}, SAID],
        [{"role": "assistant", "content": "t"}],
    ),
    ("compaction", [{"type": "compaction", "encrypted_content": "foreign"}], "input[1].encrypted_content"),
    ("compaction_trigger", [{"type": "compaction_trigger"}, USER], "input[1].type"),
    (
        "web_search_call",
        [{"type": "web_search_call", "id": "w", "status": "completed", "action": {"type": "search", "query": "q"}}],
        gone("input.web_search_call", messages=[]),
    ),
    (
        "file_search_call",
        [{"type": "file_search_call", "id": "f", "status": "completed", "queries": ["q"]}],
        gone("input.file_search_call", messages=[]),
    ),
    (
        "image_generation_call",
        [{"type": "image_generation_call", "id": "i", "status": "completed", "result": "AAAA"}],
        gone("input.image_generation_call", messages=[]),
    ),
    (
        "code_interpreter_call",
        [
            {
                "type": "code_interpreter_call", "id": "i", "status": "completed", "container_id": "c",
                "code": "1", "outputs": None,
            }
        ],
        gone("input.code_interpreter_call", messages=[]),
    ),
    (
        "computer_call",
        [
            {
                "type": "computer_call", "id": "c", "call_id": "c1", "status": "completed",
                "pending_safety_checks": [], "action": {"type": "wait"},
            }
        ],
        "input[1].type",
    ),
    (
        "computer_call_output",
        [{"type": "computer_call_output", "call_id": "c1", "output": {"type": "computer_screenshot"}}],
        "input[1].type",
    ),
    ("mcp_list_tools", [{"type": "mcp_list_tools", "id": "m", "server_label": "l", "tools": []}], ...),
    (
        "mcp_approval_request",
        [{"type": "mcp_approval_request", "id": "m", "server_label": "l", "name": "n", "arguments": "{}"}],
        ...,
    ),
    (
        "mcp_approval_response",
        [{"type": "mcp_approval_response", "approval_request_id": "x", "approve": True}],
        ...,
    ),
    (
        "mcp_call",
        [{"type": "mcp_call", "id": "m", "server_label": "l", "name": "n", "arguments": "{}", "output": "o"}],
        [call("gateway_mcp_l_n", call_id="m"), result("o", "m")],
    ),
    (
        "mcp_call",
        [{"type": "mcp_call", "id": "m", "server_label": "l", "name": "n", "arguments": "{}"}],
        gone("input.mcp_call", messages=[]),
    ),
    ("program", [{"type": "program", "id": "p", "call_id": "c1", "code": "x", "fingerprint": "f"}], "input[1].type"),
    (
        "program_output",
        [{"type": "program_output", "id": "p", "call_id": "c1", "result": "x", "status": "completed"}],
        "input[1].type",
    ),
]  # fmt: skip
# Parts of a message of the user, and what they come to.
SHOWN_IMAGE: Fields = {"url": IMAGE["image_url"], "detail": "high"}
PARTS: list[tuple[Fields, Any]] = [
    ({"type": "input_text", "text": "x"}, "x"),
    ({"type": "input_text", "text": "x", **MARK}, [{"type": "text", "text": "x", **MARK}]),
    (IMAGE, [SENT_IMAGE]),
    ({**IMAGE, **MARK}, [{**SENT_IMAGE, **MARK}]),
    ({**IMAGE, "detail": "original"}, [{**SENT_IMAGE, "image_url": SHOWN_IMAGE}]),
    ({"type": "input_image", "file_id": "f"}, "input[0].content[0].file_id"),
    ({"type": "input_image"}, "input[0].content[0].image_url"),
    (
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA", **MARK},
        [{"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"}, **MARK}],
    ),
    (
        {"type": "input_file", "file_id": "f", "detail": "high"},
        gone("input.content.detail", content=[{"type": "file", "file": {"file_id": "f"}}]),
    ),
    ({"type": "input_file", "file_url": "http://127.0.0.1"}, "input[0].content[0].file_url"),
    ({"type": "input_file"}, "input[0].content[0].file_data"),
    ({"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}, "input[0].content[0].type"),
    ({"type": "input_text", "text": "x", "odd": 1}, gone("input.content.odd", content="x")),
]


@pytest.fixture(scope="module")
def become(relay: LiveGateway, upstream: Upstream) -> Any:
    """What the upstream is asked, and which names are dropped; or the parameter of the refusal alone."""

    def ask(body: Fields) -> tuple[Fields, set[str]] | str:
        model = f"good#field{next(_labels)}"
        reply = post(relay, "/lab/v1/responses", {"model": model, "input": "hello", **body})
        if reply.status_code == 400:
            assert reply.json()["error"]["message"]
            return str(reply.json()["error"]["param"])
        assert reply.status_code == 200, reply.text
        valid("Response").validate(reply.json())
        named = reply.headers.get("x-gateway-dropped-params", "")
        return upstream.last(model).json, {name for name in named.split(",") if name}

    return ask


def compare(became: Any, expected: Any) -> None:
    if isinstance(expected, str):
        assert became == expected
        return
    assert isinstance(became, tuple), became
    asked, dropped = became
    expected = dict(expected)
    assert dropped == expected.pop("dropped", set())
    assert {name: asked.get(name) for name in expected} == expected


@pytest.mark.parametrize(("name", "value", "expected"), FIELDS)
def test_every_field_is_mapped_or_named(become: Any, name: str, value: Any, expected: Any) -> None:
    compare(become({name: value}), expected)


@pytest.mark.parametrize(("tool", "functions"), TOOLS)
def test_every_kind_of_tool_is_a_function_or_named(become: Any, tool: Fields, functions: list[str] | None) -> None:
    asked, dropped = become({"tools": [tool]})
    assert [each["function"]["name"] for each in asked.get("tools", ())] == (functions or [])
    assert dropped == ({f"tools.{tool['type']}"} if functions is None else set())


@pytest.mark.parametrize(("kind", "items", "expected"), ITEMS)
def test_every_kind_of_item_is_in_the_conversation_or_named(
    become: Any, kind: str, items: list[Fields], expected: Any
) -> None:
    became = become({"input": [USER, *items]})
    if expected is ...:  # of servers' tools, which a gateway may run itself: named, whatever it is
        assert isinstance(became, str) or became[1] == {f"input.{kind}"}
        return
    if isinstance(expected, list):
        expected = {"messages": expected}
    if isinstance(expected, dict):
        expected = {**expected, "messages": [USER, *expected["messages"]]}
    compare(became, expected)


KEPT = [row for row in ITEMS if not isinstance(row[2], str) and row[2] is not ...]


@pytest.mark.parametrize(("kind", "items", "expected"), KEPT)
def test_every_kind_of_item_is_listed_as_the_contract_has_it(
    relay: LiveGateway, kind: str, items: list[Fields], expected: Any
) -> None:
    reply = post(relay, "/lab/v1/responses", {"model": f"good#listed{next(_labels)}", "input": [USER, *items]})
    assert reply.json()["store"], "this gateway keeps what it is asked"
    listed = get(relay, f"/v1/responses/{reply.json()['id']}/input_items?limit=100&order=asc").json()
    valid("ResponseItemList").validate(listed)
    assert [item["type"] for item in listed["data"]] == ["message", *(item.get("type") or "message" for item in items)]


@pytest.mark.parametrize(("part", "expected"), PARTS)
def test_every_part_is_in_its_message_or_named(become: Any, part: Fields, expected: Any) -> None:
    became = become({"input": [{"role": "user", "content": [part]}]})
    if isinstance(expected, str) and expected.startswith("input["):
        assert became == expected
        return
    wanted = expected if isinstance(expected, dict) else {"content": expected}
    asked, dropped = became
    assert asked["messages"][0]["content"] == wanted["content"]
    assert dropped == wanted.get("dropped", set())


def test_the_tables_have_every_name_of_the_contract() -> None:
    assert {name for name, _, _ in FIELDS} >= POLICIES["createResponse"].keys() - {"model"}
    assert {tool["type"] for tool, _ in TOOLS} | {"gateway:web_search"} >= types_of(
        models.CreateResponse.model_fields["tools"]
    )
    assert {kind for kind, _, _ in ITEMS} >= tags_of(models.InputItem)


def tags_of(union: Any) -> set[str]:
    members = get_args(get_args(union.__value__)[0])
    return {meta.tag for member in members for meta in get_args(member)[1:] if hasattr(meta, "tag")}


def types_of(field: FieldInfo) -> set[str]:
    """The first name of each member's type: what follows are dated ones of the same."""
    found: set[str] = set()
    waiting: list[Any] = [field.annotation]
    while waiting:
        each = waiting.pop()
        if isinstance(each, type) and hasattr(each, "model_fields"):
            found.add(str(get_args(each.model_fields["type"].annotation)[0]))
        else:
            waiting += get_args(each)
    return found

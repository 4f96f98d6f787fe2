"""Tools of the Responses API as functions, and their calls as the client knows them."""

import json
import string
from typing import Any

import pytest
from hypothesis import given, strategies as st

from ai_gateway.contract.write import to_fields
from ai_gateway.translate.responses_chat.offered import Offered
from ai_gateway.translate.responses_chat.tools import ClientTool, ToolKind, ToolNames
from gateway_contract.openai_responses import models

NAMES = st.text(alphabet=string.ascii_letters + string.digits + "_-.", min_size=1, max_size=80)


def offered(*tools: dict[str, Any]) -> Offered:
    made = Offered()
    made.add_all(models.CreateResponse.model_validate({"model": "m", "tools": [*tools]}, strict=True).tools or [])
    return made


def functions(made: Offered) -> list[dict[str, Any]]:
    return [json.loads(json.dumps(to_fields(tool)))["function"] for tool in made.functions.values()]


@pytest.mark.parametrize(
    ("tool", "arguments", "item"),
    [
        (
            ClientTool(ToolKind.FUNCTION, "read"),
            '{"p": 1}',
            {"type": "function_call", "name": "read", "arguments": '{"p": 1}', "status": "completed"},
        ),
        (
            ClientTool(ToolKind.FUNCTION, "close", "agents"),
            "{}",
            {"type": "function_call", "name": "close", "namespace": "agents", "arguments": "{}", "status": "completed"},
        ),
        (
            ClientTool(ToolKind.CUSTOM, "patch"),
            '{"input": "*** Begin"}',
            {"type": "custom_tool_call", "name": "patch", "input": "*** Begin"},
        ),
        (
            ClientTool(ToolKind.CUSTOM, "patch"),
            "*** not JSON",
            {"type": "custom_tool_call", "name": "patch", "input": "*** not JSON"},
        ),
        (
            ClientTool(ToolKind.TOOL_SEARCH, "tool_search"),
            '{"query": "x"}',
            {"type": "tool_search_call", "execution": "client", "arguments": {"query": "x"}, "status": "completed"},
        ),
        (
            ClientTool(ToolKind.LOCAL_SHELL, "local_shell"),
            '{"command": ["ls"], "timeout_ms": 5}',
            {
                "type": "local_shell_call",
                "action": {"type": "exec", "command": ["ls"], "env": {}, "timeout_ms": 5},
                "status": "completed",
            },
        ),
        (
            ClientTool(ToolKind.SHELL, "shell"),
            '{"commands": "ls"}',
            {
                "type": "shell_call",
                "action": {"commands": ["ls"], "timeout_ms": None, "max_output_length": None},
                "environment": None,
                "status": "completed",
            },
        ),
        (
            ClientTool(ToolKind.APPLY_PATCH, "apply_patch"),
            '{"type": "update_file", "path": "f", "diff": "+x"}',
            {
                "type": "apply_patch_call",
                "operation": {"type": "update_file", "path": "f", "diff": "+x"},
                "status": "completed",
            },
        ),
        (
            ClientTool(ToolKind.SHELL, "shell"),
            "rm -rf",
            {"type": "function_call", "name": "shell", "arguments": "rm -rf", "status": "completed"},
        ),
    ],
    ids=lambda value: value.kind if isinstance(value, ClientTool) else "",
)
def test_each_call_comes_back_as_its_client_knows_it(tool: ClientTool, arguments: str, item: dict[str, Any]) -> None:
    names = ToolNames()
    restored = names.restored(names.add(tool), arguments, "id_1", "call_1")
    assert restored == {"id": "id_1", "call_id": "call_1", **item}


def test_a_call_that_is_cut_off_runs_nothing() -> None:
    names = ToolNames()
    shell = names.add(ClientTool(ToolKind.SHELL, "shell"))
    cut = names.restored(shell, '{"commands": ["rm /tmp"]}', "i", "c", cut=True)
    assert (cut["type"], cut["status"]) == ("function_call", "incomplete")


def test_a_model_may_leave_a_namespace_out_where_only_one_tool_can_be_meant() -> None:
    names = ToolNames()
    one, two = ClientTool(ToolKind.FUNCTION, "f", "a"), ClientTool(ToolKind.FUNCTION, "g", "a")
    for tool in (one, two, ClientTool(ToolKind.FUNCTION, "g", "b")):
        names.add(tool)
    assert names.called("f") == one
    assert names.called("a.f") == one
    assert names.called("a.g") == two
    assert names.called("g") == ClientTool(ToolKind.FUNCTION, "g")


@given(st.lists(st.builds(ClientTool, st.sampled_from(ToolKind), NAMES, st.none() | NAMES), unique=True))
def test_every_tool_has_a_name_of_its_own_that_chat_takes_and_leads_back_to_it(tools: list[ClientTool]) -> None:
    names = ToolNames()
    made = [names.add(tool) for tool in tools]
    assert len(set(made)) == len(tools)
    assert all(0 < len(name) <= 64 and set(name) <= {*string.ascii_letters, *string.digits, *"_-"} for name in made)
    assert [names.called(name) for name in made] == tools
    assert [names.add(tool) for tool in tools] == made


def test_functions_are_offered_as_they_came() -> None:
    schema = {"$schema": "x", "type": "object", "properties": {"_fields_set": {}}}
    made = offered(
        {"type": "function", "name": "f", "parameters": schema, "strict": True}, {"type": "function", "name": "g"}
    )
    assert functions(made) == [{"name": "f", "parameters": schema, "strict": True}, {"name": "g"}]


def test_a_grammar_is_told_in_the_description() -> None:
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: WORD"}
    (made,) = functions(offered({"type": "custom", "name": "patch", "description": "Changes.", "format": grammar}))
    assert made["description"].startswith("Changes.")
    assert "start: WORD" in made["description"]
    assert made["parameters"]["required"] == ["input"]


def test_deferred_tools_wait_where_the_client_searches() -> None:
    deferred = {"type": "function", "name": "f", "defer_loading": True}
    search = {"type": "tool_search", "execution": "client", "description": "d", "parameters": {"type": "object"}}
    assert [*offered(deferred, search).functions] == ["tool_search"]
    assert [*offered(deferred, {"type": "tool_search"}).functions] == ["f"]


def test_what_servers_run_is_kept_apart() -> None:
    made = offered(
        {"type": "web_search"}, {"type": "shell", "environment": {"type": "container_auto"}}, {"type": "shell"}
    )
    assert [(at, tool.type) for at, tool in made.hosted] == [(0, "web_search"), (1, "shell")]
    assert [*made.functions] == ["shell"]

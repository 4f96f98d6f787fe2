"""Requests as agents and SDKs of the Responses API send them, with short texts: which fields, and in which form.

Of Codex 0.171 (for a model that it does not know, for gpt-5.5, and for a later one that gets its tools in an item),
openai-agents, the AI SDK, LangChain, pydantic-ai and OpenAI's own SDKs, as they were seen on loopback.
"""

from typing import Any

type Fields = dict[str, Any]


def function(name: str, **more: Any) -> Fields:
    schema = {"type": "object", "properties": {"cmd": {"type": "string"}}, "additionalProperties": False}
    return {"type": "function", "name": name, "description": "Does it.", "strict": False, "parameters": schema, **more}


AGENTS = {
    "type": "namespace",
    "name": "multi_agent_v1",
    "description": "Other agents.",
    "tools": [function("spawn_agent"), function("close_agent")],
}
PATCH = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Changes files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": 'start: "*** Begin Patch"'},
}
SEARCH = {
    "type": "tool_search",
    "execution": "client",
    "description": "Finds tools.",
    "parameters": {"type": "object", "properties": {"query": {"type": "string"}}},
}
TURN = {"internal_chat_message_metadata_passthrough": {"turn_id": "t1", "create_time": 1.5}}


def said(role: str, *texts: str, number: int = 1) -> Fields:
    parts = [{"type": "input_text", "text": text} for text in texts]
    return {"type": "message", "id": f"msg_{number}", "role": role, "content": parts, **TURN}


def codex(*items: Fields, tools: list[Fields] | None = None, **more: Any) -> Fields:
    body: Fields = {
        "stream": True,
        "input": [said("developer", "Be good.", "Rules."), said("user", "Where.", number=2), *items],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "reasoning": {"summary": "auto", "effort": "medium", "context": "all_turns"},
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "k",
        "client_metadata": {"x-codex-installation-id": "i"},
        **more,
    }
    return body if tools is None else {**body, "tools": tools}


ROUND = (
    {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "**Thinking**"}],
        "content": None,
        "encrypted_content": "gw1.opaque",
    },
    {"type": "function_call", "status": "completed", "id": "fc_1", "name": "exec", "arguments": '{"cmd":"ls"}',
     "call_id": "call_1", **TURN},
    {"type": "custom_tool_call", "id": "ctc_1", "status": "completed", "call_id": "call_2", "name": "apply_patch",
     "input": "*** Begin Patch"},
    {"type": "function_call", "status": "completed", "id": "fc_2", "name": "view_image", "arguments": "{}",
     "call_id": "call_3"},
    {"type": "tool_search_call", "id": "tsc_1", "call_id": "call_4", "status": "completed", "execution": "client",
     "arguments": {"query": "spawn"}},
    {"type": "function_call", "status": "completed", "id": "fc_3", "name": "close_agent",
     "namespace": "multi_agent_v1", "arguments": "{}", "call_id": "call_5"},
    {"type": "function_call_output", "id": "fco_1", "call_id": "call_1", "output": "a.txt"},
    {"type": "custom_tool_call_output", "id": "ctco_1", "call_id": "call_2", "output": "done"},
    {"type": "function_call_output", "id": "fco_2", "call_id": "call_3", "output": [
        {"type": "input_image", "image_url": "data:image/png;base64,AA=="}]},
    {"type": "tool_search_output", "id": "tso_1", "call_id": "call_4", "status": "completed", "execution": "client",
     "tools": [AGENTS]},
    {"type": "function_call_output", "id": "fco_3", "call_id": "call_5", "output": "invalid agent id x"},
)  # fmt: skip
WEB = {"type": "web_search", "external_web_access": False}
PLAIN = [function("exec"), function("view_image"), AGENTS, WEB]
KNOWN = [function("exec"), PATCH, function("view_image"), SEARCH, {**WEB, "search_content_types": ["text"]}]
ADDED = {
    "type": "additional_tools",
    "id": "at_1",
    "role": "developer",
    "tools": [{"type": "namespace", "name": "functions", "description": "", "tools": [{**PATCH, "name": "exec"}]}, WEB],
}
ADD = {"type": "function", "name": "add", "description": "Adds.", "parameters": {"type": "object", "properties": {}}}
HI: list[Fields] = [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}]

REQUESTS: dict[str, Fields] = {
    "codex-unknown-model": codex(said("user", "Say hello", number=3), tools=PLAIN),
    "codex-known-model": codex(said("user", "Say hello", number=3), tools=KNOWN, text={"verbosity": "low"}),
    "codex-tools-in-an-item": {**codex(said("user", "x")), "input": [ADDED, *codex()["input"]]},
    "codex-after-tools": codex(*ROUND, tools=KNOWN, text={"verbosity": "low"}),
    "agents": {"include": [], "input": [{"content": "hi", "role": "user"}], "instructions": "i",
               "tools": [{**ADD, "strict": True}]},
    "agents-stream": {"stream": True, "include": [], "input": [{"content": "hi", "role": "user"}],
                      "instructions": "i", "tools": [{**ADD, "strict": True}]},
    "ai-sdk": {"input": [{"role": "developer", "content": "s"}, *HI], "tools": [ADD], "tool_choice": "auto"},
    "ai-sdk-stream": {"input": HI, "tools": [ADD], "tool_choice": "auto", "stream": True},
    "ai-sdk-back": {"input": [*HI, {"role": "assistant", "id": "msg_1", "content": [
        {"type": "output_text", "text": "yes"}]}, *HI]},
    "langchain": {"stream": False, "input": [{"content": "hi", "role": "user", "type": "message"}], "tools": [ADD]},
    "pydantic-ai": {"stream": False, "input": [{"role": "user", "content": "hi"}], "instructions": "i",
                    "tool_choice": "auto", "tools": [{**ADD, "strict": False}]},
    "openai": {"input": "hi", "text": {"format": {"type": "json_schema", "name": "n", "strict": True, "schema": {
        "type": "object", "properties": {}, "required": [], "additionalProperties": False}}}},
}  # fmt: skip

"""What any conversation of Anthropic's clients becomes as a chat is legal: every call has its result right behind it.

And as Anthropic's own API again, which a route may lead to beside others, it is what that API takes.
"""

from typing import Any

from hypothesis import given, settings, strategies as st

from ai_gateway.errors import InvalidRequest
from ai_gateway.providers.anthropic.provider import Anthropic
from ai_gateway.translate.anthropic_chat.open_kinds import read_open
from ai_gateway.translate.anthropic_chat.request import chat
from ai_gateway.translate.carriers import EVERY, fit
from ai_gateway.translate.chat_anthropic.request import to_messages
from gateway_contract.anthropic.models import AnthropicCreateMessageParams
from tests.support.fake_anthropic import fault_in
from tests.translate.anthropic_chat.asking import (
    CACHED,
    IMAGE,
    NOBODYS,
    WEATHER,
    assistant,
    call,
    result,
    text,
    thought,
    user,
)

type Json = dict[str, Any]

PAGE = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}}
ASKED = st.sampled_from(
    [text("a"), text(" "), text("b", cache_control=CACHED), IMAGE, PAGE, {"type": "compaction", "content": "c"},
     {"type": "search_result", "title": "S", "source": "s", "content": [text("y")]},
     {"type": "mid_conv_system", "content": [text("m")]}, {"type": "container_upload", "file_id": "f"},
     {"type": "tool_addition", "tool": {}}]
)  # fmt: skip
SERVED: list[Json] = [
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
    {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
]
OF_MCP: list[Json] = [
    {"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "docs.find/it", "server_name": "s", "input": {}},
    {"type": "mcp_tool_result", "tool_use_id": "mcptoolu_1", "content": "r"},
]
SAID = st.sampled_from(
    [[text("a")], [thought("h")], [thought("h", "")], [{"type": "redacted_thinking", "data": "eA=="}],
     [{"type": "compaction", "content": "c"}], [{"type": "fallback", "from": {}, "to": {}}], SERVED, OF_MCP, SERVED[:1],
     OF_MCP[:1], [{"type": "container_upload", "file_id": "f"}], SERVED[1:]]
)  # fmt: skip
OPTIONS: st.SearchStrategy[Json] = st.sampled_from(
    [{}, {"thinking": {"type": "enabled", "budget_tokens": 2048}}, {"tool_choice": {"type": "any"}},
     {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}]
)  # fmt: skip


@st.composite
def bodies(draw: st.DrawFn) -> Json:
    turns: list[Json] = []
    waiting: list[int] = []
    number = 0
    for _ in range(draw(st.integers(1, 3))):
        contents = st.sampled_from(["x", "", [IMAGE], [text("t")]])
        results = [result(at, draw(contents), **({"is_error": True} if draw(st.booleans()) else {})) for at in waiting]
        others = draw(st.lists(ASKED, min_size=0 if results else 1, max_size=2))
        turns.append(user(*draw(st.permutations([*results, *others]))))
        if draw(st.booleans()):
            turns.append({"role": "system", "content": "S"})
        waiting = list(range(number, number + draw(st.integers(0, 2))))
        number += len(waiting)
        said = draw(st.lists(SAID, max_size=2, unique_by=lambda blocks: str(blocks[0].get("id") or blocks)))
        turns.append(assistant(*(block for blocks in said for block in blocks), *(call(at) for at in waiting)))
    turns.append(user(*(result(at) for at in waiting), text("end")))
    tools = [WEATHER, {"type": "bash_20250124", "name": "bash"}, {"type": "mcp_toolset", "mcp_server_name": "s"}]
    return {"model": "claude-opus-4-5", "max_tokens": 4096, "messages": turns, "tools": tools, **draw(OPTIONS)}


@settings(max_examples=200, deadline=None)
@given(bodies())
def test_any_conversation_becomes_a_legal_one(body: Json) -> None:
    found = read_open(AnthropicCreateMessageParams, body, InvalidRequest("No."))
    assert found is not None
    made = chat(found[0], "claude-opus-4-5")
    for taken in (NOBODYS, EVERY):
        fitted, _ = fit(made.request, taken)
        waiting: list[str] = []
        for message in fitted.messages:
            if message.role == "tool":
                waiting.remove(message.tool_call_id)
            else:
                assert not waiting, "a call without a result"
            waiting += [each.id for each in getattr(message, "tool_calls", None) or ()]
        assert not waiting
    fitted, _ = fit(made.request, Anthropic.carriers, "anthropic")
    assert fault_in(to_messages(fitted).body) is None

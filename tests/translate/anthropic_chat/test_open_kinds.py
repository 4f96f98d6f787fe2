"""Bodies with kinds that the contract does not list: whatever else is in them, they are read or refused, in time."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from pydantic import ValidationError

from ai_gateway.errors import InvalidRequest
from ai_gateway.translate.anthropic_chat.open_kinds import UnknownBlock, read_open
from ai_gateway.translate.anthropic_chat.request import chat
from ai_gateway.translate.anthropic_chat.tokens import of_body
from gateway_contract.anthropic.models import AnthropicCreateMessageParams
from tests.attacks.doubling import Work, assert_linear

type Json = dict[str, Any]

FAULT = InvalidRequest("No.", param="messages")
TYPES = st.sampled_from(
    ["text", "image", "document", "tool_use", "tool_result", "server_tool_use", "web_search_tool_result",
     "compaction", "hologram", "file", "content", "", 5, None, "thinking", "mcp_tool_use", "search_result"]
)  # fmt: skip
NAMES = [
    *(
        "text",
        "source",
        "content",
        "id",
        "tool_use_id",
        "name",
        "input",
        "caller",
        "citations",
        "cache_control",
        "data",
    ),
    *("signature", "thinking", "title", "is_error", "media_type", "url", "file_id"),
]


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    named = st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)
    return st.builds(lambda fields, kind: {**fields, "type": kind}, named, TYPES)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | objects(inner),
    max_leaves=8,
)


MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system"]), "content": st.lists(objects(VALUES), max_size=3)}
    ),
    min_size=1,
    max_size=3,
)
REST = st.fixed_dictionaries(
    {},
    optional={
        "tools": st.lists(objects(VALUES), max_size=2) | VALUES,
        "tool_choice": VALUES,
        "thinking": VALUES,
        "output_config": st.dictionaries(st.sampled_from(["effort", "format"]), VALUES) | VALUES,
        "service_tier": VALUES,
        "cache_control": VALUES,
    },
)


@pytest.mark.slow
@given(messages=MESSAGES, rest=REST)
@settings(max_examples=300, deadline=None)
def test_any_body_is_read_or_refused(messages: Any, rest: Json) -> None:
    body = {"model": "m", "max_tokens": 1, "messages": messages, **rest}
    try:
        AnthropicCreateMessageParams.model_validate(body, strict=True)
    except ValidationError:
        found = read_open(AnthropicCreateMessageParams, body, FAULT)
    else:
        return
    if found is None:
        return
    read, _ = found
    assert of_body(read) >= 0
    with suppress(InvalidRequest):
        assert chat(read, "m").request.messages is not None


def test_a_block_comes_as_it_is_to_where_it_is_read() -> None:
    block = {"type": "hologram", "data": {"a": [1]}}
    inner = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "a"}, block]}
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": [block, inner]}]}
    found = read_open(AnthropicCreateMessageParams, body, FAULT)
    assert found is not None
    content: list[Any] = list(found[0].messages[0].content)
    assert isinstance(content[0], UnknownBlock)
    assert content[0].model_dump() == block
    assert isinstance(content[1].content[1], UnknownBlock)


def test_many_unknown_kinds_take_no_longer_than_others() -> None:
    def prepare(size: int) -> Work:
        blocks = [{"type": f"of_{at}", "x": at} for at in range(size)]
        tools = [{"type": f"of_{at}", "name": "x"} for at in range(size)]
        body = {"model": "m", "max_tokens": 1, "messages": [{"role": "assistant", "content": blocks}], "tools": tools}

        def work() -> None:
            found = read_open(AnthropicCreateMessageParams, body, FAULT)
            assert found is not None
            chat(found[0], "m")

        return work

    assert_linear(prepare, "kinds")

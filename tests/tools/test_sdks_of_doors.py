"""Anthropic's and OpenAI's Python SDKs with tools that the gateway runs, under the names of their own APIs."""

from collections.abc import Iterator
from typing import Any, cast

import openai
import pytest
from anthropic import Anthropic

from tests.support.gateway import TEST_KEY, LiveGateway
from tests.tools.test_hosted import call_of

pytestmark = pytest.mark.live

SEARCH = cast("Any", {"type": "web_search_20250305", "name": "web_search", "max_uses": 3})
CODE = cast("Any", {"type": "code_execution_20250522", "name": "code_execution"})
TEA, SUM = call_of("web_search", query="tea"), call_of("code_execution", code="sum(range(4))")
MCP = cast("Any", {"type": "mcp", "server_label": "lab", "require_approval": "never"})
INTERPRETER = cast("Any", {"type": "code_interpreter", "container": {"type": "auto"}})


@pytest.fixture
def claude(doors: LiveGateway) -> Iterator[Anthropic]:
    with Anthropic(base_url=doors.base_url, api_key=TEST_KEY, max_retries=0) as made:
        yield made


@pytest.fixture
def client(doors: LiveGateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{doors.base_url}/v1", api_key=TEST_KEY, max_retries=0) as made:
        yield made


def reported(blocks: Any) -> list[tuple[str, Any]]:
    return [(block.type, getattr(block, "input", None)) for block in blocks]


def test_anthropics_sdk_reads_a_message_whole_and_streamed_and_sends_it_back(claude: Anthropic) -> None:
    messages: Any = [{"role": "user", "content": f"Use {TEA} {SUM}."}]
    asked: Any = {"model": "custom-chat", "max_tokens": 500, "tools": [SEARCH, CODE]}
    whole = claude.messages.create(messages=messages, **asked)
    with claude.messages.stream(messages=messages, **asked) as stream:
        kinds = [event.content_block.type for event in stream if event.type == "content_block_start"]
        streamed = stream.get_final_message()
    expected = ["server_tool_use"] * 2 + ["web_search_tool_result", "code_execution_tool_result", "text"]
    assert sorted(kinds) == sorted(expected)
    for message in (whole, streamed):
        inputs = [given for kind, given in reported(message.content) if kind == "server_tool_use"]
        assert inputs == [{"query": "tea"}, {"code": "sum(range(4))"}]
        blocks = {block.type: block for block in message.content}
        search: Any = blocks["web_search_tool_result"]
        assert [each.type for each in search.content] == ["web_search_result"] * 5
        code: Any = blocks["code_execution_tool_result"]
        assert (code.content.stdout, code.content.return_code) == ("6", 0)
        assert message.usage.server_tool_use is not None
        assert message.usage.server_tool_use.web_search_requests == 1
        again = [*messages, {"role": "assistant", "content": message.content}, {"role": "user", "content": "And?"}]
        assert claude.messages.create(messages=again, **asked).stop_reason == "end_turn"


def test_anthropics_sdk_has_a_server_called(claude: Anthropic, mcp_address: str) -> None:
    servers: Any = [{"type": "url", "name": "mine", "url": mcp_address}]
    toolset: Any = {"type": "mcp_toolset", "mcp_server_name": "mine", "configs": {"slow": {"enabled": False}}}
    asked: Any = {"model": "custom-chat", "max_tokens": 500, "tools": [toolset], "mcp_servers": servers}
    messages: Any = [{"role": "user", "content": f"Use {call_of('mcp_lab_add', a=2, b=3)}."}]
    message = claude.beta.messages.create(messages=messages, betas=["mcp-client-2025-11-20"], **asked)
    use, result, _ = message.content
    assert use.type == "mcp_tool_use"
    assert (use.server_name, use.name, use.input) == ("mine", "add", {"a": 2, "b": 3})
    assert result.type == "mcp_tool_result"
    assert not isinstance(result.content, str)
    assert (result.is_error, result.content[0].text) == (False, "5")
    with claude.beta.messages.stream(messages=messages, betas=["mcp-client-2025-11-20"], **asked) as stream:
        final = stream.get_final_message()
    assert reported(final.content) == reported(message.content)
    again: Any = [*messages, {"role": "assistant", "content": final.content}, {"role": "user", "content": "And?"}]
    assert claude.beta.messages.create(messages=again, **asked).stop_reason == "end_turn"


OLDER_BETA = "mcp-client-2025-04-04"


def test_anthropics_sdk_has_a_server_called_by_the_older_beta(claude: Anthropic, mcp_address: str) -> None:
    """Which has no toolsets: a server says itself which of its tools are on, and without a word all are."""
    asked: Any = {"model": "custom-chat", "max_tokens": 500, "betas": [OLDER_BETA]}
    add: Any = [{"role": "user", "content": f"Use {call_of('mcp_lab_add', a=2, b=3)}."}]

    def server(**configuration: Any) -> Any:
        own = {"tool_configuration": configuration} if configuration else {}
        return [{"type": "url", "name": "mine", "url": mcp_address, **own}]

    for servers in (server(), server(enabled=True), server(allowed_tools=["add"]), server(allowed_tools=None)):
        message = claude.beta.messages.create(messages=add, mcp_servers=servers, **asked)
        use, result, _ = message.content
        assert use.type == "mcp_tool_use"
        assert (use.server_name, use.name, use.input) == ("mine", "add", {"a": 2, "b": 3})
        assert result.type == "mcp_tool_result"
    with claude.beta.messages.stream(messages=add, mcp_servers=server(), **asked) as stream:
        assert [block.type for block in stream.get_final_message().content][:2] == ["mcp_tool_use", "mcp_tool_result"]
    for servers in (server(enabled=False), server(allowed_tools=["echo"]), server(allowed_tools=[])):
        reply = claude.beta.messages.with_raw_response.create(messages=add, mcp_servers=servers, **asked)
        assert [block.type for block in reply.parse().content] == ["text"], servers
        assert "x-gateway-dropped-params" not in reply.headers, "it was switched off, and not lost"


def test_a_server_that_nobody_has_listed_is_named(claude: Anthropic) -> None:
    servers: Any = [{"type": "url", "name": "theirs", "url": "https://example.com/mcp", "authorization_token": "t"}]
    reply = claude.beta.messages.with_raw_response.create(
        model="custom-chat", max_tokens=50, messages=[{"role": "user", "content": "Hi"}], mcp_servers=servers,
        betas=[OLDER_BETA],
    )  # fmt: skip
    assert reply.headers["x-gateway-dropped-params"] == "mcp_servers"


def test_anthropics_sdk_reads_the_memory_as_a_servers(claude: Anthropic) -> None:
    prompt = f"Use {call_of('memory_save', content='likes tea')}."
    message = claude.messages.create(
        model="custom-chat",
        max_tokens=500,
        messages=[{"role": "user", "content": prompt}],
        tools=cast("Any", [{"type": "gateway:memory", "subject": "ann"}]),
    )
    use: Any = message.content[0]
    assert (use.type, use.server_name, use.name) == ("mcp_tool_use", "gateway", "memory_save")


def test_openais_sdk_reads_a_response_whole_and_streamed_and_goes_on_from_it(client: openai.OpenAI) -> None:
    prompt = f"Use {TEA} {SUM} {call_of('mcp_lab_echo', text='hi')}."
    tools: Any = [{"type": "web_search"}, INTERPRETER, MCP]
    whole = client.responses.create(model="custom-chat", input=prompt, tools=tools)
    with client.responses.stream(model="custom-chat", input=prompt, tools=tools) as stream:
        events = [event.type for event in stream]
        streamed = stream.get_final_response()
    assert "response.mcp_list_tools.completed" in events
    assert events.index("response.web_search_call.searching") < events.index("response.code_interpreter_call.completed")
    for response in (whole, streamed):
        items: dict[str, Any] = {item.type: item for item in response.output}
        assert items["web_search_call"].action.query == "tea"
        assert items["code_interpreter_call"].outputs[0].logs == "6"
        assert (items["mcp_call"].name, items["mcp_call"].output) == ("echo", "hi")
        assert response.output_text
        more = client.responses.create(model="custom-chat", input="And?", tools=tools, previous_response_id=response.id)
        assert [item.type for item in more.output] == ["message"]
        kept = client.responses.input_items.list(more.id)
        assert "mcp_call" in [item.type for item in kept.data]

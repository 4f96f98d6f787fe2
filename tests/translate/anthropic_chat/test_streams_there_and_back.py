"""A stream of Anthropic's API -> chat's chunks -> a stream of Anthropic's API: the same message, however it is cut."""

import json
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from ai_gateway.api.message_bridge import MessageBridge, MessageContext
from ai_gateway.contract.anthropic_wire import ANTHROPIC
from ai_gateway.contract.call import Call
from ai_gateway.contract.framing import EVENTS
from ai_gateway.translate.anthropic_chat.ids import ToolNames
from ai_gateway.translate.chat_anthropic.stream import MessagesStreamTranslator
from ai_gateway.translate.wires.anthropic import read_event
from scripts.fuzz.message_grammar import check
from tests.support.chat_streams import translated
from tests.translate.anthropic_chat.asking import call, text, thought
from tests.translate.anthropic_chat.test_there_and_back import ENDS, JSON, USAGE

pytestmark = pytest.mark.slow

type Block = dict[str, Any]

WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
CITED = {
    "type": "char_location", "cited_text": "a", "document_index": 0, "document_title": None, "file_id": None,
    "start_char_index": 0, "end_char_index": 1,
}  # fmt: skip
DIRECT = {"caller": {"type": "direct"}}
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "z"}, **DIRECT}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [], **DIRECT}
TEXT = st.builds(lambda words, cited: text(words, citations=cited), WORDS, st.lists(st.just(CITED), max_size=2))
CALL = st.builds(lambda value: {**call(0), "input": value, **DIRECT}, JSON)
BLOCKS = st.lists(
    st.one_of(
        TEXT, CALL, st.builds(thought, WORDS), st.just({"type": "redacted_thinking", "data": "eA=="}),
        st.just(SEARCH), st.just(FOUND),
    ),
    max_size=6,
)  # fmt: skip
STARTS: dict[str, Block] = {
    "text": {"text": "", "citations": []},
    "thinking": {"thinking": "", "signature": ""},
    "tool_use": {"input": {}},
}


def pieces(draw: st.DrawFn, words: str) -> list[str]:
    """The text in pieces, of which some may be empty."""
    cuts = sorted(draw(st.lists(st.integers(0, len(words)), max_size=3)))
    return [words[start:end] for start, end in zip([0, *cuts], [*cuts, len(words)], strict=True)]


@st.composite
def messages(draw: st.DrawFn) -> Block:
    """One that both wires can tell: chat joins texts that follow each other, and numbers calls."""
    content: list[Block] = []
    for block in draw(BLOCKS):
        if block["type"] == "text" and content and content[-1]["type"] == "text":
            continue
        content.append({**block, "id": f"toolu_{len(content)}"} if block["type"] == "tool_use" else block)
    called = any(block["type"] == "tool_use" for block in content)
    end = draw(ENDS)
    if called is (end != "tool_use") and end in {"end_turn", "stop_sequence", "tool_use"}:
        end = "tool_use" if called else "end_turn"
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": content, "stop_reason": end,
        "stop_sequence": "END" if end == "stop_sequence" else None,
        "stop_details": {"type": "refusal", "category": "bio", "explanation": None} if end == "refusal" else None,
        "container": None, "usage": USAGE,
    }  # fmt: skip


@st.composite
def streams(draw: st.DrawFn) -> tuple[Block, list[Block]]:
    """A message, and the events that tell it."""
    message = draw(messages())
    started = {**message, "content": [], "stop_reason": None, "stop_sequence": None, "stop_details": None}
    events: list[Block] = [{"type": "message_start", "message": started}]
    for index, block in enumerate(message["content"]):
        bare: Block = {"input": {}} if "input" in block else {}
        first = {**block, **STARTS.get(block["type"], bare)}
        events.append({"type": "content_block_start", "index": index, "content_block": first})
        for delta in deltas(draw, block):
            events.append({"type": "content_block_delta", "index": index, "delta": delta})
            if draw(st.booleans()):
                events.append({"type": "ping"})
        events.append({"type": "content_block_stop", "index": index})
    ended = {name: message[name] for name in ("stop_reason", "stop_sequence", "stop_details", "container")}
    events += [{"type": "message_delta", "delta": ended, "usage": USAGE}, {"type": "message_stop"}]
    return message, events


def deltas(draw: st.DrawFn, block: Block) -> list[Block]:
    match block["type"]:
        case "text":
            cited = [{"type": "citations_delta", "citation": each} for each in block["citations"]]
            return [*({"type": "text_delta", "text": each} for each in pieces(draw, block["text"])), *cited]
        case "thinking":
            said = [{"type": "thinking_delta", "thinking": each} for each in pieces(draw, block["thinking"])]
            return [*said, {"type": "signature_delta", "signature": block["signature"]}]
        case "tool_use" | "server_tool_use":
            given = pieces(draw, json.dumps(block["input"])) if block["input"] or draw(st.booleans()) else []
            return [{"type": "input_json_delta", "partial_json": each} for each in given]
        case _:
            return []


def there_and_back(events: list[Block], cuts: list[bool], *, fast: bool) -> Block:
    """The message in the stream that the chat's chunks become, which came in packets cut so."""
    translator = MessagesStreamTranslator(1)
    chunks = [
        chunk
        for value in events
        if (event := read_event("anthropic", value)) is not None
        for chunk in translator.feed(event)
    ]
    packets: list[list[Any]] = []
    for at, chunk in enumerate(chunks):
        if packets and not cuts[at % len(cuts)]:
            packets[-1].append(chunk)
        else:
            packets.append([chunk])

    def bridge(made: Call) -> MessageBridge:
        return MessageBridge(made, MessageContext("m", ToolNames(), ("END",)))

    reported = check(translated(packets, bridge, ANTHROPIC, EVENTS, fast=fast))
    assert reported.error is None
    message = reported.message or {}
    for block in message["content"]:
        if (given := block.pop("input_json", None)) is not None:
            block["input"] = json.loads(given or "{}")
    return message


@given(stream=streams(), cuts=st.lists(st.booleans(), min_size=1, max_size=6), fast=st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_stream_comes_back_as_it_was(stream: tuple[Block, list[Block]], cuts: list[bool], *, fast: bool) -> None:
    message, events = stream
    back = there_and_back(events, cuts, fast=fast)
    assert back["content"] == message["content"]
    assert back["usage"] == USAGE
    assert {name: back[name] for name in message if name not in {"content", "usage"}} == {
        name: value for name, value in message.items() if name not in {"content", "usage"}
    }

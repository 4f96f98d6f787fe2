"""Chat streams of every kind, legal and illegal, and what a bridge to another wire makes of them."""

import json
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import anyio
from hypothesis import strategies as st

from ai_gateway.api.chat_bridge import ChatBridge, bridged
from ai_gateway.conform.conformer import Conformer
from ai_gateway.conform.continuations import Continuations
from ai_gateway.conform.stream import conform_stream
from ai_gateway.conform.stream_state import StreamState
from ai_gateway.contract.call import Attempt, Call, Notes
from ai_gateway.contract.framing import Framing
from ai_gateway.contract.stream import (
    DONE,
    Arrived,
    Conformed,
    Continued,
    Framed,
    Item,
    Packet,
    Stream,
    Together,
    Verbatim,
)
from ai_gateway.contract.wire import Wire
from ai_gateway.errors import GatewayError
from ai_gateway.providers.base import Provider
from ai_gateway.providers.openai.policies import SAME_WIRE
from gateway_contract.openai import models

Chunk = models.CreateChatCompletionStreamResponse
USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "total_tokens": 15,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
type Packets = Sequence[Sequence[dict[str, Any]]]


def chunk(*choices: dict[str, Any], **change: Any) -> dict[str, Any]:
    head = {"id": "chatcmpl-12345678", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "m-1"}
    return {**head, "choices": list(choices), **change}


def said(finish: str | None = None, /, **delta: Any) -> dict[str, Any]:
    return chunk({"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish})


def call(index: int, name: str | None = None, arguments: str | None = None, ident: str | None = None) -> dict[str, Any]:
    """A chunk with a piece of a tool call."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    head = {} if name is None else {"id": ident or f"call_{index}", "type": "function"}
    return said(tool_calls=[{"index": index, **head, "function": function}])


FIRST = said(role="assistant", content="")


def answer(*middle: dict[str, Any], finish: str = "stop", usage: dict[str, Any] | None = USAGE) -> Packets:
    """A whole stream, an event in a packet."""
    return [[each] for each in (FIRST, *middle, said(finish), *([chunk(usage=usage)] if usage else []))]


def apart(item: Conformed[Any]) -> Sequence[Item[Any] | Verbatim | Continued]:
    """The items that leave in one message, or the one that leaves alone."""
    return item.items if isinstance(item, Together) else [item]


def translated(
    packets: Packets,
    make: Callable[[Call], ChatBridge],
    wire: Wire,
    framing: Framing,
    *,
    fast: bool = True,
    done: bool = True,
    failure: GatewayError | None = None,
) -> bytes:
    """What a client gets of chunks that arrived so.

    `fast` is the way that a stream takes through a gateway: texts as bytes, and packets that nobody wakes up for.
    """
    written: list[bytes] = []
    call_ = Call("any", "req_1", wire=wire, attempts=[Notes("lab")])
    bridge = make(call_)
    chunks = _conformed(packets, call_, bridge, written, done=done, failure=failure, fast=fast)
    stream: Stream[Any] = bridged(chunks, bridge)

    async def drive() -> None:
        try:
            async for item in stream.items:
                assert isinstance(item, Framed)
                written.append(item.data)
        except GatewayError as error:
            assert stream.broken is not None
            written.append(stream.broken(wire.render(error)))
        else:
            written.append(framing.end)

    anyio.run(drive)
    return b"".join(written)


def _conformed(
    packets: Packets,
    call_: Call,
    bridge: ChatBridge,
    written: list[bytes],
    *,
    done: bool,
    failure: GatewayError | None,
    fast: bool,
) -> AsyncGenerator[Any]:
    attempt = Attempt(call_, call_.notes)
    conformer = Conformer(Provider("lab", SAME_WIRE), attempt, "m")
    state = StreamState[Chunk](
        1, include_usage=True, shows_null=False, report=conformer.report, content_fields=conformer.content_fields
    )
    continuations = Continuations(conformer.content_fields, call_.notes, only_texts=True) if fast else None

    def sink(data: bytes, _chunk: bytes | None = None, /) -> bool:
        written.append(data)
        return True

    divert = continuations.translating_to(bridge, sink) if continuations is not None else lambda _packet: False

    async def upstream() -> AsyncGenerator[Arrived[Chunk]]:
        for packet in packets:
            events = [_json(each) for each in packet]
            if not divert(b"".join(b"data: %b\n\n" % event for event in events)):
                yield Packet(events)
        if failure is not None:
            raise failure
        if done:
            yield DONE

    return conform_stream(upstream(), Chunk, state, conformer, continuations)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
_DELTAS = st.one_of(
    _TEXTS.map(lambda text: said(content=text)),
    _TEXTS.map(lambda text: said(content=text)),
    _TEXTS.map(lambda text: said(refusal=text)),
    _TEXTS.map(lambda text: said(reasoning_content=text)),
    _TEXTS.map(lambda text: said(reasoning=text, reasoning_content=text)),
    st.just(said(thinking_blocks=[{"type": "thinking", "thinking": "hm", "signature": "c2ln"}])),
    st.just(said(thinking_blocks=[{"type": "redacted_thinking", "data": "eA=="}])),
    st.just(
        said(
            annotations=[
                {
                    "type": "url_citation",
                    "url_citation": {"start_index": 0, "end_index": 1, "url": "http://a", "title": "A"},
                }
            ]
        )
    ),
    st.builds(
        call,
        st.integers(0, 2),
        st.sampled_from([None, "look", "edit", "shell"]),
        st.sampled_from([None, "", "{", "}", "{}", '{"a":', "1}", '{"input":"x"}', "null", "[1]", "text"]),
        st.sampled_from([None, "call_a", "call_b"]),
    ),
    st.just(chunk()),
    st.just(chunk(usage=USAGE)),
    st.sampled_from(["stop", "length", "tool_calls", "content_filter"]).map(said),
    st.just(said()),
)


def _packets(events: list[dict[str, Any]], parting: list[bool], head: bool, end: str | None) -> Packets:
    """The events, of which those that `parting` says so begin a packet."""
    whole = [*([FIRST] if head else []), *events, *([said(end), chunk(usage=USAGE)] if end else [])]
    packets: list[list[dict[str, Any]]] = []
    for at, event in enumerate(whole):
        if packets and parting[at % len(parting)]:
            packets[-1].append(event)
        else:
            packets.append([event])
    return packets


def any_stream() -> st.SearchStrategy[Packets]:
    """Any chunks in any packets, mostly with a head and an end."""
    parting = st.lists(st.booleans(), min_size=1, max_size=8)
    ends = st.sampled_from([None, "stop", "length", "tool_calls"])
    return st.builds(_packets, st.lists(_DELTAS, max_size=12), parting, st.booleans(), ends)

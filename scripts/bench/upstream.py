"""A mock upstream that answers as cheaply as Python can: `python -m scripts.bench.upstream --port N`.

The model of a request says how to stream: `burst-50` sends fifty events as fast as they go, `paced-25` sends
twenty-five, one each 200 ms, and `paced-25-40` one each 40 ms. Every event is a write of its own, as a model that
generates would send it.
"""

import argparse
import asyncio
import json
import re
from typing import cast, override

import uvloop

HOST = "127.0.0.1"
PACE_S = 0.2
_BACKLOG = 2048
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_MODEL = re.compile(rb'"model": ?"(burst|paced)-(\d+)(?:-(\d+))?"')
_STREAM = re.compile(rb'"stream": ?true')
# The fields that matter stand in front of the messages or behind them: a long body is not searched.
_LOOKED_AT = 2_048
_ID = "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT"
_CREATED = 1_741_569_952
_MODEL_NAME = "bench-model-2026-01-01"
_TEXT = "The quick brown fox jumps over the lazy dog, and the dog does not mind at all. " * 2


def _completion() -> dict[str, object]:
    details = {"prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}}
    message = {"role": "assistant", "content": _TEXT, "refusal": None}
    return {
        "id": _ID,
        "object": "chat.completion",
        "created": _CREATED,
        "model": _MODEL_NAME,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 40, "completion_tokens": 36, "total_tokens": 76, **details},
        "service_tier": "default",
        "system_fingerprint": "fp_44709d6fcb",
    }


def _chunk(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    value = {
        "id": _ID,
        "object": "chat.completion.chunk",
        "created": _CREATED,
        "model": _MODEL_NAME,
        "system_fingerprint": "fp_44709d6fcb",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}],
    }
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


REPLY = json.dumps(_completion(), separators=(",", ":")).encode()
EVENTS = (_chunk({"role": "assistant", "content": ""}), _chunk({"content": " fox"}), _chunk({}, "stop"))
_DONE = b"data: [DONE]\n\n"


def _event(kind: str, **fields: object) -> bytes:
    """An event that has a name."""
    data = json.dumps({"type": kind, **fields}, separators=(",", ":"))
    return f"event: {kind}\ndata: {data}\n\n".encode()


_USAGE = {"input_tokens": 40, "output_tokens": 36, "total_tokens": 76}
_RESPONSE = {"id": "resp_1", "object": "response", "created_at": _CREATED, "model": _MODEL_NAME, "output": []}
RESPONSE_EVENTS = (
    _event("response.created", sequence_number=0, response={**_RESPONSE, "status": "in_progress"}),
    _event(
        "response.output_text.delta",
        sequence_number=7,
        item_id="msg_1",
        output_index=0,
        content_index=0,
        delta=" fox",
        logprobs=[],
    ),
    _event("response.completed", sequence_number=9, response={**_RESPONSE, "status": "completed", "usage": _USAGE}),
)
MESSAGE_EVENTS = (
    (
        _event("message_start", message={"id": "msg_1", "type": "message", "role": "assistant", "usage": _USAGE}),
        _event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    ),
    (_event("content_block_delta", index=0, delta={"type": "text_delta", "text": " fox"}),),
    (
        _event("content_block_stop", index=0),
        _event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage=_USAGE),
        _event("message_stop"),
    ),
)


def _http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


_WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(REPLY), REPLY)
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_FIRST, _MIDDLE, _LAST = (_http_chunk(event) for event in EVENTS)
_END = _http_chunk(_DONE) + b"0\r\n\r\n"
_OF_CHAT = (_FIRST, _MIDDLE, _LAST)
_OF_OTHERS = {
    b"/responses HTTP": tuple(_http_chunk(event) for event in RESPONSE_EVENTS),
    b"/messages HTTP": tuple(b"".join(map(_http_chunk, events)) for events in MESSAGE_EVENTS),
}


class Upstream(asyncio.Protocol):
    """One connection: one request at a time, its body found by its declared length."""

    transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._buffer = bytearray()
        self._needed = 0
        self._next: asyncio.Handle | None = None
        self._events: tuple[bytes, ...] = _OF_CHAT

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its base class

    @override
    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._needed:
            head_end = self._buffer.find(b"\r\n\r\n") + 4
            if head_end < 4:
                return
            length = _LENGTH.search(self._buffer, 0, head_end)
            self._needed = head_end + (int(length[1]) if length else 0)
        if len(self._buffer) >= self._needed:
            end = self._needed
            ends = bytes(self._buffer[: min(end, _LOOKED_AT)] + self._buffer[max(0, end - _LOOKED_AT) : end])
            del self._buffer[:end]
            self._needed = 0
            self._answer(ends)

    def _answer(self, request: bytes) -> None:
        if not _STREAM.search(request):
            self.transport.write(_WHOLE)
            return
        model = _MODEL.search(request)
        kind, events, gap_ms = (model[1], int(model[2]), model[3]) if model else (b"burst", 50, None)
        self._events = next((events for path, events in _OF_OTHERS.items() if path in request[:64]), _OF_CHAT)
        pace = int(gap_ms) / 1e3 if gap_ms else PACE_S
        self._send(_HEAD + self._events[0], events - 2, pace if kind == b"paced" else 0)

    def _send(self, data: bytes, left: int, pause: float) -> None:
        """Write an event and plan the next one; `left` counts those before the last."""
        self.transport.write(data)
        if left < 0:
            self._next = None
            return
        # Through the loop even without a pause: what one iteration writes would go out as one packet.
        data = self._events[1] if left else self._events[2] + _END
        if pause:
            self._next = self._loop.call_later(pause, self._send, data, left - 1, pause)
        else:
            self._next = self._loop.call_soon(self._send, data, left - 1, pause)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self._next is not None:
            self._next.cancel()


async def serve(port: int) -> None:
    """Answer until the process is ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Upstream(loop), HOST, port, backlog=_BACKLOG)
    await server.serve_forever()


def main() -> None:
    """Run in a process of its own."""
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.upstream", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    asyncio.run(serve(parser.parse_args().port), loop_factory=uvloop.new_event_loop)


if __name__ == "__main__":
    main()

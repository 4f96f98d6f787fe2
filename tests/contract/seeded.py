"""A gateway with a fault of ours in it, to show that the fuzzing sees such faults: `python -m tests.contract.seeded`.

The real application runs unchanged; a wrapper spoils what goes in or comes out, one fault at a time.
"""

import json
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ai_gateway.app.build import build
from ai_gateway.app.configuration import read_configuration

KEY = "fuzz-key"
type Reply = tuple[int, list[tuple[bytes, bytes]], bytes]
type Spoil = Callable[[Reply, bytes], Reply]


def lax(reply: Reply, body: bytes) -> Reply:
    """Invalid requests are answered as if they were fine."""
    if reply[0] != 400:
        return reply
    answer = {"id": "x", "object": "list", "model": "m", "data": [], "choices": [], "created": 1,
              "usage": {"prompt_tokens": 0, "total_tokens": 0}}  # fmt: skip
    return 200, reply[1], json.dumps(answer).encode()


def wrong_error_shape(reply: Reply, body: bytes) -> Reply:
    return (reply[0], reply[1], b'{"detail":"no"}') if reply[0] >= 400 else reply


def missing_request_id(reply: Reply, body: bytes) -> Reply:
    return reply[0], [pair for pair in reply[1] if pair[0] != b"x-request-id"], reply[2]


def missing_challenge(reply: Reply, body: bytes) -> Reply:
    return reply[0], [pair for pair in reply[1] if pair[0] != b"www-authenticate"], reply[2]


def missing_allow(reply: Reply, body: bytes) -> Reply:
    return reply[0], [pair for pair in reply[1] if pair[0] != b"allow"], reply[2]


def crash_on_null(reply: Reply, body: bytes) -> Reply:
    return (500, reply[1], reply[2]) if b"null" in body else reply


def refuses_valid(reply: Reply, body: bytes) -> Reply:
    if reply[0] == 200 and b'"n"' in body:
        return 400, reply[1], b'{"error":{"message":"no","type":"x","param":null,"code":null}}'
    return reply


def undocumented_status(reply: Reply, body: bytes) -> Reply:
    return (418, reply[1], reply[2]) if reply[0] == 400 else reply


def drops_required_field(reply: Reply, body: bytes) -> Reply:
    return reply[0], reply[1], reply[2].replace(b'"logprobs":', b'"logprobes":')


def drops_chunk_field(reply: Reply, body: bytes) -> Reply:
    return reply[0], reply[1], reply[2].replace(b'"object":"chat.completion.chunk"', b'"kind":"chunk"')


def wrong_content_type(reply: Reply, body: bytes) -> Reply:
    return reply[0], [(name, b"text/html" if name == b"content-type" else value) for name, value in reply[1]], reply[2]


def drops_line_field(reply: Reply, body: bytes) -> Reply:
    return reply[0], reply[1], reply[2].replace(b'"done":', b'"over":')


def spoils_a_line(reply: Reply, body: bytes) -> Reply:
    return reply[0], reply[1], reply[2].replace(b'"content":"', b'"content":7,"x":"')


def envelope_of_the_other_wire(reply: Reply, body: bytes) -> Reply:
    return (reply[0], reply[1], b'{"error":{"message":"no"}}') if reply[0] >= 400 else reply


def wrong_output_index(reply: Reply, body: bytes) -> Reply:
    return reply[0], reply[1], reply[2].replace(b'"output_index":0', b'"output_index":1', 1)


def missing_item_done(reply: Reply, body: bytes) -> Reply:
    return reply[0], reply[1], _without(reply[2], b"response.output_item.done")


def repeated_sequence_number(reply: Reply, body: bytes) -> Reply:
    return reply[0], reply[1], reply[2].replace(b'"sequence_number":3}', b'"sequence_number":2}')


def unclosed_block(reply: Reply, body: bytes) -> Reply:
    return reply[0], reply[1], _without(reply[2], b"content_block_stop")


def wrong_block_index(reply: Reply, body: bytes) -> Reply:
    return reply[0], reply[1], reply[2].replace(b'"index":0,"content_block"', b'"index":1,"content_block"')


def _without(stream: bytes, event: bytes) -> bytes:
    return b"\n\n".join(frame for frame in stream.split(b"\n\n") if not frame.startswith(b"event: " + event))


RESPONSE_FAULTS = (wrong_output_index, missing_item_done, repeated_sequence_number)
MESSAGE_FAULTS = (unclosed_block, wrong_block_index)
LINE_FAULTS = (drops_line_field, spoils_a_line, envelope_of_the_other_wire)
FAULTS: dict[str, Spoil] = {
    spoil.__name__: spoil
    for spoil in (
        lax, wrong_error_shape, missing_request_id, missing_challenge, missing_allow, crash_on_null, refuses_valid,
        undocumented_status, drops_required_field, drops_chunk_field, wrong_content_type, *LINE_FAULTS,
        *RESPONSE_FAULTS, *MESSAGE_FAULTS,
    )
}  # fmt: skip


class Spoiled:
    """Runs the application, then spoils its whole reply. `no_auth` spoils the request instead."""

    def __init__(self, app: ASGIApp, fault: str) -> None:
        self._app = app
        self._fault = fault

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == "/openapi.json":
            await self._app(scope, receive, send)
        elif self._fault == "no_auth":
            given = [pair for pair in scope["headers"] if pair[0] != b"authorization"]
            scope["headers"] = [*given, (b"authorization", b"Bearer " + KEY.encode())]
            await self._app(scope, receive, send)
        else:
            await self._spoil(scope, receive, send)

    async def _spoil(self, scope: Scope, receive: Receive, send: Send) -> None:
        sent: list[Message] = []
        body = bytearray()
        await self._app(scope, _overheard(receive, body), _kept(sent))
        status, headers = sent[0]["status"], sent[0].get("headers", [])
        whole = b"".join(message.get("body", b"") for message in sent[1:])
        status, headers, whole = FAULTS.get(self._fault, _sound)((status, list(headers), whole), bytes(body))
        length = [(name, str(len(whole)).encode() if name == b"content-length" else value) for name, value in headers]
        await send({"type": "http.response.start", "status": status, "headers": length})
        await send({"type": "http.response.body", "body": whole})


def _sound(reply: Reply, body: bytes) -> Reply:
    return reply


def _overheard(receive: Receive, body: bytearray) -> Receive:
    async def listen() -> Message:
        message = await receive()
        body.extend(message.get("body", b""))
        return message

    return listen


def _kept(sent: list[Message]) -> Callable[[Message], Awaitable[None]]:
    async def keep(message: Message) -> None:
        sent.append(message)

    return keep


def main() -> None:
    fault, listener = sys.argv[1], int(sys.argv[2])
    given: dict[str, Any] = {"allowed_api_keys": [KEY], "log_level": "error"}
    app = Spoiled(build(read_configuration(**given, custom_pace_ms=0)).asgi, fault)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none"))
    # Handed over as what it is: uvicorn takes any `fd` for a Unix socket, sets no TCP_NODELAY, and each request of a
    # connection that stays open then takes the 40 ms for which the kernel holds back an acknowledgement.
    server.run([socket.socket(fileno=listener)])


if __name__ == "__main__":
    main()

"""A head that comes again on its connection is answered without the parser, and exactly as the parser would have it."""

import asyncio
import gc
import random
from collections.abc import Iterable
from typing import Any, override

import pytest

from ai_gateway.contract.header_fields import header_fields
from ai_gateway.server.known_head import KnownHead
from ai_gateway.server.protocol import HttpProtocol
from tests.support.served import connect

pytestmark = pytest.mark.anyio
HEAD = (
    b"POST /v1/chat/completions?a=b HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer the-key\r\n"
    b"Content-Length: %d\r\nX-Twice: 1\r\nx-twice: 2\r\n\r\n"
)


def packet(body: bytes, head: bytes = HEAD) -> bytes:
    return head % len(body) + body


class Seen:
    """An application that notes what it gets, and answers."""

    def __init__(self) -> None:
        self.requests: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        fields = dict(header_fields(scope))
        message = await receive()
        body = message.get("body", b"")
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        reported = {name: value for name, value in scope.items() if name not in {"connection", "fields", "head_size"}}
        self.requests.append((reported, fields, body, message["type"]))
        scope["left"] = scope["state"]["behind"] = "for nobody"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})


async def served(packets: Iterable[bytes], *, learns: bool) -> tuple[list[Any], list[bytes], bool]:
    """What the application saw, what was written and whether the connection is closed."""
    app = Seen()
    connection, wire = connect(app)
    if not learns:
        connection._known._lessons = 0
    for each in packets:
        connection.data_received(each)
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    connection.connection_lost(None)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return app.requests, [_without_id(write) for write in wire.writes], wire.closed


def _without_id(write: bytes) -> bytes:
    return b"\r\n".join(line for line in write.split(b"\r\n") if not line.startswith(b"x-request-id"))


async def assert_same(*packets: bytes) -> None:
    assert await served(packets, learns=True) == await served(packets, learns=False), packets


class NoParser:
    """A parser that must not be called."""

    def feed_data(self, _data: bytes) -> None:
        pytest.fail("the head should have been known")


def without_parser(connection: HttpProtocol) -> None:
    connection.parser = NoParser()  # type: ignore[assignment]


async def test_a_head_that_comes_again_is_not_parsed_whatever_the_length_of_its_body() -> None:
    app = Seen()
    connection, wire = connect(app)
    connection.data_received(packet(b"first"))
    without_parser(connection)
    for body in (b"again", b"", b"x" * 12_345):
        connection.data_received(packet(body))
    assert [body for _, _, body, _ in app.requests] == [b"first", b"again", b"", b"x" * 12_345]
    assert [fields["content-length"] for _, fields, _, _ in app.requests] == ["5", "5", "0", "12345"]
    assert [dict(reported["headers"])[b"content-length"] for reported, *_ in app.requests] == [
        b"5",
        b"5",
        b"0",
        b"12345",
    ]
    assert len(wire.writes) == 4
    await assert_same(packet(b"first"), packet(b"again"), packet(b""), packet(b"x" * 12_345))


async def test_no_request_gets_what_another_has_left_in_its_scope() -> None:
    app = Seen()
    connection, _ = connect(app)
    for _ in range(3):
        connection.data_received(packet(b"body"))
    assert all(
        "left" not in reported and reported["state"] == {"behind": "for nobody"} for reported, *_ in app.requests
    )
    states = [id(reported["state"]) for reported, *_ in app.requests]
    assert len(set(states)) == 3


VALUES = [
    *(
        b"",
        b"0",
        b"4",
        b"04",
        b"+4",
        b"-4",
        b" 4",
        b"4 ",
        b"4\t",
        b"\t4",
        b"4, 4",
        b"4;",
        b"0x4",
        b"4\n",
        b"4\r",
        b"4\0",
    ),
    *(
        b"4\r\n",
        b"4\r\n ",
        b"4\r\nContent-Length: 4",
        b"4\r\nTransfer-Encoding: chunked",
        b"\xb2",
        b"9" * 13,
        b"9" * 30,
    ),
    *(b"3", b"5", b"4\r\nExpect: 100-continue", b"4\r\nConnection: close", b"4\r\nUpgrade: h2c", b"000000000004"),
]


@pytest.mark.parametrize("value", VALUES)
async def test_any_other_length_is_read_as_the_parser_reads_it(value: bytes) -> None:
    head = HEAD.replace(b"%d", value)
    await assert_same(packet(b"body"), head + b"body", packet(b"body"))
    await assert_same(head + b"body", packet(b"body"), head + b"body")
    await assert_same(head + b"body", head + b"body", head + b"body")


@pytest.mark.parametrize("byte", [b" ", b"\t", b"\r", b"\n", b"\0", b"4", b":", b"A", b"\xff", b""])
async def test_a_head_that_differs_in_any_byte_is_read_as_the_parser_reads_it(byte: bytes) -> None:
    whole = packet(b"body")
    for place in range(len(whole)):
        other = whole[:place] + byte + whole[place + 1 :]
        await assert_same(whole, other, whole)
        await assert_same(whole, whole[:place] + byte + whole[place:], whole)


async def test_a_known_head_may_come_in_pieces_and_several_requests_at_once() -> None:
    whole = packet(b"body")
    for place in range(1, len(whole)):
        await assert_same(whole, whole[:place], whole[place:], whole)
        await assert_same(whole, whole + whole[:place], whole[place:], whole)
        await assert_same(b"\r\n" + whole, b"\r\n", whole, b"\n" + whole, whole)


ODD = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    b"POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
    b"POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi",
    b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi",
    b"POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nhi",
    b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 12\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost:a\r\nContent-Length:2\r\n\r\nhi",
    b"POST / HTTP/1.1\r\nHost:  a \r\nContent-Length:  2 \r\n\r\nhi",
    b"POST / HTTP/1.1\r\nHost: a\r\nX-Folded: a\r\n b\r\nContent-Length: 2\r\n\r\nhi",
    b"POST / HTTP/1.1\nHost: a\nContent-Length: 2\n\nhi",
    b"POST / HTTP/1.1\r\nHost: a\r\nX-Content-Length: 2\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nX: \r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
    b"POST / RTSP/1.0\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
    b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
    b"POST / HTTP/1.1\r\nHost: a\r\nX: %b\r\nContent-Length: 2\r\n\r\nhi" % (b"x" * 5_000),
]


async def test_any_sequence_of_odd_requests_is_read_as_the_parser_reads_it() -> None:
    for odd in ODD:
        await assert_same(odd, odd, odd)
    dice = random.Random(1)
    for _ in range(500):
        await assert_same(*dice.choices([*ODD, packet(b"body"), packet(b"")], k=4))


async def test_a_client_whose_heads_always_differ_is_not_learnt_from_for_ever() -> None:
    connection, wire = connect(Seen())
    for number in range(10):
        connection.data_received(packet(b"body", HEAD.replace(b"X-Twice", b"X-%d" % number)))
    assert connection._known._lessons == 0
    assert len(wire.writes) == 10


async def test_a_head_is_forgotten_with_its_connection() -> None:
    connection, _ = connect(Seen())
    for _ in range(2):
        connection.data_received(packet(b"body"))
    connection.connection_lost(None)
    assert b"the-key" not in connection._known._before + connection._known._after
    del connection
    gc.collect()
    known = [
        each
        for each in gc.get_objects()
        if isinstance(each, dict) and each.get("authorization", "") == "Bearer the-key"
    ]
    assert not known


async def test_a_server_that_stops_closes_a_connection_whose_head_is_known() -> None:
    class Stopping(HttpProtocol):
        stops = False

        @override
        def draining(self) -> bool:
            return self.stops

    connection, wire = connect(Seen(), Stopping)
    connection.data_received(packet(b"body"))
    assert isinstance(connection, Stopping)
    connection.stops = True
    connection.data_received(packet(b"body"))
    assert b"connection: close" in wire.writes[-1]
    assert wire.closed


async def test_an_idle_connection_with_a_known_head_keeps_little() -> None:
    connection, _ = connect(Seen())
    big = packet(b"body", HEAD.replace(b"X-Twice: 1", b"X-Twice: " + b"1" * 5_000))
    connection.data_received(big)
    assert len(connection._known._before) + len(connection._known._after) < 100
    connection.data_received(packet(b"x" * 100_000))
    assert len(connection._known._before) + len(connection._known._after) < 500


def test_what_is_not_known_is_no_request() -> None:
    assert KnownHead().request(b"\n1\r") is None
    assert KnownHead().request(b"") is None

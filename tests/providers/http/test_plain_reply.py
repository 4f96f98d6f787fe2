"""Replies that are read without the parser: which they are, and that the parser reads them alike."""

import asyncio
import random
from typing import cast

import pytest

from ai_gateway.providers.http.http1 import Connection
from ai_gateway.providers.http.plain_reply import plain_reply

OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("head", "headers"),
    [
        (b"content-length: 2\r\n", {"content-length": "2"}),
        (b"Content-Type:a/b\r\nContent-Length: 2\r\n", {"content-type": "a/b", "content-length": "2"}),
        (b"content-length: 2\r\nConnection: keep-alive\r\n", {"content-length": "2", "connection": "keep-alive"}),
        (b"x: a  b: c\r\ncontent-length: 2\r\n", {"x": "a  b: c", "content-length": "2"}),
    ],
)
def test_a_well_formed_reply_is_plain(head: bytes, headers: dict[str, str]) -> None:
    for _ in range(2):  # its lines are known the second time
        assert plain_reply(OK + head + b"\r\n{}") == (headers, b"{}")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        OK,
        OK + b"content-length: 2\r\n",
        OK + b"\r\n{}",
        OK + b"content-length: 2\r\n\r\n{",
        OK + b"content-length: 2\r\n\r\n{}x",
        OK + b"content-length: 02\r\n\r\n{}",
        OK + b"content-length: +2\r\n\r\n{}",
        OK + b"content-length: 2\r\ncontent-length: 2\r\n\r\n{}",
        OK + b"content-length: 2\r\nContent-Length: 2\r\n\r\n{}",
        OK + b"x: a\r\nx: b\r\ncontent-length: 2\r\n\r\n{}",
        OK + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
        OK + b"content-length: 2\r\ntransfer-encoding: identity\r\n\r\n{}",
        OK + b"content-length: 2\r\nconnection: close\r\n\r\n{}",
        OK + b"content-length: 2\r\nconnection: keep-alive, x\r\n\r\n{}",
        OK + b"content-length: 2\r\nproxy-connection: keep-alive\r\n\r\n{}",
        OK + b"content-length: 2\r\nupgrade: h2c\r\n\r\n{}",
        OK + b"content-length : 2\r\n\r\n{}",
        OK + b"content-length: 2 \r\n\r\n{}",
        OK + b"content-length:  2\r\n\r\n{}",
        OK + b"x:\r\ncontent-length: 2\r\n\r\n{}",
        OK + b": x\r\ncontent-length: 2\r\n\r\n{}",
        OK + b"x\r\ncontent-length: 2\r\n\r\n{}",
        OK + b"x: a\r\n b\r\ncontent-length: 2\r\n\r\n{}",
        OK + b"x: a\nb: c\r\ncontent-length: 2\r\n\r\n{}",
        OK + b"x: a\rb\r\ncontent-length: 2\r\n\r\n{}",
        OK + b"x: \xe4\r\ncontent-length: 2\r\n\r\n{}",
        OK + b"x: a\tb\r\ncontent-length: 2\r\n\r\n{}",
        OK + b"x: a\0b\r\ncontent-length: 2\r\n\r\n{}",
        b"\r\n" + OK + b"content-length: 2\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 201 OK\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 Ok\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"content-length: 2\r\n\r\n{}",
        OK + b"".join(b"x-%d: y\r\n" % at for at in range(200)) + b"content-length: 2\r\n\r\n{}",
        OK + b"x: " + b"y" * 5_000 + b"\r\ncontent-length: 2\r\n\r\n{}",
    ],
)
def test_whatever_is_unusual_is_left_to_the_parser(data: bytes) -> None:
    for _ in range(2):
        assert plain_reply(data) is None


class Owner:
    """Where a connection that is never opened belongs to."""

    loop = cast("asyncio.AbstractEventLoop", None)
    rings_at = -1.0

    def ring_at(self, when: float) -> None: ...
    def ended(self, connection: Connection) -> None: ...


def parsed(data: bytes) -> tuple[int, dict[str, str], bytes]:
    """The same bytes as the parser reads them; `send` has not been called, so nobody waits for the whole."""
    connection = Connection(Owner())
    connection._state = 1
    connection.data_received(data)
    assert connection.is_whole
    return connection.status, connection.headers, connection.take()


def test_the_parser_reads_plain_replies_alike() -> None:
    chance = random.Random(7)
    pieces = [*"abXY019-_.!#$%&'*+^`|~ :;,=/()<>@[]{}?\"\\\t\xe4\x01", "\r\n", "content-length", ": ", "x"]
    seen = 0
    for _ in range(6_000):
        fields = ["content-length: 2"]
        for _ in range(chance.randrange(4)):
            name = "".join(chance.choices(pieces, k=chance.randrange(1, 4)))
            value = "".join(chance.choices(pieces, k=chance.randrange(4)))
            fields.append(f"{name}: {value}")
        chance.shuffle(fields)
        data = OK + "".join(f"{field}\r\n" for field in fields).encode("latin-1") + b"\r\n{}"
        plain = plain_reply(data)
        if plain is not None:
            seen += 1
            assert (200, *plain) == parsed(data), data
    assert seen > 500

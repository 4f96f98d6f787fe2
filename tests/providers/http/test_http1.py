"""The HTTP client against bytes: what is a reply is that reply in any packets, and nothing else ever is one."""

import asyncio
import itertools
import socket
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from ai_gateway.errors import (
    UpstreamError,
    UpstreamInvalidResponse,
    UpstreamStreamTruncated,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from ai_gateway.providers.http.client import Transport, UpstreamReply
from ai_gateway.providers.http.http1 import PIECE, Connection
from ai_gateway.providers.http.pool import Pool
from ai_gateway.providers.http.request_head import request_line
from ai_gateway.providers.http.stream import OpenStream
from ai_gateway.providers.upstream import Timeouts
from tests.support.clock import StoppedClock
from tests.support.raw_server import Peer, RawServer, Script, once, raw_server, replying

pytestmark = pytest.mark.anyio
PATIENT = Timeouts(connect=10, request=30, stream_idle=30, stream=60)
BRIEF = 0.15
OK = b"HTTP/1.1 200 OK\r\n"
GOOD = OK + b"content-type: text/plain\r\ncontent-length: 4\r\n\r\ngood"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module", params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


@asynccontextmanager
async def calling(script: Script, timeouts: Timeouts = PATIENT) -> AsyncIterator[tuple[Transport, RawServer]]:
    async with raw_server(script) as server:
        transport = Transport("up", f"{server.url}/v1", {"authorization": "Bearer key"}, timeouts)
        try:
            yield transport, server
        finally:
            await transport.aclose()


async def post(transport: Transport, body: bytes = b"{}") -> UpstreamReply:
    return await transport.fetch("POST", "/chat", {"accept": "*/*"}, body)


async def get(transport: Transport) -> UpstreamReply:
    return await transport.fetch("GET", "/models", {}, None)


async def read(stream: OpenStream) -> list[bytes]:
    """Everything that a stream gives, piece by piece."""
    pieces = []
    while piece := await stream.next_bytes():
        pieces.append(piece)
    return pieces


type Outcome = tuple[object, ...]


async def outcome(transport: Transport) -> Outcome:
    """What a call gives, in a form that can be compared."""
    try:
        reply = await post(transport)
    except UpstreamError as error:
        return (type(error), error.status, error.code, error.message)
    return (reply.status, dict(reply.headers), reply.body)


async def streamed(transport: Transport) -> Outcome:
    got = b""
    try:
        async with transport.stream("/chat", {}, b"{}") as stream:
            while piece := await stream.next_bytes():
                got += piece
            return (stream.status, dict(stream.headers), got)
    except UpstreamError as error:
        return (type(error), error.status, error.code, error.message, got)


# -- the request --


async def test_the_request_is_exactly_these_bytes() -> None:
    seen: list[bytes] = []

    async def script(peer: Peer) -> None:
        while request := await peer.request():
            seen.append(request)
            await peer.send(GOOD)

    async with calling(script) as (transport, server):
        await transport.fetch("POST", "/chat", {"accept": "a/b", "x-request-id": "req_1"}, b'{"a":1}')
        await transport.fetch("GET", "/models?limit=3", {"authorization": "other"}, None)
        await transport.fetch("POST", "/chat", {}, None)
        own = b"Host: 127.0.0.1:%d\r\naccept-encoding: identity\r\nuser-agent: " % server.port
    agent = seen[0].partition(b"user-agent: ")[2].partition(b"\r\n")[0]
    assert agent.startswith(b"ai-gateway/")
    own += agent + b"\r\n"
    assert seen == [
        b"POST /v1/chat HTTP/1.1\r\n" + own + b"authorization: Bearer key\r\naccept: a/b\r\nx-request-id: req_1\r\n"
        b'Content-Length: 7\r\n\r\n{"a":1}',
        b"GET /v1/models?limit=3 HTTP/1.1\r\n" + own + b"authorization: other\r\n\r\n",
        b"POST /v1/chat HTTP/1.1\r\n" + own + b"authorization: Bearer key\r\nContent-Length: 0\r\n\r\n",
    ]


@pytest.mark.parametrize("size", [0, 1, 64 * 1024, 64 * 1024 + 1, 5_000_000])
async def test_a_body_of_any_size_arrives_whole(size: int) -> None:
    body = bytes(i % 251 for i in range(251)) * (size // 251 + 1)
    body = body[:size]
    seen: list[bytes] = []

    async def script(peer: Peer) -> None:
        while request := await peer.request():
            seen.append(request.partition(b"\r\n\r\n")[2])
            await peer.send(GOOD)

    async with calling(script) as (transport, _):
        for _ in range(2):
            await post(transport, body)
    assert seen == [body, body]


@pytest.mark.parametrize("value", ["a\r\nx: y", "a\nx: y", "a\rb", "a\0b", "\r\n\r\nGET / HTTP/1.1"])
async def test_a_header_that_holds_another_line_is_never_sent(value: str) -> None:
    async with calling(replying(GOOD)) as (transport, server):
        with pytest.raises(ValueError, match="line"):
            await transport.fetch("POST", "/chat", {"x-own": value}, b"{}")
        with pytest.raises(ValueError, match="line"):
            await transport.fetch("GET", f"/models/{value}", {}, None)
        with pytest.raises(ValueError, match="line"):
            async with transport.stream("/chat", {"x-own": value}, b"{}"):
                pass
        assert server.peers == []


@pytest.mark.parametrize(
    ("method", "target"), [("HEAD", "/"), ("CONNECT", "/"), ("GET", "/a b"), ("GET", "/a HTTP/1.1\r\nx: y")]
)
def test_a_request_that_could_be_misread_is_refused(method: str, target: str) -> None:
    with pytest.raises(ValueError, match=r"line|not for this client"):
        request_line(method, target)


# -- the reply --

type Replies = dict[str, tuple[bytes, Outcome]]


def good(body: bytes, status: int = 200, **headers: str) -> Outcome:
    return (status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


# Each with what it says. The connection is closed behind it, which only those without a length need.
REPLIES: Replies = {
    "a length": (OK + b"content-length: 5\r\nx: y\r\n\r\nhello", good(b"hello", content_length="5", x="y")),
    "nothing": (OK + b"content-length: 0\r\n\r\n", good(b"", content_length="0")),
    "chunks": (
        CHUNKED + b"2\r\nhe\r\n3;ext=1\r\nllo\r\n0\r\n\r\n",
        good(b"hello", transfer_encoding="chunked"),
    ),
    "trailers": (
        CHUNKED + b"5\r\nhello\r\n0\r\nx-late: 1\r\nauthorization: x\r\n\r\n",
        good(b"hello", transfer_encoding="chunked"),
    ),
    "chunked twice": (
        OK + b"Transfer-Encoding: Chunked\r\ntransfer-encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        good(b"hello", transfer_encoding="Chunked"),
    ),
    "to the end": (OK + b"x: y\r\n\r\nhello", good(b"hello", x="y")),
    "to the end in no coding": (
        OK + b"transfer-encoding: identity\r\n\r\nhello",
        good(b"hello", transfer_encoding="identity"),
    ),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\nhello", good(b"hello")),
    "HTTP/1.0 kept": (
        b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\nhello",
        good(b"hello", connection="keep-alive", content_length="5"),
    ),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", good(b"", 204)),
    "not modified": (b"HTTP/1.1 304 X\r\ncontent-length: 9\r\n\r\n", good(b"", 304, content_length="9")),
    "interim": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\ncontent-length: 9\r\n\r\n"
        + OK
        + b"content-length: 5\r\n\r\nhello",
        good(b"hello", content_length="5"),
    ),
    "line feeds": (b"HTTP/1.1 200 OK\ncontent-length: 5\n\nhello", good(b"hello", content_length="5")),
    "no reason": (b"HTTP/1.1 200\r\ncontent-length: 5\r\n\r\nhello", good(b"hello", content_length="5")),
    "blank lines first": (b"\r\n\r\n" + OK + b"content-length: 5\r\n\r\nhello", good(b"hello", content_length="5")),
    "a refusal": (b"HTTP/1.1 429 X\r\ncontent-length: 5\r\n\r\nhello", good(b"hello", 429, content_length="5")),
    "folded": (OK + b"x: a\r\n b\r\ncontent-length: 5\r\n\r\nhello", good(b"hello", x="a b", content_length="5")),
    "odd values": (
        OK + b"x:  a\xe4 \t\r\ny:\r\nz: a\x01b\r\ncontent-length: 5 \r\n\r\nhello",
        good(b"hello", x="a\xe4", y="", content_length="5"),
    ),
    "a name with a blank": (OK + b"content-length : 5\r\n\r\nhello", good(b"hello", content_length="5")),
    "twice": (
        OK + b"X: a\r\nx: a\r\nretry-after: 1\r\nRetry-After: 2\r\ncontent-length: 5\r\n\r\nhello",
        good(b"hello", x="a", retry_after="1, 2", content_length="5"),
    ),
}

GARBLED = (
    UpstreamInvalidResponse,
    502,
    "upstream_invalid_response",
    "Provider 'up' broke off or garbled its reply.",
)
UNREACHABLE = (UpstreamUnreachable, 502, "upstream_unreachable", "Provider 'up' cannot be reached. Try again.")
COMPRESSED = (*GARBLED[:3], "Provider 'up' sent a compressed reply that was not requested.")
TOO_LARGE = (
    *GARBLED[:3],
    "Provider 'up' sent a reply that is too large to pass on: more than the 67108864 bytes of REPLY_MAX_SIZE.",
)
BROKEN: Replies = {
    "two lengths": (OK + b"content-length: 5\r\ncontent-length: 4\r\n\r\nhello", GARBLED),
    "two lengths in one": (OK + b"content-length: 5, 4\r\n\r\nhello", GARBLED),
    "the same length twice": (OK + b"content-length: 5\r\ncontent-length: 5\r\n\r\nhello", GARBLED),
    "length and chunks": (OK + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", GARBLED),
    "chunks and length": (CHUNKED[:-2] + b"content-length: 5\r\n\r\n0\r\n\r\n", GARBLED),
    "a signed length": (OK + b"content-length: +5\r\n\r\nhello", GARBLED),
    "a negative length": (OK + b"content-length: -5\r\n\r\nhello", GARBLED),
    "an empty length": (OK + b"content-length:\r\n\r\nhello", GARBLED),
    "an endless length": (OK + b"content-length: 99999999999999999999\r\n\r\nhello", GARBLED),
    "another coding": (OK + b"transfer-encoding: gzip\r\n\r\nhello", GARBLED),
    "another coding in chunks": (OK + b"transfer-encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", GARBLED),
    "another coding after chunks": (CHUNKED[:-2] + b"transfer-encoding: gzip\r\n\r\nhello", GARBLED),
    "a chunk of no size": (CHUNKED + b"\r\nhello", GARBLED),
    "a chunk of a bad size": (CHUNKED + b"5x\r\nhello\r\n0\r\n\r\n", GARBLED),
    "a chunk of a negative size": (CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n", GARBLED),
    "a chunk of a huge size": (CHUNKED + b"ffffffffffffffffff\r\nhello", GARBLED),
    "a chunk that is longer": (CHUNKED + b"2\r\nhello\r\n0\r\n\r\n", GARBLED),
    "a chunk that is shorter": (CHUNKED + b"7\r\nhello\r\n0\r\n\r\n", GARBLED),
    "no last chunk": (CHUNKED + b"5\r\nhello\r\n", GARBLED),
    "no end of the last chunk": (CHUNKED + b"5\r\nhello\r\n0\r\n", GARBLED),
    "a length in the trailers": (CHUNKED + b"5\r\nhello\r\n0\r\ncontent-length: 9\r\n\r\n", GARBLED),
    "less than its length": (OK + b"content-length: 6\r\n\r\nhello", GARBLED),
    "another protocol": (b"HTTP/1.1 101 X\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\nhello", GARBLED),
    "101 of nothing": (b"HTTP/1.1 101 X\r\n\r\nhello", GARBLED),
    "no version": (b"HTTP/x 200 OK\r\n\r\nhello", GARBLED),
    "version 3": (b"HTTP/3.1 200 OK\r\n\r\nhello", GARBLED),
    "a request": (b"GET / HTTP/1.1\r\n\r\n", GARBLED),
    "a greeting": (b"220 ready\r\n", GARBLED),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00", GARBLED),
    "no status": (b"HTTP/1.1 OK\r\n\r\nhello", GARBLED),
    "status 42": (b"HTTP/1.1 42 X\r\n\r\nhello", GARBLED),
    "status 042": (b"HTTP/1.1 042 X\r\ncontent-length: 5\r\n\r\nhello", GARBLED),
    "status 2000": (b"HTTP/1.1 2000 X\r\n\r\nhello", GARBLED),
    "a header without a colon": (OK + b"hello\r\n\r\n", GARBLED),
    "a header without a name": (OK + b": x\r\n\r\n", GARBLED),
    "a name with a blank, and less": (OK + b"content-length : 6\r\n\r\nhello", GARBLED),
    "an unknown name with a blank": (OK + b"x : 5\r\ncontent-length: 5\r\n\r\nhello", GARBLED),
    "a coding that nobody can read": (OK + b"transfer-encoding: chunked\x01\r\n\r\n5\r\nhello\r\n0\r\n\r\n", GARBLED),
    "a bare return": (OK + b"x: a\rcontent-length: 5\r\n\r\nhello", GARBLED),
    "compressed": (OK + b"content-encoding: gzip\r\ncontent-length: 5\r\n\r\nhello", COMPRESSED),
    "compressed at the second look": (
        OK + b"content-encoding: identity\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n\r\nhello",
        COMPRESSED,
    ),
    "too large by its own account": (OK + b"content-length: 67108865\r\n\r\nhello", TOO_LARGE),
    "nothing at all": (b"", UNREACHABLE),
    "half a status line": (b"HTTP/1.1 20", UNREACHABLE),
    "half a head": (OK + b"content-le", UNREACHABLE),
    "interim replies alone": (b"HTTP/1.1 100 Continue\r\n\r\n", UNREACHABLE),
}


@pytest.mark.parametrize("name", [*REPLIES, *BROKEN])
async def test_a_reply_is_what_it_says_or_an_error(name: str) -> None:
    sent, expected = (REPLIES | BROKEN)[name]
    async with calling(once(sent)) as (transport, _):
        assert await outcome(transport) == expected


@pytest.mark.parametrize("name", [*REPLIES, *BROKEN])
async def test_a_stream_is_what_it_says_or_an_error(name: str) -> None:
    sent, expected = (REPLIES | BROKEN)[name]
    async with calling(once(sent)) as (transport, _):
        got = await streamed(transport)
    if expected[0] in {UpstreamInvalidResponse, UpstreamUnreachable}:
        # Once the head is there it is the stream that has broken off, however much of it has come.
        assert got[:4] == expected or got[0] is UpstreamStreamTruncated
    else:
        assert got == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", [*REPLIES, *BROKEN])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.floats(0, 1), max_size=12))
async def test_any_packets_of_the_same_bytes_are_the_same_reply(name: str, cuts: list[float]) -> None:
    sent, expected = (REPLIES | BROKEN)[name]
    places = [0, *sorted(int(cut * len(sent)) for cut in cuts), len(sent)]
    packets = [sent[start:end] for start, end in itertools.pairwise(places) if end > start]
    async with calling(once(*packets)) as (transport, _):
        assert await outcome(transport) == expected


@pytest.mark.parametrize("name", REPLIES)
async def test_a_byte_in_each_packet_is_the_same_reply(name: str) -> None:
    sent, expected = REPLIES[name]
    for call in (outcome, streamed):
        async with calling(once(*(bytes([byte]) for byte in sent))) as (transport, _):
            assert await call(transport) == expected


# -- bounds --

LONG = 16 * 1024


@pytest.mark.parametrize(
    ("head", "fits"),
    [
        (b"x: " + b"a" * (LONG - 1) + b"\r\n", True),
        (b"x: " + b"a" * LONG + b"\r\n", False),
        (b"x" * (LONG - 1) + b": a\r\n", True),
        (b"x" * LONG + b": a\r\n", False),
        (b"".join(b"x-%d: a\r\n" % number for number in range(127)), True),
        (b"".join(b"x-%d: a\r\n" % number for number in range(128)), False),
        (b"x: a\r\n" * 128, False),
    ],
    ids=[
        "a value",
        "a larger value",
        "a name",
        "a larger name",
        "128 fields",
        "129 fields",
        "one field 128 times more",
    ],
)
@pytest.mark.parametrize("packet", [1_000, 1_000_000])
async def test_a_header_may_have_16_kb_and_a_head_128_of_them(head: bytes, packet: int, *, fits: bool) -> None:
    sent = OK + head + b"content-length: 5\r\n\r\nhello"
    async with calling(once(*(sent[at : at + packet] for at in range(0, len(sent), packet)))) as (transport, _):
        got = await outcome(transport)
    assert got[-1] == b"hello" if fits else got == GARBLED


async def test_each_interim_reply_may_have_as_many_fields_as_the_reply() -> None:
    fields = b"".join(b"link: </%d>\r\n" % number for number in range(127))
    early = b"HTTP/1.1 103 " + b"a" * LONG + b"\r\n" + fields + b"\r\n"
    async with calling(once(early * 3 + OK + fields + b"content-length: 5\r\n\r\nhello")) as (transport, _):
        assert (await outcome(transport))[-1] == b"hello"


@pytest.mark.parametrize("packet", [1_000, 1_000_000])
@pytest.mark.parametrize(("size", "fits"), [(LONG, True), (LONG + 1, False)])
async def test_a_status_line_may_have_16_kb_of_words(size: int, packet: int, *, fits: bool) -> None:
    sent = b"HTTP/1.1 200 " + b"a" * size + b"\r\ncontent-length: 5\r\n\r\nhello"
    async with calling(once(*(sent[at : at + packet] for at in range(0, len(sent), packet)))) as (transport, _):
        got = await outcome(transport)
    assert got[-1] == b"hello" if fits else got == GARBLED


ENDLESS = {
    "a header": (OK + b"x: ", b"a" * 8192),
    "headers": (OK, b"x: a\r\n" * 1000),
    "a status line": (b"HTTP/1.1 200 ", b"a" * 8192),
    "interim replies": (b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 300),
    "trailers": (CHUNKED + b"5\r\nhello\r\n0\r\n", b"x: a\r\n" * 1000),
    "a trailer": (CHUNKED + b"5\r\nhello\r\n0\r\nx: ", b"a" * 8192),
    "an extension of a chunk": (CHUNKED + b"5;", b"a" * 8192),
    "blank lines": (b"", b"\r\n" * 4096),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", ENDLESS)
async def test_what_has_no_end_beside_the_body_is_cut(name: str, *, stream: bool) -> None:
    first, more = ENDLESS[name]
    taken: list[int] = []

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(first)
        taken.append(0)
        with suppress(ConnectionError):
            while taken[0] < 64 * 2**20:
                await peer.send(more)
                taken[0] += len(more)

    async with calling(script) as (transport, _):
        got = await (streamed if stream else outcome)(transport)
    assert got[:4] == GARBLED or (stream and got[0] is UpstreamStreamTruncated)
    assert taken[0] < 8 * 2**20  # with what the kernel holds


async def test_a_body_that_grows_beyond_what_is_wanted_is_not_kept() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        while True:
            await peer.send(b"2710\r\n" + b"a" * 10_000 + b"\r\n")

    async with calling(script) as (transport, server):
        async with transport.stream("/chat", {}, b"{}") as stream:
            connection = connection_of(stream)
            assert await connection.whole(1_000_000) is None
        await asyncio.wait_for(server.peers[0].over.wait(), 5)


def connection_of(stream: OpenStream) -> Connection:
    """For what a stream alone never asks of its connection."""
    found = vars(stream)["_connection"]
    assert isinstance(found, Connection)
    return found


async def test_a_slow_reader_makes_the_upstream_wait_and_gets_everything_in_small_pieces() -> None:
    block = bytes(i % 253 for i in range(253)) * 400
    total = 32 * 2**20 // len(block)
    sent: list[int] = [0]

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK + b"content-length: %d\r\n\r\n" % (total * len(block)))
        for _ in range(total):
            await peer.send(block)
            sent[0] += len(block)
        await peer.closed()

    async with calling(script) as (transport, _), transport.stream("/chat", {}, b"{}") as stream:
        first = await stream.next_bytes()
        held = -1
        while held != sent[0]:  # until the upstream gets nothing more out
            held = sent[0]
            await asyncio.sleep(0.05)
        assert held < total * len(block) / 2
        pieces = [first, *await read(stream)]
    assert max(map(len, pieces)) <= PIECE
    assert b"".join(pieces) == block * total


async def test_a_body_in_tiny_packets_takes_no_object_for_each() -> None:
    tiny, count = b"2\r\nab\r\n", 4000
    blocks: list[int] = []

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED, tiny)
        blocks.append(sys.getallocatedblocks())
        await peer.send(*[tiny] * (count - 1))
        blocks.append(sys.getallocatedblocks())
        await peer.send(b"0\r\n\r\n")

    async with calling(script) as (transport, _):
        assert (await post(transport)).body == b"ab" * count
    assert blocks[1] - blocks[0] < count / 4


# -- a connection is used again only after a reply that was plainly over --

OTHER = OK + b"content-length: 7\r\n\r\nforeign"
REUSED = ["a length", "nothing", "chunks", "trailers", "chunked twice", "HTTP/1.0 kept", "no content", "not modified"]
REUSED += ["interim", "line feeds", "no reason", "blank lines first", "a refusal", "folded", "odd values", "twice"]


@pytest.mark.parametrize("name", REUSED)
async def test_a_reply_with_an_end_leaves_its_connection_to_the_next_request(name: str) -> None:
    sent, expected = REPLIES[name]
    async with calling(replying(sent)) as (transport, server):
        for _ in range(3):
            assert await outcome(transport) == expected
        async with transport.stream("/chat", {}, b"{}") as stream:
            assert b"".join(await read(stream)) == expected[2]
        assert await outcome(transport) == expected
        assert len(server.peers) == 1


UNFIT = {
    "close": OK + b"connection: close\r\ncontent-length: 4\r\n\r\ngood",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\ncontent-length: 4\r\n\r\ngood",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\ncontent-length: 4\r\n\r\ngood",
    "a byte more": GOOD + b"x",
    "a second reply": GOOD + OTHER,
    "half a second reply": GOOD + OTHER[:20],
    "an interim reply behind": GOOD + b"HTTP/1.1 100 Continue\r\n\r\n",
    "more than its length": OK + b"content-length: 4\r\n\r\ngood and more",
    "a body where none may be": b"HTTP/1.1 204 X\r\ncontent-length: 4\r\n\r\ngood",
    "more behind the last chunk": CHUNKED + b"4\r\ngood\r\n0\r\n\r\n" + OTHER,
}


@pytest.mark.parametrize("split", [False, True], ids=["in one packet", "in two"])
@pytest.mark.parametrize("name", UNFIT)
async def test_a_reply_with_anything_odd_about_its_end_ends_its_connection(name: str, *, split: bool) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number:
            return await peer.send(GOOD)
        sent = UNFIT[name]
        at = sent.index(b"\r\n\r\n") + 6 if split else len(sent)
        await peer.send(sent[:at], sent[at:])
        assert await peer.closed() == b""
        return None

    async with calling(script) as (transport, server):
        first = await post(transport)
        assert (first.status, first.body) in {(200, b"good"), (204, b"")}
        second = await post(transport)
        assert (second.status, second.body) == (200, b"good")
        assert len(server.peers) == 2


@pytest.mark.parametrize("said", [b"x", b"\r\n", OTHER, b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n"])
async def test_an_idle_connection_that_says_anything_is_closed(said: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(GOOD)
        if peer.number:
            return
        await asyncio.sleep(0.02)
        await peer.send(said)
        assert await asyncio.wait_for(peer.closed(), 5) == b""

    async with calling(script) as (transport, server):
        assert (await post(transport)).body == b"good"
        await asyncio.sleep(0.1)
        assert (await post(transport)).body == b"good"
        assert len(server.peers) == 2


@pytest.mark.parametrize("ending", ["words", "FIN", "RST"])
async def test_what_the_event_loop_has_not_looked_at_yet_counts_as_well(ending: str) -> None:
    """Else the words would be the next caller's reply, or the next caller's request would go nowhere."""
    held = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(GOOD)
        await held.wait()

    async with calling(script) as (transport, server):
        assert (await post(transport)).body == b"good"
        if ending == "words":
            server.peers[0].push(OTHER)
        elif ending == "FIN":
            server.peers[0].sock.shutdown(socket.SHUT_WR)
        else:
            server.peers[0].reset()
        assert (await post(transport)).body == b"good"
        assert len(server.peers) == 2
        held.set()


async def test_an_early_reply_to_a_request_that_is_still_being_sent_is_the_last_of_its_connection() -> None:
    refusal = b"HTTP/1.1 413 X\r\ncontent-length: 4\r\n\r\nmany"

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(GOOD if peer.number else refusal)
        await asyncio.sleep(0.05)
        await peer.closed()

    async with calling(script) as (transport, server):
        reply = await post(transport, b"a" * 20_000_000)
        assert (reply.status, reply.body) == (413, b"many")
        assert (await post(transport)).body == b"good"
        assert len(server.peers) == 2


async def test_a_stream_that_was_left_early_has_closed_its_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED, b"4\r\nmore\r\n")
        await peer.closed()

    async with calling(script) as (transport, server):
        async with transport.stream("/chat", {}, b"{}") as stream:
            assert await stream.next_bytes() == b"more"
        await asyncio.wait_for(server.peers[0].over.wait(), 5)
        with suppress(UpstreamError):
            async with asyncio.timeout(BRIEF), transport.stream("/chat", {}, b"{}"):
                pass
        assert len(server.peers) == 2


@pytest.mark.parametrize(("late", "kept"), [(0.0, True), (0.01, True), (30, False)])
async def test_a_stream_is_drained_for_a_moment_before_its_connection_is_given_up(*, late: float, kept: bool) -> None:
    async def script(peer: Peer) -> None:
        while await peer.request():
            await peer.send(CHUNKED, b"4\r\ngood\r\n")
            if late:
                await asyncio.sleep(late)
            await peer.send(b"0\r\n\r\n")

    async with calling(script) as (transport, server):
        for number in range(1, 51 if kept else 3):  # on a busy machine, the end of one or the other comes too late
            async with transport.stream("/chat", {}, b"{}") as stream:
                assert await stream.next_bytes() == b"good"
                await stream.drain()
            if len(server.peers) < number:
                break
        assert (len(server.peers) < number) is kept


async def test_a_stream_cannot_be_read_after_its_connection_went_to_somebody_else() -> None:
    async with calling(replying(GOOD)) as (transport, _):
        async with transport.stream("/chat", {}, b"{}") as stream:
            assert await read(stream) == [b"good"]
        with pytest.raises(AttributeError):
            await stream.next_bytes()
        with pytest.raises(AttributeError):
            await stream.read()


# -- connections that the upstream has closed --


def closing_at(request: int, *packets: bytes) -> tuple[list[int], Script]:
    """Closes the first connection at that request, after these packets; the numbers of the connections asked."""
    asked: list[int] = []

    async def script(peer: Peer) -> None:
        for number in itertools.count(1):
            if not await peer.request():
                return
            asked.append(peer.number)
            if peer.number == 0 and number == request:
                await peer.send(*packets)
                return
            await peer.send(GOOD)

    return asked, script


async def test_what_may_be_repeated_isasked_again_once_where_a_used_connection_was_closed() -> None:
    asked, script = closing_at(2)
    async with calling(script) as (transport, _):
        await get(transport)
        assert (await get(transport)).body == b"good"
    assert asked == [0, 0, 1]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_what_makes_a_model_work_is_never_sent_twice(*, stream: bool) -> None:
    asked, script = closing_at(2)
    async with calling(script) as (transport, _):
        await post(transport)
        assert (await (streamed if stream else outcome)(transport))[:4] == UNREACHABLE
    assert asked == [0, 0]


async def test_a_new_connection_that_is_closed_is_the_upstreams_answer() -> None:
    asked, script = closing_at(1)
    async with calling(script) as (transport, _):
        with pytest.raises(UpstreamUnreachable):
            await get(transport)
    assert asked == [0]


async def test_a_reply_that_has_begun_is_notasked_for_again() -> None:
    asked, script = closing_at(2, b"HTTP/1.1 2")
    async with calling(script) as (transport, _):
        await get(transport)
        with pytest.raises(UpstreamUnreachable):
            await get(transport)
    assert asked == [0, 0]


async def test_an_upstream_that_always_closes_isasked_twice_at_most() -> None:
    asked: list[int] = []

    async def script(peer: Peer) -> None:
        await peer.request()
        asked.append(peer.number)
        if peer.number >= 5:  # a new connection, which it closes as well
            return
        await peer.send(GOOD)
        if await peer.request():
            asked.append(peer.number)

    async with calling(script) as (transport, _):
        await asyncio.gather(*(get(transport) for _ in range(5)))
        await asyncio.sleep(0.02)
        with pytest.raises(UpstreamUnreachable):
            await get(transport)
    assert len(asked) == 5 + 2


# -- time --

SSE = OK + b"content-type: text/event-stream\r\n\r\n"
EVENT = b"data: x\n\n"
TIMES = Timeouts(connect=10, request=100, stream_idle=10, stream=1000)


@dataclass
class Stage:
    """A call whose upstream sends, and for which time passes, when the test says so."""

    transport: Transport
    server: RawServer
    clock: StoppedClock
    asked: asyncio.Event

    async def send(self, packet: bytes) -> None:
        await self.server.peers[-1].send(packet)
        await asyncio.sleep(0.005)

    async def passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await asyncio.sleep(0.005)

    async def called(self, call: Coroutine[None, None, Any]) -> "asyncio.Task[Any]":
        """The call, once the upstream has got it."""
        task = asyncio.create_task(call)
        await asyncio.wait_for(self.asked.wait(), 10)
        self.asked.clear()
        return task


@asynccontextmanager
async def staged() -> AsyncIterator[Stage]:
    asked = asyncio.Event()
    clock = StoppedClock()

    async def script(peer: Peer) -> None:
        while await peer.request():
            asked.set()

    async with raw_server(script) as server:
        transport = Transport("up", server.url, {}, TIMES, lambda origin: Pool(origin, 10, TIMES.connect, clock=clock))
        yield Stage(transport, server, clock, asked)
        await transport.aclose()


async def is_timed_out(stage: Stage, task: "asyncio.Task[Any]") -> None:
    with pytest.raises(UpstreamTimeout) as failure:
        await asyncio.wait_for(task, 5)
    assert failure.value.message == "Provider 'up' took too long. Try again."
    await asyncio.wait_for(stage.server.peers[0].over.wait(), 5)


async def events(transport: Transport, got: list[bytes], held: asyncio.Event | None = None) -> None:
    """Read a stream; with `held`, be busy with each event until it is set."""
    async with transport.stream("/chat", {}, b"{}") as stream:
        async for event in stream.events():
            got.append(event)
            if held is not None:
                await held.wait()


@pytest.mark.parametrize("sent", [b"", OK[:5], b"HTTP/1.1 100 Continue\r\n\r\n", CHUNKED, CHUNKED + b"5\r\nhel"])
async def test_a_whole_reply_has_the_requests_time(sent: bytes) -> None:
    async with staged() as stage:
        task = await stage.called(post(stage.transport))
        await stage.send(sent)
        await stage.passes(TIMES.request - 0.1)
        assert not task.done()
        await stage.passes(0.2)
        await is_timed_out(stage, task)


async def test_single_bytes_get_no_more_time_than_silence() -> None:
    async with staged() as stage:
        task = await stage.called(post(stage.transport))
        await stage.send(OK + b"content-length: 1000\r\n\r\n")
        for _ in range(9):
            await stage.passes(TIMES.request / 9 - 0.1)
            assert not task.done()
            await stage.send(b"a")
        await stage.passes(1)
        await is_timed_out(stage, task)


@pytest.mark.parametrize("sent", [b"", OK[:5]])
async def test_a_stream_has_the_requests_time_for_its_head(sent: bytes) -> None:
    async with staged() as stage:
        task = await stage.called(events(stage.transport, []))
        await stage.send(sent)
        await stage.passes(TIMES.request - 0.1)
        assert not task.done()
        await stage.passes(0.2)
        await is_timed_out(stage, task)


async def test_a_stream_has_what_is_left_of_it_for_its_first_event() -> None:
    async with staged() as stage:
        task = await stage.called(events(stage.transport, []))
        await stage.passes(TIMES.request - 20)
        await stage.send(SSE)
        for _ in range(4):  # which keeps it from being idle
            await stage.send(b": alive\n\n")
            await stage.passes(4.9)
            assert not task.done()
        await stage.send(b": alive\n\n")
        await stage.passes(0.5)
        await is_timed_out(stage, task)


@pytest.mark.parametrize("sent", [EVENT, b": alive\n"])
async def test_whole_lines_are_progress_of_a_stream_and_single_bytes_are_none(sent: bytes) -> None:
    async with staged() as stage:
        got: list[bytes] = []
        task = await stage.called(events(stage.transport, got))
        await stage.send(SSE + EVENT)
        for _ in range(20):
            await stage.passes(TIMES.stream_idle - 0.1)
            await stage.send(sent)
        assert not task.done()
        for _ in range(9):
            await stage.passes(1)
            await stage.send(b"a")
        assert not task.done()
        await stage.passes(1.1)
        await is_timed_out(stage, task)
        assert set(got) == {b"x"}


async def test_a_slow_client_is_no_silent_upstream_but_has_only_the_streams_time() -> None:
    async with staged() as stage:
        got: list[bytes] = []
        held = asyncio.Event()
        task = await stage.called(events(stage.transport, got, held))
        await stage.send(SSE + EVENT * 3)
        await stage.passes(TIMES.stream - 1)
        assert not task.done()
        stage.server.peers[0].sock.shutdown(socket.SHUT_WR)  # all that it says is here, and still to be read
        await stage.passes(0)
        assert not task.done()
        await stage.passes(1.1)
        await is_timed_out(stage, task)
        assert got == [b"x"]


async def test_the_deadline_of_one_request_does_not_reach_the_next_on_its_connection() -> None:
    async with staged() as stage:
        for _ in range(5):
            task = await stage.called(post(stage.transport))
            await stage.passes(TIMES.request - 1)
            await stage.send(GOOD)
            assert (await asyncio.wait_for(task, 5)).body == b"good"
        assert len(stage.server.peers) == 1


# -- callers who leave --


class Phases:
    """Where the server has come to."""

    def __init__(self) -> None:
        self._events: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def reached(self, phase: str) -> None:
        self._events[phase].set()

    async def until(self, phase: str) -> None:
        await asyncio.wait_for(self._events[phase].wait(), 10)


def stopping_at(phase: str, phases: Phases) -> Script:
    async def script(peer: Peer) -> None:
        if peer.number:
            await peer.request()
            return await peer.send(GOOD)
        if phase == "sending":
            await peer.head()
        else:
            await peer.request()
        if phase in {"the head", "the body"}:
            await peer.send(OK if phase == "the head" else CHUNKED + b"4\r\nsome\r\n")
        phases.reached(phase)
        await asyncio.sleep(0.02)
        await peer.closed()
        phases.reached("closed")
        return None

    return script


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("phase", ["sending", "waiting", "the head", "the body"])
async def test_a_caller_who_leaves_takes_the_connection_along_and_nothing_else(phase: str, *, stream: bool) -> None:
    phases = Phases()
    body = b"a" * 20_000_000 if phase == "sending" else b"{}"

    async def call(transport: Transport) -> None:
        if stream:
            async with transport.stream("/chat", {}, body) as opened:
                await read(opened)
        else:
            await post(transport, body)

    async with calling(stopping_at(phase, phases)) as (transport, server):
        tasks = asyncio.all_tasks()
        caller = asyncio.create_task(call(transport))
        await phases.until(phase)
        await asyncio.sleep(0.01)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await phases.until("closed")
        assert (await post(transport)).body == b"good"
        assert len(server.peers) == 2
        assert [task for task in asyncio.all_tasks() - tasks if not task.get_name().startswith("server")] == []


async def test_closing_the_transport_ends_what_is_under_way_and_the_next_call_opens_it_again() -> None:
    phases = Phases()
    async with calling(stopping_at("waiting", phases)) as (transport, server):
        caller = asyncio.create_task(post(transport))
        await phases.until("waiting")
        await transport.aclose()
        with pytest.raises(UpstreamUnreachable):
            await caller
        await phases.until("closed")
        assert (await post(transport)).body == b"good"
        assert len(server.peers) == 2

"""Requests and replies on one connection, byte by byte and write by write."""

import asyncio
import json
import sys
import weakref
from typing import Any

import pytest

from ai_gateway.config.constants import MAX_HEADER_BYTES
from ai_gateway.contract.body import BufferedBody
from ai_gateway.server.protocol import HttpProtocol
from tests.support.served import App, Wire, WoundLoop, connect

pytestmark = pytest.mark.anyio
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


def start(status: int = 200, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers}


def body(data: bytes = b"", *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


def sized(data: bytes) -> list[dict[str, Any]]:
    return [start(200, (b"content-length", b"%d" % len(data))), body(data)]


def replying(*messages: dict[str, Any]) -> App:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        for message in messages:
            await send(dict(message))

    return app


async def reply_to(request: bytes, app: App) -> Wire:
    connection, wire = connect(app)
    connection.data_received(request)
    await turns()
    return wire


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


# -- the forms of a reply --


async def test_a_whole_reply_is_one_write_that_leaves_before_the_read_returns() -> None:
    connection, wire = connect(replying(*sized(b"hello")))
    connection.data_received(GET)
    assert wire.writes == [b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"]
    connection.data_received(GET)
    assert len(wire.writes) == 2
    assert not wire.is_closing()


@pytest.mark.parametrize(
    ("request_", "written", "closes"),
    [
        (GET, b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: 5\r\nx-own: a\r\n\r\nhello", False),
        (
            GET.replace(b"GET", b"HEAD"),
            b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: 5\r\nx-own: a\r\n\r\n",
            False,
        ),
        (
            GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
            b"HTTP/1.1 200 OK\r\ndate: today\r\nconnection: close\r\ncontent-length: 5\r\nx-own: a\r\n\r\nhello",
            True,
        ),
    ],
)
async def test_a_whole_reply_may_come_in_one_message_with_its_head_as_lines(
    request_: bytes, written: bytes, closes: bool
) -> None:
    message = {"type": "http.response.start", "status": 200, "lines": b"x-own: a\r\n", "whole": b"hello"}
    connection, wire = connect(replying(message))
    connection.server_state.default_headers = [(b"date", b"today")]
    connection.data_received(request_)
    assert wire.writes == [written]
    assert wire.is_closing() is closes


async def test_a_streams_head_leaves_with_its_first_bytes_and_its_end_with_the_last() -> None:
    wire = await reply_to(GET, replying(start(), body(b"one", more=True), body(b"two")))
    assert wire.writes == [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n",
        b"3\r\ntwo\r\n0\r\n\r\n",
    ]


async def test_the_servers_date_comes_first_in_replies_and_refusals() -> None:
    connection, wire = connect(replying(*sized(b"")))
    connection.server_state.default_headers = [(b"date", b"today")]
    connection.data_received(GET)
    connection.data_received(b"no http\r\n\r\n")
    assert [write.split(b"\r\n")[1] for write in wire.writes] == [b"date: today"] * 2


async def test_an_empty_piece_ends_no_chunked_body() -> None:
    wire = await reply_to(
        GET, replying(start(), body(b"", more=True), body(b"x", more=True), body(b"", more=True), body())
    )
    assert wire.received == b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"


@pytest.mark.parametrize("messages", [sized(b"hello"), [start(), body(b"hel", more=True), body(b"lo")]])
async def test_http_1_0_gets_no_chunks_and_the_end_of_the_connection(messages: list[dict[str, Any]]) -> None:
    wire = await reply_to(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", replying(*messages))
    head, _, received = wire.received.partition(b"\r\n\r\n")
    assert received == b"hello"
    assert b"connection: close" in head
    assert b"transfer-encoding" not in head
    assert wire.is_closing()


@pytest.mark.parametrize("messages", [sized(b"hello"), [start(), body(b"hello")]])
async def test_a_reply_to_head_has_no_body(messages: list[dict[str, Any]]) -> None:
    wire = await reply_to(GET.replace(b"GET", b"HEAD"), replying(*messages))
    assert wire.received.endswith(b"\r\n\r\n")
    assert wire.received.count(b"\r\n\r\n") == 1
    assert b"transfer-encoding" not in wire.received
    assert (b"content-length: 5" in wire.received) is (len(messages[0]["headers"]) == 1)


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_without_a_body_has_no_framing(status: int) -> None:
    wire = await reply_to(GET, replying(start(status), body()))
    assert wire.received.split(b"\r\n", 1)[1] == b"\r\n"
    assert not wire.is_closing()


@pytest.mark.parametrize("value", [b"close", b"Close", b"x, close"])
async def test_a_reply_can_close_the_connection(value: bytes) -> None:
    wire = await reply_to(GET, replying(start(200, (b"connection", value), (b"content-length", b"0")), body()))
    assert wire.received.count(b"connection: ") == 1
    assert wire.is_closing()


async def test_a_request_can_close_the_connection() -> None:
    wire = await reply_to(GET.replace(b"Host", b"Connection: close\r\nHost"), replying(*sized(b"x")))
    assert b"\r\nconnection: close\r\n" in wire.received
    assert wire.is_closing()


# -- what an application must not do --


def failures(*messages: dict[str, Any]) -> tuple[App, list[str]]:
    """An application that sends these messages, and what `send` raised."""
    raised: list[str] = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        for message in messages:
            try:
                await send(dict(message))
            except RuntimeError as error:
                raised.append(str(error))

    return app, raised


def is_500(wire: Wire) -> bool:
    head, _, envelope = wire.received.partition(b"\r\n\r\n")
    fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
    assert json.loads(envelope)["error"]["code"] == "internal_error"
    assert {b"x-request-id", b"openai-version", b"x-content-type-options"} <= fields.keys()
    assert fields[b"connection"] == b"close"
    return wire.closed and wire.received.startswith(b"HTTP/1.1 500 ")


@pytest.mark.parametrize(
    "messages",
    [
        [start(200, (b"content-length", b"3")), body(b"hello")],
        [start(200, (b"content-length", b"9")), body(b"hello")],
        [start(204), body(b"hello")],
        [body(b"hello")],
        [start(), start()],
        [],
        [start()],
    ],
)
async def test_what_can_not_be_sent_is_answered_with_500(messages: list[dict[str, Any]]) -> None:
    app, raised = failures(*messages)
    wire = await reply_to(GET, app)
    assert is_500(wire)
    assert len(raised) == (1 if messages and messages != [start()] else 0)


@pytest.mark.parametrize("control", [*range(0x09), *range(0x0A, 0x20), 0x7F])
async def test_no_header_can_hold_a_control_character(control: int) -> None:
    for name, value in ((b"x-a", b"b%cx-injected: yes"), (b"x%c-injected", b"yes")):
        field = tuple(part % control if b"%c" in part else part for part in (name, value))
        app, raised = failures(start(200, field), body())  # type: ignore[arg-type] # a pair
        wire = await reply_to(GET, app)
        assert is_500(wire)
        assert "control character" in raised[0]
        assert b"injected" not in wire.received


async def test_a_header_can_hold_a_tab_and_bytes_of_latin_1() -> None:
    wire = await reply_to(GET, replying(start(200, (b"x-a", b"a\tb\xe9"), (b"content-length", b"0")), body()))
    assert b"\r\nx-a: a\tb\xe9\r\n" in wire.received


@pytest.mark.parametrize("messages", [[body(b"x")], [start()]])
async def test_nothing_follows_the_end_of_a_reply(messages: list[dict[str, Any]]) -> None:
    app, raised = failures(*sized(b"hello"), *messages)
    wire = await reply_to(GET, app)
    assert wire.received.endswith(b"\r\n\r\nhello")
    assert len(raised) == 1
    assert not wire.is_closing()


async def test_an_application_that_fails_is_answered_for_under_the_requests_id() -> None:
    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        scope["request_id"] = "known"
        raise ValueError("the-inner-secret")

    wire = await reply_to(GET, app)
    assert is_500(wire)
    assert b"\r\nx-request-id: known\r\n" in wire.received
    assert b"inner-secret" not in wire.received


async def test_a_reply_that_breaks_off_is_cut_and_gets_no_second_head() -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"half", more=True))
        raise ValueError

    wire = await reply_to(GET, app)
    assert wire.received.endswith(b"4\r\nhalf\r\n")
    assert wire.is_closing()


async def test_a_failure_behind_a_whole_reply_does_not_touch_it() -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        for message in sized(b"hello"):
            await send(message)
        raise ValueError

    wire = await reply_to(GET, app)
    assert wire.received.endswith(b"hello")
    assert not wire.is_closing()


# -- the request's body --


class Reader:
    """An application that notes what of the body is there at once and what it receives, then answers."""

    def __init__(self, *, at_once: bool = True) -> None:
        self.at_once = at_once
        self.whole: list[bytes | None] = []
        self.messages: list[Any] = []

    async def __call__(self, _scope: Any, receive: Any, send: Any) -> None:
        assert isinstance(receive, BufferedBody)
        if self.at_once:
            self.whole = [receive.take_whole(), receive.take_whole()]
        if self.whole[:1] in ([], [None]):
            more = True
            while more:
                self.messages.append(await receive())
                more = self.messages[-1].get("more_body", False)
        for message in sized(b""):
            await send(message)
        self.messages.append(await receive())


async def test_a_body_that_came_with_its_head_is_there_at_once_and_once() -> None:
    reader = Reader()
    wire = await reply_to(POST + b"body", reader)
    assert wire.received.startswith(b"HTTP/1.1 200")
    assert reader.whole == [b"body", None]
    assert reader.messages == [{"type": "http.disconnect"}]


async def test_a_body_in_parts_is_received_as_it_comes() -> None:
    reader = Reader()
    connection, wire = connect(reader)
    for part in (POST, b"bo", b"dy"):
        connection.data_received(part)
        await turns()
    assert reader.whole == [None, None]
    assert [message.get("body") for message in reader.messages] == [b"bo", b"dy", None]
    assert [message.get("more_body") for message in reader.messages] == [True, False, None]
    assert wire.received.startswith(b"HTTP/1.1 200")


async def test_what_was_received_in_parts_is_not_there_at_once_any_more() -> None:
    taken: list[bytes | None] = []

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        taken.append(receive.take_whole())
        for message in sized(b""):
            await send(message)

    await reply_to(POST + b"body", app)
    assert taken == [None]


@pytest.mark.parametrize("request_", [GET, POST.replace(b"4", b"0")])
async def test_a_request_without_a_body_has_an_empty_one(request_: bytes) -> None:
    for at_once in (True, False):
        reader = Reader(at_once=at_once)
        await reply_to(request_, reader)
        assert reader.whole == ([b"", None] if at_once else [])
        expected = [] if at_once else [{"type": "http.request", "body": b"", "more_body": False}]
        assert reader.messages == [*expected, {"type": "http.disconnect"}]


async def test_a_trailer_of_the_body_is_no_header_of_the_request() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend([scope["headers"], await receive()])
        for message in sized(b""):
            await send(message)

    request = (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nAuthorization: x\r\n\r\n"
    )
    wire = await reply_to(request + GET, app)
    assert wire.received.count(b"HTTP/1.1 200") == 2
    assert seen[0] == [(b"host", b"a"), (b"transfer-encoding", b"chunked")]
    assert seen[1]["body"] == b"body"
    assert seen[2] == [(b"host", b"a")]


async def test_an_idle_connection_keeps_nothing_of_its_last_request() -> None:
    class Marked(str):
        """Something that can be referred to weakly."""

    kept: list[weakref.ref[Marked]] = []

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        scope["of the request"] = marked = Marked()
        kept.append(weakref.ref(marked))
        for message in sized(b""):
            await send(message)

    connection, wire = connect(app)
    connection.data_received(GET)
    assert wire.received.startswith(b"HTTP/1.1 200")
    assert kept[0]() is None


async def test_a_client_that_waits_for_it_is_told_to_go_on_once_somebody_reads() -> None:
    request = POST.replace(b"Host", b"Expect: 100-continue\r\nHost")
    connection, wire = connect(Reader())
    connection.data_received(request)
    await turns()
    assert wire.received == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.data_received(b"body")
    await turns()
    assert wire.received.count(b"HTTP/1.1 100") == 1
    assert wire.received.count(b"HTTP/1.1 200") == 1
    refused = await reply_to(request, replying(start(401, (b"content-length", b"0")), body()))
    assert refused.received.startswith(b"HTTP/1.1 401")


async def test_a_large_body_that_nobody_reads_stops_the_reading() -> None:
    release = asyncio.Event()

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await release.wait()
        while (await receive()).get("more_body"):
            pass
        for message in sized(b""):
            await send(message)

    connection, wire = connect(app)
    connection.data_received(POST.replace(b"4", b"200000") + b"x" * 100_000)
    assert not wire.is_reading()
    release.set()
    await turns()
    assert wire.is_reading()
    connection.data_received(b"x" * 100_000)
    await turns()
    assert wire.received.startswith(b"HTTP/1.1 200")


async def test_a_client_that_leaves_is_told_to_who_receives_and_gets_nothing_more() -> None:
    seen: list[Any] = []

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        seen.append(await receive())
        for message in sized(b"too late"):
            await send(message)

    connection, wire = connect(app)
    connection.data_received(POST)
    connection.connection_lost(None)
    await turns()
    assert seen == [{"type": "http.disconnect"}]
    assert wire.writes == []


# -- several requests on one connection --


def numbered() -> App:
    count = iter(range(10_000))

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        for message in sized(b"<%d>" % next(count)):
            await send(message)

    return app


def answers(wire: Wire) -> list[bytes]:
    return [part.partition(b">")[0] for part in wire.received.split(b"<")[1:]]


async def test_pipelined_requests_are_answered_in_their_order_and_not_inside_of_each_other() -> None:
    count = sys.getrecursionlimit()
    connection, wire = connect(numbered())
    connection.data_received(GET * count)
    await turns(3 * count)
    assert answers(wire) == [b"%d" % number for number in range(count)]
    assert wire.is_reading()


@pytest.mark.parametrize("one", [GET, POST + b"four"])
@pytest.mark.parametrize("cut", [1, 20, 45])
async def test_small_requests_are_not_one_large_head_however_many_come_at_once(one: bytes, cut: int) -> None:
    count = 2 * MAX_HEADER_BYTES // len(one)
    connection, wire = connect(numbered())
    data = one * count
    connection.data_received(data[:-cut])
    connection.data_received(data[-cut:])
    await turns(3 * count)
    assert answers(wire) == [b"%d" % number for number in range(count)]
    assert not wire.is_closing()
    connection.data_received(b"GET / HTTP/1.1\r\nA: " + b"a" * (MAX_HEADER_BYTES + 1))
    assert b"HTTP/1.1 431 " in wire.received


async def test_a_head_has_no_deadline_while_its_rest_is_not_read() -> None:
    loop, release = WoundLoop(), asyncio.Event()
    connection, wire = connect(slow(release), loop=loop)
    connection.data_received(GET + GET + GET[:10])
    await turns()
    assert not wire.is_reading()
    loop.wind(60)
    assert not wire.is_closing(), "the first request is being answered"
    release.set()
    await turns(20)
    assert wire.is_reading()
    connection.data_received(GET[10:])
    await turns(20)
    assert wire.received.count(b"HTTP/1.1 200") == 3
    connection.data_received(GET[:10])
    loop.wind(16)
    assert wire.is_closing()


async def test_pipelined_requests_let_other_connections_have_their_turn() -> None:
    greedy, first = connect(numbered())
    modest, second = connect(numbered())
    greedy.data_received(GET * 100)
    modest.data_received(GET)
    assert len(answers(second)) == 1
    assert len(answers(first)) == 1


async def test_a_body_belongs_to_its_request() -> None:
    bodies: list[bytes] = []

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        bodies.append((await receive())["body"])
        for message in sized(b""):
            await send(message)

    connection, wire = connect(app)
    connection.data_received(POST + b"one!" + GET + POST + b"two!" + POST + b"th")
    await turns(20)
    connection.data_received(b"r!")
    await turns(20)
    assert wire.received.count(b"HTTP/1.1 200") == 4
    assert bodies[:3] == [b"one!", b"", b"two!"]
    assert b"".join(bodies[3:]) in {b"th", b"thr!"}


async def test_a_second_request_waits_for_the_end_of_the_first_reply() -> None:
    release = asyncio.Event()
    connection, wire = connect(slow(release))
    connection.data_received(GET + GET)
    await turns()
    assert wire.received.count(b"HTTP/1.1 200") == 1
    release.set()
    await turns(20)
    assert wire.received.count(b"HTTP/1.1 200") == 2
    assert wire.received.count(b"0\r\n\r\n") == 2


def slow(release: asyncio.Event) -> App:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"half", more=True))
        await release.wait()
        await send(body())

    return app


LARGE = b"a" * (MAX_HEADER_BYTES + 1)
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
REFUSED = {
    "no http": (b"no http\r\n\r\n", 400),
    "a head that is too large": (b"GET / HTTP/1.1\r\nA: " + LARGE, 431),
    "another protocol": (GET.replace(b"HTTP/1.1", b"ICE/1.0"), 400),
    "a chunk without a size": (CHUNKED + b"x\r\n", 400),
    "trailers that are too large": (CHUNKED + b"0\r\nA: " + LARGE, 431),
}


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("waiting", [0, 1, 3])
@pytest.mark.parametrize("case", REFUSED)
async def test_a_refusal_waits_for_the_replies_before_it(case: str, waiting: int, *, together: bool) -> None:
    """RFC 9112, section 9.3.2: responses come in the order of their requests."""
    bad, status = REFUSED[case]
    release = asyncio.Event()
    connection, wire = connect(slow(release))
    if together:
        connection.data_received(GET + GET * waiting + bad)
    else:
        connection.data_received(GET + GET * waiting)
        connection.data_received(bad)
    if LARGE in bad and together:  # what came with other requests does not count
        connection.data_received(LARGE)
    connection.data_received(GET)  # what follows is not read as a request
    await turns()
    assert wire.received.endswith(b"half\r\n")
    assert not connection.transport.is_closing()
    release.set()
    await turns(20)
    assert connection.transport.is_closing()
    assert wire.received.count(b"HTTP/1.1 200") == waiting + 1
    assert wire.received.count(b"HTTP/1.1 ") == waiting + 2
    assert wire.received.split(b"0\r\n\r\n")[-1].startswith(b"HTTP/1.1 %d " % status)
    connection.connection_lost(None)


async def test_a_body_that_turns_out_bad_cuts_off_its_own_reply_alone() -> None:
    connection, wire = connect(slow(asyncio.Event()))
    connection.data_received(CHUNKED)
    await turns()
    connection.data_received(b"x\r\n")
    assert connection.transport.is_closing()
    assert wire.received.count(b"HTTP/1.1 ") == 1
    assert wire.received.endswith(b"half\r\n")
    connection.connection_lost(None)


async def test_a_head_that_takes_too_long_does_not_cut_off_the_reply_before_it() -> None:
    loop, release = WoundLoop(), asyncio.Event()
    connection, wire = connect(slow(release), loop=loop)
    connection.data_received(GET + GET[:10])
    await turns()
    loop.wind(60)
    assert not wire.is_closing()
    release.set()
    await turns(20)
    assert wire.is_closing()
    assert wire.received.endswith(b"0\r\n\r\n")
    assert wire.received.count(b"HTTP/1.1 ") == 1


async def test_requests_behind_one_that_closes_are_not_begun() -> None:
    begun: list[str] = []

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        begun.append(scope["path"])
        await asyncio.sleep(0)
        for message in sized(b""):
            await send(message)

    connection, wire = connect(app)
    connection.data_received(GET.replace(b"Host", b"Connection: close\r\nHost") + GET.replace(b"/ ", b"/two "))
    await turns()
    connection.connection_lost(None)
    assert begun == ["/"]
    assert wire.received.count(b"HTTP/1.1 200") == 1


async def test_what_is_refused_with_its_head_is_not_begun() -> None:
    begun: list[str] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        begun.append(scope["path"])

    wire = await reply_to(CHUNKED + b"x\r\n", app)
    assert wire.received.startswith(b"HTTP/1.1 400")
    assert begun == []


# -- stopping and deadlines --


async def test_a_server_that_stops_closes_idle_connections_and_others_behind_their_reply() -> None:
    release = asyncio.Event()
    idle, busy = connect(numbered()), connect(slow(release))
    busy[0].data_received(GET)
    for connection, _ in (idle, busy):
        connection.shutdown()
    assert idle[1].closed
    assert not busy[1].closed
    release.set()
    await turns()
    assert busy[1].received.endswith(b"0\r\n\r\n")
    assert busy[1].closed


def answered(requests: int, loop: WoundLoop) -> tuple[HttpProtocol, Wire]:
    """A connection on which so many requests have been answered."""
    connection, wire = connect(numbered(), loop=loop)
    for _ in range(requests):
        connection.data_received(GET)
    assert len(answers(wire)) == requests
    return connection, wire


@pytest.mark.parametrize("sent", [[], [b"\r\n"], [b"GET / HTTP/1.1\r\nHo", b"st: "], [GET, b"\r\n"], [GET + b"GET"]])
async def test_a_connection_that_sends_no_whole_head_in_time_is_closed(sent: list[bytes]) -> None:
    loop = WoundLoop()
    connection, wire = connect(numbered(), loop=loop)
    for data in sent:
        loop.wind(1)
        connection.data_received(data)
    loop.wind(12)
    assert not wire.is_closing()
    loop.wind(4)
    assert wire.is_closing()


async def test_the_rest_of_a_refused_body_has_the_time_of_a_head_however_often_it_comes() -> None:
    loop = WoundLoop()
    connection, _ = connect(replying(start(401, (b"content-length", b"0")), body()), loop=loop)
    connection.data_received(POST.replace(b"4", b"1000"))
    for _ in range(15):
        assert not connection.transport.is_closing()
        connection.data_received(b"x")
        loop.wind(1)
    assert connection.transport.is_closing()


async def test_a_request_that_takes_long_has_no_deadline_here() -> None:
    loop = WoundLoop()
    connection, wire = connect(slow(asyncio.Event()), loop=loop)
    connection.data_received(GET)
    loop.wind(10_000)
    assert not wire.is_closing()
    connection.connection_lost(None)


async def test_an_idle_connection_has_the_keep_alive_time_and_not_that_of_a_head() -> None:
    loop = WoundLoop()
    _, wire = answered(1, loop)
    loop.wind(74)
    assert not wire.is_closing()
    loop.wind(2)
    assert wire.is_closing()


async def test_requests_wind_the_keep_alive_time_up_again_with_few_timers() -> None:
    loop = WoundLoop()
    connection, wire = answered(1, loop)
    timers = len(loop.set())
    for _ in range(10):
        loop.wind(70)
        connection.data_received(GET)
    assert len(answers(wire)) == 11
    assert len(loop.set()) == timers == 1
    loop.wind(76)
    assert wire.is_closing()


async def test_a_thousand_requests_set_no_more_timers_than_one() -> None:
    loop = WoundLoop()
    answered(1_000, loop)
    assert loop.made <= 2


async def test_a_reader_that_takes_nothing_is_given_up_and_one_that_takes_a_little_is_not() -> None:
    loop = WoundLoop()
    connection, wire = connect(slow(asyncio.Event()), loop=loop)
    connection.data_received(GET)
    wire.unread = 1_000_000
    connection.pause_writing()
    for _ in range(10):
        loop.wind(59)
        wire.unread -= 1
    loop.wind(2)
    assert not wire.is_closing()
    loop.wind(120)
    assert wire.is_closing()
    connection.connection_lost(None)


async def test_a_reader_that_has_caught_up_is_not_watched_any_more() -> None:
    loop = WoundLoop()
    connection, wire = connect(slow(asyncio.Event()), loop=loop)
    connection.data_received(GET)
    connection.pause_writing()
    connection.resume_writing()
    loop.wind(1_000)
    assert not wire.is_closing()
    connection.connection_lost(None)


async def test_a_connection_that_is_lost_leaves_no_timer() -> None:
    loop = WoundLoop()
    connection, _ = answered(1, loop)
    assert loop.set()
    connection.connection_lost(None)
    assert loop.set() == []

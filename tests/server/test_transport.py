"""Small writes of one turn of the event loop leave together, and nothing is lost or late."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ai_gateway.server.transport import CorkedTransport

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def corked() -> AsyncIterator[tuple[CorkedTransport, socket.socket]]:
    """A corked transport over one end of a real socket pair, and the other end."""
    near, far = socket.socketpair()
    far.setblocking(False)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=near)
    try:
        yield CorkedTransport(transport, loop), far
    finally:
        transport.close()
        far.close()


def arrived(far: socket.socket) -> bytes:
    try:
        return far.recv(1_000_000)
    except BlockingIOError:
        return b""


async def test_the_first_write_of_a_turn_leaves_at_once_and_the_others_together_at_its_end() -> None:
    async with corked() as (transport, far):
        transport.write(b"first")
        assert arrived(far) == b"first"
        transport.write(b"second ")
        transport.write(b"third")
        assert arrived(far) == b""
        assert transport.get_write_buffer_size() == 12
        await asyncio.sleep(0)
        assert arrived(far) == b"second third"
        transport.write(b"next turn")
        assert arrived(far) == b"next turn"


async def test_the_end_of_a_reply_leaves_at_once_behind_what_was_collected() -> None:
    async with corked() as (transport, far):
        transport.write_now(b"a reply in one piece")
        assert arrived(far) == b"a reply in one piece"
        for part in (b"head", b"one ", b"two "):
            transport.write(part)
        transport.write_now(b"end")
        assert arrived(far) == b"headone two end"
        await asyncio.sleep(0)
        assert arrived(far) == b""


async def test_closing_sends_what_was_written() -> None:
    async with corked() as (transport, far):
        transport.write(b"some, ")
        transport.write(b"and last words")
        transport.close()
        assert transport.is_closing()
        await asyncio.sleep(0)
        assert arrived(far) == b"some, and last words"


async def test_aborting_sends_nothing_of_what_was_collected() -> None:
    async with corked() as (transport, far):
        transport.write(b"gone already")
        transport.write(b"never")
        transport.abort()
        await asyncio.sleep(0.01)
        assert arrived(far) == b"gone already"


async def test_much_is_not_held_back() -> None:
    async with corked() as (transport, far):
        transport.write(b"first")
        transport.write(b"x" * 31_000)
        assert arrived(far) == b"first"
        transport.write(b"x" * 2_000)
        assert len(arrived(far)) == 33_000


async def test_what_is_written_after_the_connection_is_lost_is_dropped() -> None:
    async with corked() as (transport, far):
        transport.write(b"first")
        transport.write(b"x")
        transport._inner.close()
        await asyncio.sleep(0.01)
        transport.write_now(b"x")
        assert arrived(far) == b"first"


async def test_the_rest_is_the_wrapped_transports_own() -> None:
    async with corked() as (transport, _):
        assert transport.get_extra_info("socket") is not None
        assert transport.is_reading()
        transport.pause_reading()
        assert not transport.is_reading()
        transport.resume_reading()
        assert isinstance(transport.get_protocol(), asyncio.Protocol)
        other = asyncio.Protocol()
        transport.set_protocol(other)
        assert transport.get_protocol() is other


async def test_who_is_still_sending_when_it_is_closed_reads_the_answer_and_gets_no_reset() -> None:
    near, far = socket.socketpair()
    far.setblocking(False)
    loop = asyncio.get_running_loop()
    inner, _ = await loop.create_connection(asyncio.Protocol, sock=near)
    transport = CorkedTransport(inner, loop)
    transport.peer_sends = True
    transport.write(b"no more")
    transport.close()
    assert transport.is_closing()
    for _ in range(20):
        await loop.sock_sendall(far, b"x" * 100_000)
    assert await loop.sock_recv(far, 100) == b"no more"
    assert await loop.sock_recv(far, 100) == b"", "our side has ended"
    assert not inner.is_closing()
    transport.write(b"an answer that came too late")
    await asyncio.sleep(0)
    assert transport.get_write_buffer_size() == 0
    far.close()
    await asyncio.sleep(0.01)
    assert inner.is_closing()


@pytest.mark.slow
async def test_but_not_for_ever() -> None:
    near, far = socket.socketpair()
    inner, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=near)
    transport = CorkedTransport(inner, asyncio.get_running_loop())
    transport.peer_sends = True
    transport.close()
    await asyncio.sleep(1.2)
    assert inner.is_closing()
    far.close()

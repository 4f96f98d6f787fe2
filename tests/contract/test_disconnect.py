"""What is being done for a client stops when it leaves, and only then."""

import asyncio

import pytest
from starlette.types import Message, Scope

from ai_gateway.contract.disconnect import ClientDisconnected, Connection, DisconnectGuard

pytestmark = pytest.mark.anyio


async def never() -> Message:
    await asyncio.sleep(60)
    raise AssertionError("nobody asks this server")


async def work(scope: Scope, receive: object = never) -> str:
    """A handler that would take long."""
    with DisconnectGuard(scope, receive) as presence:  # type: ignore[arg-type] # both forms are receives
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            return "left" if presence.cancelled_here() else "cancelled"
    return "done"


async def test_a_server_of_ours_tells_at_once() -> None:
    connection = Connection()
    task = asyncio.create_task(work({"connection": connection}))
    await asyncio.sleep(0)
    connection.lose()
    assert await asyncio.wait_for(task, 1) == "left"
    assert connection.callbacks == set()


async def test_of_any_other_server_a_task_asks() -> None:
    messages: list[Message] = [{"type": "http.request"}, {"type": "http.disconnect"}]

    async def receive() -> Message:
        return messages.pop(0)

    assert await asyncio.wait_for(work({}, receive), 1) == "left"


async def test_a_cancellation_from_elsewhere_is_not_the_clients() -> None:
    task = asyncio.create_task(work({"connection": Connection()}))
    await asyncio.sleep(0)
    task.cancel()
    assert await asyncio.wait_for(task, 1) == "cancelled"


async def test_for_a_client_that_has_left_nothing_is_begun() -> None:
    connection = Connection()
    connection.lose()
    with pytest.raises(ClientDisconnected):
        await work({"connection": connection})


async def test_nothing_is_left_behind_once_the_work_is_done() -> None:
    connection = Connection()
    with DisconnectGuard({"connection": connection}, never):
        assert len(connection.callbacks) == 1
    assert connection.callbacks == set()
    before = asyncio.all_tasks()
    with DisconnectGuard({}, never):
        assert len(asyncio.all_tasks()) == len(before) + 1
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before

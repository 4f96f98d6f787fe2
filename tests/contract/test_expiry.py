"""A block that expires raises TimeoutError; any other cancellation stays one."""

import asyncio

import pytest

from ai_gateway.contract.expiry import Expiry


async def test_a_block_that_takes_too_long_is_cut_short() -> None:
    with pytest.raises(TimeoutError), Expiry(0.0):
        await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_block_that_ends_in_time_is_left_alone() -> None:
    with Expiry(0.0):
        pass
    await asyncio.sleep(0.01)  # its timer would ring by now


async def test_a_block_without_a_timer_expires_when_it_is_told_to() -> None:
    expiry = Expiry()
    asyncio.get_running_loop().call_soon(expiry.expire)
    with pytest.raises(TimeoutError), expiry:
        await asyncio.Event().wait()


async def test_a_cancellation_by_somebody_else_stays_one() -> None:
    async def waiting() -> None:
        with Expiry(3600):
            await asyncio.Event().wait()

    task = asyncio.create_task(waiting())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_task_that_is_cancelled_while_its_block_expires_is_cancelled() -> None:
    expiry = Expiry()

    async def waiting() -> None:
        with expiry:
            await asyncio.Event().wait()

    task = asyncio.create_task(waiting())
    await asyncio.sleep(0)
    task.cancel()
    expiry.expire()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_failure_in_an_expired_block_is_raised_as_it_is() -> None:
    async def failing() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError("own") from None

    expiry = Expiry()
    asyncio.get_running_loop().call_soon(expiry.expire)
    with pytest.raises(ValueError, match="own"), expiry:
        await failing()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0

"""A time limit on a block, at a fraction of what `asyncio.timeout` costs: no coroutines, and a timer only if needed."""

import asyncio
from types import TracebackType
from typing import Self


class Expiry:
    """Raises TimeoutError if the block was cut short: after `after_s` seconds, or because `expire` was called.

    As with `asyncio.timeout`, the block is cancelled, and a cancellation by other code is passed on as such.
    """

    __slots__ = ("_after_s", "_cancelling", "_is_over", "_task", "_timer")

    def __init__(self, after_s: float | None = None) -> None:
        self._after_s = after_s
        self._is_over = False
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that runs has a task
        self._task = task
        self._cancelling = task.cancelling()
        if self._after_s is not None:
            self._timer = asyncio.get_running_loop().call_later(self._after_s, self.expire)
        return self

    def expire(self) -> None:
        """Cut the block short now."""
        self._is_over = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._is_over and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

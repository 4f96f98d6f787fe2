"""A stream whose first item is awaited before there is a reply, so that an early failure can still be retried."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, override


async def peek[Item](items: AsyncGenerator[Item]) -> Item | None:
    """The first item, if there is one. If reading it fails, the generator is closed."""
    try:
        return await anext(items, None)
    except BaseException:
        await items.aclose()
        raise


class PendingStream[Item](AsyncGenerator[Item]):
    """A stream that is opened when its first item is read; the other items have no overhead.

    `opened` gives the first item, None for an empty stream, and the rest.
    """

    def __init__(self, opened: Callable[[], Awaitable[tuple[Item | None, AsyncGenerator[Item]]]]) -> None:
        self._opened = opened
        self._rest: AsyncGenerator[Item] | None = None

    @override
    def __anext__(self) -> Any:
        return self._open() if self._rest is None else self._rest.__anext__()

    async def _open(self) -> Item:
        first, self._rest = await self._opened()
        if first is None:
            raise StopAsyncIteration
        return first

    @override
    def asend(self, value: Any) -> Any:
        return self._open() if self._rest is None else self._rest.asend(value)

    @override
    async def athrow(self, *error: Any) -> Any:
        if self._rest is None:
            raise error[0]
        return await self._rest.athrow(*error)

    @override
    async def aclose(self) -> None:
        if self._rest is not None:
            await self._rest.aclose()

"""A stream whose first item is awaited before there is a reply, so that an early failure can still be retried."""

from collections.abc import AsyncGenerator
from typing import Any, override


async def peek[Item](items: AsyncGenerator[Item]) -> Item | None:
    """The first item, if there is one; whatever else happens instead, the generator is closed then."""
    try:
        return await anext(items, None)
    except BaseException:
        await items.aclose()
        raise


class PeekedStream[Item](AsyncGenerator[Item]):
    """A generator whose first item has been taken out already, put back together at no cost for the others."""

    def __init__(self, first: Item, rest: AsyncGenerator[Item]) -> None:
        self._first: list[Item] = [first]
        self._rest = rest

    @override
    def __anext__(self) -> Any:
        return self._give() if self._first else self._rest.__anext__()

    async def _give(self) -> Item:
        return self._first.pop()

    @override
    def asend(self, value: Any) -> Any:
        return self._rest.asend(value)

    @override
    def athrow(self, *error: Any) -> Any:
        return self._rest.athrow(*error)

    @override
    async def aclose(self) -> None:
        await self._rest.aclose()

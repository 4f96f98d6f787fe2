"""The events of a response that is made in the background: the last of them in memory, all of them in the store.

Whoever reads them has the number of the next one it needs and nothing else, so readers take no memory here, however
many there are and however slowly they read: what is not in memory any more, they read from the store.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

import structlog
from pydantic_core import from_json

from ai_gateway.accounts.responses import StoredResponses, Told
from ai_gateway.accounts.store.base import StoreError

_RECENT: Final = 64 * 1024  # bytes that stay in memory
_PIECE: Final = 16 * 1024  # bytes that are stored, and sent, together
_MOST: Final = 64 * 2**20  # bytes of one response that are kept
_MOST_WAITING: Final = 2**20  # bytes that wait for a store that is away
_END: Final = b"\n\n"  # of an event; there are no line ends inside of its JSON
_DATA: Final = b"data:"
_log = structlog.get_logger(__name__)


def since(told: Told, number: int) -> Told:
    """What it tells from the event with this number on."""
    if number <= told.first:
        return told
    events = told.data.split(_END)
    return told._replace(first=number, data=_END.join(events[number - told.first :]))


def events_in(data: bytes) -> Iterator[dict[str, Any]]:
    """Events as they go out, as JSON. One that cannot be read, which only goes on with a text, is left out."""
    for line in data.splitlines():
        try:
            value = from_json(line[len(_DATA) :]) if line.startswith(_DATA) else None
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value


class Events:
    """What one response has told. Whoever makes it adds to this, and any number of others read.

    `is_whole` says that nothing is missing in the store, but for what is to be stored next.
    """

    def __init__(self, stored: StoredResponses, response_id: str) -> None:
        self.next = 0
        self.is_over = False
        self.is_whole = True
        self._stored = stored
        self._id = response_id
        self._recent: deque[Told] = deque()
        self._size = 0
        self._saved = 0  # the number of the first event that is not stored
        self._unsaved = 0  # bytes
        self._all = 0
        self._saving = asyncio.Lock()
        self._changed = asyncio.Event()

    @property
    def oldest(self) -> int:
        """The number of the oldest event in memory."""
        return self._recent[0].first if self._recent else self.next

    async def add(self, data: bytes, following: int) -> None:
        """More of it was told: events up to the one before this number."""
        self._remember(Told(self.next, following, data))
        if self._unsaved >= _PIECE:
            await self.save()

    async def save(self) -> bool:
        """Store what is not stored. Whether the response is still wanted."""
        async with self._saving:
            waiting = self._waiting()
            if waiting is None:
                return True
            try:
                wanted = await self._stored.add_events(self._id, waiting)
            except StoreError as error:
                _log.warning("events of a response not stored", response=self._id, error=str(error))
                if self._unsaved > _MOST_WAITING:
                    self._give_up()
                return True
            if wanted:
                self._note_saved(waiting)
        return wanted

    async def last(self, data: bytes, following: int) -> Told | None:
        """What is to be stored with the end of the response, which these events tell; None if nothing can be."""
        async with self._saving:
            waiting = self._waiting() or Told(self.next, self.next, b"")
        if not self.is_whole:
            return None
        return Told(waiting.first, following, waiting.data + data, final=True)

    def close(self, data: bytes = b"", following: int | None = None) -> None:
        """Nothing more will come of it but this. Readers who are told nothing here find in the store how it ended."""
        if data and following is not None:
            self._remember(Told(self.next, following, data, final=True))
            self._saved = self.next
        self.is_over = True
        self._tell()

    def read(self, number: int) -> Told | None:
        """What was told from the event with this number on, up to a good piece of it, where that is in memory."""
        if not self.oldest <= number < self.next:
            return None
        found: list[Told] = []
        size = 0
        for told in self._recent:
            if told.next > number:
                found.append(since(told, number))
                size += len(told.data)
                if size >= _PIECE:
                    break
        return Told(number, found[-1].next, b"".join([told.data for told in found]), found[-1].final)

    async def change(self) -> None:
        """Wait until there is more, or the end."""
        await self._changed.wait()

    def _remember(self, told: Told) -> None:
        self._recent.append(told)
        self.next = told.next
        self._size += len(told.data)
        self._unsaved += len(told.data)
        self._all += len(told.data)
        if self._all > _MOST and self.is_whole:
            self._give_up()
        self._forget()
        self._tell()

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _forget(self) -> None:
        """What is stored need not be here as well."""
        while self._size > _RECENT and self._recent[0].next <= self._saved:
            self._size -= len(self._recent.popleft().data)

    def _waiting(self) -> Told | None:
        """What is not stored yet, if that is wanted."""
        if not self.is_whole or self._saved >= self.next:
            return None
        data = b"".join([told.data for told in self._recent if told.first >= self._saved])
        return Told(self._saved, self.next, data)

    def _note_saved(self, told: Told) -> None:
        self._saved = told.next
        self._unsaved -= len(told.data)
        self._forget()

    def _give_up(self) -> None:
        """Store no more of it: whoever lags behind can no longer have it."""
        _log.error("events of a response are no longer kept", response=self._id, bytes=self._all)
        self.is_whole, self._unsaved, self._saved = False, 0, 2**62

"""The events of a background response: the latest in memory, all of them in the store.

A reader only has the number of the next event it needs, so readers take no memory, regardless of their number and
speed: events that are not in memory any more are read from the store.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

import structlog
from pydantic_core import from_json

from ai_gateway.accounts.responses import EventPiece, StoredResponses
from ai_gateway.accounts.store.base import StoreError

_RECENT: Final = 64 * 1024  # bytes that stay in memory
_PIECE: Final = 16 * 1024  # bytes that are stored, and sent, together
_MAX_BYTES: Final = 64 * 2**20  # bytes of one response that are kept
_MAX_WAITING: Final = 2**20  # pending bytes while the store is unavailable
_END: Final = b"\n\n"  # ends an event, whose JSON has no line ends
_DATA: Final = b"data:"
_log = structlog.get_logger(__name__)


def since(piece: EventPiece, number: int) -> EventPiece:
    """The events from this number on."""
    if number <= piece.first:
        return piece
    events = piece.data.split(_END)
    return piece._replace(first=number, data=_END.join(events[number - piece.first :]))


def events_in(data: bytes) -> Iterator[dict[str, Any]]:
    """The JSON of framed events. An unreadable delta is left out."""
    for line in data.splitlines():
        try:
            value = from_json(line[len(_DATA) :]) if line.startswith(_DATA) else None
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value


class Events:
    """The events of one response: written by its maker, and read by any number of followers.

    `is_whole` says that the store lacks no events except the pending ones.
    """

    def __init__(self, stored: StoredResponses, response_id: str) -> None:
        self.next = 0
        self.is_over = False
        self.is_whole = True
        self._stored = stored
        self._id = response_id
        self._recent: deque[EventPiece] = deque()
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
        """Add events, up to the one before the number `following`."""
        self._remember(EventPiece(self.next, following, data))
        if self._unsaved >= _PIECE:
            await self.save()

    async def save(self) -> bool:
        """Store pending events. Returns whether the response is still wanted."""
        async with self._saving:
            waiting = self._waiting()
            if waiting is None:
                return True
            try:
                wanted = await self._stored.add_events(self._id, waiting)
            except StoreError as error:
                _log.warning("events of a response not stored", response=self._id, error=str(error))
                if self._unsaved > _MAX_WAITING:
                    self._give_up()
                return True
            if wanted:
                self._note_saved(waiting)
        return wanted

    async def last(self, data: bytes, following: int) -> EventPiece | None:
        """The pending and these last events, to be stored with the response's end; None if they cannot be stored."""
        async with self._saving:
            waiting = self._waiting() or EventPiece(self.next, self.next, b"")
        if not self.is_whole:
            return None
        return EventPiece(waiting.first, following, waiting.data + data, final=True)

    def close(self, data: bytes = b"", following: int | None = None) -> None:
        """Add the last events. Followers that get none read the end from the store."""
        if data and following is not None:
            self._remember(EventPiece(self.next, following, data, final=True))
            self._saved = self.next
        self.is_over = True
        self._notify()

    def read(self, number: int) -> EventPiece | None:
        """A piece of the events from this number on, if they are in memory."""
        if not self.oldest <= number < self.next:
            return None
        found: list[EventPiece] = []
        size = 0
        for piece in self._recent:
            if piece.next > number:
                found.append(since(piece, number))
                size += len(piece.data)
                if size >= _PIECE:
                    break
        return EventPiece(number, found[-1].next, b"".join([piece.data for piece in found]), found[-1].final)

    async def change(self) -> None:
        """Wait for more events, or the end."""
        await self._changed.wait()

    def _remember(self, piece: EventPiece) -> None:
        self._recent.append(piece)
        self.next = piece.next
        self._size += len(piece.data)
        self._unsaved += len(piece.data)
        self._all += len(piece.data)
        if self._all > _MAX_BYTES and self.is_whole:
            self._give_up()
        self._forget()
        self._notify()

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _forget(self) -> None:
        """Drop stored events beyond `_RECENT` from memory."""
        while self._size > _RECENT and self._recent[0].next <= self._saved:
            self._size -= len(self._recent.popleft().data)

    def _waiting(self) -> EventPiece | None:
        """The pending events, if they are to be stored."""
        if not self.is_whole or self._saved >= self.next:
            return None
        data = b"".join([piece.data for piece in self._recent if piece.first >= self._saved])
        return EventPiece(self._saved, self.next, data)

    def _note_saved(self, piece: EventPiece) -> None:
        self._saved = piece.next
        self._unsaved -= len(piece.data)
        self._forget()

    def _give_up(self) -> None:
        """Stop storing events: slow followers cannot get them any more."""
        _log.error("events of a response are no longer kept", response=self._id, bytes=self._all)
        self.is_whole, self._unsaved, self._saved = False, 0, 2**62

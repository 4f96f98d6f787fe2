"""Server-sent events from bytes: any chunking of the same bytes gives the same events."""

import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator

from ai_gateway.errors import UpstreamInvalidResponse

_DATA, _END = b"data: ", b"\n\n"
_LINE_END = re.compile(rb"\r\n|\n|\r")


class EventParser:
    """Feed it bytes as they come; it yields the data of each event that is complete.

    Takes every line end the standard knows, comments, data over several lines and a missing space after the colon.
    An event larger than `max_event` bytes raises UpstreamInvalidResponse.
    """

    def __init__(self, max_event: int) -> None:
        self._max_event = max_event
        self._rest = b""
        self._begun = False
        self._data: list[bytes] = []
        self._size = 0
        self.lines = 0
        """Complete lines so far: what tells progress from a trickle of bytes."""

    @property
    def is_between_events(self) -> bool:
        """Whether the next byte begins an event, and not the first one."""
        return self._begun and not self._rest and not self._data

    def feed(self, chunk: bytes) -> Iterable[bytes]:
        """The data of each event that is complete now."""
        if self._rest or self._data or not chunk.startswith(_DATA) or len(chunk) > self._max_event:
            return self._read(chunk)
        # As nearly all packets are: whole events of one line each, which need not be looked at line by line.
        events = chunk[len(_DATA) : -len(_END)].split(_END + _DATA)
        lines = 2 * len(events)
        if not chunk.endswith(_END) or chunk.find(b"\r") >= 0 or chunk.count(b"\n") != lines or b"" in events:
            return self._read(chunk)
        self._begun = True
        self.lines += lines
        return events

    def _read(self, chunk: bytes) -> Iterator[bytes]:
        buffer = self._rest + chunk
        if not self._begun:  # a byte order mark at the very start says nothing, and may come in pieces
            if len(buffer) < len(BOM_UTF8) and BOM_UTF8.startswith(buffer):
                self._rest = buffer
                return
            self._begun, buffer = True, buffer.removeprefix(BOM_UTF8)
        # A CR at the very end may be the first half of a CRLF: it waits for what follows.
        held = b"\r" if buffer.endswith(b"\r") else b""
        lines = _LINE_END.split(buffer[:-1] if held else buffer) if b"\r" in buffer else buffer.split(b"\n")
        self._rest = lines.pop() + held
        self.lines += len(lines)
        for line in lines:
            if line:
                self._take(line)
            elif self._data:
                data, self._data, self._size = b"\n".join(self._data), [], 0
                if data:
                    yield data
        if len(self._rest) + self._size > self._max_event:
            raise UpstreamInvalidResponse.too_large(what="an event")

    def end(self) -> Iterator[bytes]:
        """The last event, if its lines are complete and only the blank one after them is missing."""
        if self._rest.endswith(b"\r"):
            yield from self._read(b"\n")
        data = b"\n".join(self._data)
        self._data = []
        if data and not self._rest:
            yield data

    def _take(self, line: bytes) -> None:
        if not line.startswith(b"data"):
            return
        name, _, value = line.partition(b":")
        if name == b"data":
            value = value.removeprefix(b" ")
            self._size += len(value)
            self._data.append(value)

"""Server-sent events parser: any chunking of the same bytes gives the same events."""

import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from itertools import chain

from pydantic_core import from_json, to_json

from ai_gateway.contract.deltas import Deltas
from ai_gateway.contract.stream import Pieces
from ai_gateway.errors import UpstreamInvalidResponse
from ai_gateway.providers.http.http1 import PIECE

_DATA, _END = b"data: ", b"\n\n"
_NAME = b"event: "
_NAMED_EVENT = re.compile(rb"(?:event: (?!\s*error\s*\n).*\n)?data: (.+)\n\n")  # `[DONE]` has no name
_LINE_END = re.compile(rb"\r\n|\n|\r")
_FIELDS = frozenset({b"data", b"event", b"id", b"retry", b"error", b""})  # the last one begins a comment
_LONGEST_BESIDE = 2_000
_FIRST = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:data|event|id|retry|error)?:")


def is_event_stream(raw: bytes) -> bool:
    """Whether a body is server-sent events, whatever its media type."""
    return _FIRST.match(raw) is not None


def events_in(raw: object) -> list[bytes]:
    """The data of each event in a whole body; empty if it is not server-sent events."""
    if not isinstance(raw, bytes) or not is_event_stream(raw):
        return []
    parser = EventParser(len(raw))
    return [*parser.feed(raw), *parser.end()]


class EventParser:
    """Feed it bytes as they come; it yields the data of each event that is complete.

    Accepts every line end of the standard, comments, data over several lines and a missing space after the colon
    (html.spec.whatwg.org, "Server-sent events"); beyond the standard, events without a blank line between them, if each
    is a JSON object on one line. An event that is marked as an error, by its name or by a line `error:` as in
    llama.cpp's server, becomes an object with the key `error`. So does a JSON object on a line without `data:`, which
    proxies write into a stream that has begun. Other lines that are no part of an event are kept in `beside`. An event
    larger than `max_event` bytes raises UpstreamInvalidResponse. Consecutive events of two lines, name and data, that
    `deltas` recognises are yielded together as a Run.
    """

    def __init__(self, max_event: int, deltas: Deltas | None = None) -> None:
        self._max_event = max_event
        self._deltas = deltas
        self._line: list[bytes] = []
        self._waiting = 0
        self._begun = False
        self._is_error = False
        self._data: list[bytes] = []
        self._size = 0
        self.lines = 0
        """Complete lines so far, which count as progress."""
        self.beside = b""
        """The beginning of lines that are no event, such as a proxy's error page."""

    @property
    def is_between_events(self) -> bool:
        """Whether the next byte begins another event after the first one."""
        return self._begun and not (self._line or self._data or self._is_error)

    def pieces(self, pieces: list[bytes]) -> Pieces | None:
        """The pieces of a stream as such, if the first one begins an event; None if they have to be fed.

        All together they are no larger than PIECE.
        """
        first = pieces[0]
        if self._line or self._data or self._is_error or not first.startswith(_DATA) or not first.endswith(_END):
            return None
        if self._max_event < PIECE and sum(map(len, pieces)) > self._max_event:
            return None
        self._begun = True
        self.lines += len(pieces)
        made = Pieces(pieces)
        made.parse = self.feed
        return made

    def named(self, pieces: list[bytes]) -> list[bytes] | None:
        """What `feed` gives for pieces of which each is most probably one named event; None if they have to be fed."""
        if self._deltas is None or self._line or self._data or self._is_error or not pieces[0].startswith(_NAME):
            return None
        chunk = b"".join(pieces)
        if chunk.find(b"\r") >= 0 or len(chunk) > self._max_event:
            return None
        events: list[bytes] = []
        at = 0
        while at < len(pieces):
            if (run := self._deltas.run_of(pieces, at)) is not None:
                events.append(run)
                at += run.events
            elif (event := _NAMED_EVENT.fullmatch(pieces[at])) is not None:
                events.append(event[1])
                at += 1
            else:
                break
        self.lines += 3 * at
        self._begun = True
        return [*events, *self.feed(b"".join(pieces[at:]))] if at < len(pieces) else events

    def feed(self, chunk: bytes) -> Iterable[bytes]:
        """The data of each event that is complete now."""
        if self._line or self._data or len(chunk) > self._max_event or self._is_error:
            return self._read(chunk)
        if chunk.startswith(_NAME) and chunk.find(b"\r") < 0:
            return self._named(chunk)
        if not chunk.startswith(_DATA):
            return self._read(chunk)
        # The usual case: whole events of one line each, which need not be parsed line by line.
        events = chunk[len(_DATA) : -len(_END)].split(_END + _DATA)
        # Joining and searching is cheaper than counting line ends.
        together = b"".join(events)
        if not (chunk.endswith(_END) and all(events)) or together.find(b"\n") >= 0 or together.find(b"\r") >= 0:
            return self._read(chunk)
        self._begun = True
        self.lines += 2 * len(events)
        return events

    def _named(self, chunk: bytes) -> Iterable[bytes]:
        """The same for a packet that starts with events of two lines, name and data, and has no CR."""
        self._begun = True
        events: list[bytes] = []
        at = 0
        while at < len(chunk):
            if self._deltas is not None and (run := self._deltas.run_in(chunk, at)) is not None:
                events.append(run)
                at += len(run)
            elif (event := _NAMED_EVENT.match(chunk, at)) is not None:
                events.append(event[1])
                at = event.end()
            else:
                self.lines += chunk.count(b"\n", 0, at)
                return chain(events, self._read(chunk[at:]))
        self.lines += chunk.count(b"\n")
        return events

    def _read(self, chunk: bytes) -> Iterator[bytes]:
        # An incomplete line is not searched again with each packet, which would take quadratic time.
        if self._line and self._begun and not (_ends_line(chunk) or self._line[-1].endswith(b"\r")):
            self._keep(chunk)
            return
        buffer = b"".join([*self._line, chunk])
        self._line, self._waiting = [], 0
        if not self._begun:  # a byte order mark at the start is skipped, and may be split over packets
            if len(buffer) < len(BOM_UTF8) and BOM_UTF8.startswith(buffer):
                self._line = [buffer]
                return
            self._begun, buffer = True, buffer.removeprefix(BOM_UTF8)
        # A CR at the end may be the first half of a CRLF: it is kept for the next packet.
        held = b"\r" if buffer.endswith(b"\r") else b""
        lines = _LINE_END.split(buffer[:-1] if held else buffer) if b"\r" in buffer else buffer.split(b"\n")
        rest = lines.pop() + held
        self.lines += len(lines)
        for line in lines:
            if line:
                self._take(line)
                continue
            yield from self._taken()
        if rest or self._size:
            self._keep(rest)

    def _keep(self, piece: bytes) -> None:
        if piece:
            self._line.append(piece)
            self._waiting += len(piece)
        self._check(self._waiting + self._size)

    def _check(self, size: int) -> None:
        if size > self._max_event:
            raise UpstreamInvalidResponse.too_large(what="an event", limit=self._max_event, setting="EVENT_MAX_SIZE")

    def end(self) -> Iterator[bytes]:
        """The last event, if it is complete and only what ends its lines is missing."""
        if self._line and self._line[-1].endswith(b"\r"):
            yield from self._read(b"\n")
        if self._line and self._is_last(last := b"".join(self._line)):
            self._line = []
            self._take(last)
        data = self._taken()
        if not self._line:
            yield from data

    def _is_last(self, line: bytes) -> bool:
        """Whether a line without an end is whole all the same: an object that is closed, or no part of an event."""
        name, _, value = line.partition(b":")
        if name not in _FIELDS and line[:1] != b"{":
            return True
        try:
            return isinstance(from_json(line if line[:1] == b"{" else value), dict)
        except ValueError:
            return False

    def _taken(self) -> list[bytes]:
        """The data of the event that ends here, if any; of several events if each line is a JSON object."""
        lines, is_error = self._data, self._is_error
        self._data, self._size, self._is_error = [], 0, False
        if len(lines) > 1 and not is_error and all(map(_is_event, lines)):  # events without blank lines in between
            return lines
        data = b"\n".join(lines)
        return [_as_error(data) if is_error else data] if data else []

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name in {b"data", b"error"}:
            self._size += len(value)
            self._check(self._size)
            self._data.append(value)
            self._is_error |= name == b"error"
        elif name == b"event":
            self._is_error = value.strip() == b"error"
        elif name not in _FIELDS:
            self._take_beside(line)

    def _take_beside(self, line: bytes) -> None:
        if line[:1] == b"{" and line.rstrip()[-1:] == b"}":
            self._size += len(line)
            self._check(self._size)
            self._data.append(line)
        elif len(self.beside) < _LONGEST_BESIDE:
            self.beside += line[:_LONGEST_BESIDE] + b"\n"


def _is_event(line: bytes) -> bool:
    return (line[:1] == b"{" and line.rstrip()[-1:] == b"}") or line == b"[DONE]"


def _ends_line(chunk: bytes) -> bool:
    return chunk.find(b"\n") >= 0 or chunk.find(b"\r") >= 0


def _as_error(data: bytes) -> bytes:
    """The data of an error event as an object with the key `error`."""
    if b'"error"' in data:
        return data
    try:
        value = from_json(data)
    except ValueError:
        value = data.decode(errors="replace")
    return to_json({"error": value if isinstance(value, dict) else str(value)})

"""Delta events of a wire that is relayed: they only continue a text, and are recognised by how they begin."""

import re
from itertools import repeat
from operator import itemgetter

import orjson

from ai_gateway.contract.native import NativeOperation
from ai_gateway.contract.stream import Run

_NUMBER = re.compile(rb'"sequence_number": ?(?=\d)')
_BETWEEN = b"\n\n"
_CLOSED = b"}" + _BETWEEN
_LAST = re.compile(rb', ?"type": ?"[a-z_.]+"\}\n\n\Z')
_MAX_RUN = 64  # events that are compared together; bounds the work that a mismatch wastes


class Deltas:
    """The delta events of one stream, framed as for the client, in bytes without carriage returns.

    In pieces of which each is most probably one event, they are compared with the beginning of an earlier one, all at
    once: streams repeat what an event has in front of its text, but for its number.
    """

    def __init__(self, operation: NativeOperation) -> None:
        self._operation = operation
        self._before = b""
        """What events begin with, up to their number, or their text if they have none."""
        self._mark = b""
        """What is in front of their text then, if that does not follow."""
        self._after = _CLOSED
        """What events end with: their type too, where it is not in what they begin with."""
        self._inner = itemgetter(slice(0))

    def run_in(self, chunk: bytes, at: int = 0) -> Run | None:
        """The delta events that stand from `at` on; None if there is none."""
        found = self._operation.run.match(chunk, at)
        if found is None:
            return None
        run = Run(found[0])
        run.events, run.text_size = run.count(_BETWEEN), self._searched(run)
        return run

    def run_of(self, pieces: list[bytes], at: int) -> Run | None:
        """The same from this piece on, of pieces that are events; None also for an event that has no text."""
        first = pieces[at]
        if not (self._before and first.startswith(self._before)) and not self._learn(first):
            return None
        events = pieces[at : at + _MAX_RUN]
        while len(events) > 1 and not events[-1].startswith(self._before):  # the last ones of a stream, mostly
            del events[-1]
        while (size := self._size_of(events)) is None:
            if len(events) == 1:
                return None
            del events[len(events) // 2 :]
        run = Run(b"".join(events))
        run.events, run.text_size = len(events), size
        return run

    def _learn(self, event: bytes) -> bool:
        """Take the beginning of this event for that of the next ones, if it is a delta event with a text."""
        text = self._operation.text.search(event) if self._operation.run.fullmatch(event) is not None else None
        if text is None:
            return False
        number = _NUMBER.search(event, 0, text.start(1))
        self._before = event[: text.start(1) if number is None else number.end()]
        self._mark = b"" if number is None else text[0][: text.start(1) - text.start()]
        last = None if event.startswith(b'{"type":', event.index(b"\ndata: ") + 7) else _LAST.search(event)
        self._after = _CLOSED if last is None else last[0]
        self._inner = itemgetter(slice(len(self._before), -len(self._after)))
        return True

    def _size_of(self, events: list[bytes]) -> int | None:
        """The size of the events' texts; None if they do not all begin so, or are not single events."""
        before, after = self._before, self._after
        inner = [*map(self._inner, events)]
        # An event that is shorter than what it should begin and end with makes the result longer.
        if b"".join(events) != b"%b%b%b" % (before, (after + before).join(inner), after):
            return None
        joined = b"".join(inner)
        if b"\n" in joined:
            return None
        texts = joined.split(self._mark)[1:] if self._mark else inner
        ends = [*map(bytes.find, texts, repeat(b'"'))]
        if len(ends) == len(events) and -1 not in ends and b"\\" not in joined:
            return sum(ends)
        return self._searched(b"".join(events))

    def _searched(self, events: bytes) -> int:
        return text_size(b"".join(self._operation.text.findall(events)))


def text_size(text: bytes) -> int:
    """The bytes of a text, given as the content of its JSON string."""
    if text.find(b"\\") < 0:
        return len(text)
    try:
        return len(orjson.loads(b'"%b"' % text).encode())
    except ValueError:
        return len(text)

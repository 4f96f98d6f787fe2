"""The journal of a worker: each call that starts or ends is one line in a file, which outlives the process.

What has ended waits here for the ledger. What a killed process leaves behind is read by another (`journal_replay`). A
power cut may take what the kernel had not written yet; a killed process takes nothing.
"""

import secrets
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import write
from pathlib import Path
from typing import Literal, Protocol, override

import structlog

from ai_gateway.accounts.journal_files import LockedDirectory, Segment
from ai_gateway.accounts.journal_format import ENDED, ended_line, started_line
from ai_gateway.accounts.records import Record, Start
from ai_gateway.observability.metrics import Event, count

# So many records are kept in memory beside the files, so that they need not be read again. Without files they are all
# that there is.
_MOST_IN_MEMORY = 4096
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Batch:
    """Records on their way to the ledger. `done` is called when it has them. Nobody ended those that are `lost`."""

    records: Sequence[Record]
    done: Callable[[], None]
    lost: bool = False


class Source(Protocol):
    """Where records wait."""

    def read(self, most: int) -> Batch | None:
        """The next ones, oldest first: the same again until they are done. None if there are no more."""


class Journal(Source):
    """The journal of this worker. What is called for a call never raises, and waits for nobody.

    `root` is where journals are, None for memory only, and `owner` names this process among them. `max_size` bounds the
    files in bytes. Beyond it, and where they cannot be written, records wait in memory; what has no room there either
    is `dropped` and counted. `problem` says why nothing is written now. `refuses` says that no call may begin, since
    nothing could keep its record: that is what `when_full` is for.
    """

    def __init__(
        self,
        root: Path | None,
        *,
        max_size: int = 2**30,
        segment_size: int = 8 * 2**20,
        when_full: Literal["drop", "refuse"] = "drop",
        owner: str | None = None,
    ) -> None:
        self._owner = owner or secrets.token_hex(8)
        self.refuses = False
        self._when_full = when_full
        self.root = root
        self.dropped = 0
        self.problem: str | None = None
        self._max_size, self._segment_size = max_size, min(segment_size, max_size // 4)
        self._directory: LockedDirectory | None = None
        self._segments: deque[Segment] = deque()
        self._segments_made = 0
        self._current: Segment | None = None
        self._turn_at = 0
        self._open: dict[str, bytes] = {}
        # Records that wait, in the order of the files, with the place behind each; unless there were too many. Then we
        # are behind, and read the files.
        self._fresh: deque[tuple[Record, Segment, int]] = deque()
        self._behind = False
        self._unwritten: list[Record] = []

    # -- for each call --

    def started(self, start: Start) -> None:
        """Note that a call begins, before anything is asked of an upstream."""
        try:
            line = self._open[start.id] = started_line(start)
            self._write(line)
        except Exception as error:  # whatever it is, the call goes on
            _log.error("start not noted in the journal", id=start.id, exc_info=error)

    def ended(self, record: Record) -> None:
        """Note how a call ended: once for each that started."""
        try:
            line = ended_line(self._open.pop(record.start.id, b"") or started_line(record.start), record)
            segment = self._write(line)
            if segment is None:
                self._keep(record)
            elif not self._behind:
                self._fresh.append((record, segment, segment.size))
                if len(self._fresh) > _MOST_IN_MEMORY:
                    self._fall_behind()
        except Exception as error:  # whatever it is, the call is over
            self._drop(1)
            _log.error("record not noted in the journal", id=record.start.id, exc_info=error)

    def _write(self, line: bytes) -> Segment | None:
        """Append a line. Returns the segment that has it, None if it could not be written."""
        if (segment := self._current) is None:
            return None
        if segment.size > self._turn_at:
            self._begin_segment()
            if (segment := self._current) is None:
                return None
        try:
            written = write(segment.fd, line)
        except OSError as error:
            self._stop_writing(str(error))
            return None
        segment.size += written
        if written != len(line):
            self._stop_writing("no space left")
            return None
        return segment

    def _keep(self, record: Record) -> None:
        if len(self._unwritten) < _MOST_IN_MEMORY:
            self._unwritten.append(record)
        else:
            self._drop(1)

    def _drop(self, records: int) -> None:
        self.dropped += records
        count(Event.RECORD_DROPPED, times=records)

    # -- lifecycle --

    def open(self) -> None:
        """Begin to write; if that is not possible now, `tend` will."""
        self._begin_segment()

    def tend(self) -> None:
        """To be called once a second or so: write again if that is possible by now, or somebody removed the files."""
        current = self._current
        if current is not None and not (self._directory and self._directory.is_there and current.path.exists()):
            self._stop_writing("somebody removed it")
        if self._current is None:
            self._begin_segment()

    def close(self) -> None:
        """Leave nothing behind if the ledger has everything; what it lacks the next worker finds."""
        if self._unwritten:
            self._drop(len(self._unwritten))
            _log.error("records lost: they never could be written to the journal", records=len(self._unwritten))
        finished = not self._open and not self._behind and not self._fresh
        for segment in self._segments:
            segment.close()
        self._segments.clear()
        self._current = None
        if self._directory is not None:
            self._directory.leave(remove=finished)
            self._directory = None

    def _begin_segment(self) -> None:
        """Go on in a new file. Calls that are open are noted there again, so that it does not need those before it."""
        if self.root is None:
            return
        if self.is_full:
            self.refuses = self._when_full == "refuse"
            self._stop_writing(f"it has reached its bound of {self._max_size} bytes")
            return
        kept = [ended_line(started_line(record.start), record) for record in self._unwritten]
        try:
            if self._directory is None or not self._directory.is_there:
                directory = LockedDirectory.make(self.root, self._owner)
                if self._directory is not None:
                    self._directory.leave(remove=False)
                self._directory = directory
            segment = Segment.make(self._directory.path, self._segments_made, [*self._open.values(), *kept])
        except OSError as error:
            self._stop_writing(str(error))
            return
        self._segments_made += 1
        self._segments.append(segment)
        self._current = segment
        self._turn_at = segment.size + self._segment_size  # however many calls are open
        if kept:
            self._unwritten.clear()
            self._fall_behind()
        if self.problem is not None:
            _log.warning("journal is written again", root=str(self.root), records=len(kept))
        self.problem = None
        self.refuses = False

    def _stop_writing(self, problem: str) -> None:
        if self.problem is None:
            _log.error("journal cannot be written: records wait in memory", root=str(self.root), reason=problem)
        self.problem = problem
        self._current = None

    # -- for the ledger --

    @property
    def size(self) -> int:
        """Bytes in the files."""
        return sum(segment.size for segment in self._segments)

    @property
    def waiting(self) -> int | None:
        """Records that the ledger lacks, None where only the files know."""
        return None if self._behind else len(self._fresh) + len(self._unwritten)

    @property
    def is_full(self) -> bool:
        """Whether the files have reached their bound."""
        return self.size >= self._max_size

    @override
    def read(self, most: int) -> Batch | None:
        if self._behind and (batch := self._read_files(most)) is not None:
            return batch
        if self._fresh:
            waiting = [self._fresh[place] for place in range(min(most, len(self._fresh)))]
            return Batch([record for record, _, _ in waiting], lambda: self._shipped(waiting))
        if self._unwritten:
            unwritten = self._unwritten[:most]
            return Batch(unwritten, lambda: self._forget(unwritten))
        return None

    def _shipped(self, waiting: Sequence[tuple[Record, Segment, int]]) -> None:
        if not self._behind:  # or it has become so since they were read
            for _ in waiting:
                self._fresh.popleft()
        _, segment, end = waiting[-1]
        self._advance(segment, end)

    def _forget(self, shipped: Sequence[Record]) -> None:
        if self._unwritten[: len(shipped)] == shipped:  # or they were written since: then they are shipped again
            del self._unwritten[: len(shipped)]

    def _fall_behind(self) -> None:
        self._behind = True
        self._fresh.clear()

    def _read_files(self, most: int) -> Batch | None:
        for segment in self._segments:
            reader = segment.reader
            records, end = segment.read(most, lambda line: reader.record(line) if line[:1] == ENDED else None)  # noqa: B023 - called here
            if records:
                return Batch(records, lambda: self._advance(segment, end))  # noqa: B023 - returned here
            segment.shipped = end
        last = self._segments[-1]
        if last.shipped == last.size:
            self._behind = False
            self._advance(last, last.size)
        return None

    def _advance(self, segment: Segment, end: int) -> None:
        """The ledger has all that is in the files before this place: files that it needs no more can go."""
        if not self._behind and not self._fresh:
            segment = self._segments[-1]
            end = segment.size
        while self._segments[0] is not segment:
            self._segments.popleft().remove()
        segment.shipped = end
        if end == segment.size and len(self._segments) > 1:
            self._segments.popleft().remove()

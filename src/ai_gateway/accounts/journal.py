"""The journal of a worker: each start and end of a call is one line in a file that outlives the process.

Records of ended calls wait here for the ledger. The journal of a killed process is replayed by another
(`journal_replay`). A power failure may lose lines that the kernel has not written yet; a killed process loses none.
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

# Records that are cached in memory beside the files. Without files, these are all.
_MOST_IN_MEMORY = 4096
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Batch:
    """Records on their way to the ledger. `done` is called when they are stored. `lost` are calls without an end."""

    records: Sequence[Record]
    done: Callable[[], None]
    lost: bool = False


class Source(Protocol):
    """A source of pending records."""

    def read(self, most: int) -> Batch | None:
        """The next records, oldest first, and the same ones until they are done. None if there are no more."""


class Journal(Source):
    """The journal of this worker. Methods for calls never raise or wait.

    `root` is the directory of journals, None for memory only, and `owner` identifies this process. `max_size` bounds
    the files in bytes. Beyond it, or if they cannot be written, records are kept in memory; those that do not fit are
    `dropped` and counted. `problem` says why nothing can be written. `refuses` says that calls are refused because
    their records could not be kept, as `when_full` decides.
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
        # Pending records in the order of the files, with the position after each; if there are too many, they are read
        # from the files.
        self._fresh: deque[tuple[Record, Segment, int]] = deque()
        self._behind = False
        self._unwritten: list[Record] = []

    # -- for each call --

    def started(self, start: Start) -> None:
        """Record the start of a call, before an upstream is called."""
        try:
            line = self._open[start[1]] = started_line(start)
            self._write(line)
        except Exception as error:  # a failure must not stop the call
            _log.error("start not noted in the journal", id=start.id, exc_info=error)

    def ended(self, record: Record) -> None:
        """Record the end of a call: once for each start."""
        try:
            start = record[0]
            line = ended_line(self._open.pop(start[1], b"") or started_line(start), record)
            segment = self._write(line)
            if segment is None:
                self._keep(record)
            elif not self._behind:
                self._fresh.append((record, segment, segment.size))
                if len(self._fresh) > _MOST_IN_MEMORY:
                    self._fall_behind()
        except Exception as error:  # a failure must not fail the ended call
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
        """Start to write; if that fails, `tend` tries again."""
        self._begin_segment()

    def tend(self) -> None:
        """To be called about once a second: start to write again after a failure, or if the files were removed."""
        current = self._current
        if current is not None and not (self._directory and self._directory.is_there and current.path.exists()):
            self._stop_writing("it was removed")
        if self._current is None:
            self._begin_segment()

    def close(self) -> None:
        """Remove the files if the ledger has everything; else the next worker replays them."""
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
        """Continue in a new file. The starts of open calls are repeated there, so that earlier files are not needed."""
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
        self._turn_at = segment.size + self._segment_size  # independent of the repeated starts
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
        """The number of records that the ledger lacks; None if only the files show it."""
        return None if self._behind else len(self._fresh) + len(self._unwritten)

    @property
    def is_full(self) -> bool:
        """Whether the files have reached their size limit."""
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
        if not self._behind:  # it may have fallen behind since they were read
            for _ in waiting:
                self._fresh.popleft()
        _, segment, end = waiting[-1]
        self._advance(segment, end)

    def _forget(self, shipped: Sequence[Record]) -> None:
        if self._unwritten[: len(shipped)] == shipped:  # else written to a file since, and shipped again
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
        """Note that the ledger has all records before this position, and delete files that are not needed any more."""
        if not self._behind and not self._fresh:
            segment = self._segments[-1]
            end = segment.size
        while self._segments[0] is not segment:
            self._segments.popleft().remove()
        segment.shipped = end
        if end == segment.size and len(self._segments) > 1:
            self._segments.popleft().remove()

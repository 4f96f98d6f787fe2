"""Replay of dead workers' journals: ended calls are shipped as recorded, those without an end as lost."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import override

import structlog

from ai_gateway.accounts.journal import Batch, Source
from ai_gateway.accounts.journal_files import LockedDirectory, Segment, directories
from ai_gateway.accounts.journal_format import ENDED, STARTED
from ai_gateway.accounts.records import Record, Start
from ai_gateway.contract.tokens import Tokens

_log = structlog.get_logger(__name__)


class DeadJournal(Source):
    """The journal of a dead worker, removed once it is shipped.

    The outcome of a call without an end is unknown. It may have used its whole bound, and is charged for that.
    """

    def __init__(self, directory: LockedDirectory) -> None:
        self._directory: LockedDirectory | None = directory
        self._paths = directory.segments()
        self._segment: Segment | None = None
        self._open: dict[str, Start] = {}
        self._last_write_ms = 0

    @override
    def read(self, most: int) -> Batch | None:
        while (segment := self._next_segment()) is not None:
            records, end = segment.read(most, partial(self._understand, segment))
            if records:
                return Batch(records, partial(setattr, segment, "shipped", end))
            self._finish(segment)
        if lost := list(self._lost())[:most]:
            return Batch(lost, lambda: self._forget(lost), lost=True)
        return None

    @property
    def last_of(self) -> str | None:
        """The owning process, if it has no other journal here."""
        directory = self._directory
        return directory.owner if directory is not None and directory.is_last else None

    def remove(self) -> None:
        """Remove the shipped journal."""
        if self._directory is not None:
            self._directory.close(remove=True)
            self._directory = None

    def close(self) -> None:
        """Release it for other processes."""
        if self._segment is not None:
            self._segment.close()
            self._segment = None
        if self._directory is not None:
            self._directory.close(remove=False)
            self._directory = None

    def _next_segment(self) -> Segment | None:
        while self._segment is None and self._paths:
            try:
                self._segment = Segment.open(self._paths[0])
            except OSError as error:
                _log.error("journal of a dead worker cannot be read", path=str(self._paths[0]), error=str(error))
                self._paths.pop(0)
            else:
                self._last_write_ms = int(self._paths[0].stat().st_mtime * 1000)
        return self._segment

    def _understand(self, segment: Segment, line: bytes) -> Record | None:
        """Remember a start, or return the record of an end."""
        try:
            if line[:1] == STARTED:
                start = segment.reader.start(line)
                self._open[start.id] = start
            elif line[:1] == ENDED:
                record = segment.reader.record(line)
                self._open.pop(record.start.id, None)
                return record
        except ValueError as error:  # a line damaged by a full disk or a power failure
            _log.error("line in the journal of a dead worker is damaged", path=str(segment.path), error=str(error))
        return None

    def _finish(self, segment: Segment) -> None:
        segment.close()
        self._segment = None
        self._paths.pop(0)

    def _lost(self) -> Iterator[Record]:
        for start in self._open.values():
            yield Record(
                start=start,
                ended_at=max(start.at, self._last_write_ms),
                first_byte_ms=None,
                service_tier=None,
                end="lost",
                basis="incomplete",
                status=None,
                code=None,
                provider=start.provider,
                upstream_model=start.upstream_model,
                tokens=Tokens(start.bound_input, start.bound_output),
                cost=start.bound,
                price=None,
            )

    def _forget(self, shipped: list[Record]) -> None:
        for record in shipped:
            self._open.pop(record.start.id, None)


def claim_dead(root: Path) -> list[DeadJournal]:
    """Claim the journals of dead workers."""
    claimed = (LockedDirectory.claim(path) for path in directories(root))
    return [DeadJournal(directory) for directory in claimed if directory is not None]

"""The configuration that workers have taken last, for the one that replaces a worker.

It is forked from a process that has only what the first workers began with: keys that were revoked since, and a
certificate that was renewed. What the files contain by then may be unusable, or not meant for use yet.
"""

import pickle
from dataclasses import dataclass, field

import structlog

from ai_gateway.app.configuration import Configuration
from ai_gateway.observability.worker_memory import WorkerMemory
from ai_gateway.redaction import remember

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Taken:
    """What a worker holds. `at` is when it began to read it, 0 for what it was started with.

    `pickled` is None for a configuration that cannot be pickled, such as one with a plugin's own objects.
    `certificate` is the certificate and its key as their files contained them.
    """

    at: float
    pickled: bytes | None = field(repr=False)
    certificate: tuple[bytes, bytes] | None = field(repr=False)

    def configuration(self) -> Configuration | None:
        """What was taken; None if only the sources have it."""
        if self.pickled is None:
            return None
        configuration: Configuration = pickle.loads(self.pickled)  # noqa: S301 - from memory that only workers have
        for upstream in configuration.upstreams:
            remember(*upstream.secrets)  # which is done where one is made
        return configuration


@dataclass(frozen=True, slots=True)
class _Entry:
    """What one worker has written: when the last reload began that it has answered, and what it holds."""

    answered: float
    taken: Taken | None


class LastConfiguration:
    """A place for each worker, in memory that all inherit. Times are of the clock that all processes share."""

    def __init__(self, workers: int) -> None:
        self._memory = WorkerMemory(workers, "configuration")

    def took(
        self, worker: int, at: float, configuration: Configuration, certificate: tuple[bytes, bytes] | None
    ) -> None:
        """Note that a worker took this over, in a reload that began at this time."""
        try:
            pickled = pickle.dumps(configuration)
            pickle.loads(pickled)  # noqa: S301 - objects of plugins can fail only here
        except Exception as error:
            _log.warning("configuration cannot be kept for workers that replace others", error=repr(error))
            pickled = None
        self._write(worker, _Entry(at, Taken(at, pickled, certificate)))

    def refused(self, worker: int, at: float) -> None:
        """Note that a worker goes on with what it has, after a reload that began at this time."""
        self._write(worker, _Entry(at, self._read(worker).taken))

    def answered(self, worker: int) -> float:
        """When the last reload began that this worker, or one before it in its place, has answered; 0 for none."""
        return self._read(worker).answered

    def newest(self) -> Taken | None:
        """What any worker took last; None if that is what all were started with."""
        entries = [pickle.loads(raw) for raw in self._memory.read_all()]  # noqa: S301 - as above
        return max((entry.taken for entry in entries if entry.taken), key=lambda taken: taken.at, default=None)

    def _read(self, worker: int) -> _Entry:
        raw = self._memory.read(worker)
        return _Entry(0.0, None) if raw is None else pickle.loads(raw)  # noqa: S301 - as above

    def _write(self, worker: int, entry: _Entry) -> None:
        self._memory.write(worker, pickle.dumps(entry))

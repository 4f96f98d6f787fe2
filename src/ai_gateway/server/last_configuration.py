"""The configuration that workers loaded last, for a worker that replaces another one.

A replacement is forked from a process that only has the configuration of the start, with keys that may be revoked and a
certificate that may be renewed since. The files may by then be invalid, or not meant to be loaded yet.
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
    """A worker's configuration. `at` is when it began to load it, 0 for that of its start.

    `pickled` is None for a configuration that cannot be pickled, such as one with a plugin's own objects.
    `certificate` is the certificate and its key as their files contained them.
    """

    at: float
    pickled: bytes | None = field(repr=False)
    certificate: tuple[bytes, bytes] | None = field(repr=False)

    def configuration(self) -> Configuration | None:
        """The configuration; None if it has to be read from its sources."""
        if self.pickled is None:
            return None
        configuration: Configuration = pickle.loads(self.pickled)  # noqa: S301 - from memory that only workers have
        for upstream in configuration.upstreams:
            remember(*upstream.secrets)  # as the creation of an Upstream does
        return configuration


@dataclass(frozen=True, slots=True)
class _Entry:
    """What one worker has written: when the last reload that it completed began, and its configuration."""

    answered: float
    taken: Taken | None


class LastConfiguration:
    """A slot for each worker, in inherited shared memory. Times are of the monotonic clock of the machine."""

    def __init__(self, workers: int) -> None:
        self._memory = WorkerMemory(workers, "configuration")

    def took(
        self, worker: int, at: float, configuration: Configuration, certificate: tuple[bytes, bytes] | None
    ) -> None:
        """Note that a worker loaded this in a reload that began at this time."""
        try:
            pickled = pickle.dumps(configuration)
            pickle.loads(pickled)  # noqa: S301 - objects of plugins can fail only here
        except Exception as error:
            _log.warning("configuration cannot be kept for workers that replace others", error=repr(error))
            pickled = None
        self._write(worker, _Entry(at, Taken(at, pickled, certificate)))

    def refused(self, worker: int, at: float) -> None:
        """Note that a worker kept its configuration in a reload that began at this time."""
        self._write(worker, _Entry(at, self._read(worker).taken))

    def answered(self, worker: int) -> float:
        """When the last reload began that this worker, or its predecessor, completed; 0 for none."""
        return self._read(worker).answered

    def newest(self) -> Taken | None:
        """The newest configuration of any worker; None if that is the one of the start."""
        entries = [pickle.loads(raw) for raw in self._memory.read_all()]  # noqa: S301 - as above
        return max((entry.taken for entry in entries if entry.taken), key=lambda taken: taken.at, default=None)

    def _read(self, worker: int) -> _Entry:
        raw = self._memory.read(worker)
        return _Entry(0.0, None) if raw is None else pickle.loads(raw)  # noqa: S301 - as above

    def _write(self, worker: int, entry: _Entry) -> None:
        self._memory.write(worker, pickle.dumps(entry))

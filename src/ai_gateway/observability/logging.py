"""Log records as one JSON object a line, on standard error."""

import asyncio
import atexit
import logging
import select
import sys
import time
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, override

import structlog
from pydantic_core import to_json

from ai_gateway.redaction import SHORTEST, strike

_LONGEST = 16 * 1024  # of one text; nobody reads further


class _StandardError:
    """Standard error for all records, in their order.

    `add` collects what one turn of the event loop has to record, for one system call at its end; `write` does not wait.
    """

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._flushed_by: asyncio.AbstractEventLoop | None = None

    def add(self, line: bytes) -> None:
        """Write a line at the end of this turn, or now where no event loop runs."""
        self._lines.append(line)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
            return
        if self._flushed_by is not loop:
            self._flushed_by = loop
            loop.call_soon(self.flush)

    def write(self, text: str) -> None:
        """Write this now, behind what was added before."""
        self._lines.append(text.encode("utf-8", "backslashreplace"))
        self.flush()

    def flush(self) -> None:
        """Write what was added. A log that nobody reads any more must not end a request."""
        lines, self._lines, self._flushed_by = self._lines, [], None
        with suppress(OSError, ValueError):
            for piece in _pieces(lines):
                sys.stderr.write(piece.decode())
                sys.stderr.flush()


def _pieces(lines: list[bytes]) -> list[bytes]:
    """Whole lines in pieces that a pipe takes in one: those of several workers must not run into each other."""
    pieces = lines[:1]
    for line in lines[1:]:
        if len(pieces[-1]) + len(line) <= select.PIPE_BUF:
            pieces[-1] += line
        else:
            pieces.append(line)
    return pieces


class _Clock:
    """The time of day as records have it. Of all requests of a second, only the first formats that second."""

    def __init__(self) -> None:
        self._second = 0
        self._text = ""

    def now(self) -> str:
        """ISO 8601 with microseconds, in UTC."""
        second, rest = divmod(time.time_ns(), 1_000_000_000)
        if second != self._second:
            self._second = second
            self._text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._text}.{rest // 1000:06d}+00:00"


_stderr = _StandardError()
_clock = _Clock()
atexit.register(_stderr.flush)


class _JsonLines(logging.Formatter):
    """The standard library's records in the same form as our own."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return to_json(_without_keys(fields)).decode()


def _without_keys(fields: Mapping[str, object]) -> MutableMapping[str, Any]:
    """The fields of a record as it may be read by whoever reads logs: every text bounded, and without keys."""
    return {name: _shown(value) for name, value in fields.items()}


def _shown(value: object) -> object:
    if isinstance(value, str):
        return strike(value) if len(value) <= _LONGEST else f"{strike(value[:_LONGEST])} ..."
    if isinstance(value, Mapping):
        return {_shown(name): _shown(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_shown(inner) for inner in value]
    return value if value is None or isinstance(value, int | float) else _shown(str(value))


def configure_logging(level: str) -> None:
    """Send structlog's and the standard library's records to standard error, from `level` upwards."""
    handler = logging.StreamHandler(_stderr)
    handler.setFormatter(_JsonLines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    # What uvicorn warns of (bad requests) is answered and counted; its errors are worth a record.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    logging.getLogger("ai_gateway").setLevel(level.upper())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
            structlog.processors.format_exc_info,
            lambda _logger, _method, fields: _without_keys(fields),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(_stderr),  # type: ignore[arg-type] # it only writes and flushes
        cache_logger_on_first_use=True,
    )


def write_record(event: str, fields: Mapping[str, object]) -> None:
    """One record at level info, past structlog: on every request its pipeline costs more than the request's routing."""
    record = {"timestamp": _clock.now(), "level": "info", "event": event, **fields}
    for name, value in fields.items():
        if type(value) is str and len(value) >= SHORTEST and name != "request_id":  # which is checked when it comes
            record[name] = _shown(value)
    with suppress(ValueError):  # what cannot be encoded
        _stderr.add(to_json(record, inf_nan_mode="null") + b"\n")

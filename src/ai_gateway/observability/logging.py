"""Log records as one JSON object a line, on standard error. Logging neither raises nor blocks."""

import atexit
import json
import logging
import os
import time
from collections.abc import Collection, Mapping, MutableMapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Literal, override

import orjson
import structlog
from pydantic_core import to_json

from ai_gateway.observability.console import console_line
from ai_gateway.observability.metrics import Event, count
from ai_gateway.observability.output import Output
from ai_gateway.observability.printable import printable
from ai_gateway.redaction import SHORTEST, redact_all

type LogFormat = Literal["auto", "json", "console"]

# Fields whose values come from the gateway itself and need no search for keys. Callers' request ids are checked on
# arrival.
_OWN = frozenset({"timestamp", "level", "request_id", "operation", "end", "client", "provider", "key_id", "project"})
_PLAIN = frozenset({int, float, bool, type(None)})
# Seconds to write pending records before the process ends.
_LAST_S = 1.0


# A table of zero-padded numbers: formatting takes four times as long.
_THOUSANDTHS = tuple(f"{number:03d}" for number in range(1000))


class _Clock:
    """The time for records. The formatted second is cached."""

    def __init__(self) -> None:
        self._second = 0
        self._text = ""

    def now(self) -> str:
        """ISO 8601 with microseconds, in UTC."""
        now = time.time()
        micros = int((now - self._second) * 1e6)
        if not 0 <= micros < 1_000_000:
            self._second = int(now)
            self._text = datetime.fromtimestamp(self._second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            micros = int((now - self._second) * 1e6)
        return f"{self._text}.{_THOUSANDTHS[micros // 1000]}{_THOUSANDTHS[micros % 1000]}+00:00"


def _recovered(dropped: int) -> None:
    count(Event.LOG_DROPPED, times=dropped)
    structlog.get_logger(__name__).warning("log records dropped", count=dropped)


_stderr = Output(2, _recovered)
_clock = _Clock()
timestamp = _clock.now


class _Form:
    """The format of records: JSON, or for people, with `colours` or without."""

    is_console = False
    colours = False

    def set(self, name: LogFormat) -> None:
        terminal = _is_terminal()
        self.is_console = name == "console" or (name == "auto" and terminal)
        self.colours = terminal and not os.environ.get("NO_COLOR")  # https://no-color.org/


_form = _Form()


def _is_terminal() -> bool:
    try:
        return os.isatty(2)
    except OSError:
        return False


def _write(line: bytes) -> None:
    """Write one record, given as JSON, in the chosen format."""
    _stderr.add((console_line(line, colours=_form.colours) if _form.is_console else line) + b"\n")


def drain(within_s: float = _LAST_S) -> None:
    """Wait until every record is written, for at most this long."""
    _stderr.drain(within_s)


atexit.register(drain)


def _line(record: Mapping[str, Any]) -> bytes:
    """A record as JSON with keys redacted, for any values."""
    return _json({name: value if name in _OWN else _clean(value) for name, value in record.items()})


def _clean(value: object) -> object:
    if type(value) is str:
        return value if len(value) < SHORTEST else redact_all(value)
    return value if type(value) in _PLAIN else redact_all(_as_text(value))


def _json(clean: Mapping[str, object]) -> bytes:
    try:
        line = orjson.dumps(clean)
    except orjson.JSONEncodeError:  # not JSON, cannot be encoded, or too large a number
        line = _odd_line(clean)
    return printable(line)


def _as_text(value: object) -> object:
    """A value that JSON lacks as its text, which is redacted as well."""
    if isinstance(value, str | int | float | Mapping | list | tuple | set | frozenset):
        return value
    try:
        return repr(value)
    except Exception as error:  # its `repr` may fail, and logging must not
        return f"{type(value).__name__} that cannot be shown: {type(error).__name__}"


def _odd_line(record: Mapping[str, Any]) -> bytes:
    with suppress(ValueError):
        return to_json(record, inf_nan_mode="null")
    try:
        return json.dumps(record, default=repr).encode()
    except Exception as error:  # its `repr` may fail, and logging must not
        return to_json({"level": "error", "event": "record not written", "reason": type(error).__name__})


class _Lines(logging.Handler):
    """Handles the standard library's records, in the same format."""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        _write(_line(self._fields(record)))

    def _fields(self, record: logging.LogRecord) -> dict[str, object]:
        try:
            event = record.getMessage()
        except Exception:  # the arguments do not match the format
            event = f"{type(record.msg).__name__} that cannot be shown"
        fields: dict[str, object] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "event": event,
            "logger": record.name,
        }
        if record.exc_info:
            fields["exception"] = logging.Formatter().formatException(record.exc_info)
        return fields


def _render(_logger: object, _method: str, record: MutableMapping[str, Any]) -> str:
    return _line(record).decode()


class _Sink:
    """The file that structlog writes to."""

    def write(self, text: str) -> None:
        _write(text.rstrip("\n").encode("utf-8", "backslashreplace"))

    def flush(self) -> None:
        """Nothing to do: the output's thread flushes."""


def _stamped(_logger: object, _method: str, record: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Fields in the order of request records, with the same clock."""
    return {"timestamp": _clock.now(), "level": record.pop("level"), "event": record.pop("event"), **record}


def configure_logging(level: str, form: LogFormat = "json") -> None:
    """Send the records of structlog and the standard library to standard error, from `level` upwards."""
    _form.set(form)
    logging.basicConfig(handlers=[_Lines()], level=logging.WARNING, force=True)
    logging.captureWarnings(capture=True)
    # uvicorn's warnings are about bad requests, which are answered and counted; its errors are logged.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    logging.getLogger("ai_gateway").setLevel(level.upper())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _stamped,
            structlog.processors.format_exc_info,
            _render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(_Sink()),  # type: ignore[arg-type] # it only writes and flushes
        cache_logger_on_first_use=False,  # a cached logger would keep the level of its first record
    )


def fragment(fields: Mapping[str, object], foreign: Collection[str] = ()) -> str:
    """These fields as the inside of a JSON object, for `write_line`.

    Only the `foreign` ones, which come from callers or upstreams, are searched for keys.
    """
    clean = {name: _clean(value) if name in foreign else value for name, value in fields.items()}
    return _json(clean)[1:-1].decode()


def write_line(line: str) -> None:
    """Write one record with its line end, without structlog, whose pipeline would cost more than routing a request.

    It is a JSON object that begins with `timestamp`, `level` and `event`.
    """
    if _form.is_console:
        _write(line.rstrip("\n").encode())
    else:
        _stderr.add(line.encode())

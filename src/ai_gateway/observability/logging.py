"""Log records as one JSON object a line, on standard error. To log neither raises nor waits."""

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
from ai_gateway.redaction import SHORTEST, strike_all

type LogFormat = Literal["auto", "json", "console"]

# Fields whose texts are the gateway's own: an id of ours is new in each record, and one of a caller's is looked at when
# it comes.
_OWN = frozenset({"timestamp", "level", "request_id", "operation", "end", "client", "provider", "key_id", "project"})
_PLAIN = frozenset({int, float, bool, type(None)})
# A process that ends waits so long for who reads its log.
_LAST_S = 1.0


# To format a number with zeros in front takes four times as long as to look it up.
_THOUSANDTHS = tuple(f"{number:03d}" for number in range(1000))


class _Clock:
    """The time of day as records have it. Of all requests of a second, only the first formats that second."""

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
    """How records are written: as JSON, or for people, with `colours` or without."""

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
    """One record, which is JSON, in the form that was chosen."""
    _stderr.add((console_line(line, colours=_form.colours) if _form.is_console else line) + b"\n")


def drain(within_s: float = _LAST_S) -> None:
    """Wait until every record is written, but no longer than this."""
    _stderr.drain(within_s)


atexit.register(drain)


def _line(record: Mapping[str, Any]) -> bytes:
    """A record as JSON, whatever is in it, but without keys."""
    return _json({name: value if name in _OWN else _clean(value) for name, value in record.items()})


def _clean(value: object) -> object:
    if type(value) is str:
        return value if len(value) < SHORTEST else strike_all(value)
    return value if type(value) in _PLAIN else strike_all(_as_text(value))


def _json(clean: Mapping[str, object]) -> bytes:
    try:
        line = orjson.dumps(clean)
    except orjson.JSONEncodeError:  # what is no JSON, or cannot be encoded, or is merely large
        line = _odd_line(clean)
    return printable(line)


def _as_text(value: object) -> object:
    """What JSON has no word for, in its own words: they may hold a key as well."""
    if isinstance(value, str | int | float | Mapping | list | tuple | set | frozenset):
        return value
    try:
        return repr(value)
    except Exception as error:  # even its `repr` may fail, and nobody may fail with it
        return f"{type(value).__name__} that cannot be told: {type(error).__name__}"


def _odd_line(record: Mapping[str, Any]) -> bytes:
    with suppress(ValueError):
        return to_json(record, inf_nan_mode="null")
    try:
        return json.dumps(record, default=repr).encode()
    except Exception as error:  # even its `repr` may fail, and nobody may fail with it
        return to_json({"level": "error", "event": "record not written", "reason": type(error).__name__})


class _Lines(logging.Handler):
    """The standard library's records in the same form as our own."""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        _write(_line(self._fields(record)))

    def _fields(self, record: logging.LogRecord) -> dict[str, object]:
        try:
            event = record.getMessage()
        except Exception:  # its arguments do not fit
            event = f"{type(record.msg).__name__} that cannot be told"
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
    """What structlog takes for a file."""

    def write(self, text: str) -> None:
        _write(text.rstrip("\n").encode("utf-8", "backslashreplace"))

    def flush(self) -> None:
        """The thread of the output does that."""


def _stamped(_logger: object, _method: str, record: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """In the order, and with the clock, of the records of requests."""
    return {"timestamp": _clock.now(), "level": record.pop("level"), "event": record.pop("event"), **record}


def configure_logging(level: str, form: LogFormat = "json") -> None:
    """Send structlog's and the standard library's records to standard error, from `level` upwards."""
    _form.set(form)
    logging.basicConfig(handlers=[_Lines()], level=logging.WARNING, force=True)
    logging.captureWarnings(capture=True)
    # What uvicorn warns of (bad requests) is answered and counted; its errors are worth a record.
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
        cache_logger_on_first_use=False,  # a logger that has been used would keep the level of its first record
    )


def fragment(fields: Mapping[str, object], foreign: Collection[str] = ()) -> str:
    """These fields as the inside of a JSON object, for `write_line`.

    Only those that are called `foreign` may hold what others wrote, and are searched for keys.
    """
    clean = {name: _clean(value) if name in foreign else value for name, value in fields.items()}
    return _json(clean)[1:-1].decode()


def write_line(line: str) -> None:
    """One record and the end of its line, past structlog: on every request its pipeline would cost more than routing.

    It is a JSON object that begins with `timestamp`, `level` and `event`.
    """
    if _form.is_console:
        _write(line.rstrip("\n").encode())
    else:
        _stderr.add(line.encode())

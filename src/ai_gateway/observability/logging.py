"""Log records as one JSON object a line, on standard error."""

import logging
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import override

import structlog
from pydantic_core import to_json


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
        return to_json(fields).decode()


def configure_logging(level: str) -> None:
    """Send structlog's and the standard library's records to standard error, from `level` upwards."""
    handler = logging.StreamHandler(sys.stderr)
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
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def write_record(event: str, **fields: object) -> None:
    """One record at level info, past structlog: on every request its pipeline costs more than the request's routing."""
    record = {"timestamp": datetime.now(UTC).isoformat(), "level": "info", "event": event, **fields}
    with suppress(OSError, ValueError):  # a log that nobody reads any more must not end the request
        sys.stderr.write(to_json(record, inf_nan_mode="null").decode() + "\n")

"""Log records as lines for people: time, level, event, and the other fields as `name=value`."""

from collections.abc import Mapping
from typing import Any

import orjson

from ai_gateway.observability.printable import printable_lines, printable_text

_COLOURS = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "31;1"}
_STATUS = {2: "32", 3: "36", 4: "33", 5: "31"}
_FIRST = ("timestamp", "level", "event", "exception")
_REQUEST = ("method", "path", "status_code", "duration_ms")


def console_line(line: bytes, *, colours: bool) -> bytes:
    """A redacted JSON record as a line for a terminal, without control characters from untrusted values."""
    record: dict[str, Any] = orjson.loads(line)
    level = str(record.get("level", ""))
    clock = str(record.get("timestamp", ""))[11:23]
    parts = [_coloured(clock, "2", on=colours), _coloured(f"{level:<7}", _COLOURS.get(level, ""), on=colours)]
    shown = {*_FIRST}
    if record.get("event") == "request" and "method" in record:
        parts += _request(record, colours=colours)
        shown |= {*_REQUEST}
    else:
        parts.append(printable_text(str(record.get("event", ""))))
    parts += [
        f"{_coloured(name, '2', on=colours)}={_value(value)}"
        for name, value in record.items()
        if name not in shown and value is not None
    ]
    text = " ".join(parts)
    if exception := record.get("exception"):
        text += "\n" + printable_lines(str(exception))
    return text.encode("utf-8", "backslashreplace")


def _request(record: Mapping[str, Any], *, colours: bool) -> list[str]:
    status = record.get("status_code")
    code = str(status) if status is not None else "-"
    return [
        printable_text(f"{record['method']} {record.get('path', '')}"),
        _coloured(code, _STATUS.get(status // 100, "") if isinstance(status, int) else "", on=colours),
        f"{record.get('duration_ms', 0)} ms",
    ]


def _value(value: object) -> str:
    """A word unchanged; any other value as JSON, so that its end is visible."""
    if isinstance(value, str) and value and not set(value) & set(" \"'=\\"):
        return printable_text(value)
    return printable_text(orjson.dumps(value).decode())


def _coloured(text: str, colour: str, *, on: bool) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m" if on and colour else text

"""Makes untrusted text printable, for terminals and logs: without control characters and line ends."""

import json
import re

# Lines may also end at U+0085, U+2028 and U+2029, terminals take U+009B for the start of a command, and direction
# marks reorder the text beside them. `isprintable` knows all of these.
_NOT_ASCII = re.compile(r"[^ -~]")
_FORMULA = ("=", "+", "-", "@")


def printable(line: bytes) -> bytes:
    """One line of JSON, with unprintable characters in its texts escaped. ASCII is escaped already."""
    if line.isascii() and line.find(b"\x7f") < 0:
        return line
    return _NOT_ASCII.sub(_escaped, line.decode("utf-8", "replace")).encode()


def printable_text(text: str) -> str:
    """Text for a terminal, on one line."""
    return text if text.isprintable() else _NOT_ASCII.sub(_escaped, text)


def cell_text(text: str) -> str:
    """Text for a cell of CSV, on one line, with formulas of spreadsheets disabled.

    owasp.org, "CSV Injection".
    """
    shown = printable_text(text)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown


def printable_lines(text: str) -> str:
    """Text or JSON of several lines, with unprintable characters in each escaped."""
    return "\n".join(map(printable_text, text.split("\n")))


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    if character.isprintable():
        return character
    return "\\u007f" if character == "\x7f" else json.dumps(character)[1:-1]

"""What others wrote, made fit for a terminal or a line of a log: nothing in it moves a cursor or ends a line."""

import json
import re

# Lines may also end at U+0085, U+2028 and U+2029, a terminal takes U+009B for the beginning of a command, and marks of
# direction turn round what stands beside them. `isprintable` knows all of these.
_NOT_ASCII = re.compile(r"[^ -~]")
_FORMULA = ("=", "+", "-", "@")


def printable(line: bytes) -> bytes:
    """JSON of one line, with what is not printable in its texts escaped. What is all ASCII is escaped already."""
    if line.isascii() and line.find(b"\x7f") < 0:
        return line
    return _NOT_ASCII.sub(_escaped, line.decode("utf-8", "replace")).encode()


def printable_text(text: str) -> str:
    """Text for a terminal, on one line."""
    return text if text.isprintable() else _NOT_ASCII.sub(_escaped, text)


def cell_text(text: str) -> str:
    """Text for a cell of CSV, on one line: a spreadsheet would take what begins so for a formula.

    owasp.org, "CSV Injection".
    """
    shown = printable_text(text)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown


def printable_lines(text: str) -> str:
    """Text or JSON of our own lines, whatever others have put into them."""
    return "\n".join(map(printable_text, text.split("\n")))


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    if character.isprintable():
        return character
    return "\\u007f" if character == "\x7f" else json.dumps(character)[1:-1]

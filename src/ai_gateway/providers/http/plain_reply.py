"""Whole replies that arrive in one piece and have nothing unusual about them, read at half of the parser's cost.

Nearly all successful replies are such: a status line word for word, well-formed header lines that were mostly seen
before, and as many bytes as their Content-Length says. All others are left to the parser, which reads these alike.
"""

import re
from collections.abc import Callable, Mapping

type Check = Callable[[Mapping[str, str]], None]
"""Looks at the headers of a reply, and raises what its reader gets if they cannot be accepted."""
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
# Names that nearly every reply has, in the two usual spellings.
NAMES = {
    written.encode(): name
    for name in ("date", "server", "connection", "content-type", "content-length", "transfer-encoding", "keep-alive")
    for written in (name, name.title())
}

_STATUS = b"HTTP/1.1 200 OK"
_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([!-~](?:[ -~]*[!-~])?)")
# What may change where the reply ends, or the fate of its connection.
_SPECIAL = frozenset({"transfer-encoding", "connection", "proxy-connection", "upgrade"})
_HARMLESS = ("connection", "keep-alive")
_LONGEST_HEAD, _MAX_LINES = 4 * 1024, 64
# The fields of lines, of which most are the same in each reply. All are forgotten at once.
_MAX_KNOWN = 512
_known: dict[bytes, tuple[str, str]] = {}


def plain_reply(data: bytes) -> tuple[dict[str, str], bytes] | None:
    """Headers and body of a plain reply with status 200, of which `data` is all; None for anything else."""
    head, _, body = data.partition(b"\r\n\r\n")
    if len(head) > _LONGEST_HEAD:
        return None
    lines = head.split(b"\r\n")
    if lines[0] != _STATUS or len(lines) > _MAX_LINES:
        return None
    del lines[0]
    headers: dict[str, str] = {}
    for line in lines:
        field = _known.get(line) or _field(line)
        if field is None:
            return None
        headers[field[0]] = field[1]
    if len(headers) != len(lines) or headers.get("content-length") != str(len(body)):
        return None
    return headers, body


def _field(line: bytes) -> tuple[str, str] | None:
    """Name and value in a line of a head; None for a line that needs the parser."""
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    field = found[1].decode().lower(), found[2].decode()
    if field[0] in _SPECIAL and field != _HARMLESS:
        return None
    if len(_known) >= _MAX_KNOWN:
        _known.clear()
    _known[line] = field
    return field

"""The head of a connection's last request. Clients send it again byte for byte, but for the length of the body."""

from typing import Any

from starlette.types import Scope

from ai_gateway.contract.header_fields import header_fields

_NAME, _LINE = b"content-length", b"\r\ncontent-length: "
_MAX_DIGITS = 12
# With these, more than the head decides what follows it.
_SPECIAL = frozenset({b"transfer-encoding", b"expect", b"upgrade"})
_LONGEST = 4096
# How many heads are learnt in a row without one that comes again.
_LESSONS = 3


class KnownHead:
    """A head that the parser has read on this connection, and what came of it.

    The parser would make the same of the same bytes: only the value of Content-Length may differ, and only in its
    digits. It lives no longer than its connection, since there is a key in it.
    """

    __slots__ = ("_after", "_before", "_length", "_lessons", "_place", "_scope")

    def __init__(self) -> None:
        self._before = self._length = self._after = b""
        self._place = 0
        self._scope: dict[str, Any] = {}
        self._lessons = _LESSONS

    def request(self, packet: bytes) -> tuple[Scope, bytes] | None:
        """The scope and the body of a packet that is one whole request with this head; None for any other."""
        before, after = self._before, self._after
        if not before or not packet.startswith(before):
            return None
        start = len(before)
        end = packet.find(b"\r", start, start + _MAX_DIGITS + 1)
        length = packet[start:end]
        if end < 0 or not length.isdigit() or not packet.startswith(after, end):
            return None
        body = packet[end + len(after) :]
        if len(body) != int(length):
            return None
        self._lessons = _LESSONS
        scope = self._scope.copy()
        if length != self._length:
            headers = scope["headers"] = scope["headers"].copy()
            headers[self._place] = _NAME, length
            scope["fields"] = {**scope["fields"], "content-length": length.decode()}
        return scope, body

    def learn(self, packet: bytes, scope: Scope) -> None:
        """Know the head of a packet of which the parser has made this scope, and a whole request.

        A client whose heads always differ is not learnt from for ever.
        """
        if not self._lessons:
            return
        start, end = packet.find(b"\r\n"), packet.find(b"\r\n\r\n")
        head, fields = packet[start:end].lower(), scope["headers"]
        place = head.find(_LINE) + len(_LINE)
        length = head[place:].partition(b"\r")[0]
        if end > _LONGEST or not length.isdigit() or len(packet) - end - 4 != int(length):
            return
        self._lessons -= 1
        # The parser must have read the same lines.
        if head != b"\r\n".join([b"", *map(b": ".join, fields)]).lower():
            return
        if head.count(_LINE) != 1 or not _SPECIAL.isdisjoint(dict(fields)):
            return
        place += start
        self._before, self._length = packet[:place], length
        self._after = packet[place + len(length) : end + 4]
        self._place = fields.index((_NAME, length))
        self._scope = {**scope, "head_size": end + _MAX_DIGITS, "fields": header_fields(scope)}

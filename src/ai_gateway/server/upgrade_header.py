"""The Upgrade header of a request, renamed before the parser reads it."""

import re

_UPGRADE = re.compile(rb"(\n)upgrade([ \t]*:)", re.IGNORECASE)
# A last line that may become that header with the next packet.
_HALF_AN_UPGRADE = re.compile(rb"\n(u(?:p(?:g(?:r(?:a(?:d(?:e[ \t]{0,64})?)?)?)?)?)?)\Z", re.IGNORECASE)


class UpgradeHeader:
    """Renames it in the heads of one connection, even if it is split over packets.

    Clients such as the JDK's offer HTTP/2 (h2c) with every first request. A server may ignore that (RFC 9110,
    section 7.8), but the parser would treat the body as the other protocol.
    """

    __slots__ = ("_held", "_line_start")

    def __init__(self) -> None:
        self._held = b""
        self._line_start = False

    @property
    def is_between(self) -> bool:
        """Whether the last packet ended inside of a head: what the next one means depends on it."""
        return self._line_start or bool(self._held)

    def renamed(self, data: bytes) -> bytes:
        """The bytes of a head for the parser, the same object if there is nothing to rename; the last may be held."""
        if not self._held and not self._line_start:
            end_of_head = data.find(b"\r\n\r\n")
            # A search in lower case takes a third of one for either.
            if end_of_head >= 0 and data[:end_of_head].lower().find(b"\nupgrade") < 0:
                return data  # nearly every head is complete and has no such header
        data, self._held = self._held + data, b""
        head, end, rest = (b"\n" * self._line_start + data).partition(b"\r\n\r\n")
        half = None if end else _HALF_AN_UPGRADE.search(head)
        if half is not None:
            head, self._held = head[: half.start(1)], half[1]
        renamed = _UPGRADE.sub(rb"\1x-upgrd\2", head + end) + rest
        renamed = renamed[self._line_start :]
        self._line_start = not end and (head.endswith(b"\n") or (self._line_start and not renamed))
        return renamed

    def end(self) -> None:
        """The head is complete."""
        self._line_start = False

    def take_held(self) -> bytes:
        """The bytes that were held, which belong to a body after all."""
        held, self._held = self._held, b""
        return held

"""One JSON value a line, from bytes: any chunking of the same bytes gives the same lines."""

from collections.abc import Iterator

from pydantic_core import from_json

from ai_gateway.errors import UpstreamInvalidResponse


class LineParser:
    """Feed it bytes as they come; it yields each line that is complete and not blank.

    Only a line feed ends a line: text libraries know further line ends, which may stand inside a JSON string. A line
    larger than `max_line` bytes raises UpstreamInvalidResponse.
    """

    def __init__(self, max_line: int) -> None:
        self._max_line = max_line
        self._rest = b""
        self.lines = 0
        """Complete lines so far: what tells progress from a trickle of bytes."""

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        lines = (self._rest + chunk).split(b"\n")
        self._rest = lines.pop()
        self.lines += len(lines)
        for line in lines:
            yield from self._checked(line)
        if len(self._rest) > self._max_line:
            raise UpstreamInvalidResponse.too_large(what="a line")

    def end(self) -> Iterator[bytes]:
        """What stands behind the last line feed, unless it is only the beginning of something."""
        try:
            from_json(self._rest)
        except ValueError:
            return
        yield from self._checked(self._rest)

    def _checked(self, line: bytes) -> Iterator[bytes]:
        if len(line) > self._max_line:
            raise UpstreamInvalidResponse.too_large(what="a line")
        if line := line.strip():
            yield line

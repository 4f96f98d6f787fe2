"""NDJSON parser: any chunking of the same bytes gives the same lines."""

from collections.abc import Iterator

from pydantic_core import from_json

from ai_gateway.errors import UpstreamInvalidResponse

_LONGEST_BESIDE = 2_000


def lines_in(raw: bytes) -> list[bytes]:
    """The lines of a whole NDJSON body; empty if it is one JSON value that spans lines."""
    lines = [line for line in raw.split(b"\n") if line.strip()]
    try:
        from_json(lines[0] if len(lines) > 1 else b"")
    except ValueError:
        return []
    return lines


class LineParser:
    """Feed it bytes as they come; it yields each line that is complete and not blank.

    Only a line feed ends a line: `str.splitlines` knows further line ends, which may be inside a JSON string. A line
    larger than `max_line` bytes raises UpstreamInvalidResponse. `beside` is the beginning of an incomplete last line.
    """

    def __init__(self, max_line: int) -> None:
        self._max_line = max_line
        self._line: list[bytes] = []
        self._waiting = 0
        self.lines = 0
        """Complete lines so far, which count as progress."""
        self.beside = b""

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        if chunk.find(b"\n") < 0:  # an incomplete line is not searched again with each packet
            self._keep(chunk)
            return
        lines = b"".join([*self._line, chunk]).split(b"\n")
        self._line, self._waiting = [], 0
        rest = lines.pop()
        self.lines += len(lines)
        for line in lines:
            yield from self._checked(line)
        self._keep(rest)

    def _keep(self, piece: bytes) -> None:
        if piece:
            self._line.append(piece)
            self._waiting += len(piece)
        if self._waiting > self._max_line:
            raise self._too_large()

    def _too_large(self) -> UpstreamInvalidResponse:
        return UpstreamInvalidResponse.too_large(what="a line", limit=self._max_line, setting="EVENT_MAX_SIZE")

    def end(self) -> Iterator[bytes]:
        """The last line, if it is complete JSON without a line feed."""
        rest = b"".join(self._line)
        try:
            from_json(rest)
        except ValueError:
            self.beside = rest[:_LONGEST_BESIDE]
            return
        yield from self._checked(rest)

    def _checked(self, line: bytes) -> Iterator[bytes]:
        if len(line) > self._max_line:
            raise self._too_large()
        if line := line.strip():
            yield line

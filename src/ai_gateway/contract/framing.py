"""How the items of a stream stand on the wire: as server-sent events, or one to a line."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Framing:
    """What stands before and after each item. `end` follows a whole stream, and never a broken one."""

    media: bytes
    before: bytes
    after: bytes
    end: bytes

    def framed(self, item: bytes) -> bytes:
        """One item, which must be a single line."""
        return self.before + item + self.after


SSE = Framing(b"text/event-stream; charset=utf-8", b"data: ", b"\n\n", b"data: [DONE]\n\n")
# Whether a stream of lines is whole is said in its last item.
NDJSON = Framing(b"application/x-ndjson", b"", b"\n", b"")

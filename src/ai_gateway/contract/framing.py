"""How the items of a stream stand on the wire: as server-sent events, or one to a line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

# Unicode has more line ends than bytes do, and clients that decode before they split see them inside of texts.
_LINE_ENDS = {char.encode(): rb"\u%04x" % ord(char) for char in "\u0085\u2028\u2029"}


@dataclass(frozen=True, slots=True)
class Framing:
    """What stands before and after each item. `end` follows a whole stream, and never a broken one.

    `escapes` is what an item may not hold as it is, with the way to say it in JSON. `named` says that each event tells
    its name, without which clients of such a wire do not know it. `keep_alive` says nothing, where a wire has a way to.
    """

    media: bytes
    before: bytes
    after: bytes
    end: bytes
    escapes: Mapping[bytes, bytes] = field(default_factory=dict)
    named: bool = False
    keep_alive: bytes = b""

    def framed(self, item: bytes, event: str = "") -> bytes:
        """One item, which is JSON without line feeds, under the name of its event where events have one."""
        for raw, escape in self.escapes.items():
            item = item.replace(raw, escape)
        if self.named and event:
            return b"event: " + b"".join(event.encode().splitlines()) + b"\n" + self.before + item + self.after
        return self.before + item + self.after

    def all_framed(self, items: Sequence[bytes]) -> bytes:
        """Several items, on a wire without escapes and names."""
        return b"%b%b%b" % (self.before, (self.after + self.before).join(items), self.after)


SSE = Framing(
    b"text/event-stream; charset=utf-8", b"data: ", b"\n\n", b"data: [DONE]\n\n", keep_alive=b": keep-alive\n\n"
)
# The same where the last item says by itself that it is the last one.
SSE_OPEN = replace(SSE, end=b"")
EVENTS = replace(SSE_OPEN, named=True)
EVENTS_DONE = replace(SSE, named=True)
# Anthropic's has a sign of life that its clients know (docs.anthropic.com "Streaming messages", "Ping events").
EVENTS_PING = replace(EVENTS, keep_alive=b'event: ping\ndata: {"type":"ping"}\n\n')
# Whether a stream of lines is whole is said in its last item.
NDJSON = Framing(b"application/x-ndjson", b"", b"\n", b"", _LINE_ENDS)

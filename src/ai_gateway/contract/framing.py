"""How the items of a stream are framed on the wire: as server-sent events, or one JSON value a line (NDJSON)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

# Clients that decode before they split take Unicode's line ends inside strings for ends: `LineDecoder`, httpx 0.28.
_LINE_ENDS = {char.encode(): rb"\u%04x" % ord(char) for char in "\u0085\u2028\u2029"}


@dataclass(frozen=True, slots=True)
class Framing:
    """The bytes before and after each item. `end` follows a whole stream, and never a failed one.

    `escapes` maps characters that an item may not contain to their JSON escapes. `named` says that each event carries
    its name, which clients of such wires need. `keep_alive` is what clients ignore, on wires that have it.
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
# The same on wires whose last event marks the end by itself.
SSE_OPEN = replace(SSE, end=b"")
EVENTS = replace(SSE_OPEN, named=True)
EVENTS_DONE = replace(SSE, named=True)
# Anthropic's keep-alive is the ping event (docs.anthropic.com "Streaming messages", "Ping events").
EVENTS_PING = replace(EVENTS, keep_alive=b'event: ping\ndata: {"type":"ping"}\n\n')
# In NDJSON the last item marks the end (`done`).
NDJSON = Framing(b"application/x-ndjson", b"", b"\n", b"", _LINE_ENDS)

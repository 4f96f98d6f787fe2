"""Packets that are one chunk of HTTP/1.1's chunked coding (RFC 9112, section 7.1), as those of slow streams are."""

_LONGEST = 2048  # bytes of a packet: longer ones are no single event of a slow stream
_FRAMING = 7  # bytes of a chunk of that length beside its body

size_lines: dict[int, bytes] = {}
"""The first line of a chunk by the length of the whole packet, for lengths that have occurred."""


def is_one_chunk(packet: bytes, body: bytes) -> bool:
    """Whether the packet, in which the parser found this body, is one chunk with the framing of our own."""
    if len(packet) > _LONGEST or len(packet) > len(body) + _FRAMING or packet != b"%x\r\n%b\r\n" % (len(body), body):
        return False
    size_lines[len(packet)] = packet[: -len(body) - 2]
    return True

"""The bodies of one request and its reply, captured for a log or a trace: up to a bound, on any wire.

They are kept as received. Observers that write them out redact the keys in them.
"""

from collections.abc import Awaitable, Callable
from typing import override

from starlette.types import Message, Receive, Send

from ai_gateway.contract.body import BufferedBody

_MAX_TOTAL = 32 * 2**20


class Capturing:
    """Whether bodies are captured at present, and the memory limit for captured ones.

    `most` limits one body in bytes, `total` all of them together; of a body that does not fit the beginning is kept.
    """

    def __init__(self, most: int, total: int = _MAX_TOTAL) -> None:
        self.is_on = False
        self.most = most
        self.used = 0
        self._total = total

    def take(self, size: int) -> bool:
        """Charge bytes; False if they do not fit."""
        if self.used + size > self._total:
            return False
        self.used += size
        return True


class Kept:
    """The captured part of one body, which has `size` bytes in all."""

    def __init__(self, capturing: Capturing) -> None:
        self.media = ""
        self.size = 0
        self.held = 0
        self._parts: list[bytes] = []
        self._capturing = capturing

    def add(self, part: bytes) -> None:
        """Add a part of the body."""
        self.size += len(part)
        left = self._capturing.most - self.held
        if left <= 0 or self.held != self.size - len(part):  # only a first part is kept: nothing follows a cut
            return
        part = part[:left]
        if part and self._capturing.take(len(part)):
            self._parts.append(part)
            self.held += len(part)

    @property
    def is_cut(self) -> bool:
        """Whether a part was not kept."""
        return self.held < self.size

    def content(self) -> bytes:
        """The kept bytes."""
        return b"".join(self._parts)


class Captured:
    """Request and reply body. `release` frees their memory."""

    def __init__(self, capturing: Capturing, media: str) -> None:
        self.request, self.reply = Kept(capturing), Kept(capturing)
        self.request.media = media
        self._capturing = capturing

    def receiving(self, receive: Receive) -> Receive:
        """ASGI's `receive`, captured."""
        return _CapturedBody(receive, self.request.add)

    def sending(self, send: Send) -> Send:
        """ASGI's `send`, captured."""

        def noted(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                self.reply.media = dict(message.get("headers", ())).get(b"content-type", b"").decode("latin-1")
            else:
                self.reply.add(message.get("body", b""))
            return send(message)

        return noted

    def release(self) -> None:
        """To be called once, after the request has ended and the observers have read the bodies."""
        self._capturing.used -= self.request.held + self.reply.held


class _CapturedBody(BufferedBody):
    def __init__(self, receive: Receive, add: Callable[[bytes], None]) -> None:
        self._receive = receive
        self._add = add

    @override
    def take_whole(self) -> bytes | None:
        raw = self._receive.take_whole() if isinstance(self._receive, BufferedBody) else None
        if raw is not None:
            self._add(raw)
        return raw

    @override
    async def __call__(self) -> Message:
        message = await self._receive()
        self._add(message.get("body", b""))
        return message

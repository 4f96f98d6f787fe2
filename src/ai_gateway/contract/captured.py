"""The bodies of one request and its reply as they pass, for a log or a trace: up to a bound, whatever the wire.

They are kept as they came. Whoever writes them down strikes the keys in them, and may not always do it at all.
"""

from collections.abc import Awaitable, Callable
from typing import override

from starlette.types import Message, Receive, Send

from ai_gateway.contract.body import BufferedBody

_ROOM = 32 * 2**20


class Capturing:
    """Whether bodies are looked at by anybody now, and how much may be kept of all that are in flight.

    `most` bounds one body in bytes, `room` all of them together; a body for which there is no room is kept in part.
    """

    def __init__(self, most: int, room: int = _ROOM) -> None:
        self.wanted = False
        self.most = most
        self.used = 0
        self._room = room

    def take(self, size: int) -> bool:
        """Whether there is room for so many bytes more, which are used then."""
        if self.used + size > self._room:
            return False
        self.used += size
        return True


class Kept:
    """What is kept of one body, of `size` bytes."""

    def __init__(self, capturing: Capturing) -> None:
        self.media = ""
        self.size = 0
        self.held = 0
        self._parts: list[bytes] = []
        self._capturing = capturing

    def add(self, part: bytes) -> None:
        """More of it."""
        self.size += len(part)
        left = self._capturing.most - self.held
        if left <= 0 or self.held != self.size - len(part):  # what was cut once has no middle
            return
        part = part[:left]
        if part and self._capturing.take(len(part)):
            self._parts.append(part)
            self.held += len(part)

    @property
    def is_cut(self) -> bool:
        """Whether there was more."""
        return self.held < self.size

    def content(self) -> bytes:
        """What is kept."""
        return b"".join(self._parts)


class Captured:
    """Both bodies. `release` gives the room back."""

    def __init__(self, capturing: Capturing, media: str) -> None:
        self.request, self.reply = Kept(capturing), Kept(capturing)
        self.request.media = media
        self._capturing = capturing

    def receiving(self, receive: Receive) -> Receive:
        """ASGI's `receive` that notes what it hands over."""
        return _CapturedBody(receive, self.request.add)

    def sending(self, send: Send) -> Send:
        """ASGI's `send` that notes what it is given."""

        def noted(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                self.reply.media = dict(message.get("headers", ())).get(b"content-type", b"").decode("latin-1")
            else:
                self.reply.add(message.get("body", b""))
            return send(message)

        return noted

    def release(self) -> None:
        """To be called once, when the request is over and whoever wants the bodies has them."""
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

"""Reading of streamed replies: every wait is bounded by the idle timeout, the whole by the stream's deadline."""

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from typing import Protocol

from ai_gateway.contract.deltas import Deltas
from ai_gateway.contract.stream import Sink
from ai_gateway.errors import UpstreamInvalidResponse
from ai_gateway.providers.http.ndjson import LineParser
from ai_gateway.providers.http.sse import EventParser, is_event_stream
from ai_gateway.providers.upstream import Sizes, Timeouts


class Parser(Protocol):
    """Parses bytes into items; `lines` counts whole lines, which are progress.

    `beside` is the beginning of what is not an item.
    """

    lines: int
    beside: bytes

    def feed(self, chunk: bytes) -> Iterable[bytes]: ...
    def end(self) -> Iterator[bytes]: ...


class WholeReply(Exception):
    """The body of an expected stream is a whole reply, whatever its media type."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.body = body


class Deadline(Protocol):
    """The deadline of a stream. It moves twice for every packet, so moving it is cheap.

    `when` is initially the time by which the stream has to begin.
    """

    when: float

    def now(self) -> float: ...
    def at(self, when: float) -> None: ...
    def stop(self) -> None: ...


class OpenStream(ABC):
    """A streamed reply: its head and its body. Each HTTP client has a subclass that reads the bytes."""

    def __init__(  # noqa: PLR0913 - what is known of a reply, and what bounds it
        self,
        provider: str,
        status: int,
        headers: Mapping[str, str],
        deadline: Deadline,
        timeouts: Timeouts,
        *,
        sizes: Sizes,
    ) -> None:
        self.provider = provider
        self.status = status
        self.headers = headers
        self._deadline = deadline
        self._timeouts = timeouts
        self._sizes = sizes
        self._idle = self._end = math.inf
        self.beside = b""
        """What came beside events, once all of them are there."""

    @abstractmethod
    async def read(self) -> bytes:
        """The whole body, for a reply that turned out to be no stream."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left to drain."""
        return False

    @abstractmethod
    async def next_bytes(self) -> bytes:
        """The bytes that have arrived; empty at the end. Raises UpstreamStreamTruncated for a lost connection."""

    @abstractmethod
    async def drain(self) -> None:
        """Read the few bytes after the last item, so that the connection can be reused."""

    async def next_pieces(self) -> bytes | list[bytes]:
        """The same, or the data of several chunks of HTTP if all that has arrived is in these."""
        return await self.next_bytes()

    def divert(self, take: Sink) -> None:  # noqa: B027 - not every client can, and none has to
        """Offer packets to `take` while a reader waits in `next_bytes`, which may save waking the reader.

        It is called from the event loop with the body of one packet, if that is at most 16 KB, nothing else is
        buffered, and the reply does not end with it. True: the packet is handled, and the reader keeps waiting. False:
        the packet goes to the reader as usual; so it must be when the packet cannot be sent at once, because diverted
        packets have no backpressure. Its exceptions are raised in the reader. Its second argument is the whole packet,
        if that is one chunk with the framing of our own.
        """

    def events(self) -> AsyncGenerator[bytes]:
        """The data of each server-sent event. Raises WholeReply for a body that is not events, as `batches` does."""
        return self._items(EventParser(self._sizes.event), are_events=True)

    def batches(
        self, divert: Sink | None = None, deltas: Deltas | None = None, *, in_pieces: bool = False
    ) -> AsyncGenerator[list[bytes]]:
        """The same in batches that arrived together, without the packets of whole events that `divert` takes.

        Events that `deltas` recognises are yielded as a Run: see EventParser. With `in_pieces`, a batch may be Pieces.
        """
        parser = EventParser(self._sizes.event, deltas)
        if divert is not None:
            self._divert_events(parser, divert)
        return self._batches(parser, are_events=True, apart=parser.pieces if in_pieces else parser.named)

    def _divert_events(self, parser: EventParser, divert: Sink) -> None:
        deadline, now, idle_s = self._deadline, self._deadline.now, self._timeouts.stream_idle

        def take(packet: bytes, chunk: bytes | None = None, /) -> bool:
            # What is offered as a chunk follows a diverted packet, which has ended with an event.
            if not ((chunk is not None or parser.is_between_events) and divert(packet, chunk)):
                return False
            # A diverted packet is progress: the idle timeout starts anew.
            self._idle = idle = now() + idle_s
            deadline.at(idle if idle < self._end else self._end)
            return True

        self.divert(take)

    def lines(self) -> AsyncGenerator[bytes]:
        """Each line of newline-delimited JSON."""
        return self._items(LineParser(self._sizes.event), are_events=False)

    async def _items(self, parser: Parser, *, are_events: bool) -> AsyncGenerator[bytes]:
        async with aclosing(self._batches(parser, are_events=are_events)) as batches:
            async for batch in batches:
                for item in batch:
                    yield item

    async def _batches(  # noqa: C901 - one generator, because each around it would be entered for every packet
        self, parser: Parser, *, are_events: bool, apart: Callable[[list[bytes]], list[bytes] | None] | None = None
    ) -> AsyncGenerator[list[bytes]]:
        check_head(self.provider, self._sizes, self.headers)
        deadline, now = self._deadline, self._deadline.now
        self._end = end = now() + self._timeouts.stream
        self._idle = now() + self._timeouts.stream_idle
        begun = deadline.when  # until the first item, it bounds the start of the stream
        try:
            while True:
                deadline.at(min(self._idle, end, begun))
                chunk = await self.next_pieces()
                if apart is not None and isinstance(chunk, list) and (pieces := apart(chunk)) is not None:
                    are_events = False
                    deadline.at(end)
                    if pieces:
                        begun = end
                        yield pieces
                    self._idle = now() + self._timeouts.stream_idle
                    continue
                chunk = whole_piece(chunk)
                if are_events:
                    are_events = False
                    if self._is_whole(chunk):
                        raise WholeReply(await self._rest_of(chunk))
                # Time in which the client reads slowly does not count as the upstream's idle time.
                deadline.at(end)
                if not chunk:
                    last = list(parser.end())
                    self.beside = parser.beside
                    if last:
                        yield last
                    return
                lines = parser.lines
                batch: list[bytes] = []
                try:
                    batch.extend(parser.feed(chunk))
                finally:  # items before an invalid one are still counted
                    if batch:
                        begun = end
                        yield batch
                if parser.lines > lines:  # single bytes are not progress
                    self._idle = now() + self._timeouts.stream_idle
        finally:
            deadline.stop()

    def _is_whole(self, first: bytes) -> bool:
        """Whether a body with this beginning is not events. Its media type decides only if its content does not."""
        if first.startswith(b"data:") or is_event_stream(first):
            return False
        return first.lstrip()[:1] in {b"{", b"[", b"<"} or "event-stream" not in self.headers.get("content-type", "")

    async def _rest_of(self, first: bytes) -> bytes:
        """The whole body with this beginning."""
        parts, size = [first], len(first)
        while first and (part := await self.next_bytes()):
            parts.append(part)
            size += len(part)
            if size > self._sizes.reply:
                raise too_large(self.provider, self._sizes)
        return b"".join(parts)


class TimerDeadline:
    """A deadline with a timer of its own, which is set again when it fires too early.

    Moving the timer itself, as `asyncio.Timeout.reschedule` does, would be among the largest costs of an event.
    """

    def __init__(self, clock: asyncio.Timeout) -> None:
        self.when = clock.when() or math.inf
        self.now = asyncio.get_running_loop().time
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._until = math.inf
        self._rings = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def at(self, when: float) -> None:
        """Move the block's timeout to this time (of the loop's clock)."""
        if self._timer is None:
            self._clock.reschedule(None)
        self._until = when
        if when < self._rings:
            self._ring_at(when)

    def _ring_at(self, when: float) -> None:
        self.stop()
        self._rings = when
        self._timer = self._loop.call_at(when, self._ring)

    def _ring(self) -> None:
        if self._loop.time() < self._until:
            self._ring_at(self._until)
        else:
            self._clock.reschedule(self._until)

    def stop(self) -> None:
        """Remove the deadline."""
        if self._timer is not None:
            self._timer.cancel()


def whole_piece(pieces: bytes | list[bytes]) -> bytes:
    """What has arrived as one."""
    return pieces if isinstance(pieces, bytes) else b"".join(pieces)


def check_head(provider: str, sizes: Sizes, headers: Mapping[str, str]) -> None:
    """Refuse a compressed reply, which was not requested, and one with a too large Content-Length."""
    if "content-encoding" in headers and headers["content-encoding"].strip().lower() not in {"", "identity"}:
        raise UpstreamInvalidResponse.compressed(provider)
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > sizes.reply:
        raise too_large(provider, sizes)


def too_large(provider: str, sizes: Sizes) -> UpstreamInvalidResponse:
    """The error for a whole reply beyond the cap."""
    return UpstreamInvalidResponse.too_large(provider, limit=sizes.reply, setting="REPLY_MAX_SIZE")

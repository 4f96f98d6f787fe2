"""A streamed reply as it is read: every wait is bounded by the idle deadline, all of them by the stream's."""

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import aclosing
from typing import Protocol, Self

from ai_gateway.config.constants import UPSTREAM_MAX_EVENT, UPSTREAM_MAX_REPLY
from ai_gateway.errors import UpstreamInvalidResponse
from ai_gateway.providers.http.ndjson import LineParser
from ai_gateway.providers.http.sse import EventParser
from ai_gateway.providers.upstream import Timeouts


class Parser(Protocol):
    """Makes items of bytes; `lines` grows with every whole line, which is what counts as progress."""

    lines: int

    def feed(self, chunk: bytes) -> Iterable[bytes]: ...
    def end(self) -> Iterator[bytes]: ...


class OpenStream(ABC):
    """The head of a streamed reply, and what follows it. How bytes are read is the HTTP client's affair."""

    def __init__(
        self, provider: str, status: int, headers: Mapping[str, str], clock: asyncio.Timeout, timeouts: Timeouts
    ) -> None:
        self.provider = provider
        self.status = status
        self.headers = headers
        self._clock = clock
        self._timeouts = timeouts

    @abstractmethod
    async def read(self) -> bytes:
        """The whole body, for a reply that turned out to be no stream."""

    @abstractmethod
    async def next_bytes(self) -> bytes:
        """What has arrived; empty at the end. A connection that breaks off raises UpstreamStreamTruncated."""

    @abstractmethod
    async def drain(self) -> None:
        """Read what little is left after the last item, so that the connection can carry the next request."""

    def events(self) -> AsyncGenerator[bytes]:
        """The data of each server-sent event."""
        return self._items(EventParser(UPSTREAM_MAX_EVENT))

    def batches(self) -> AsyncGenerator[list[bytes]]:
        """The same, those together that arrived together."""
        return self._batches(EventParser(UPSTREAM_MAX_EVENT))

    def lines(self) -> AsyncGenerator[bytes]:
        """Each line of newline-delimited JSON."""
        return self._items(LineParser(UPSTREAM_MAX_EVENT))

    async def _items(self, parser: Parser) -> AsyncGenerator[bytes]:
        async with aclosing(self._batches(parser)) as batches:
            async for batch in batches:
                for item in batch:
                    yield item

    async def _batches(self, parser: Parser) -> AsyncGenerator[list[bytes]]:
        check_head(self.provider, self.headers)
        now = asyncio.get_running_loop().time
        end = now() + self._timeouts.stream
        idle = now() + self._timeouts.stream_idle
        begun = self._clock.when() or end  # until the first item it is the wait for a stream to start
        with Deadline(self._clock) as deadline:
            while True:
                deadline.at(min(idle, end, begun))
                chunk = await self.next_bytes()
                # A client that reads slowly must not be taken for a silent provider; it has the stream's whole time.
                deadline.at(end)
                if not chunk:
                    if last := list(parser.end()):
                        yield last
                    return
                lines = parser.lines
                batch: list[bytes] = []
                try:
                    batch.extend(parser.feed(chunk))
                finally:  # what came before something unreadable still counts
                    if batch:
                        begun = end
                        yield batch
                if parser.lines > lines:  # single bytes are no progress, however regularly they come
                    idle = now() + self._timeouts.stream_idle


class Deadline:
    """When a block is to time out, moved at hardly any cost: its timer looks again when it rings too early.

    Moving the timer itself, as `asyncio.Timeout.reschedule` does, is among the dearest things done for an event.
    """

    def __init__(self, clock: asyncio.Timeout) -> None:
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._when = math.inf
        self._rings = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._clock.reschedule(None)
        return self

    def at(self, when: float) -> None:
        """Let the block time out then (loop time), and not before."""
        self._when = when
        if when < self._rings:
            self._ring_at(when)

    def _ring_at(self, when: float) -> None:
        self._stop()
        self._rings = when
        self._timer = self._loop.call_at(when, self._ring)

    def _ring(self) -> None:
        if self._loop.time() < self._when:
            self._ring_at(self._when)
        else:
            self._clock.reschedule(self._when)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def __exit__(self, *_: object) -> None:
        self._stop()


def check_head(provider: str, headers: Mapping[str, str]) -> None:
    """Refuse a compressed reply, which was not asked for, and one that says itself that it is too large."""
    if headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
        raise UpstreamInvalidResponse.compressed(provider)
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > UPSTREAM_MAX_REPLY:
        raise too_large(provider)


def too_large(provider: str) -> UpstreamInvalidResponse:
    """The error for a whole reply beyond the cap."""
    return UpstreamInvalidResponse.too_large(provider)

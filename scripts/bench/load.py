"""A closed-loop load generator: every connection sends its next request when its last reply is complete.

Each reply is held to be a 200 and whole; anything else is an error with a name, and the connection that saw it stops.
"""

import asyncio
import json
import math
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Final, cast, override

from scripts.bench.cells import Door
from scripts.bench.processes import HOST, KEY, Program

_HEAD_END = b"\r\n\r\n"
_CHUNKED_END = b"\r\n0\r\n\r\n"
_EVENT = b"data: {"
_DONE = b"data: [DONE]"
# How long the last replies of a run may take before they count as lost.
_DRAIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Job:
    """What every connection sends, and what comes back: a whole reply, or a stream of this many events and its end."""

    request: bytes
    events: int | None
    end: bytes = _DONE


@dataclass(frozen=True, slots=True)
class _Way:
    """How an API is asked. Its streams have `more` events than the chat that they are made of, and `end` so.

    `provider` answers it where that is another one than for chats.
    """

    path: str
    more: int
    end: bytes = _DONE
    headers: str = ""
    provider: str = ""


_MESSAGES = _Way("/messages", 3, b'{"type":"message_stop"}', "anthropic-version: 2023-06-01\r\n")
_WAYS: Final[Mapping[Door, _Way]] = {
    "chat": _Way("/chat/completions", 0),
    "responses": _Way("/responses", 6),
    "messages": _MESSAGES,
    "relayed": _Way("/responses", 0, provider="openai"),
    "relayed messages": replace(_MESSAGES, provider="vllm"),
}


def chat_job(
    program: Program, *, events: int | None = None, gap_ms: int = 0, body: int = 0, door: Door = "chat"
) -> Job:
    """A request as a client would send it; streamed if a number of events is given, filled up to `body` bytes."""
    model = "bench"
    if events is not None:
        model = f"paced-{events}-{gap_ms}" if gap_ms else f"burst-{events}"
    sentence = "What does the fox do, and what does the dog think of it? "
    system, question = (
        "You are a helpful assistant. Answer briefly and in plain words.",
        sentence * max(3, body // len(sentence)),
    )
    asked: dict[str, object] = {"model": model, **_conversation(door, system, question), "temperature": 0.7}
    sent = json.dumps({**asked, **({} if events is None else {"stream": True})}, separators=(",", ":")).encode()
    way = _WAYS[door]
    path = f"/{way.provider}/v1{way.path}" if way.provider else program.path.replace(_WAYS["chat"].path, way.path)
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {HOST}:{program.port}\r\n"
        f"authorization: Bearer {KEY}\r\n{way.headers}"
        "user-agent: bench\r\naccept: application/json\r\ncontent-type: application/json\r\n"
        f"content-length: {len(sent)}\r\n\r\n"
    )
    return Job(head.encode() + sent, None if events is None else events + way.more, way.end)


def _conversation(door: Door, system: str, question: str) -> dict[str, object]:
    asked = {"role": "user", "content": question}
    if door in {"responses", "relayed"}:
        return {"instructions": system, "input": [asked], "max_output_tokens": 256, "store": False}
    if door in {"messages", "relayed messages"}:
        return {"system": system, "messages": [asked], "max_tokens": 256}
    return {"messages": [{"role": "system", "content": system}, asked], "max_completion_tokens": 256}


@dataclass(slots=True)
class Tally:
    """What came back. Times are seconds from sending a request: to the end of its reply, and to its first byte."""

    latencies: list[float] = field(default_factory=list)
    first_bytes: list[float] = field(default_factory=list)
    events: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


class Reply:
    """One reply, fed as it comes. `flaw` says what is wrong with it once it is complete."""

    def __init__(self, events: int | None, end: bytes = _DONE) -> None:
        self._events = events
        self._end = end
        self._buffer = bytearray()
        self._status = b""
        self._body_at = 0
        self._length: int | None = None

    def feed(self, data: bytes) -> bool:
        """Whether the reply is complete."""
        self._buffer += data
        if not self._body_at and not self._read_head():
            return False
        if self._length is None:
            return self._buffer.endswith(_CHUNKED_END)
        return len(self._buffer) - self._body_at >= self._length

    @property
    def begun(self) -> bool:
        """Whether a byte of the body is there."""
        return 0 < self._body_at < len(self._buffer)

    def _read_head(self) -> bool:
        end = self._buffer.find(_HEAD_END)
        if end < 0:
            return False
        self._body_at = end + len(_HEAD_END)
        lines = bytes(self._buffer[:end]).split(b"\r\n")
        self._status = lines[0][9:12]
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                self._length = int(value)
        return True

    def flaw(self) -> str | None:
        """None for the reply that was to come."""
        if self._status != b"200":
            return f"status {self._status.decode('latin-1')}"
        if self._events is None:
            return self._flaw_of_whole()
        found = self._buffer.count(_EVENT)
        if found != self._events:
            return f"{found} events instead of {self._events}"
        return None if self._end in self._buffer else "stream without its end"

    def _flaw_of_whole(self) -> str | None:
        if self._length is not None and len(self._buffer) - self._body_at != self._length:
            return "longer than declared"
        whole = b'"chat.completion"' in self._buffer and self._buffer.endswith(b"}")
        return None if whole else "not a chat completion"


@dataclass(slots=True)
class Quota:
    """How long connections go on sending: until a time (perf_counter), or until so many requests are sent."""

    until: float = math.inf
    left: float = math.inf

    def take(self) -> bool:
        """Whether one more may be sent."""
        if self.left <= 0 or perf_counter() >= self.until:
            return False
        self.left -= 1
        return True


class Connection(asyncio.Protocol):
    """One client: sends, waits for the whole reply, and sends again until its quota is used up."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._job = Job(b"", None)
        self._tally = Tally()
        self._quota = Quota()
        self._sent = 0.0
        self._first = 0.0
        self._reply = Reply(None)
        self._finished: asyncio.Future[None] | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its base class

    async def run(self, job: Job, tally: Tally, quota: Quota) -> None:
        """Send as long as the quota lasts, at least once, and wait for the last reply."""
        self._job, self._tally, self._quota = job, tally, quota
        self._finished = asyncio.get_running_loop().create_future()
        quota.take()
        if self.transport.is_closing():
            self._fail("connection closed")
        else:
            self._send()
        await self._finished

    def _send(self) -> None:
        self._reply = Reply(self._job.events, self._job.end)
        self._first = 0.0
        self._sent = perf_counter()
        self.transport.write(self._job.request)

    @override
    def data_received(self, data: bytes) -> None:
        complete = self._reply.feed(data)
        now = perf_counter()
        if not self._first and self._reply.begun:
            self._first = now
        self._tally.events += data.count(_EVENT)
        if complete:
            self._complete(now)

    def _complete(self, now: float) -> None:
        if flaw := self._reply.flaw():
            self._fail(flaw)
            return
        self._tally.latencies.append(now - self._sent)
        self._tally.first_bytes.append(self._first - self._sent)
        if self._quota.take():
            self._send()
        else:
            self._stop()

    def _fail(self, reason: str) -> None:
        if self._finished is not None and not self._finished.done():
            self._tally.errors[reason] += 1
        self._stop()
        self.transport.close()

    def _stop(self) -> None:
        if self._finished is not None and not self._finished.done():
            self._finished.set_result(None)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("connection lost")


class Load:
    """Open connections, ready to run."""

    def __init__(self, connections: list[Connection]) -> None:
        self._connections = connections

    async def run(self, job: Job, seconds: float, *, ramp: float = 0.0, tally: Tally | None = None) -> Tally:
        """Keep every connection busy for so long, then wait for the replies that are still to come.

        The first requests are spread over `ramp` seconds. A tally that is given can be watched meanwhile.
        """
        return await self._run(job, Quota(until=perf_counter() + seconds), ramp + seconds + _DRAIN_S, ramp, tally)

    async def count(self, job: Job, requests: int, within: float) -> Tally:
        """Send so many requests, at least one on each connection, and wait for all replies."""
        return await self._run(job, Quota(left=requests), within)

    async def _run(self, job: Job, quota: Quota, within: float, ramp: float = 0.0, tally: Tally | None = None) -> Tally:
        tally = Tally() if tally is None else tally
        began = perf_counter()
        try:
            async with asyncio.timeout(within), asyncio.TaskGroup() as runs:
                for connection in self._connections:
                    runs.create_task(connection.run(job, tally, quota))
                    if ramp:
                        await asyncio.sleep(ramp / len(self._connections))
        except TimeoutError:
            tally.errors[f"not complete within {within:.0f} s"] += 1
        tally.seconds = perf_counter() - began
        return tally


@asynccontextmanager
async def connected(port: int, concurrency: int) -> AsyncIterator[Load]:
    """So many connections, closed at the end."""
    loop = asyncio.get_running_loop()
    connections: list[Connection] = []
    try:
        for _ in range(concurrency):
            _, connection = await loop.create_connection(Connection, HOST, port)
            connections.append(connection)
        yield Load(connections)
    finally:
        for connection in connections:
            connection.transport.close()

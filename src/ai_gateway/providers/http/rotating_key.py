"""Rotating keys, such as hourly tokens: read from a file or a command when calls are made."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from time import monotonic

from ai_gateway.config.fields import is_header_value
from ai_gateway.config.secrets import secret_in
from ai_gateway.contract.budget import Allocation
from ai_gateway.errors import UpstreamAuthError
from ai_gateway.programs import end_program
from ai_gateway.providers.http.client import Caller, UpstreamReply
from ai_gateway.providers.http.pool import Connections
from ai_gateway.providers.http.stream import OpenStream
from ai_gateway.providers.upstream import KeySource, Upstream
from ai_gateway.redaction import remember

_KEPT_S = {"file": 10.0, "command": 300.0}
_COMMAND_S = 30.0
_LARGEST = 64 * 1024


class RotatingKey:
    """The key of one source, cached for a while; concurrent callers share one run of the command."""

    def __init__(self, provider: str, source: KeySource, clock: Callable[[], float] = monotonic) -> None:
        self._provider = provider
        self._source = source
        self._clock = clock
        self._kept_s = _KEPT_S["file" if source.file else "command"]
        self._key = ""
        self._until = -math.inf
        self._reading: asyncio.Task[tuple[str, str | None] | None] | None = None

    async def read(self) -> str:
        """The key. Raises UpstreamAuthError if there is none."""
        if self._clock() >= self._until:
            if self._reading is None or self._reading.done():
                self._reading = asyncio.create_task(self._renew())
            # One after the other, the last of a hundred would wait for a hundred commands that hang. A client that
            # leaves must not end the one that all wait for.
            if (problem := await asyncio.shield(self._reading)) is not None:
                message, detail = problem
                raise UpstreamAuthError(message, detail=detail)
        return self._key

    async def aclose(self) -> None:
        """End the command."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _renew(self) -> tuple[str, str | None] | None:
        """Read the key anew. Returns message and detail of a failure: each caller raises an error of its own."""
        try:
            self._key = await self._fresh()
        except UpstreamAuthError as error:
            return error.message, error.detail
        self._until = self._clock() + self._kept_s
        return None

    def forget(self) -> None:
        """Drop the cached key, because the upstream has refused it."""
        self._until = -math.inf

    async def _fresh(self) -> str:
        try:
            key = secret_in(self._source.file) if self._source.file else await _printed(self._source.command)
        except (OSError, ValueError) as error:
            raise UpstreamAuthError(
                f"The gateway has no key for provider '{self._provider}': its operator has to check "
                f"{self._source.setting}.",
                detail=str(error),
            ) from None
        if not is_header_value(key):
            raise UpstreamAuthError(f"The key from {self._source.setting} holds characters that no header can carry.")
        return key


class KeyedCaller:
    """Wraps a caller, and adds the current key to every call."""

    def __init__(self, caller: Caller, upstream: Upstream, source: KeySource) -> None:
        self._caller = caller
        self._upstream = upstream
        self._key = RotatingKey(upstream.name, source)

    async def fetch(  # noqa: PLR0913, PLR0917 - what a request is made of, and what bounds it
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        accept: str | None = None,
        allocation: Allocation | None = None,
        *,
        spent_s: float = 0,
    ) -> UpstreamReply:
        """One whole reply."""
        keyed = await self._keyed(headers)
        reply = await self._caller.fetch(method, path, keyed, body, accept, allocation, spent_s=spent_s)
        self._heed(reply.status)
        return reply

    @asynccontextmanager
    async def stream(  # noqa: PLR0913 - as above
        self,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        accept: str | None = None,
        allocation: Allocation | None = None,
        *,
        spent_s: float = 0,
    ) -> AsyncIterator[OpenStream]:
        """A reply to be read as it comes."""
        keyed = await self._keyed(headers)
        async with self._caller.stream(path, keyed, body, accept, allocation, spent_s=spent_s) as stream:
            self._heed(stream.status)
            yield stream

    @property
    def connections(self) -> Connections | None:
        """The connections of the wrapped caller."""
        return self._caller.connections

    async def aclose(self) -> None:
        """Close the wrapped caller."""
        await self._key.aclose()
        await self._caller.aclose()

    async def _keyed(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        key = await self._key.read()
        remember(key)
        return {**headers, **self._upstream.key_headers(key)}

    def _heed(self, status: int) -> None:
        if status == 401:
            self._key.forget()


async def _printed(command: tuple[str, ...]) -> str:
    """The command's output. Raises ValueError or OSError if it fails."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdout is not None  # noqa: S101 - asked for
    output = b""
    try:
        async with asyncio.timeout(_COMMAND_S):
            while len(output) <= _LARGEST and (more := await process.stdout.read(_LARGEST)):
                output += more
            if len(output) > _LARGEST:
                raise ValueError(f"the command prints more than {_LARGEST // 1024} KiB")
            await process.wait()
    except TimeoutError:
        raise ValueError(f"the command takes longer than {_COMMAND_S:.0f} s") from None
    finally:
        await asyncio.shield(end_program(process))
    text = output.strip().decode("utf-8", "replace")
    if process.returncode or not text:
        raise ValueError(f"the command ended with {process.returncode}" if process.returncode else "it printed nothing")
    return text

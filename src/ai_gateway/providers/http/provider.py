"""What every provider over HTTP does alike: call, check what came, and read its errors."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import ClassVar, override

from ai_gateway.contract.call import Attempt
from ai_gateway.contract.strict_json import read_json
from ai_gateway.errors import GatewayError, UpstreamInvalidResponse
from ai_gateway.providers.base import Provider
from ai_gateway.providers.http.client import Caller
from ai_gateway.providers.http.errors import from_event, from_reply, is_error, kept_headers
from ai_gateway.providers.http.stream import OpenStream
from ai_gateway.providers.upstream import Upstream

JSON = "application/json"
EVENTS = "text/event-stream"


class HttpProvider(Provider):
    """An upstream behind a caller. What differs from wire to wire is overridden: errors, and headers about limits.

    `not_streams` are the content types that no stream has; some servers label theirs as plain text, or not at all.
    """

    not_streams: ClassVar[frozenset[str]] = frozenset({JSON, "text/html"})

    def __init__(self, upstream: Upstream, caller: Caller) -> None:
        super().__init__(upstream.name, upstream.row.policies, upstream.unknown_params, upstream.conformance)
        self._caller = caller

    @override
    async def aclose(self) -> None:
        await self._caller.aclose()

    @override
    def error_in(self, value: object) -> GatewayError | None:
        return from_event(self.name, value) if is_error(value) else None

    def _refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        """The error for a reply whose status is not 2xx."""
        return from_reply(self.name, status, headers, body)

    def _limits(self, headers: Mapping[str, str]) -> dict[str, str]:
        """The headers of a good reply that tell the caller when to come back."""
        return kept_headers(headers)

    async def _fetch(  # noqa: PLR0913 - what a request is made of, and what it is for
        self,
        attempt: Attempt,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        spent_s: float = 0,
    ) -> bytes:
        """The body of a good reply. Raises the error that any other one is."""
        reply = await self._caller.fetch(method, path, headers, body, room=attempt.call.room, spent_s=spent_s)
        self._check(attempt, reply.status, reply.headers, reply.body)
        return reply.body

    @asynccontextmanager
    async def _stream(
        self, attempt: Attempt, path: str, headers: Mapping[str, str], body: bytes, *, spent_s: float = 0
    ) -> AsyncIterator[OpenStream]:
        """A stream that has begun well; leaving the block closes it. Raises the error that any other reply is."""
        async with self._caller.stream(path, headers, body, room=attempt.call.room, spent_s=spent_s) as stream:
            media = stream.headers.get("content-type", "").partition(";")[0].strip().lower()
            if stream.status == 200 and media not in self.not_streams:
                attempt.notes.limits = self._limits(stream.headers)
            else:
                await self._refuse_whole(attempt, stream)
            yield stream

    async def _refuse_whole(self, attempt: Attempt, stream: OpenStream) -> None:
        """Raise the error for a reply that is no stream."""
        body = await stream.read()
        self._check(attempt, stream.status, stream.headers, body)
        if (error := self.error_in(self._json(body))) is not None:
            raise error
        raise UpstreamInvalidResponse.not_a_stream(self.name)

    def _check(self, attempt: Attempt, status: int, headers: Mapping[str, str], body: bytes) -> None:
        if status == 200:
            attempt.notes.limits = self._limits(headers)
        elif 200 < status < 300:
            raise UpstreamInvalidResponse.without_reply(self.name, status)
        else:
            raise self._refusal(status, headers, body)

    def _json(self, raw: bytes) -> object:
        """The JSON value in a reply or event. Raises UpstreamInvalidResponse."""
        try:
            return read_json(raw)
        except ValueError as error:
            raise UpstreamInvalidResponse.not_json(self.name, detail=str(error)) from None

"""The probe's HTTP client: every request has a timeout and a size limit, and is sent only once."""

import asyncio
from collections.abc import Mapping
from typing import Self

import aiohttp
from yarl import URL

from ai_gateway.config.constants import VERSION
from ai_gateway.probe.reply import Reply
from ai_gateway.probe.verdict import Failed

_MAX_BODY = 16 * 1024 * 1024


class Unreachable(Exception):
    """No connection could be made; the message can be shown."""


class ProbeClient:
    """A client of one upstream that caches its responses.

    The same request is sent once: many checks look at one response. The cached values are tasks, so that concurrent
    checks share them, and a check that times out cancels none.
    """

    def __init__(self, base_url: str, key: str | None, timeout_s: float) -> None:
        self.base_url = base_url.rstrip("/")
        self.key = key
        self._timeout = timeout_s
        self._requests: dict[object, asyncio.Task[Reply]] = {}
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={"accept-encoding": "identity", "user-agent": f"ai-gateway-probe/{VERSION}"},
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._requests.values():
            task.cancel()
        await asyncio.gather(*self._requests.values(), return_exceptions=True)
        await self._session.close()

    async def request(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Reply:
        """The response to this request, or its failure, possibly cached. An empty header is omitted."""
        key = (self.base_url, method, path, body, tuple(headers.items()))
        if key not in self._requests:
            self._requests[key] = asyncio.create_task(self._send(method, path, body, headers))
        return await asyncio.shield(self._requests[key])

    async def _send(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Reply:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._exchange(method, URL(self.base_url + path, encoded=True), body, self._all(headers))
        except TimeoutError:
            raise Failed(f"a whole reply within {self._timeout:g} s", "none, or no end of it") from None
        except aiohttp.ClientConnectorError as error:
            raise Unreachable(str(error.os_error) or "no connection") from None
        except (aiohttp.ClientError, ConnectionError) as error:
            raise Failed("a whole reply", f"the exchange broke off: {type(error).__name__}") from None

    async def _exchange(self, method: str, url: URL, body: bytes | None, headers: Mapping[str, str]) -> Reply:
        async with self._session.request(method, url, data=body, headers=headers, allow_redirects=False) as reply:
            parts: list[bytes] = []
            size = 0
            while part := await reply.content.readany():
                size += len(part)
                if size > _MAX_BODY:
                    raise Failed(f"a reply of at most {_MAX_BODY} bytes", "more")
                parts.append(part)
            return Reply(reply.status, reply.headers, b"".join(parts))

    def _all(self, headers: Mapping[str, str]) -> dict[str, str]:
        defaults = {"content-type": "application/json", "authorization": f"Bearer {self.key}" if self.key else ""}
        return {name: value for name, value in {**defaults, **headers}.items() if value}

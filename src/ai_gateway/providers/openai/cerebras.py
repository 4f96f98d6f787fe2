"""Cerebras, through the client of its own SDK. Its wire is OpenAI's, so replies are read by the same code."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, override

import httpx
from cerebras.cloud.sdk import APIStatusError, AsyncCerebras, AsyncStream, CerebrasError

from ai_gateway.contract.call import Attempt
from ai_gateway.contract.tracebacks import forget_frames
from ai_gateway.providers.openai.provider import OpenAICompatible
from ai_gateway.providers.sdk.client import HEADERS, SdkTransport
from ai_gateway.providers.upstream import Upstream, versioned
from gateway_contract.openai import models


class _CerebrasTransport(SdkTransport):
    failures = (CerebrasError,)

    def __init__(self, upstream: Upstream) -> None:
        super().__init__(upstream)
        self._client = AsyncCerebras(
            api_key=upstream.secret,
            base_url=versioned(upstream.base_url),
            max_retries=0,
            default_headers={**HEADERS, **upstream.sent_headers},
            warm_tcp_connection=False,
            http_client=httpx.AsyncClient(
                transport=self.carrier,
                follow_redirects=False,
                trust_env=False,
            ),
        )

    @override
    @asynccontextmanager
    async def open(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> AsyncIterator[httpx.Response]:
        reply = await self._answer(method, path, headers, body)
        try:
            yield reply
        finally:
            await reply.aclose()

    async def _answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> httpx.Response:
        """The raw reply, so that the SDK parses nothing; an error response is a reply too."""
        options: Any = {"headers": dict(headers)}
        call: Any = self._client.get if method == "GET" else self._client.post
        content = {} if body is None else {"content": body}
        try:
            reply: httpx.Response = await call(
                path, cast_to=httpx.Response, options=options, stream=True, stream_cls=AsyncStream[Any], **content
            )
        except APIStatusError as error:
            forget_frames(error)
            return error.response
        return reply

    @override
    async def aclose(self) -> None:
        await self._client.close()


class Cerebras(OpenAICompatible):
    """Chat, completions and models; no embeddings."""

    def __init__(self, upstream: Upstream) -> None:
        super().__init__(upstream, _CerebrasTransport(upstream))

    @override
    async def create_embeddings(self, attempt: Attempt, body: models.CreateEmbeddingRequest) -> bytes:
        self._unsupported(attempt)

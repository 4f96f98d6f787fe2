"""Ollama, through the client of its own SDK: its native API, so that nothing is lost to its OpenAI-like one.

The SDK makes the client and closes it. Bodies go out and come in as our own bytes, because its models leave out what
the server understands: nested parameters of tools, ids of calls, images in data: URLs.
"""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Protocol, override

import httpx
import ollama
from pydantic import BaseModel
from pydantic_core import to_json

from ai_gateway.conform.choices import FINISH_REASONS
from ai_gateway.conform.embeddings import to_base64
from ai_gateway.contract.call import Call
from ai_gateway.contract.strict_json import read_json
from ai_gateway.errors import ModelNotFound, UpstreamError, UpstreamInvalidResponse, UpstreamStreamTruncated
from ai_gateway.providers.base import Provider
from ai_gateway.providers.http.egress import Egress
from ai_gateway.providers.http.errors import from_event, from_reply, is_error, kept_headers
from ai_gateway.providers.http.image_fetch import fetch_all
from ai_gateway.providers.parameters import name_dropped
from ai_gateway.providers.sdk.client import HEADERS, BoundedTransport, SdkTransport, connect_timeout
from ai_gateway.providers.upstream import Upstream
from ai_gateway.translate.chat_ollama import reply as replies, request as requests
from ai_gateway.translate.chat_ollama.messages import image_urls
from ai_gateway.translate.chat_ollama.reply import Asked
from ai_gateway.translate.chat_ollama.request import Translated
from ai_gateway.translate.chat_ollama.stream import ChatChunks, CompletionChunks
from ai_gateway.translate.wires.ollama import ModelList, Reply, Shown, Vectors, read
from gateway_contract.openai import models

_ODD_END = "map-finish-reason"


class _Client(ollama.AsyncClient):
    """The SDK's client, asked for bytes."""

    def set_headers(self, headers: Mapping[str, str]) -> None:
        """Ours alone: the SDK would send the key that it finds in the environment to any host."""
        self._client.headers = httpx.Headers(headers)

    async def aclose(self) -> None:
        """Close the pool."""
        await self._client.aclose()

    @asynccontextmanager
    async def bytes_of(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> AsyncIterator[httpx.Response]:
        """The reply of one request, unread."""
        async with self._client.stream(method, path, content=body, headers=dict(headers)) as reply:
            yield reply


class _OllamaTransport(SdkTransport):
    failures = (ollama.RequestError, ollama.ResponseError)

    def __init__(self, upstream: Upstream) -> None:
        super().__init__(upstream)
        self._client = _Client(
            "/".join((upstream.base_url.rstrip("/"), "api")),
            transport=BoundedTransport(upstream.name),
            timeout=connect_timeout(upstream.timeouts),
            follow_redirects=False,
            trust_env=False,
        )
        self._client.set_headers({**HEADERS, **upstream.sent_headers, "content-type": "application/json"})

    @override
    @asynccontextmanager
    async def open(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> AsyncIterator[httpx.Response]:
        async with self._client.bytes_of(method, path, headers, body) as reply:
            yield reply

    @override
    async def aclose(self) -> None:
        await self._client.aclose()


class _Teller[Chunk](Protocol):
    """Makes chunks of lines until it is done."""

    done: bool

    def take(self, reply: Reply) -> Iterator[Chunk]: ...


class Ollama(Provider):
    """One Ollama server. `egress` is how images elsewhere are fetched, where that is switched on."""

    wire = "ollama"

    def __init__(self, upstream: Upstream, egress: Egress | None = None) -> None:
        super().__init__(upstream.name, upstream.row.policies, upstream.unknown_params, upstream.conformance)
        self._secrets = upstream.secrets
        self._transport = _OllamaTransport(upstream)
        self._fetch_s = upstream.timeouts.request
        self._egress = egress or (Egress() if upstream.fetch_images else None)

    @override
    async def list_models(self, call: Call) -> models.ListModelsResponse:
        return replies.model_list(await self._fetch(call, "/tags", None, ModelList))

    @override
    async def retrieve_model(self, call: Call, model: str) -> models.Model:
        if call.native is not None:
            sent = to_json({**call.native, "model": model})
            return replies.shown_model(model, await self._fetch(call, "/show", sent, Shown))
        listed = {one.id: one for one in (await self.list_models(call)).data}
        found = listed.get(model) or listed.get(f"{model}:latest")  # a name without a tag means this one
        if found is None:
            raise ModelNotFound("There is no such model: see the list of models.", param="model")
        return found

    @override
    async def create_chat_completion(
        self, call: Call, body: models.CreateChatCompletionRequest
    ) -> models.CreateChatCompletionResponse:
        sent, spent_s = await self._chat(call, body)
        reply = await self._fetch(call, "/chat", sent, Reply, spent_s=spent_s)
        return replies.chat_response(reply, self._asked(call, body.model))

    @override
    async def stream_chat_completion(
        self, call: Call, body: models.CreateChatCompletionRequest
    ) -> AsyncGenerator[models.CreateChatCompletionStreamResponse]:
        sent, spent_s = await self._chat(call, body)
        teller = ChatChunks(self._asked(call, body.model), include_usage=_wants_usage(body))
        async with aclosing(self._stream(call, "/chat", sent, teller, spent_s=spent_s)) as chunks:
            async for chunk in chunks:
                yield chunk

    @override
    async def create_completion(
        self, call: Call, body: models.CreateCompletionRequest
    ) -> models.CreateCompletionResponse:
        sent = self._sent(call, requests.completion_request(body))
        reply = await self._fetch(call, "/generate", sent, Reply)
        return replies.completion_response(reply, self._asked(call, body.model))

    @override
    def stream_completion(
        self, call: Call, body: models.CreateCompletionRequest
    ) -> AsyncGenerator[models.CreateCompletionStreamResponse]:
        sent = self._sent(call, requests.completion_request(body))
        teller = CompletionChunks(self._asked(call, body.model), include_usage=_wants_usage(body))
        return self._stream(call, "/generate", sent, teller)

    @override
    async def create_embeddings(
        self, call: Call, body: models.CreateEmbeddingRequest
    ) -> models.CreateEmbeddingResponse:
        sent = self._sent(call, requests.embed_request(body))
        vectors = await self._fetch(call, "/embed", sent, Vectors)
        reply = replies.embedding_response(vectors, self._asked(call, body.model))
        if body.encoding_format == "base64":
            for item in reply.data:
                item.embedding = to_base64(item.embedding)
        return reply

    @override
    async def aclose(self) -> None:
        await self._transport.aclose()

    async def _chat(self, call: Call, body: models.CreateChatCompletionRequest) -> tuple[bytes, float]:
        """The request's bytes, and the seconds that its images took: the answer has the rest of the time."""
        began = time.monotonic()
        sent = self._sent(call, requests.chat_request(body, await self._images(body)))
        return sent, time.monotonic() - began

    async def _fetch[Shape: BaseModel](
        self, call: Call, path: str, body: bytes | None, shape: type[Shape], *, spent_s: float = 0
    ) -> Shape:
        method = "GET" if body is None else "POST"
        reply = await self._transport.fetch(method, path, {"x-request-id": call.request_id}, body, spent_s=spent_s)
        self._check(call, reply.status, reply.headers, reply.body)
        return self._read(call, shape, reply.body)

    async def _stream[Chunk](
        self, call: Call, path: str, body: bytes, teller: _Teller[Chunk], *, spent_s: float = 0
    ) -> AsyncGenerator[Chunk]:
        headers = {"x-request-id": call.request_id}
        async with self._transport.stream(path, headers, body, spent_s=spent_s) as stream:
            self._check(call, stream.status, stream.headers, b"" if stream.status == 200 else await stream.read())
            async with aclosing(stream.lines()) as lines:
                async for line in lines:
                    for chunk in teller.take(self._read(call, Reply, line)):
                        yield chunk
                    if teller.done:
                        await stream.drain()
                        return
        raise UpstreamStreamTruncated.ended(self.name)

    def _check(self, call: Call, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Raise unless an answer is coming."""
        if status == 200:
            call.reply_headers.update(kept_headers(headers))
        elif 200 < status < 300:
            raise UpstreamInvalidResponse.without_reply(self.name, status)
        else:
            raise from_reply(self.name, status, headers, body, *self._secrets)

    def _read[Shape: BaseModel](self, call: Call, shape: type[Shape], raw: bytes) -> Shape:
        try:
            value = read_json(raw)
        except ValueError as error:
            raise UpstreamInvalidResponse.not_json(self.name, detail=str(error)) from None
        if is_error(value):
            raise from_event(self.name, value, *self._secrets)
        found = read(shape, value)
        if isinstance(found, Reply) and replies.ends_oddly(found):
            self._mend_end(call, found)
        return found

    def _mend_end(self, call: Call, reply: Reply) -> None:
        """A reason to end that is none of Ollama's: a failure, or told as for every upstream, and named."""
        reason = (reply.done_reason or "").lower()
        if reason == "error":
            raise UpstreamError.gave_up(self.name, detail=f"done reason {reason}")
        if self.conformance == "enforce":
            raise UpstreamInvalidResponse.unknown_end(self.name, detail=_ODD_END)
        reply.done_reason = FINISH_REASONS.get(reason, "stop")
        call.repaired(self.name, [_ODD_END])

    async def _images(self, body: models.CreateChatCompletionRequest) -> dict[str, str]:
        """Images that lie elsewhere, as base64 by URL; without leave to fetch, the translation refuses them."""
        places = {url: param for param, url in image_urls(body.messages)} if self._egress else {}
        return await fetch_all(self._egress, places, self.name, self._fetch_s) if self._egress and places else {}

    def _sent(self, call: Call, translated: Translated) -> bytes:
        """The body's bytes; what had no place in it is named in the reply. A caller of this very wire is quoted."""
        if call.native is not None:
            ours = {name: translated.body[name] for name in ("model", "stream") if name in translated.body}
            return to_json(ours | dict(call.native))
        name_dropped(call, self.name, translated.dropped)
        return to_json(translated.body)

    @staticmethod
    def _asked(call: Call, model: str) -> Asked:
        return Asked(model, call.request_id, int(time.time()), native=call.native is not None)


def _wants_usage(body: models.CreateChatCompletionRequest | models.CreateCompletionRequest) -> bool:
    return bool(body.stream_options and body.stream_options.include_usage)

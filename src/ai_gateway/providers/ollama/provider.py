"""Ollama by its native API, which has more than its OpenAI-compatible one, through its own SDK's client.

The SDK only creates and closes the client. Bodies are our own bytes, because the SDK's models drop what the server
understands: nested parameters of tools, ids of calls, images in data: URLs.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Protocol, override

import httpx
import ollama
from pydantic import BaseModel

from ai_gateway.conform.embedding import to_base64
from ai_gateway.conform.finish_reasons import meaning_of
from ai_gateway.conform.joined import join
from ai_gateway.conform.refused_usage import counting_refused
from ai_gateway.conform.rules import FINISH_ONCE, JOIN_EVENTS, MAP_FINISH_REASON, TELL_UNKNOWN_FINISH
from ai_gateway.contract.call import Attempt
from ai_gateway.contract.native import ANTHROPIC, NativeOperation
from ai_gateway.contract.wire_form import to_wire
from ai_gateway.contract.write import to_fields
from ai_gateway.errors import ModelNotFound, UpstreamError, UpstreamRefused, UpstreamStreamTruncated
from ai_gateway.providers.efforts import RefusedEfforts
from ai_gateway.providers.http.client import DRAIN_S, Caller, transport
from ai_gateway.providers.http.egress import Egress
from ai_gateway.providers.http.image_fetch import fetch_all
from ai_gateway.providers.http.ndjson import lines_in
from ai_gateway.providers.http.provider import HttpProvider
from ai_gateway.providers.parameters import note_dropped
from ai_gateway.providers.sdk.client import HEADERS, SdkTransport
from ai_gateway.providers.upstream import Upstream
from ai_gateway.translate.chat_ollama import reply as replies, request as requests
from ai_gateway.translate.chat_ollama.forced import ForcedCall
from ai_gateway.translate.chat_ollama.messages import image_urls
from ai_gateway.translate.chat_ollama.reply import RequestContext
from ai_gateway.translate.chat_ollama.request import Translated
from ai_gateway.translate.chat_ollama.stream import ChatStreamTranslator, CompletionStreamTranslator
from ai_gateway.translate.extra_fields import OTHER_FIELDS, extra_fields
from ai_gateway.translate.wires.ollama import Message, ModelList, Reply, Shown, Vectors, read
from gateway_contract.openai import models


class _Client(ollama.AsyncClient):
    """The SDK's client, used for raw bytes."""

    def set_headers(self, headers: Mapping[str, str]) -> None:
        """Replace all headers: the SDK would send the key from the environment to any host."""
        self._client.headers = httpx.Headers(headers)

    async def aclose(self) -> None:
        """Close the pool."""
        await self._client.aclose()

    @asynccontextmanager
    async def bytes_of(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> AsyncIterator[httpx.Response]:
        """The unread reply to one request."""
        async with self._client.stream(method, path, content=body, headers=dict(headers)) as reply:
            yield reply


class _OllamaTransport(SdkTransport):
    failures = (ollama.RequestError, ollama.ResponseError)

    def __init__(self, upstream: Upstream) -> None:
        super().__init__(upstream)
        self._client = _Client(
            "/".join((upstream.base_url.rstrip("/"), "api")),
            transport=self.carrier,
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


class _StreamTranslator[Chunk](Protocol):
    """Translates lines to chunks until `done`."""

    done: bool

    def feed(self, reply: Reply) -> Iterator[Chunk]: ...


class Ollama(HttpProvider):
    """One Ollama server. `egress` fetches image URLs, if that is enabled."""

    # docs.ollama.com/api/anthropic-compatibility: newer servers answer /v1/messages; older ones are recognised by their
    # 404. Its /v1/responses lacks features that agents use, so responses are translated.
    wires = frozenset({"ollama", ANTHROPIC})
    carriers = frozenset({"reasoning_content", "efforts"})

    def __init__(self, upstream: Upstream, egress: Egress | None = None) -> None:
        super().__init__(upstream, _OllamaTransport(upstream))
        self._relay = transport(upstream, "/".join((upstream.base_url.rstrip("/"), "v1")))
        self._efforts = RefusedEfforts()
        self._fetch_s = upstream.timeouts.request
        self._egress = egress or (Egress() if upstream.fetch_images else None)

    @override
    def _relaying(self, _: NativeOperation) -> Caller:
        return self._relay

    @override
    async def aclose(self) -> None:
        await super().aclose()
        await self._relay.aclose()

    @override
    async def list_models(self, attempt: Attempt) -> models.ListModelsResponse:
        return replies.model_list(await self._exchange(attempt, "/tags", None, ModelList))

    @override
    async def retrieve_model(self, attempt: Attempt, model: str) -> models.Model:
        native = attempt.native("ollama")
        if native is not None:
            sent = to_wire({**native, "model": model})
            return replies.shown_model(model, await self._exchange(attempt, "/show", sent, Shown))
        listed = {one.id: one for one in (await self.list_models(attempt)).data}
        found = listed.get(model) or listed.get(f"{model}:latest")  # a name without a tag means this one
        if found is None:
            raise ModelNotFound(f"There is no model '{model[:256]}': see the list of models.", param="model")
        return found

    @override
    async def create_chat_completion(
        self, attempt: Attempt, body: models.CreateChatCompletionRequest
    ) -> models.CreateChatCompletionResponse | dict[str, object]:
        try:
            return await self._whole(attempt, self._efforts.without(attempt, body))
        except UpstreamRefused as error:
            if not self._efforts.learn(attempt, body, error):
                raise
        return await self._whole(attempt, self._efforts.without(attempt, body))

    async def _whole(
        self, attempt: Attempt, body: models.CreateChatCompletionRequest
    ) -> models.CreateChatCompletionResponse | dict[str, object]:
        sent, forced, spent_s = await self._chat(attempt, body)
        raw = await self._send(attempt, "/chat", sent, spent_s=spent_s)
        context = _context(attempt, body.model, forced)
        if lines := lines_in(raw):
            return self._joined(attempt, lines, ChatStreamTranslator(context, include_usage=True))
        with counting_refused(attempt.notes, raw):
            response = replies.chat_response(self._read(attempt, Reply, raw), context)
        if forced and "tool_calls" not in response.choices[0].message.model_fields_set:
            note_dropped(attempt, {"tool_choice"})  # the server has ignored `format`
        return response

    @override
    async def stream_chat_completion(
        self, attempt: Attempt, body: models.CreateChatCompletionRequest
    ) -> AsyncGenerator[models.CreateChatCompletionStreamResponse]:
        try:
            async with aclosing(self._streamed(attempt, self._efforts.without(attempt, body))) as chunks:
                async for chunk in chunks:
                    yield chunk
        except UpstreamRefused as error:
            if not self._efforts.learn(attempt, body, error):
                raise
        else:
            return
        async with aclosing(self._streamed(attempt, self._efforts.without(attempt, body))) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _streamed(
        self, attempt: Attempt, body: models.CreateChatCompletionRequest
    ) -> AsyncGenerator[models.CreateChatCompletionStreamResponse]:
        sent, forced, spent_s = await self._chat(attempt, body)
        translator = ChatStreamTranslator(_context(attempt, body.model, forced), include_usage=True)
        async with aclosing(self._chunks(attempt, "/chat", sent, translator, spent_s=spent_s)) as chunks:
            async for chunk in chunks:
                if translator.lacks_forced_call:
                    note_dropped(attempt, {"tool_choice"})
                yield chunk

    @override
    async def create_completion(
        self, attempt: Attempt, body: models.CreateCompletionRequest
    ) -> models.CreateCompletionResponse | dict[str, object]:
        sent = self._sent(attempt, requests.completion_request(body))
        raw = await self._send(attempt, "/generate", sent)
        context = _context(attempt, body.model)
        if lines := lines_in(raw):
            return self._joined(attempt, lines, CompletionStreamTranslator(context, include_usage=True))
        with counting_refused(attempt.notes, raw):
            return replies.completion_response(self._read(attempt, Reply, raw), context)

    @override
    def stream_completion(
        self, attempt: Attempt, body: models.CreateCompletionRequest
    ) -> AsyncGenerator[models.CreateCompletionStreamResponse]:
        sent = self._sent(attempt, requests.completion_request(body))
        translator = CompletionStreamTranslator(_context(attempt, body.model), include_usage=True)
        return self._chunks(attempt, "/generate", sent, translator)

    @override
    async def create_embeddings(
        self, attempt: Attempt, body: models.CreateEmbeddingRequest
    ) -> models.CreateEmbeddingResponse:
        sent = self._sent(attempt, requests.embed_request(body))
        vectors = await self._exchange(attempt, "/embed", sent, Vectors)
        reply = replies.embedding_response(vectors, _context(attempt, body.model))
        if body.encoding_format == "base64":
            for item in reply.data:
                item.embedding = to_base64(item.embedding)
        return reply

    async def _chat(
        self, attempt: Attempt, body: models.CreateChatCompletionRequest
    ) -> tuple[bytes, ForcedCall | None, float]:
        """The request's bytes, the forced tool call, and the seconds that fetching its images took."""
        began = time.monotonic()
        translated = requests.chat_request(body, await self._images(attempt, body))
        sent = self._sent(attempt, translated)
        forced = translated.forced if attempt.native("ollama") is None else None
        return sent, forced, time.monotonic() - began

    async def _exchange[Shape: BaseModel](
        self, attempt: Attempt, path: str, body: bytes | None, shape: type[Shape], *, spent_s: float = 0
    ) -> Shape:
        raw = await self._send(attempt, path, body, spent_s=spent_s)
        with counting_refused(attempt.notes, raw):
            return self._read(attempt, shape, raw)

    async def _send(self, attempt: Attempt, path: str, body: bytes | None, *, spent_s: float = 0) -> bytes:
        method = "GET" if body is None else "POST"
        headers = {"x-request-id": attempt.upstream_request_id}
        return await self._fetch(attempt, method, path, headers, body, spent_s=spent_s)

    def _joined(
        self, attempt: Attempt, lines: Iterable[bytes], translator: _StreamTranslator[BaseModel]
    ) -> dict[str, object]:
        """The whole reply from a stream of a server that streams unasked."""
        attempt.repaired(JOIN_EVENTS.name)
        parts = [self._read(attempt, Reply, line) for line in lines]
        for part in parts[:-1]:
            if part.done:
                self._go_on(attempt, part)
        chunks = [chunk for part in parts for chunk in translator.feed(part)]
        if not translator.done:
            raise UpstreamStreamTruncated.ended(self.name)
        reply = join(map(to_fields, chunks))
        if attempt.native("ollama") is not None and (beside := [each for each in map(extra_fields, parts) if each]):
            reply[OTHER_FIELDS] = beside  # joining keeps the last value of each
        return reply

    async def _chunks[Chunk](
        self, attempt: Attempt, path: str, body: bytes, translator: _StreamTranslator[Chunk], *, spent_s: float = 0
    ) -> AsyncGenerator[Chunk]:
        headers = {"x-request-id": attempt.upstream_request_id}
        async with (
            self._stream(attempt, path, headers, body, spent_s=spent_s) as stream,
            aclosing(stream.lines()) as lines,
        ):
            line = await anext(lines, None)
            while line is not None:
                reply, line = self._read(attempt, Reply, line), None
                if reply.done:
                    content, reply = _without_end(reply)
                    for chunk in translator.feed(content) if content else ():
                        yield chunk
                    line = await self._next(lines, None if content else DRAIN_S)
                    if line is not None:
                        self._go_on(attempt, reply)
                for chunk in translator.feed(reply):
                    yield chunk
                if translator.done:
                    await stream.drain()
                    return
                if line is None:
                    line = await anext(lines, None)
        raise UpstreamStreamTruncated.ended(self.name)

    async def _next(self, lines: AsyncGenerator[bytes], within_s: float | None) -> bytes | None:
        """The line after a `done` line, if it belongs to the same answer.

        Some Ollama-compatible servers set `done` in every line. If nothing valid follows, the `done` line was the last
        one.
        """
        with suppress(TimeoutError, UpstreamError):
            async with asyncio.timeout(within_s):
                line = await anext(lines, None)
            reply = read(Reply, self._json(line or b"{}"))
            return line if reply.message is not None or reply.response is not None else None
        return None

    @staticmethod
    def _go_on(attempt: Attempt, reply: Reply) -> None:
        reply.done = False
        attempt.repaired(FINISH_ONCE.name)

    def _read[Shape: BaseModel](self, attempt: Attempt, shape: type[Shape], raw: bytes) -> Shape:
        value = self._json(raw)
        if (error := self.error_in(value)) is not None:
            raise error
        reply = read(shape, value)
        if isinstance(reply, Reply) and replies.has_unknown_end(reply):
            self._repair_end(attempt, reply)
        return reply

    def _repair_end(self, attempt: Attempt, reply: Reply) -> None:
        """A finish reason that Ollama does not have: raised as a failure, or mapped as for every upstream."""
        reason = reply.done_reason or ""
        meaning = meaning_of(reason)
        if meaning == "failure":
            raise UpstreamError.aborted(self.name, detail=f"finish reason {reason[:64]}")
        attempt.repaired((MAP_FINISH_REASON if meaning else TELL_UNKNOWN_FINISH).name)
        reply.map_end(meaning or "length")

    async def _images(self, attempt: Attempt, body: models.CreateChatCompletionRequest) -> dict[str, str]:
        """Image URLs, fetched as base64; if that is disabled, the translation refuses them."""
        places = {url: param for param, url in image_urls(body.messages)} if self._egress else {}
        if self._egress is None or not places:
            return {}
        return await fetch_all(self._egress.for_caller(attempt.call.caller.identity), places, self.name, self._fetch_s)

    def _sent(self, attempt: Attempt, translated: Translated) -> bytes:
        """The body's bytes; dropped fields are noted. For a caller of Ollama's API, its own fields are sent."""
        native = attempt.native("ollama")
        if native is not None:
            ours = {name: translated.body[name] for name in ("model", "stream") if name in translated.body}
            return to_wire(ours | dict(native))
        note_dropped(attempt, translated.dropped)
        return to_wire(translated.body)


def _without_end(reply: Reply) -> tuple[Reply | None, Reply]:
    """The content of a `done` line, if any, and the line without it. Ollama's own `done` lines have none."""
    message = reply.message or Message()
    if not (message.content or message.thinking or message.tool_calls or message.images or reply.response):
        return None, reply
    content = reply.model_copy(update={"done": False})
    content.__pydantic_extra__ = {}  # they belong to the end
    rest = {"message": Message() if reply.message else None, "response": "" if reply.response else None}
    return content, reply.model_copy(update={**rest, "thinking": None, "logprobs": None})


def _context(attempt: Attempt, model: str, forced: ForcedCall | None = None) -> RequestContext:
    native = attempt.native("ollama") is not None
    return RequestContext(model, attempt.request_id, int(time.time()), native=native, forced=forced)

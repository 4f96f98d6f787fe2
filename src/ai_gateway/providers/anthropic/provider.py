"""Anthropic, by its Messages API."""

import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import override
from urllib.parse import quote

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from ai_gateway.conform.reply import mend
from ai_gateway.conform.rules import Known
from ai_gateway.contract.call import Call
from ai_gateway.errors import UpstreamInvalidResponse, UpstreamStreamTruncated
from ai_gateway.providers.anthropic.errors import event_error, limits, reply_error
from ai_gateway.providers.base import Provider
from ai_gateway.providers.http.client import Transport, path_segments
from ai_gateway.providers.http.stream import OpenStream
from ai_gateway.providers.parameters import name_dropped
from ai_gateway.providers.upstream import Upstream
from ai_gateway.translate.chat_anthropic.reply import model_object, to_chat
from ai_gateway.translate.chat_anthropic.request import to_messages
from ai_gateway.translate.chat_anthropic.stream import ChunkWriter
from ai_gateway.translate.wires.anthropic import Message, ModelInfo, ModelPage, parsed, read, read_event
from gateway_contract.openai import models

API_VERSION = "2023-06-01"  # the last one that lets a caller set the temperature
_JSON = "application/json"
_PAGE = 1_000
_MOST_PAGES = 20

Chunk = models.CreateChatCompletionStreamResponse


class Anthropic(Provider):
    """Translates chat to the Messages API and back. It has no completions and no embeddings."""

    def __init__(self, upstream: Upstream) -> None:
        super().__init__(upstream.name, upstream.row.policies, upstream.unknown_params, upstream.conformance)
        self._secrets = upstream.secrets
        headers = {"anthropic-version": API_VERSION}
        headers |= {name.lower(): value.get_secret_value() for name, value in upstream.headers.items()}
        headers |= {"x-api-key": upstream.secret} if upstream.secret else {}
        self._transport = Transport(upstream.name, _versioned(upstream.base_url), headers, upstream.timeouts)

    @override
    async def list_models(self, call: Call) -> models.ListModelsResponse:
        found: list[ModelInfo] = []
        after = ""
        for _ in range(_MOST_PAGES):
            page = read(self.name, ModelPage, await self._get(call, f"/models?limit={_PAGE}{after}"))
            found += page.data
            if not page.has_more or not page.last_id:
                break
            after = f"&after_id={quote(page.last_id, safe='')}"
        value: dict[str, object] = {"object": "list", "data": [model_object(info) for info in found]}
        return self._exact(call, models.ListModelsResponse, value, "")

    @override
    async def retrieve_model(self, call: Call, model: str) -> models.Model:
        info = read(self.name, ModelInfo, await self._get(call, f"/models/{path_segments(model)}"))
        return self._exact(call, models.Model, model_object(info), model)

    @override
    async def create_chat_completion(
        self, call: Call, body: models.CreateChatCompletionRequest
    ) -> models.CreateChatCompletionResponse:
        sent, betas = self._translated(call, body)
        reply = await self._transport.fetch("POST", "/messages", self._headers(call, _JSON, betas), sent)
        value = self._checked(call, reply.status, reply.headers, reply.body)
        found = to_chat(read(self.name, Message, value), int(time.time()))
        return self._exact(call, models.CreateChatCompletionResponse, found, body.model)

    @override
    async def stream_chat_completion(
        self, call: Call, body: models.CreateChatCompletionRequest
    ) -> AsyncGenerator[Chunk]:
        sent, betas = self._translated(call, body)
        headers = self._headers(call, "text/event-stream", betas)
        writer = ChunkWriter(int(time.time()))
        async with self._transport.stream("/messages", headers, sent) as stream:
            await self._check_head(call, stream)
            async with aclosing(stream.events()) as events:
                async for data in events:
                    for chunk in self._chunks(writer, data):
                        yield self._piece(call, chunk, body.model)
                    if writer.complete:
                        await stream.drain()
                        return
        raise UpstreamStreamTruncated.ended(self.name)

    @override
    async def aclose(self) -> None:
        await self._transport.aclose()

    def _translated(self, call: Call, body: models.CreateChatCompletionRequest) -> tuple[bytes, list[str]]:
        request = to_messages(body)
        name_dropped(call, self.name, request.dropped)
        return to_json(request.body), request.betas

    def _chunks(self, writer: ChunkWriter, data: bytes) -> Iterator[dict[str, object]]:
        value = parsed(self.name, data)
        if value.get("type") == "error":
            raise event_error(self.name, value, *self._secrets)
        event = read_event(self.name, value)
        return writer.take(event) if event is not None else iter(())

    def _piece(self, call: Call, value: dict[str, object], asked: str) -> Chunk:
        """A chunk is nearly always exact, so that is tried first."""
        try:
            return Chunk.model_validate(value, strict=True)
        except ValidationError:
            return self._exact(call, Chunk, value, asked)

    def _exact[Item: BaseModel](self, call: Call, model: type[Item], value: dict[str, object], asked: str) -> Item:
        # To observe is to relay what came, and what came was never OpenAI's: what the translation makes is mended.
        mode = "repair" if self.conformance == "observe" else self.conformance
        found, repairs = mend(model, value, Known(asked, call.request_id), mode)
        call.repaired(self.name, repairs)
        return found

    async def _get(self, call: Call, path: str) -> dict[str, object]:
        reply = await self._transport.fetch("GET", path, self._headers(call, _JSON, []), None)
        return self._checked(call, reply.status, reply.headers, reply.body)

    async def _check_head(self, call: Call, stream: OpenStream) -> None:
        """Raise unless a stream of events is coming."""
        media = stream.headers.get("content-type", "").partition(";")[0].strip().lower()
        if stream.status == 200 and media not in {_JSON, "text/html"}:
            call.reply_headers.update(limits(stream.headers))
            return
        self._checked(call, stream.status, stream.headers, await stream.read())
        raise UpstreamInvalidResponse.not_a_stream(self.name)

    def _checked(self, call: Call, status: int, headers: Mapping[str, str], body: bytes) -> dict[str, object]:
        """The object in a good reply. Raises the error that any other one is."""
        if status != 200:
            if 200 <= status < 300:
                raise UpstreamInvalidResponse.without_reply(self.name, status)
            raise reply_error(self.name, status, headers, body, *self._secrets)
        value = parsed(self.name, body)
        if value.get("type") == "error":
            raise event_error(self.name, value, *self._secrets)
        call.reply_headers.update(limits(headers))
        return value

    @staticmethod
    def _headers(call: Call, accept: str, betas: list[str]) -> dict[str, str]:
        asked = {"anthropic-beta": ",".join(betas)} if betas else {}
        return {"accept": accept, "content-type": _JSON, "x-request-id": call.request_id, **asked}


def _versioned(base_url: str) -> str:
    """The address with its version: Anthropic's own clients take it without."""
    root = base_url.rstrip("/")
    return root if root.rpartition("/")[2] == "v1" else "/".join((root, "v1"))

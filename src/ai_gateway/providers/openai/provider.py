"""Any upstream that speaks OpenAI's wire."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import override

from pydantic import BaseModel
from pydantic_core import to_json as fields_to_json

from ai_gateway.conform.reply import exact_json, mend
from ai_gateway.conform.rules import Known
from ai_gateway.contract.call import Call
from ai_gateway.contract.strict_json import read_json
from ai_gateway.contract.write import to_fields
from ai_gateway.errors import GatewayError, UpstreamError, UpstreamInvalidResponse
from ai_gateway.providers.base import Provider
from ai_gateway.providers.http.client import Caller, Transport, path_segments
from ai_gateway.providers.http.errors import from_event, from_reply, is_error, kept_headers
from ai_gateway.providers.http.stream import OpenStream
from ai_gateway.providers.parameters import name_dropped
from ai_gateway.providers.upstream import Upstream
from gateway_contract.openai import models

_JSON = "application/json"
_DONE = b"[DONE]"

type Request = models.CreateChatCompletionRequest | models.CreateCompletionRequest | models.CreateEmbeddingRequest
type Chunk = models.CreateChatCompletionStreamResponse | models.CreateCompletionStreamResponse


class OpenAICompatible(Provider):
    """Forwards requests as they are, unknown fields included, and answers with exact replies."""

    def __init__(self, upstream: Upstream, caller: Caller | None = None) -> None:
        super().__init__(upstream.name, upstream.row.policies, upstream.unknown_params, upstream.conformance)
        self._quirks = upstream.row.quirks
        self._secrets = upstream.secrets
        self._transport = caller or Transport(
            upstream.name, upstream.base_url, upstream.sent_headers, upstream.timeouts
        )

    @override
    async def list_models(self, call: Call) -> models.ListModelsResponse:
        raw = await self._raw(call, "GET", "/models", None)
        if self._quirks.bare_model_list and raw.lstrip().startswith(b"["):
            raw = b'{"object":"list","data":%s}' % raw
        return self._exact(call, models.ListModelsResponse, raw, "")

    @override
    async def retrieve_model(self, call: Call, model: str) -> models.Model:
        return await self._fetch(call, "GET", f"/models/{path_segments(model)}", None, models.Model)

    @override
    async def create_chat_completion(
        self, call: Call, body: models.CreateChatCompletionRequest
    ) -> models.CreateChatCompletionResponse:
        return await self._fetch(call, "POST", "/chat/completions", body, models.CreateChatCompletionResponse)

    @override
    def stream_chat_completion(
        self, call: Call, body: models.CreateChatCompletionRequest
    ) -> AsyncGenerator[models.CreateChatCompletionStreamResponse]:
        return self._stream(call, "/chat/completions", body, models.CreateChatCompletionStreamResponse)

    @override
    async def create_completion(
        self, call: Call, body: models.CreateCompletionRequest
    ) -> models.CreateCompletionResponse:
        return await self._fetch(call, "POST", "/completions", body, models.CreateCompletionResponse)

    @override
    def stream_completion(
        self, call: Call, body: models.CreateCompletionRequest
    ) -> AsyncGenerator[models.CreateCompletionStreamResponse]:
        return self._stream(call, "/completions", body, models.CreateCompletionStreamResponse)

    @override
    async def create_embeddings(
        self, call: Call, body: models.CreateEmbeddingRequest
    ) -> models.CreateEmbeddingResponse:
        return await self._fetch(call, "POST", "/embeddings", body, models.CreateEmbeddingResponse)

    @override
    async def aclose(self) -> None:
        await self._transport.aclose()

    async def _fetch[Reply: BaseModel](
        self, call: Call, method: str, path: str, body: Request | None, model: type[Reply]
    ) -> Reply:
        sent = self._wire_form(call, body) if body is not None else None
        return self._exact(call, model, await self._raw(call, method, path, sent), body.model if body else "")

    async def _raw(self, call: Call, method: str, path: str, sent: bytes | None) -> bytes:
        """The body of a reply that is none of the refusals."""
        reply = await self._transport.fetch(method, path, self._headers(call, _JSON), sent)
        self._check(call, reply.status, reply.headers, reply.body)
        return reply.body

    async def _stream[Item: Chunk](
        self, call: Call, path: str, body: Request, model: type[Item]
    ) -> AsyncGenerator[Item]:
        headers = self._headers(call, "text/event-stream")
        async with self._transport.stream(path, headers, self._wire_form(call, body)) as stream:
            await self._check_head(call, stream)
            async with aclosing(stream.events()) as events:
                async for data in events:
                    if data == _DONE:
                        call.terminated = True
                        await stream.drain()
                        return
                    yield self._exact(call, model, data, body.model)

    def _exact[Item: BaseModel](self, call: Call, model: type[Item], raw: bytes, asked: str) -> Item:
        """A reply or chunk as the exact model; what is not exact is looked at more closely and mended if it can be."""
        found = exact_json(model, raw)
        if found is not None:
            call.exact = (found, raw)
            return found
        value = self._parsed(raw)
        if is_error(value):
            raise from_event(self.name, value, *self._secrets)
        try:
            found, repairs = mend(model, value, Known(asked, call.request_id), self.conformance)
        except UpstreamError:
            if self.conformance != "observe":
                raise
            found, repairs = model.model_construct(choices=[], data=[]), ["unrepairable"]
        call.repaired(self.name, repairs)
        if self.conformance == "observe":
            call.exact = (found, raw)
        return found

    async def _check_head(self, call: Call, stream: OpenStream) -> None:
        """Raise unless a stream of events is coming."""
        media = stream.headers.get("content-type", "").partition(";")[0].strip().lower()
        if stream.status == 200 and media not in {_JSON, "text/html"}:  # some call their events plain text, or nothing
            call.reply_headers.update(kept_headers(stream.headers))
            return
        body = await stream.read()
        self._check(call, stream.status, stream.headers, body)
        value = self._parsed(body)
        if is_error(value):
            raise from_event(self.name, value, *self._secrets)
        raise UpstreamInvalidResponse.not_a_stream(self.name)

    def _check(self, call: Call, status: int, headers: Mapping[str, str], body: bytes) -> None:
        if status != 200:
            raise self._refusal(status, headers, body)
        call.reply_headers.update(kept_headers(headers))

    def _refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        if 200 <= status < 300:
            return UpstreamInvalidResponse.without_reply(self.name, status)
        return from_reply(self.name, status, headers, body, *self._secrets)

    def _parsed(self, raw: bytes) -> object:
        try:
            return read_json(raw)
        except ValueError as error:
            raise UpstreamInvalidResponse.not_json(self.name, detail=str(error)) from None

    def _wire_form(self, call: Call, body: Request) -> bytes:
        """What policies and quirks have left of the body, with all keys in the order in which they were sent."""
        if isinstance(body, models.CreateEmbeddingRequest):
            self._quirks.check_input(self.name, body)
        fields: Mapping[str, object]
        if call.sent is None or call.sent[0] is not type(body):  # it came in through the door of another wire
            fields, dropped = self._quirks.from_other_wires(to_fields(body))
            name_dropped(call, self.name, dropped)
        else:
            kept = body.model_fields_set | (body.model_extra or {}).keys()
            fields = {name: value for name, value in call.sent[1].items() if name in kept} | {"model": body.model}
        return fields_to_json(self._quirks.worded(self.name, fields))

    def _headers(self, call: Call, accept: str) -> dict[str, str]:
        return {"accept": accept, "content-type": _JSON, **self._quirks.request_id(call.request_id)}

"""Anthropic, by its Messages API."""

import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import aclosing
from typing import override
from urllib.parse import quote

from ai_gateway.conform.joined import join
from ai_gateway.conform.refused_usage import counting_refused
from ai_gateway.conform.rules import JOIN_EVENTS
from ai_gateway.contract.call import Attempt
from ai_gateway.contract.native import ANTHROPIC
from ai_gateway.contract.wire_form import to_wire
from ai_gateway.errors import GatewayError, UpstreamStreamTruncated
from ai_gateway.providers.anthropic.errors import event_error, limits, reply_error
from ai_gateway.providers.http.client import Transport, path_segments
from ai_gateway.providers.http.error_body import is_error
from ai_gateway.providers.http.provider import EVENTS, JSON, HttpProvider
from ai_gateway.providers.http.sse import events_in
from ai_gateway.providers.http.stream import WholeReply
from ai_gateway.providers.parameters import note_dropped
from ai_gateway.providers.upstream import Upstream, versioned
from ai_gateway.translate.carriers import EVERY
from ai_gateway.translate.chat_anthropic.reply import model_object, to_chat
from ai_gateway.translate.chat_anthropic.request import to_messages
from ai_gateway.translate.chat_anthropic.stream import MessagesStreamTranslator
from ai_gateway.translate.wires.anthropic import Message, ModelInfo, ModelPage, parsed, read, read_event
from gateway_contract.openai import models

API_VERSION = "2023-06-01"  # the last one that lets a caller set the temperature
_PAGE = 1_000
_MAX_PAGES = 20

type Fields = dict[str, object]


class Anthropic(HttpProvider):
    """Translates chat to the Messages API and back. It has no completions and no embeddings."""

    wires = frozenset({ANTHROPIC})
    carriers = EVERY - {"reasoning_content"}

    def __init__(self, upstream: Upstream) -> None:
        headers = {"anthropic-version": API_VERSION}
        headers |= {name.lower(): value.get_secret_value() for name, value in upstream.headers.items()}
        headers |= {"x-api-key": upstream.secret} if upstream.secret else {}
        base_url = versioned(upstream.base_url)
        super().__init__(
            upstream,
            Transport(
                upstream.name, base_url, headers, upstream.timeouts, sizes=upstream.sizes, network=upstream.network
            ),
        )

    @override
    async def list_models(self, attempt: Attempt) -> Fields:
        listed: list[ModelInfo] = []
        after = ""
        for _ in range(_MAX_PAGES):
            page = read(self.name, ModelPage, await self._get(attempt, f"/models?limit={_PAGE}{after}"))
            listed += page.data
            if not page.has_more or not page.last_id:
                break
            after = f"&after_id={quote(page.last_id, safe='')}"
        return {"object": "list", "data": [model_object(info) for info in listed]}

    @override
    async def retrieve_model(self, attempt: Attempt, model: str) -> Fields:
        info = await self._get(attempt, f"/models/{path_segments(model)}")
        return model_object(read(self.name, ModelInfo, info))

    @override
    async def create_chat_completion(self, attempt: Attempt, body: models.CreateChatCompletionRequest) -> Fields:
        sent, betas = self._translated(attempt, body)
        raw = await self._fetch(attempt, "POST", "/messages", self._headers(attempt, betas), sent, JSON)
        if events := events_in(raw):
            return self._joined(attempt, events)
        with counting_refused(attempt.notes, raw):
            return to_chat(read(self.name, Message, self._object(raw)), int(time.time()))

    @override
    async def stream_chat_completion(
        self, attempt: Attempt, body: models.CreateChatCompletionRequest
    ) -> AsyncGenerator[Fields]:
        sent, betas = self._translated(attempt, body)
        headers = self._headers(attempt, betas)
        translator = MessagesStreamTranslator(int(time.time()))
        async with self._stream(attempt, "/messages", headers, sent, EVENTS) as stream:
            try:
                async with aclosing(stream.events()) as events:
                    async for data in events:
                        for chunk in self._chunks(translator, data):
                            yield chunk
                        if translator.complete:
                            await stream.drain()
                            return
                for chunk in translator.finish():
                    yield chunk
            except WholeReply as reply:
                with counting_refused(attempt.notes, reply.body):
                    whole = to_chat(read(self.name, Message, self._object(reply.body)), int(time.time()))
                yield whole
                return
        if not translator.complete:
            raise UpstreamStreamTruncated.ended(self.name)

    @override
    def error_in(self, value: object) -> GatewayError | None:
        if isinstance(value, dict) and (value.get("type") == "error" or is_error(value)):
            return event_error(self.name, value)
        return None

    @override
    def _refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        return reply_error(self.name, status, headers, body)

    @override
    def _limits(self, headers: Mapping[str, str]) -> dict[str, str]:
        return limits(headers)

    def _translated(self, attempt: Attempt, body: models.CreateChatCompletionRequest) -> tuple[bytes, list[str]]:
        request = to_messages(body)
        note_dropped(attempt, request.dropped)
        return to_wire(request.body), request.betas

    def _chunks(self, translator: MessagesStreamTranslator, data: bytes) -> Iterator[Fields]:
        event = read_event(self.name, self._object(data))
        return translator.feed(event) if event is not None else iter(())

    def _joined(self, attempt: Attempt, events: Iterable[bytes]) -> Fields:
        """The whole reply from a stream of an upstream that streams unasked."""
        attempt.repaired(JOIN_EVENTS.name)
        translator = MessagesStreamTranslator(int(time.time()))
        chunks = [chunk for data in events for chunk in self._chunks(translator, data)]
        if not translator.complete:
            chunks += translator.finish()
        if not translator.complete:
            raise UpstreamStreamTruncated.ended(self.name)
        return join(chunks)

    async def _get(self, attempt: Attempt, path: str) -> Fields:
        return self._object(await self._fetch(attempt, "GET", path, self._headers(attempt, []), None, JSON))

    def _object(self, raw: bytes) -> Fields:
        """The JSON object in a reply or event. Raises the error if it is one."""
        value = parsed(self.name, raw)
        if (error := self.error_in(value)) is not None:
            raise error
        return value

    @staticmethod
    def _headers(attempt: Attempt, betas: list[str]) -> dict[str, str]:
        # The caller's own `anthropic-beta`, which may, for example, request a larger context.
        if attempt.call.wire.name == ANTHROPIC and (own := attempt.headers.get("anthropic-beta")):
            betas = [*betas, own]
        beta = {"anthropic-beta": ",".join(betas)} if betas else {}
        return {"x-request-id": attempt.upstream_request_id, **beta}

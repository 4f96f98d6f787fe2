"""Any upstream that speaks OpenAI's wire."""

from collections.abc import AsyncGenerator, Coroutine, Mapping
from contextlib import aclosing
from typing import Final, override

from ai_gateway.conform.refused_usage import counting_refused
from ai_gateway.contract.call import Attempt, Call
from ai_gateway.contract.framing import SSE
from ai_gateway.contract.native import ANTHROPIC, NativeOperation
from ai_gateway.contract.stream import DONE, Arrived, Done, LastPacket, Packet, Pieces
from ai_gateway.contract.wire_form import to_wire
from ai_gateway.contract.write import to_fields
from ai_gateway.errors import ModelNotFound, UpstreamInvalidResponse, UpstreamRefused, UpstreamWrongAddress
from ai_gateway.providers.efforts import RefusedEfforts
from ai_gateway.providers.http.client import Caller, path_segments, transport
from ai_gateway.providers.http.ndjson import lines_in
from ai_gateway.providers.http.provider import EVENTS, JSON, HttpProvider
from ai_gateway.providers.http.rotating_key import KeyedCaller
from ai_gateway.providers.http.sse import events_in
from ai_gateway.providers.http.stream import WholeReply
from ai_gateway.providers.openai import responses
from ai_gateway.providers.openai.responses import PATH, goes_by_response
from ai_gateway.providers.parameters import note_dropped
from ai_gateway.providers.upstream import Upstream
from ai_gateway.translate.chat_responses.request import to_response
from gateway_contract.openai import models
from gateway_contract.openai.parameters import OPERATION_OF

_DONE = b"[DONE]"
_DONE_PIECE = SSE.framed(_DONE)
_PATHS: Final = {
    models.CreateChatCompletionRequest: "/chat/completions",
    models.CreateCompletionRequest: "/completions",
    models.CreateEmbeddingRequest: "/embeddings",
}

type _Arrived = Packet | Done
type StreamRequest = models.CreateChatCompletionRequest | models.CreateCompletionRequest
type Request = StreamRequest | models.CreateEmbeddingRequest


class OpenAICompatible(HttpProvider):
    """Forwards requests unchanged, unknown fields included, and relays replies."""

    forwards_bodies = True

    def __init__(self, upstream: Upstream, caller: Caller | None = None) -> None:
        caller = caller or transport(upstream, upstream.base_url)
        if upstream.key_source is not None:
            caller = KeyedCaller(caller, upstream, upstream.key_source)
        super().__init__(upstream, caller)
        self.wires = upstream.row.wires
        self._elsewhere = _elsewhere(upstream)
        self._quirks = upstream.row.quirks
        self._encodes = self._quirks.changes_bodies
        self._refuses_usage = False
        self._efforts = RefusedEfforts()
        self.carriers = self._quirks.carriers

    @override
    def _relaying(self, operation: NativeOperation) -> Caller:
        return self._elsewhere if self._elsewhere is not None and operation.wire == ANTHROPIC else self._caller

    @override
    async def aclose(self) -> None:
        await super().aclose()
        if self._elsewhere is not None:
            await self._elsewhere.aclose()

    @override
    async def list_models(self, attempt: Attempt) -> bytes:
        if not self._quirks.lists_models:
            self._unsupported(attempt)
        raw = await self._fetch(attempt, "GET", "/models", self._headers(attempt), None, JSON)
        if self._quirks.bare_model_list and raw.lstrip().startswith(b"["):
            return b'{"object":"list","data":%s}' % raw
        return raw

    @override
    async def retrieve_model(self, attempt: Attempt, model: str) -> bytes:
        path = f"/models/{path_segments(model)}"
        try:
            return await self._fetch(attempt, "GET", path, self._headers(attempt), None, JSON)
        except UpstreamWrongAddress as error:  # here a 404 without a message is about the model as well
            raise ModelNotFound(
                f"Provider '{self.name}' has no model '{model[:256]}', or its address is wrong.", param="model"
            ) from error

    @override
    def create_chat_completion(
        self, attempt: Attempt, body: models.CreateChatCompletionRequest
    ) -> Coroutine[None, None, bytes | dict[str, object]]:
        if goes_by_response(self._quirks, body):
            return self._by_response(attempt, body)
        return self._post(attempt, body)

    @override
    def stream_chat_completion(
        self, attempt: Attempt, body: models.CreateChatCompletionRequest
    ) -> AsyncGenerator[Arrived[models.CreateChatCompletionStreamResponse]]:
        if goes_by_response(self._quirks, body):
            return self._stream_by_response(attempt, body)
        return self._events(attempt, body)

    def read(self, raw: bytes) -> object:
        """The JSON value in a reply or event. Raises UpstreamInvalidResponse."""
        return self._json(raw)

    async def _by_response(self, attempt: Attempt, body: models.CreateChatCompletionRequest) -> dict[str, object]:
        sent = self._as_response(attempt, body)
        raw = await self._fetch(attempt, "POST", PATH, self._headers(attempt), sent, JSON)
        with counting_refused(attempt.notes, raw):
            return responses.whole(self, raw)

    async def _stream_by_response(
        self, attempt: Attempt, body: models.CreateChatCompletionRequest
    ) -> AsyncGenerator[dict[str, object] | Done]:
        sent = self._as_response(attempt, body)
        async with (
            self._stream(attempt, PATH, self._headers(attempt), sent, EVENTS) as stream,
            aclosing(responses.chunks(self, stream)) as chunks,
        ):
            async for chunk in chunks:
                yield chunk

    def _as_response(self, attempt: Attempt, body: models.CreateChatCompletionRequest) -> bytes:
        fields, dropped = to_response(self._fields(attempt, body))
        note_dropped(attempt, dropped)
        return to_wire(fields)

    @override
    def create_completion(self, attempt: Attempt, body: models.CreateCompletionRequest) -> Coroutine[None, None, bytes]:
        return self._post(attempt, body)

    @override
    def stream_completion(
        self, attempt: Attempt, body: models.CreateCompletionRequest
    ) -> AsyncGenerator[Arrived[models.CreateCompletionStreamResponse]]:
        return self._events(attempt, body)

    @override
    async def create_embeddings(self, attempt: Attempt, body: models.CreateEmbeddingRequest) -> bytes:
        self._quirks.check_input(self.name, body)
        return await self._post(attempt, body)

    async def _post(self, attempt: Attempt, body: Request) -> bytes:
        headers, path = self._headers(attempt), _PATHS[type(body)]
        try:
            return await self._fetch(attempt, "POST", path, headers, self._written(attempt, body), JSON)
        except UpstreamRefused as error:
            if not self._refuses_effort(attempt, body, error):
                raise
        return await self._fetch(attempt, "POST", path, headers, to_wire(self._fields(attempt, body)), JSON)

    def _refuses_effort(self, attempt: Attempt, body: Request, error: UpstreamRefused) -> bool:
        """Whether the error says that the model takes no reasoning effort."""
        return isinstance(body, models.CreateChatCompletionRequest) and self._efforts.learn(attempt, body, error)

    async def _events(  # noqa: C901 - one generator, because each around it would be entered for every packet
        self, attempt: Attempt, body: StreamRequest
    ) -> AsyncGenerator[_Arrived]:
        fields = self._fields(attempt, body)
        sent = self._with_usage_requested(body, fields)
        headers, path = self._headers(attempt), _PATHS[type(body)]
        for is_last in (False, True):
            try:
                try:
                    async with (
                        self._stream(attempt, path, headers, to_wire(sent), EVENTS) as stream,
                        aclosing(stream.batches(attempt.divert, in_pieces=True)) as batches,
                    ):
                        async for events in batches:
                            done = _DONE_PIECE if events.__class__ is Pieces else _DONE
                            if done not in events:
                                yield Packet(events)
                                continue
                            del events[events.index(done) :]
                            if stream.is_whole:
                                yield LastPacket(events)
                                return
                            if events:
                                yield Packet(events)
                            yield DONE
                            await stream.drain()
                            return
                except WholeReply as reply:
                    for piece in self._in_whole(reply.body):
                        yield piece
            except UpstreamRefused as error:
                less = None if is_last else self._without_refused(attempt, body, error, fields, sent)
                if less is None:
                    raise
                sent = less
            else:
                return

    def _without_refused(
        self,
        attempt: Attempt,
        body: StreamRequest,
        error: UpstreamRefused,
        fields: Mapping[str, object],
        sent: Mapping[str, object],
    ) -> Mapping[str, object] | None:
        """The fields for another attempt without those that the error refuses; None if it names none."""
        if sent is not fields and _is_about_usage(error):
            self._refuses_usage = True  # the gateway added it, so the request is complete without
            return fields
        return self._fields(attempt, body) if self._refuses_effort(attempt, body, error) else None

    def _in_whole(self, body: bytes) -> list[_Arrived]:
        """The chunks in a body that was not recognised as a stream, and DONE if it has a terminator.

        Raises the error if it is one.
        """
        if events := events_in(body) or lines_in(body):
            chunks = Packet([event for event in events if event != _DONE])
            return [chunks, DONE] if _DONE in events else [chunks]
        value = self._json(body)
        if (error := self.error_in(value)) is not None:
            raise error
        if not isinstance(value, dict) or "choices" not in value:
            raise UpstreamInvalidResponse.not_a_stream(self.name)
        return [Packet([body]), DONE]

    def _with_usage_requested(self, body: StreamRequest, fields: Mapping[str, object]) -> Mapping[str, object]:
        """The fields with `stream_options.include_usage`, unless present or unknown to the upstream.

        Usage is always requested; the conformer hides it from callers that did not request it.
        """
        options = fields.get("stream_options") or {}
        policy = self.parameters.policies(OPERATION_OF[type(body)])["stream_options"]
        if self._refuses_usage or policy != "forwarded" or not isinstance(options, dict):
            return fields
        if options.get("include_usage") is True:
            return fields
        return {**fields, "stream_options": {**options, "include_usage": True}}

    def _written(self, attempt: Attempt, body: Request) -> bytes:
        """The JSON of these fields, which is known already if they are those of the caller."""
        call = attempt.call
        parsed = call.parsed
        if (
            call.written is not None
            and parsed is not None
            and parsed.get("model") == body.model
            and not self._encodes
            and _is_sent_unchanged(call, parsed, body)
        ):
            return call.written
        return to_wire(self._fields(attempt, body))

    def _fields(self, attempt: Attempt, body: Request) -> Mapping[str, object]:
        """The body's fields after policies and quirks, with keys in the caller's order."""
        parsed = attempt.call.parsed
        fields: dict[str, object]
        if parsed is None or attempt.call.wire.name != "openai":
            if isinstance(body, models.CreateChatCompletionRequest):
                body = self._efforts.without(attempt, body)
            fields, dropped = self._quirks.from_other_wires(to_fields(body))
            note_dropped(attempt, dropped)
        else:
            if _is_sent_unchanged(attempt.call, parsed, body):
                return self._encoded({**parsed, "model": body.model})
            unknown = attempt.call.unknown
            kept = body.model_fields_set | (body.model_extra or {}).keys()
            if unknown is not None and self.parameters.forwarded(unknown):
                kept |= unknown.fields | ({"tools"} if unknown.tools else set())
            fields = {name: value for name, value in parsed.items() if name in kept}
            if unknown is not None and unknown.tools and "tools" in fields and not self.parameters.forwarded(unknown):
                fields["tools"] = to_fields(body).get("tools")
            fields["model"] = body.model
        return self._encoded(fields)

    def _encoded(self, fields: Mapping[str, object]) -> Mapping[str, object]:
        return self._quirks.encode(self.name, fields) if self._encodes else fields

    def _headers(self, attempt: Attempt) -> dict[str, str]:
        return self._quirks.request_id(attempt.upstream_request_id)


def _elsewhere(upstream: Upstream) -> Caller | None:
    """The HTTP caller for the upstream's Messages API, if that has another base URL."""
    if ANTHROPIC not in upstream.row.wires or not upstream.row.messages_url:
        return None
    return transport(upstream, upstream.row.messages_url)


def _is_sent_unchanged(call: Call, parsed: Mapping[str, object], body: Request) -> bool:
    """Whether the upstream gets all of the caller's fields, as in nearly every request, if maybe another model."""
    return call.wire.name == "openai" and call.unknown is None and parsed.keys() <= body.__pydantic_fields_set__


def _is_about_usage(error: UpstreamRefused) -> bool:
    """Whether a refusal names the option that the gateway added."""
    words = f"{error.param} {error.message}"
    return error.status in {400, 422} and ("stream_options" in words or "include_usage" in words)

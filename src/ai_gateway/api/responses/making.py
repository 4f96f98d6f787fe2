"""Responses made through chat: whole, streamed, and in the background."""

import secrets
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast

import structlog
from pydantic import BaseModel
from pydantic_core import from_json, to_json

from ai_gateway.api.chat_bridge import bridged
from ai_gateway.api.response_bridge import ResponseBridge
from ai_gateway.api.responses import items
from ai_gateway.api.responses.background import Background
from ai_gateway.api.responses.dropped import dropped_kinds, in_terms_of_responses, note_dropped, refuse_unknown
from ai_gateway.api.responses.state import State
from ai_gateway.conform.response_events import ResponseEvents, ResponseHead
from ai_gateway.contract.call import Call
from ai_gateway.contract.stream import Item as Written, Stream
from ai_gateway.errors import InvalidRequest, Unavailable, UnsupportedParameter
from ai_gateway.gateway import Gateway
from ai_gateway.observability.trace_names import Step
from ai_gateway.operations import CHAT, CHAT_STREAM
from ai_gateway.routing.resolver import Resolution
from ai_gateway.tools.citations import Cited, annotations
from ai_gateway.tools.loop import SoFar
from ai_gateway.tools.tool import Citation
from ai_gateway.translate.responses_chat import outline, reply
from ai_gateway.translate.responses_chat.conversation import Item
from ai_gateway.translate.responses_chat.envelope import Sealer
from ai_gateway.translate.responses_chat.hosted import servers_requested
from ai_gateway.translate.responses_chat.ran import RanItems
from ai_gateway.translate.responses_chat.request import (
    ChatTarget,
    TranslatedRequest,
    items_of,
    translate_conversation,
    translate_response,
)
from ai_gateway.translate.responses_chat.tools import Fields
from gateway_contract.openai import models as openai
from gateway_contract.openai_responses import models

RESPONSE = replace(CHAT, name="createResponse")
RESPONSE_STREAM = replace(CHAT_STREAM, name="createResponse")
_MAX_PAIRS, _MAX_NAME_LENGTH, _MAX_VALUE_LENGTH = 16, 64, 512
_ENCRYPTED = "reasoning.encrypted_content"
_log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Promised:
    """The response to a request before it is made, with the fields that repeat the request."""

    body: models.CreateResponse
    echo: Fields
    id: str = field(default_factory=lambda: f"resp_{secrets.token_hex(24)}")
    created_at: int = field(default_factory=lambda: int(time.time()))

    def outline(self, status: str, *, error: Mapping[str, str] | None = None) -> Fields:
        """The response without an output."""
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created_at,
            "completed_at": None,
            "status": status,
            "error": dict(error) if error is not None else None,
            "incomplete_details": None,
            "model": self.body.model,
            "usage": None,
            **self.echo,
            "output": [],
        }


@dataclass(slots=True, kw_only=True)
class Prepared(Promised):
    """A request as a chat, with its targets."""

    translated: TranslatedRequest
    resolution: Resolution
    seal: reply.Seal
    keep: reply.Keep
    stored: bool


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes responses. `sealing` gives each provider's key for sealed data that clients keep."""

    gateway: Gateway
    state: State
    background: Background
    sealing: Callable[[str], bytes]

    async def prepared(
        self, call: Call, body: models.CreateResponse, resolved: tuple[str, Resolution] | None = None
    ) -> Prepared:
        """Translate and check a request before a provider is called. `resolved` is the model's resolution, if known."""
        lacking = dropped_kinds(call)
        keeps = self.check_kept(call, body)
        if body.max_tool_calls is not None and body.max_tool_calls < 0:
            raise InvalidRequest("'max_tool_calls' must be 0 or more.", param="max_tool_calls", code="invalid_value")
        body, history = await self._with_history(call, body)
        model, resolution = resolved or await self.gateway.resolve(call, body.model)
        provider = resolution.targets[0].provider
        refuse_unknown(call, provider, body)
        sealer = self.sealer(call)
        chat_target = ChatTarget(model, provider.name, sealer)
        if body.tools:
            runs = self.gateway.tools_for(call, resolution)
            servers = servers_requested(body.tools, runs)
            if servers is None or servers:
                await runs.query_servers(servers)
            translated = translate_response(body, chat_target, history, runs, runs.failures)
        else:
            translated = translate_response(body, chat_target, history)
        stored = keeps and body.store is not False
        if body.store and not stored:
            translated.dropped.add("store")
        translated.dropped |= lacking

        def sealed(payload: Fields) -> str:
            return sealer.seal(call.notes.provider, payload)

        seal = reply.sealed_by(sealed, wanted=_ENCRYPTED in (body.include or ()))
        echo = outline.echo(body, stored=stored, background=bool(body.background))
        return Prepared(
            body=body,
            echo=echo,
            translated=translated,
            resolution=resolution,
            seal=seal,
            keep=reply.kept_by(sealed),
            stored=stored,
        )

    async def conversation[Body: (models.TokenCountsBody, models.CompactResponseMethodPublicBody)](
        self, call: Call, body: Body
    ) -> tuple[TranslatedRequest, Resolution]:
        """A conversation as a chat that no answer follows, and its targets."""
        body, history = await self._with_history(call, body)
        model, resolution = await self.gateway.resolve(call, body.model)
        target = ChatTarget(model, resolution.targets[0].provider.name, self.sealer(call))
        return translate_conversation(body, target, history), resolution

    def check_kept(self, call: Call, body: models.CreateResponse) -> bool:
        """Whether responses are stored for the caller. Raises InvalidRequest for a request that requires it."""
        keeps = self.state.may_keep(call.caller)
        if body.background and (not keeps or body.store is False):
            why = (
                "`store` is false"
                if keeps
                else "nothing is stored for this caller (RESPONSES_KEEP_DAYS, data retention)"
            )
            raise UnsupportedParameter(
                f"A response in the background has to be stored, and {why}: leave `background` out.", param="background"
            )
        _check_metadata(body.metadata or {})
        return keeps

    async def _with_history[
        Body: (models.CreateResponse, models.TokenCountsBody, models.CompactResponseMethodPublicBody)
    ](self, call: Call, body: Body) -> tuple[Body, list[Item]]:
        """The body with references to stored items of the caller replaced by the items, and what came before it.

        Raises InvalidRequest if the caller has no such response.
        """
        previous = body.previous_response_id
        history = items.read(await self.history_json(call, previous)) if previous is not None else []
        given = body.input if isinstance(body.input, list) else []
        if not (ids := [item.id for item in given if isinstance(item, models.ItemReferenceParam)]):
            return body, history
        with call.step(Step.STORE, {}):
            found = await self.state.items(call, ids)
        changed = [
            items.read([found[item.id]])[0]
            if isinstance(item, models.ItemReferenceParam) and item.id in found
            else item
            for item in given
        ]
        return body.model_copy(update={"input": changed}), history

    async def history_json(self, call: Call, response_id: str) -> list[Fields]:
        """The same items as JSON. Raises InvalidRequest if the caller has no such response."""
        with call.step(Step.STORE, {}):
            return await self.state.history(call, response_id)

    def sealer(self, call: Call) -> Sealer:
        """The sealer for the call's project."""
        return Sealer(self.sealing, call.caller.project_id)

    async def whole(self, call: Call, request: Prepared) -> Written[models.Response]:
        """The whole response."""
        fields = await self.make(call, request)
        if request.stored:
            try:
                await self.keep(call, request, fields)
            except Unavailable:  # the answer exists, and has been paid for
                fields["store"] = False
                note_dropped(call, ["store"])
        return written(models.Response, fields)

    async def make(self, call: Call, request: Prepared, so_far: SoFar = lambda _: None) -> Fields:
        """The response as JSON, not stored yet. `so_far` gets a function for the chat of the rounds so far."""
        chat = (
            await self.gateway.run_chat(
                call,
                request.translated.request,
                request.resolution,
                RESPONSE,
                most_calls=request.body.max_tool_calls,
                so_far=so_far,
            )
        ).model
        note_dropped(call, request.translated.dropped)
        return self._response(chat, request)

    def items(self, chat: openai.CreateChatCompletionResponse, request: Prepared) -> list[Any]:
        """The finished items of a chat without its answer yet."""
        for choice in chat.choices:
            choice.finish_reason = "stop"
        found = cast("list[Any]", self._response(chat, request)["output"])
        return [item for item in found if item["type"] != "message" or item["content"][0].get("text")]

    @staticmethod
    def _response(chat: openai.CreateChatCompletionResponse, request: Prepared) -> Fields:
        return reply.response(
            chat,
            response_id=request.id,
            created_at=request.created_at,
            model=chat.model or request.body.model,
            echo=request.echo,
            names=request.translated.offered.names,
            seal=request.seal,
            keep=request.keep,
        )

    async def keep(self, call: Call, request: Promised, fields: Fields) -> None:
        """Store a response of this request. Raises Unavailable."""
        given, previous = items_of(request.body.input), request.body.previous_response_id
        with call.step(Step.STORE, {}):
            await self.state.put(call.caller, fields, given, previous, status=str(fields["status"]))

    # -- streamed --

    def streamed(self, call: Call, request: Prepared) -> Stream[models.ResponseStreamEvent]:
        """The response as a stream."""
        stream, bridge = self.bridged(call, request)
        if not request.stored:
            return stream
        return Stream(self._keeping(call, request, stream.items, bridge.events), broken=stream.broken)

    async def _keeping(
        self, call: Call, request: Prepared, stream_items: AsyncGenerator[Any], events: ResponseEvents
    ) -> AsyncGenerator[Any]:
        """The events; the response is stored before its last event is sent."""
        async with aclosing(stream_items) as pieces:
            async for piece in pieces:
                if events.final:
                    try:
                        await self.keep(call, request, from_json(events.final))
                    except Unavailable as error:
                        _log.error("response of a stream not stored", response=request.id, reason=error.message)
                yield piece

    def bridged(self, call: Call, request: Prepared) -> tuple[Stream[models.ResponseStreamEvent], ResponseBridge]:
        """The events of the chat for a request, and their automaton."""
        head = ResponseHead(request.id, request.created_at, request.body.model, request.echo)
        names = request.translated.offered.names
        events = ResponseEvents(head, names, request.seal, cites=partial(_cited, names.ran))
        call.bridge = bridge = ResponseBridge(call, events, request.keep, names.ran.lists)
        chunks = self.gateway.stream_chat(
            call,
            request.translated.request,
            request.resolution,
            RESPONSE_STREAM,
            most_calls=request.body.max_tool_calls,
        )
        stream: Stream[models.ResponseStreamEvent] = bridged(
            chunks, bridge, lambda: note_dropped(call, request.translated.dropped), in_terms_of_responses
        )
        return stream, bridge


def _cited(ran: RanItems, text: str) -> list[Fields]:
    """The citations of search results in a text."""
    known = [Cited(number, Citation(str(each["url"]), str(each["title"]))) for number, each in ran.sources.items()]
    return [{"type": "url_citation", **link["url_citation"]} for link in annotations(text, known)]


def written[Model: BaseModel](model: type[Model], fields: Mapping[str, object]) -> Written[Model]:
    """A reply from JSON; its model is never read."""
    return Written(model.model_construct(), to_json(fields))


def _check_metadata(metadata: Mapping[str, str]) -> None:
    """Raise InvalidRequest for more than OpenAI keeps: platform.openai.com "Create a model response", `metadata`."""
    if len(metadata) > _MAX_PAIRS:
        raise InvalidRequest(
            f"Invalid value for 'metadata': at most {_MAX_PAIRS} pairs.", param="metadata", code="invalid_value"
        )
    for name, value in metadata.items():
        if len(name) > _MAX_NAME_LENGTH or len(value) > _MAX_VALUE_LENGTH:
            raise InvalidRequest(
                f"Invalid value for 'metadata': at most {_MAX_NAME_LENGTH} characters a name, "
                f"{_MAX_VALUE_LENGTH} a value.",
                param="metadata",
                code="invalid_value",
            )

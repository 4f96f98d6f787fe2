"""The core of every call: resolve the model to targets, attempt one after the other, conform the reply."""

from collections.abc import AsyncGenerator, Awaitable, Coroutine
from contextlib import aclosing, suppress
from copy import copy
from dataclasses import replace
from functools import partial

import structlog
from pydantic import BaseModel

from ai_gateway.accounts.accounting import Accounting
from ai_gateway.conform.chunks import text_size
from ai_gateway.conform.conformer import Conformer
from ai_gateway.conform.continuations import Continuations
from ai_gateway.conform.joined import joined_reply
from ai_gateway.conform.known_chunks import known_chunks_of
from ai_gateway.conform.known_replies import forms_of
from ai_gateway.conform.stream import conform_stream
from ai_gateway.conform.stream_state import StreamState
from ai_gateway.conform.whole import fill_empty_ids
from ai_gateway.contract.call import Attempt, Call, Notes
from ai_gateway.contract.stream import Conformed, Item, Received, Stream
from ai_gateway.contract.write import to_json
from ai_gateway.errors import ToolNotAllowed, ToolNotAvailable, UpstreamInvalidResponse
from ai_gateway.observability.trace_names import Step
from ai_gateway.operations import (
    CHAT,
    CHAT_STREAM,
    COMPLETION,
    COMPLETION_STREAM,
    EMBEDDING,
    Operation,
    Request,
    Streamed,
    Streaming,
)
from ai_gateway.providers.base import Provider
from ai_gateway.providers.http.sse import events_in
from ai_gateway.providers.parameters import note_dropped
from ai_gateway.resilience.attempts import Resilience
from ai_gateway.resilience.peek import PendingStream
from ai_gateway.rounds import ChatOperation, ChatStreaming, GatewayRounds, cost_of
from ai_gateway.routing.model_tags import model_id
from ai_gateway.routing.public_models import PublicModels, public_model
from ai_gateway.routing.registry import Registry
from ai_gateway.routing.resolver import Resolution, Routing, Target
from ai_gateway.tools.loop import SoFar, ToolLoop
from ai_gateway.tools.offer import requests_gateway_tools
from ai_gateway.tools.registry import WEB_SEARCH, Tools, claimed_search
from ai_gateway.tools.runs import CallerTools
from ai_gateway.translate.carriers import fit
from gateway_contract.openai import models

_log = structlog.get_logger(__name__)

type Chat = Item[models.CreateChatCompletionResponse] | Stream[models.CreateChatCompletionStreamResponse]
type Completion = Item[models.CreateCompletionResponse] | Stream[models.CreateCompletionStreamResponse]


class Gateway:
    """Every operation on models, for every provider.

    `routing` can be replaced at any time: a call reads it once and keeps that snapshot. Without `accounting`, there are
    no limits and no usage records.
    """

    def __init__(
        self, routing: Routing, resilience: Resilience | None = None, accounting: Accounting | None = None
    ) -> None:
        self.routing = routing
        self.accounting = accounting
        self.tools = Tools()
        self.resilience = resilience or Resilience()
        self._public_models = PublicModels()

    @property
    def registry(self) -> Registry:
        """The configured providers."""
        return self.routing.registry

    def chat(
        self, call: Call, body: models.CreateChatCompletionRequest, resolution: Resolution | None = None
    ) -> Coroutine[None, None, Chat]:
        if body.stream:
            return _ready(Stream(self.stream_chat(call, body, resolution)))
        if requests_gateway_tools(body):
            return self.run_chat(call, body, resolution)
        return self.run(call, CHAT, body, resolution)

    def run_chat(  # noqa: PLR0913 - what a front knows of its request
        self,
        call: Call,
        body: models.CreateChatCompletionRequest,
        resolution: Resolution | None = None,
        operation: ChatOperation = CHAT,
        *,
        most_calls: int | None = None,
        so_far: SoFar = lambda _: None,
    ) -> Coroutine[None, None, Item[models.CreateChatCompletionResponse]]:
        """The whole reply of a chat that may call gateway-run tools; for the handlers of every wire.

        The tools that ran are listed in `gateway_tool_calls` of the message, at most `most_calls` in all.
        """
        if not requests_gateway_tools(body):
            return self.run(call, operation, body, resolution)

        async def reply() -> Item[models.CreateChatCompletionResponse]:
            loop = await self._tool_loop(call, body, resolution, (operation, CHAT_STREAM), most_calls)
            return await loop.reply(so_far)

        return reply()

    def stream_chat(
        self,
        call: Call,
        body: models.CreateChatCompletionRequest,
        resolution: Resolution | None = None,
        operation: ChatStreaming = CHAT_STREAM,
        *,
        most_calls: int | None = None,
    ) -> AsyncGenerator[Conformed[models.CreateChatCompletionStreamResponse]]:
        """The same as a stream, with deltas that report when tools start and end."""
        if not requests_gateway_tools(body):
            return self.stream(call, operation, body, resolution)

        async def chunks() -> AsyncGenerator[Conformed[models.CreateChatCompletionStreamResponse]]:
            loop = await self._tool_loop(call, body, resolution, (CHAT, operation), most_calls)
            async with aclosing(loop.chunks()) as items:
                async for item in items:
                    yield item

        return chunks()

    def tools_for(self, call: Call, resolution: Resolution) -> CallerTools:
        """The gateway-run tools that this caller may use with these targets; for wires that name them differently."""
        built_in = not any(target.provider.is_remote for target in resolution.targets)
        return CallerTools(self.tools, call.caller, built_in)

    async def _tool_loop(
        self,
        call: Call,
        body: models.CreateChatCompletionRequest,
        resolution: Resolution | None,
        operations: tuple[ChatOperation, ChatStreaming],
        most_calls: int | None = None,
    ) -> ToolLoop:
        """The loop for a chat with gateway-run tools, in which each round is an ordinary call."""
        if resolution is None:
            _, resolution = await self.resolve(call, body.model)
        first = resolution.targets[0].provider
        built_in = not any(target.provider.is_remote for target in resolution.targets)
        if first.parameters.policies(CHAT.name)["web_search_options"] in {"dropped", "refused"}:
            with suppress(ToolNotAvailable, ToolNotAllowed):  # then the chat runs without the search
                self.tools.find(call.caller, WEB_SEARCH, 0, built_in=built_in)
                body = claimed_search(body)
        offer = await self.tools.offer(call.caller, body, built_in=built_in)
        rounds = GatewayRounds(self, resolution, operations)
        limits = self.tools.limits if most_calls is None else replace(self.tools.limits, in_all=most_calls)
        return ToolLoop(rounds, call, body, offer, limits, seconds=first.deadline_s, provider=first.name)

    async def complete(
        self, call: Call, body: models.CreateCompletionRequest, resolution: Resolution | None = None
    ) -> Completion:
        if body.stream:
            return Stream(self.stream(call, COMPLETION_STREAM, body, resolution))
        return await self.run(call, COMPLETION, body, resolution)

    async def embed(
        self, call: Call, body: models.CreateEmbeddingRequest, resolution: Resolution | None = None
    ) -> Item[models.CreateEmbeddingResponse]:
        return await self.run(call, EMBEDDING, body, resolution)

    async def run[Req: Request, Rep: BaseModel](
        self, call: Call, operation: Operation[Req, Rep], body: Req, resolution: Resolution | None = None
    ) -> Item[Rep]:
        """The whole reply. `resolution` is given where the model is resolved already."""
        if resolution is None and call.provider is not None:
            resolution = self.routing.at(call.provider, body.model)
        elif resolution is None:
            _, resolution = await self.resolve(call, body.model)
        if self.accounting is not None:
            bound = operation.bound(body, call.size + call.recalled)
            reserve = self.accounting.reserve_at_once if call.trace is None else self.accounting.reserve
            waiting = reserve(call, operation.name, body.model, bound, resolution.targets, False)
            if waiting is not None:
                await (waiting if call.trace is None else _traced(call, waiting))
        return await self.resilience.reply(call, resolution.targets, partial(_reply, operation, body))

    def stream[
        Req: Streamed,
        Piece: (models.CreateChatCompletionStreamResponse, models.CreateCompletionStreamResponse),
    ](
        self, call: Call, operation: Streaming[Req, Piece], body: Req, resolution: Resolution | None = None
    ) -> AsyncGenerator[Conformed[Piece]]:
        """The stream. Reading its first chunk opens it, and raises the error if there is none.

        `resolution` is given where the model is resolved already.
        """
        return PendingStream(partial(self._opened, call, operation, body, resolution))

    async def _opened[
        Req: Streamed,
        Piece: (models.CreateChatCompletionStreamResponse, models.CreateCompletionStreamResponse),
    ](
        self, call: Call, operation: Streaming[Req, Piece], body: Req, resolution: Resolution | None
    ) -> tuple[Conformed[Piece] | None, AsyncGenerator[Conformed[Piece]]]:
        found = resolution or (await self.resolve(call, body.model))[1]
        if self.accounting is not None:
            bound = operation.bound(body, call.size + call.recalled)
            reserve = self.accounting.reserve_at_once if call.trace is None else self.accounting.reserve
            waiting = reserve(call, operation.name, body.model, bound, found.targets, True)
            if waiting is not None:
                await (waiting if call.trace is None else _traced(call, waiting))
        return await self.resilience.stream(call, found.targets, partial(_chunks, operation, body))

    async def resolve(self, call: Call, name: str) -> tuple[str, Resolution]:
        """The model's id for the name in the request, and the targets to try in order.

        Raises ProviderNotFound or ModelNotFound.
        """
        routing = self.routing
        model = name if call.provider is not None else await model_id(routing, name, call.wire.name)
        return model, await routing.resolve(call.provider, model)

    async def list_models(self, call: Call) -> Item[models.ListModelsResponse] | models.ListModelsResponse:
        """One provider's models or, through `/v1`, every provider's, under ids that resolve to them."""
        routing = self.routing
        if call.provider is not None:
            provider = routing.registry.get(call.provider)
            attempt = self._single_attempt(call, provider)
            received = await provider.list_models(attempt)
            return Conformer(provider, attempt, "").item(models.ListModelsResponse, received)
        listed, missing = await self._public_models.read(routing)
        call.attempts.append(Notes(missing=tuple(missing)))
        return models.ListModelsResponse(object="list", data=listed)

    async def retrieve_model(
        self, call: Call, name: str, resolved: tuple[str, Resolution] | None = None
    ) -> Item[models.Model] | models.Model:
        """A model from the gateway's lists or its provider. Callers of the provider's own wire always get its reply."""
        routing = self.routing
        model, resolution = resolved or await self.resolve(call, name)
        target = resolution.targets[0]
        upstream_id = target.model if target.model != name else None
        if call.provider is None and call.native is None and (known := public_model(routing, model)) is not None:
            call.attempts.append(Notes(target.provider.name, upstream_id))
            return known
        attempt = self._single_attempt(call, target.provider, upstream_id)
        conformer = Conformer(target.provider, attempt, target.model)
        item = conformer.item(models.Model, await target.provider.retrieve_model(attempt, target.model))
        if call.provider is not None:
            return item
        return item.model.model_copy(update={"id": routing.public_id(target.provider.name, item.model.id)})

    def _single_attempt(self, call: Call, provider: Provider, upstream_model: str | None = None) -> Attempt:
        notes = call.begin_attempt(Notes(provider.name, upstream_model))
        self.resilience.hold(call, provider.name)
        return Attempt(call, notes)

    async def aclose(self) -> None:
        """Close every tool and provider, even if closing another one fails."""
        await self.tools.close()
        await self.routing.catalogue.aclose()
        for provider in self.registry:
            await close_quietly(provider)


async def _ready[Value](value: Value) -> Value:
    return value


async def _traced(call: Call, reserving: Awaitable[None]) -> None:
    with call.step(Step.RESERVE, {}):
        await reserving


async def close_quietly(provider: Provider) -> None:
    """Close the provider; a failure is logged, so that the others are closed as well."""
    try:
        await provider.aclose()
    except Exception as error:  # nothing handles it at shutdown, so it is logged
        _log.warning("provider did not close", provider=provider.name, exc_info=error)


async def _reply[Req: Request, Rep: BaseModel](
    operation: Operation[Req, Rep], body: Req, attempt: Attempt, target: Target
) -> Item[Rep]:
    """One attempt at a whole reply."""
    request = _prepared(attempt, target, body)
    conformer = Conformer(target.provider, attempt, request.model)
    received = await operation.call(target.provider, attempt, request)
    is_relayed = _relays(attempt.call) and not conformer.observes
    forms = forms_of(target.provider.name, request.model, operation.reply) if is_relayed else None
    item = forms.recognise(received, attempt.notes) if forms is not None else None
    if item is None:
        item = _conformed(operation, request, received, conformer)
        if forms is not None and item.raw is not None and not attempt.notes.repairs:
            forms.learn(item.model, item.raw)
    tokens = attempt.notes.reported
    if tokens is None or not tokens.output:
        attempt.notes.text_bytes = len(item.raw or to_json(item.model)) if tokens is None else text_size(item.model)
    return item


def _conformed[Req: Request, Rep: BaseModel](
    operation: Operation[Req, Rep], request: Req, received: Received[Rep], conformer: Conformer
) -> Item[Rep]:
    """The received reply, conformed to the contract."""
    try:
        item = conformer.item(operation.reply, received)
    except UpstreamInvalidResponse:
        joined = joined_reply(operation.reply, events_in(received), operation.choices(request), conformer)
        if joined is None:
            raise
        item = conformer.item(operation.reply, joined)
    if conformer.observes:
        return item
    return fill_empty_ids(operation.conform(item, request, conformer.report), conformer.request_id, conformer.report)


def _relays(call: Call) -> bool:
    """Whether upstream bytes may be relayed: to a caller of the same wire, and not in a round of a tool loop."""
    return call.wire.name == "openai" and call.round is None


def _chunks[
    Req: Streamed,
    Piece: (models.CreateChatCompletionStreamResponse, models.CreateCompletionStreamResponse),
](operation: Streaming[Req, Piece], body: Req, attempt: Attempt, target: Target) -> AsyncGenerator[Conformed[Piece]]:
    """One attempt at a stream."""
    request = _prepared(attempt, target, body)
    conformer = Conformer(target.provider, attempt, request.model)
    conformer.known = known_chunks_of(target.provider.name, request.model, operation.chunk)
    include_usage = bool(request.stream_options and request.stream_options.include_usage)
    state: StreamState[Piece] = StreamState(
        operation.choices(request),
        include_usage=include_usage,
        shows_null=attempt.call.bridge is None,
        cost=cost_of(attempt.call) if include_usage and attempt.call.round is None else None,
        report=conformer.report,
        request_id=attempt.request_id,
        content_fields=conformer.content_fields,
    )
    continuations = _continuations(attempt, conformer, (target.provider.name, request.model, include_usage))
    arrived = operation.call(target.provider, attempt, request)
    return conform_stream(arrived, operation.chunk, state, conformer, continuations)


def _continuations(attempt: Attempt, conformer: Conformer, origin: tuple[object, ...]) -> Continuations | None:
    """Recognises chunks that only continue a text; None if the caller's wire does not allow relaying them."""
    call, bridge = attempt.call, attempt.call.bridge
    if call.round is not None or (bridge is None and call.wire.name != "openai"):
        return None  # the chunks of a round in a tool loop are rewritten
    sink = None if conformer.observes else call.sink
    if bridge is None:
        continuations = Continuations(conformer.content_fields, attempt.notes, origin)
        attempt.divert = None if sink is None else continuations.diverting_to(sink)
    else:
        continuations = Continuations(conformer.content_fields, attempt.notes, (*origin, "texts"), only_texts=True)
        attempt.divert = None if sink is None else continuations.translating_to(bridge, sink)
    return continuations


def _prepared[Body: Request](attempt: Attempt, target: Target, body: Body) -> Body:
    """The body for the provider: a copy, unless model and fields stay the same."""
    attempt.notes.upstream_model = _renamed(attempt.call, target.model, body.model)
    if attempt.call.unknown is not None:
        if not target.provider.is_remote:  # there is no upstream that could accept fields beyond the contract
            raise attempt.call.unknown.error
        if not attempt.call.wire.carries:  # unknown fields of other wires were dropped or refused in translation
            target.provider.parameters.apply_unknown(attempt, attempt.call.unknown, target.provider.forwards_bodies)
    if attempt.call.wire.carries:
        body = _fitted(attempt, target, body)
    if target.model == body.model and target.provider.parameters.pass_on(body):
        return body
    request = copy(body)
    request.model = target.model
    target.provider.parameters.apply(attempt, request)
    return request


def _fitted[Body: Request](attempt: Attempt, target: Target, body: Body) -> Body:
    """The body with those fields of the caller's wire that the provider accepts."""
    if not isinstance(body, models.CreateChatCompletionRequest):
        return body
    fitted, lost = fit(body, target.provider.carriers, target.provider.name)
    note_dropped(attempt, lost)
    return fitted


def _renamed(call: Call, there: str, resolved: str) -> str | None:
    """The upstream's name for the model, if the request had another name or none."""
    parsed = call.parsed
    called = parsed.get("model") if parsed is not None and call.wire.name != "ollama" else resolved
    return there if there != called else None

"""Chats with models that their upstream serves by the Responses API only."""

import re
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Any, Protocol

from ai_gateway.contract.stream import DONE, Done
from ai_gateway.errors import GatewayError, UpstreamInvalidResponse, UpstreamStreamTruncated
from ai_gateway.providers.http.stream import OpenStream, WholeReply
from ai_gateway.providers.openai.quirks import Quirks
from ai_gateway.translate.chat_responses.reply import to_chat
from ai_gateway.translate.chat_responses.stream import ResponseStreamTranslator
from gateway_contract.openai import models

PATH = "/responses"

type Fields = dict[str, object]


class Answers(Protocol):
    """The provider's methods that read responses."""

    name: str

    def error_in(self, value: object) -> GatewayError | None: ...
    def read(self, raw: bytes) -> object:
        """The JSON value. Raises UpstreamInvalidResponse."""


def goes_by_response(quirks: Quirks, body: models.CreateChatCompletionRequest) -> bool:
    """Whether the chat has to be sent as a response."""
    if quirks.responses_only and re.fullmatch(quirks.responses_only, body.model):
        return True
    if not quirks.responses_for_tools or not (body.tools or body.functions) or body.reasoning_effort == "none":
        return False
    return re.fullmatch(quirks.responses_for_tools, body.model) is not None


def whole(provider: Answers, raw: bytes) -> Fields:
    """The completion in a whole reply. Raises the error if it is one."""
    return _completion(provider, raw)


def _completion(provider: Answers, raw: bytes) -> Fields:
    response = _response(provider, provider.read(raw))
    with _as_it_should_be():
        return to_chat(response)


@contextmanager
def _as_it_should_be() -> Iterator[None]:
    """Turns exceptions for malformed replies into UpstreamInvalidResponse."""
    try:
        yield
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise UpstreamInvalidResponse.off_contract(detail=f"not the form of a response: {error}") from error


async def chunks(provider: Answers, stream: OpenStream) -> AsyncGenerator[Fields | Done]:
    """The chunks of a streamed response. Raises an error event as an error, and UpstreamStreamTruncated."""
    translator = ResponseStreamTranslator()
    try:
        async with aclosing(stream.events()) as events:
            async for data in events:
                if data == b"[DONE]":
                    break
                event = _event(provider, data)
                with _as_it_should_be():
                    translated = [*translator.feed(event)]
                for chunk in translated:
                    yield chunk
                if translator.failure is not None:
                    raise _failure(provider, translator.failure)
                if translator.complete:
                    await stream.drain()
                    yield DONE
                    return
    except WholeReply as reply:
        yield _completion(provider, reply.body)
        yield DONE
        return
    raise UpstreamStreamTruncated.ended(provider.name)


def _event(provider: Answers, data: bytes) -> Fields:
    """The content of an event. Raises the error if it is one, also without a type, as upstreams of other wires send."""
    event = provider.read(data)
    if not isinstance(event, dict):
        return {}
    if not event.get("type") and (error := provider.error_in(event)) is not None:
        raise error
    return event


def _response(provider: Answers, value: object) -> Mapping[str, Any]:
    if isinstance(value, dict) and value.get("object") == "response":
        status = str(value.get("status"))  # of any type
        if status in {"failed", "cancelled"}:
            raise _failure(provider, value)
        if status in {"queued", "in_progress"}:
            raise UpstreamInvalidResponse.off_contract(detail="a response that has no end yet")
        return value
    raise provider.error_in(value) or UpstreamInvalidResponse.off_contract(detail="neither a response nor an error")


def _failure(provider: Answers, value: Mapping[str, Any]) -> GatewayError:
    return provider.error_in(value) or UpstreamInvalidResponse.off_contract(detail="a failed response without a reason")

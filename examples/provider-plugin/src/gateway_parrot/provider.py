"""A provider that answers with what it was told last. Requests and replies are the contract's own models."""

import time
from collections.abc import AsyncGenerator, Iterator
from typing import get_args, override

from ai_gateway.plugin import SAME_WIRE, Attempt, ModelNotFound, Provider, Quirks, Upstream
from gateway_contract.openai import models
from gateway_contract.openai.parameters import RequestField

_MODEL = models.Model(id="polly", object="model", created=0, owned_by="parrot")
_HEARD = {"model", "messages", "prompt", "input", "stream", "stream_options"}
# It hears nothing else, so everything else is dropped and named in the reply.
_POLICIES = Quirks(dropped=frozenset(get_args(RequestField.__value__)) - _HEARD).policies(SAME_WIRE)


class Parrot(Provider):
    """Offers chat completions and a list of one model; every other operation is a clear 400."""

    def __init__(self, upstream: Upstream) -> None:
        super().__init__(upstream.name, _POLICIES, "drop", upstream.conformance)

    @override
    async def list_models(self, attempt: Attempt) -> models.ListModelsResponse:
        return models.ListModelsResponse(object="list", data=[_MODEL])

    @override
    async def retrieve_model(self, attempt: Attempt, model: str) -> models.Model:
        if model != _MODEL.id:
            raise ModelNotFound(f"There is no such model: ask '{_MODEL.id}'.", param="model")
        return _MODEL

    @override
    async def create_chat_completion(
        self, attempt: Attempt, body: models.CreateChatCompletionRequest
    ) -> models.CreateChatCompletionResponse:
        reply = {"role": "assistant", "content": _last_words(body), "refusal": None}
        return models.CreateChatCompletionResponse.model_validate(
            {
                "id": f"chatcmpl-{attempt.request_id}",
                "object": "chat.completion",
                "created": int(time.time()),
                "model": body.model,
                "choices": [{"index": 0, "message": reply, "finish_reason": "stop", "logprobs": None}],
            }
        )

    @override
    async def stream_chat_completion(
        self, attempt: Attempt, body: models.CreateChatCompletionRequest
    ) -> AsyncGenerator[models.CreateChatCompletionStreamResponse]:
        head: dict[str, object] = {"id": f"chatcmpl-{attempt.request_id}", "object": "chat.completion.chunk"}
        head |= {"created": int(time.time()), "model": body.model}
        for choice in _choices(_last_words(body)):
            yield models.CreateChatCompletionStreamResponse.model_validate({**head, "choices": [choice]})


def _choices(words: str) -> Iterator[dict[str, object]]:
    """One word at a time, and at last how it ended; the gateway adds what a stream needs besides."""
    for at, word in enumerate(words.split(" ")):
        yield {"index": 0, "delta": {"content": f" {word}" if at else word}, "finish_reason": None}
    yield {"index": 0, "delta": {}, "finish_reason": "stop"}


def _last_words(body: models.CreateChatCompletionRequest) -> str:
    """The text of the last message that is a plain text."""
    texts = [message.content for message in body.messages if isinstance(message.content, str)]
    return texts[-1] if texts else "..."

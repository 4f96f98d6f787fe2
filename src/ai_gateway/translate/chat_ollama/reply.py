"""Ollama's responses in OpenAI's format: complete answers, embeddings, and the model list."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel
from pydantic_core import to_json

from ai_gateway.contract.write import to_fields
from ai_gateway.errors import UpstreamInvalidResponse
from ai_gateway.redaction import redact_all
from ai_gateway.translate.chat_ollama.forced import ForcedCall
from ai_gateway.translate.extra_fields import carry, extra_fields
from ai_gateway.translate.wires.ollama import (
    Alternative,
    ModelList,
    Reply,
    Shown,
    Timed,
    TokenLogprob,
    ToolCall,
    Vectors,
    seconds,
)
from gateway_contract.openai import models

type Finish = Literal["stop", "length", "content_filter"]

# `load` and `unload` are complete responses too: ollama's docs/api.md, "Load a model". An older server sends no reason.
# The last two are not Ollama's own, but repaired reasons of servers that imitate it.
_FINISH: Mapping[str, Finish] = {
    "stop": "stop",
    "load": "stop",
    "unload": "stop",
    "": "stop",
    "length": "length",
    "tool_calls": "stop",
    "content_filter": "content_filter",
}


@dataclass(frozen=True, slots=True)
class RequestContext:
    """The facts of the request. `now` is used if the response has no time.

    `native`: the caller uses Ollama's API too, and can use fields that OpenAI's format lacks. `forced` is the call that
    the content has to be.
    """

    model: str
    request_id: str
    now: int
    native: bool = False
    forced: ForcedCall | None = None

    def carry[Model: BaseModel](self, source: BaseModel, model: Model) -> Model:
        """The model with the extra fields of its source, in a separate field if the caller uses Ollama's API."""
        return carry(extra_fields(source), model, apart=self.native) if source.__pydantic_extra__ else model


def chat_response(reply: Reply, request: RequestContext) -> models.CreateChatCompletionResponse:
    """A complete chat response. Raises UpstreamInvalidResponse if it is not one."""
    answer = reply.message
    if answer is None or reply.done is False:
        raise incomplete()
    made, content = answer.tool_calls or [], answer.content
    if request.forced and not made and (call := request.forced.call(content or "", cut=finish(reply) == "length")):
        made, content = [call], None
    calls = [_whole_call(call, request, at) for at, call in enumerate(made)]
    message = models.ChatCompletionResponseMessage(
        role="assistant", content=content or (None if calls else ""), refusal=None
    )
    if calls:
        message.tool_calls = [*calls]
    more: dict[str, object] = {"reasoning_content": answer.thinking or None, "images": answer.images or None}
    message = message.model_copy(update={name: value for name, value in more.items() if value is not None})
    request.carry(answer, message)
    tokens = logprobs(answer_tokens(reply.logprobs, answer.thinking, answer.content), request)
    choice = models.CreateChatCompletionResponseChoice(
        index=0,
        message=message,
        logprobs=models.CreateChatCompletionResponseChoiceLogprobs(content=tokens, refusal=None) if tokens else None,
        finish_reason=chat_finish(reply, calls=bool(calls)),
    ).model_copy(update=native_finish(reply))
    response = models.CreateChatCompletionResponse(
        id=f"chatcmpl-{request.request_id}",
        object="chat.completion",
        created=seconds(reply.created_at) or request.now,
        model=reply.model or request.model,
        choices=[choice],
        usage=usage(reply),
    )
    return request.carry(reply, response.model_copy(update=beside(reply, request)))


def completion_response(reply: Reply, request: RequestContext) -> models.CreateCompletionResponse:
    """A complete legacy completion. Raises UpstreamInvalidResponse if it is not one."""
    if reply.response is None or reply.done is False:
        raise incomplete()
    choice = models.CreateCompletionResponseChoice(
        index=0,
        text=reply.response,
        logprobs=legacy_logprobs(answer_tokens(reply.logprobs, reply.thinking, reply.response), 0, request),
        finish_reason=finish(reply),
    ).model_copy(update=native_finish(reply))
    if reply.thinking:
        choice = choice.model_copy(update={"reasoning_content": reply.thinking})
    response = models.CreateCompletionResponse(
        id=f"cmpl-{request.request_id}",
        object="text_completion",
        created=seconds(reply.created_at) or request.now,
        model=reply.model or request.model,
        choices=[choice],
        usage=usage(reply),
    )
    return request.carry(reply, response.model_copy(update=beside(reply, request)))


def beside(reply: Timed, request: RequestContext) -> dict[str, object]:
    """Fields for callers of Ollama's API only: durations, and the `context` to continue the conversation with."""
    if not request.native:
        return {}
    tokens = reply.context if isinstance(reply, Reply) else None
    fields = {"durations": reply.durations(), "context": tokens}
    return {name: value for name, value in fields.items() if value}


def embedding_response(reply: Vectors, request: RequestContext) -> models.CreateEmbeddingResponse:
    """Vectors in the order of the inputs."""
    data = [
        models.Embedding(object="embedding", index=at, embedding=vector) for at, vector in enumerate(reply.embeddings)
    ]
    count = reply.prompt_eval_count or 0
    response = models.CreateEmbeddingResponse(
        object="list",
        data=data,
        model=reply.model or request.model,
        usage=models.CreateEmbeddingResponseUsage(prompt_tokens=count, total_tokens=count),
    )
    return request.carry(reply, response.model_copy(update=beside(reply, request)))


def model_list(reply: ModelList) -> models.ListModelsResponse:
    """Every model with its details; one without a namespace in its name belongs to Ollama's library."""
    return models.ListModelsResponse(
        object="list",
        data=[
            models.Model(
                id=listed.name,
                object="model",
                created=seconds(listed.modified_at) or 0,
                owned_by=_owner(listed.name),
            ).model_copy(update=listed.model_dump(include={"size", "details", "capabilities"}, exclude_none=True))
            for listed in reply.models or ()
        ],
    )


def shown_model(name: str, details: Shown) -> models.Model:
    """One model, with everything that its server reports in a field `shown`."""
    model = models.Model(id=name, object="model", created=seconds(details.modified_at) or 0, owned_by=_owner(name))
    facts = details.model_dump(include={"details", "capabilities"}, exclude_none=True)
    return model.model_copy(update={**facts, "shown": details.model_dump(exclude_unset=True)})


def _owner(name: str) -> str:
    return ["library", *name.split("/")[:-1]][-1]


def incomplete() -> UpstreamInvalidResponse:
    """The error for a response without an answer."""
    return UpstreamInvalidResponse("The provider's reply holds no whole answer.")


def usage(reply: Reply) -> models.CompletionUsage:
    """The counts. Ollama omits zeros: a prompt in its cache has no `prompt_eval_count`."""
    prompt, completion = reply.prompt_eval_count or 0, reply.eval_count or 0
    return models.CompletionUsage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)


def has_unknown_end(reply: Reply) -> bool:
    """Whether it ended with an unknown `done_reason`."""
    return bool(reply.done) and (reply.done_reason or "") not in _FINISH


def finish(reply: Reply) -> Finish:
    """The finish reason. Raises UpstreamInvalidResponse for an unknown one: none is invented here."""
    found = _FINISH.get(reply.done_reason or "")
    if found is None:
        raise UpstreamInvalidResponse.unknown_end()
    return found


def native_finish(reply: Reply) -> dict[str, object]:
    """A field of the choice with the server's own finish reason, if it is not one of Ollama's."""
    return {} if reply.ended_as is None else {"native_finish_reason": redact_all(reply.ended_as)}


def chat_finish(reply: Reply, *, calls: bool) -> Finish | Literal["tool_calls"]:
    """The same for chat: Ollama's `done_reason` after a tool call is `stop`."""
    reason = finish(reply)
    return "tool_calls" if calls and reason == "stop" else reason


def call_id(call: ToolCall, request: RequestContext, at: int) -> str:
    """Ollama's id of the call, or else one derived from the request, so that it is the same each time."""
    return call.id or f"call_{hashlib.sha256(f'{request.request_id}/{at}'.encode()).hexdigest()[:24]}"


def arguments(call: ToolCall) -> str:
    """The JSON text of the arguments. Servers that imitate Ollama send the text instead of an object."""
    value = call.function.arguments
    return value if isinstance(value, str) else to_json(value or {}).decode()


def answer_tokens(
    tokens: Sequence[TokenLogprob] | None, thinking: str | None, content: str | None
) -> Sequence[TokenLogprob]:
    """The tokens of the answer without those of the thinking, which Ollama includes.

    After thinking, they are the last ones if these spell the content. If they do not, none can be identified.
    """
    if not tokens or not thinking:
        return tokens or ()
    text = content or ""
    at, missing = len(tokens), len(text)
    while at and missing > 0:
        at -= 1
        missing -= len(tokens[at].token)
    spelled = "".join(token.token for token in tokens[at:])
    # Ollama strips white space after the thinking: thinking/parser.go.
    return tokens[at:] if spelled.lstrip() == text.lstrip() else ()


def logprobs(tokens: Sequence[TokenLogprob] | None, request: RequestContext) -> list[models.ChatCompletionTokenLogprob]:
    """Log probabilities, token by token."""
    return [_logprob(token, request) for token in tokens or ()]


def _logprob(token: TokenLogprob, request: RequestContext) -> models.ChatCompletionTokenLogprob:
    others = [_alternative(other, request) for other in token.top_logprobs or ()]
    made = models.ChatCompletionTokenLogprob(
        token=token.token, logprob=token.logprob, bytes=token.bytes, top_logprobs=others
    )
    return request.carry(token, made)


def _alternative(token: Alternative, request: RequestContext) -> models.ChatCompletionTokenLogprobTopLogprob:
    made = models.ChatCompletionTokenLogprobTopLogprob(token=token.token, logprob=token.logprob, bytes=token.bytes)
    return request.carry(token, made)


def legacy_logprobs(
    tokens: Sequence[TokenLogprob] | None, offset: int, request: RequestContext
) -> models.CreateCompletionResponseChoiceLogprobs | None:
    """The same in the four parallel lists of legacy completions; `offset` is the position of the text.

    The lists have no place for extra fields of tokens, so such tokens are added in the form of chats, like llama.cpp's
    server does for all: tools/server/README.md, `n_probs`.
    """
    if not tokens:
        return None
    offsets = [offset]
    for token in tokens[:-1]:
        offsets.append(offsets[-1] + len(token.token))
    made = models.CreateCompletionResponseChoiceLogprobs(
        tokens=[token.token for token in tokens],
        token_logprobs=[token.logprob for token in tokens],
        top_logprobs=[{top.token: top.logprob for top in token.top_logprobs or ()} for token in tokens],
        text_offset=offsets,
    )
    if any(each.model_extra for token in tokens for each in (token, *(token.top_logprobs or ()))):
        return made.model_copy(update={"content": list(map(to_fields, logprobs(tokens, request)))})
    return made


def _whole_call(call: ToolCall, request: RequestContext, at: int) -> models.ChatCompletionMessageToolCall:
    function = models.ChatCompletionMessageToolCallFunction(name=call.function.name, arguments=arguments(call))
    request.carry(call.function, function)
    made = models.ChatCompletionMessageToolCall(id=call_id(call, request, at), type="function", function=function)
    return request.carry(call, made)

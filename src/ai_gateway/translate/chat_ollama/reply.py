"""Ollama's replies as OpenAI's: whole answers, vectors, and the list of models."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic_core import to_json

from ai_gateway.errors import UpstreamInvalidResponse
from ai_gateway.translate.wires.ollama import ModelList, Reply, Shown, Timed, TokenLogprob, ToolCall, Vectors, seconds
from gateway_contract.openai import models

type Finish = Literal["stop", "length", "content_filter"]

# `load` and `unload` are answers that are over as well; a server that is old says nothing. The last two are not
# Ollama's own, but what is made of the reasons of servers that only look like it.
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
class Asked:
    """What is known before a reply comes. `now` stands in where the provider does not tell the time.

    `native` says that the caller speaks Ollama's wire too, so that it has a use for what OpenAI's cannot say.
    """

    model: str
    request_id: str
    now: int
    native: bool = False


def chat_response(reply: Reply, asked: Asked) -> models.CreateChatCompletionResponse:
    """A whole chat answer. Raises UpstreamInvalidResponse if it is none, or not whole."""
    said = reply.message
    if said is None or reply.done is False:
        raise incomplete()
    calls = [_whole_call(call, asked, at) for at, call in enumerate(said.tool_calls or ())]
    message = models.ChatCompletionResponseMessage(
        role="assistant", content=said.content or (None if calls else ""), refusal=None
    )
    if calls:
        message.tool_calls = [*calls]
    more: dict[str, object] = {"reasoning_content": said.thinking or None, "images": said.images or None}
    message = message.model_copy(update={name: value for name, value in more.items() if value is not None})
    found = logprobs(answer_tokens(reply.logprobs, said.thinking, said.content))
    choice = models.CreateChatCompletionResponseChoice(
        index=0,
        message=message,
        logprobs=models.CreateChatCompletionResponseChoiceLogprobs(content=found, refusal=None) if found else None,
        finish_reason=chat_finish(reply, calls=bool(calls)),
    )
    response = models.CreateChatCompletionResponse(
        id=f"chatcmpl-{asked.request_id}",
        object="chat.completion",
        created=seconds(reply.created_at) or asked.now,
        model=reply.model or asked.model,
        choices=[choice],
        usage=usage(reply),
    )
    return response.model_copy(update=beside(reply, asked))


def completion_response(reply: Reply, asked: Asked) -> models.CreateCompletionResponse:
    """A whole legacy completion. Raises UpstreamInvalidResponse if it is none, or not whole."""
    if reply.response is None or reply.done is False:
        raise incomplete()
    choice = models.CreateCompletionResponseChoice(
        index=0,
        text=reply.response,
        logprobs=legacy_logprobs(answer_tokens(reply.logprobs, reply.thinking, reply.response), 0),
        finish_reason=finish(reply),
    )
    if reply.thinking:
        choice = choice.model_copy(update={"reasoning_content": reply.thinking})
    response = models.CreateCompletionResponse(
        id=f"cmpl-{asked.request_id}",
        object="text_completion",
        created=seconds(reply.created_at) or asked.now,
        model=reply.model or asked.model,
        choices=[choice],
        usage=usage(reply),
    )
    return response.model_copy(update=beside(reply, asked))


def beside(reply: Timed, asked: Asked) -> dict[str, object]:
    """What only a caller of Ollama's wire gets: how long it took, and the conversation in tokens, to go on with it."""
    if not asked.native:
        return {}
    tokens = reply.context if isinstance(reply, Reply) else None
    found = {"durations": reply.durations(), "context": tokens}
    return {name: value for name, value in found.items() if value}


def embedding_response(reply: Vectors, asked: Asked) -> models.CreateEmbeddingResponse:
    """Vectors in the order of the inputs."""
    data = [
        models.Embedding(object="embedding", index=at, embedding=vector) for at, vector in enumerate(reply.embeddings)
    ]
    count = reply.prompt_eval_count or 0
    response = models.CreateEmbeddingResponse(
        object="list",
        data=data,
        model=reply.model or asked.model,
        usage=models.CreateEmbeddingResponseUsage(prompt_tokens=count, total_tokens=count),
    )
    return response.model_copy(update=beside(reply, asked))


def model_list(reply: ModelList) -> models.ListModelsResponse:
    """Every model that is there, with what its server says of it; one without an owner in its name is the library's."""
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


def shown_model(name: str, said: Shown) -> models.Model:
    """One model, with all that its server says of it in a field `shown`."""
    model = models.Model(id=name, object="model", created=seconds(said.modified_at) or 0, owned_by=_owner(name))
    facts = said.model_dump(include={"details", "capabilities"}, exclude_none=True)
    return model.model_copy(update={**facts, "shown": said.model_dump(exclude_unset=True)})


def _owner(name: str) -> str:
    return ["library", *name.split("/")[:-1]][-1]


def incomplete() -> UpstreamInvalidResponse:
    """The error for a reply in which the answer itself is missing."""
    return UpstreamInvalidResponse("The provider's reply holds no whole answer.")


def usage(reply: Reply) -> models.CompletionUsage:
    """Ollama leaves a count out when it is zero: a prompt that it still knew counts as none."""
    prompt, completion = reply.prompt_eval_count or 0, reply.eval_count or 0
    return models.CompletionUsage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)


def ends_oddly(reply: Reply) -> bool:
    """Whether it ended for a reason that nobody knows here."""
    return bool(reply.done) and (reply.done_reason or "") not in _FINISH


def finish(reply: Reply) -> Finish:
    """Why it ended. Raises UpstreamInvalidResponse for a reason that nobody knows: none is made up here."""
    found = _FINISH.get(reply.done_reason or "")
    if found is None:
        raise UpstreamInvalidResponse.unknown_end()
    return found


def chat_finish(reply: Reply, *, calls: bool) -> Finish | Literal["tool_calls"]:
    """The same for chat: to Ollama a call is an ordinary stop."""
    reason = finish(reply)
    return "tool_calls" if calls and reason == "stop" else reason


def call_id(call: ToolCall, asked: Asked, at: int) -> str:
    """Ollama's id of the call or, where it has none, one that is the same whenever this reply is looked at."""
    return call.id or f"call_{hashlib.sha256(f'{asked.request_id}/{at}'.encode()).hexdigest()[:24]}"


def arguments(call: ToolCall) -> str:
    """The JSON text of the arguments; servers that only look like Ollama send the text itself."""
    given = call.function.arguments
    return given if isinstance(given, str) else to_json(given or {}).decode()


def answer_tokens(
    tokens: Sequence[TokenLogprob] | None, thinking: str | None, content: str | None
) -> Sequence[TokenLogprob]:
    """The tokens of the answer, which is what log probabilities are for; Ollama gives those of the thinking as well.

    Where the model thought, they are the last ones, if these spell the content. If they do not, nobody can tell.
    """
    if not tokens or not thinking:
        return tokens or ()
    text = content or ""
    at, missing = len(tokens), len(text)
    while at and missing > 0:
        at -= 1
        missing -= len(tokens[at].token)
    spelled = "".join(token.token for token in tokens[at:])
    return tokens[at:] if spelled.lstrip() == text.lstrip() else ()  # Ollama cuts white space behind the thinking


def logprobs(tokens: Sequence[TokenLogprob] | None) -> list[models.ChatCompletionTokenLogprob]:
    """Log probabilities, token by token."""
    return [
        models.ChatCompletionTokenLogprob(
            token=token.token,
            logprob=token.logprob,
            bytes=token.bytes,
            top_logprobs=[
                models.ChatCompletionTokenLogprobTopLogprob(token=top.token, logprob=top.logprob, bytes=top.bytes)
                for top in token.top_logprobs or ()
            ],
        )
        for token in tokens or ()
    ]


def legacy_logprobs(
    tokens: Sequence[TokenLogprob] | None, offset: int
) -> models.CreateCompletionResponseChoiceLogprobs | None:
    """The same in the four parallel lists of legacy completions; `offset` is where the text begins."""
    if not tokens:
        return None
    offsets = [offset]
    for token in tokens[:-1]:
        offsets.append(offsets[-1] + len(token.token))
    return models.CreateCompletionResponseChoiceLogprobs(
        tokens=[token.token for token in tokens],
        token_logprobs=[token.logprob for token in tokens],
        top_logprobs=[{top.token: top.logprob for top in token.top_logprobs or ()} for token in tokens],
        text_offset=offsets,
    )


def _whole_call(call: ToolCall, asked: Asked, at: int) -> models.ChatCompletionMessageToolCall:
    return models.ChatCompletionMessageToolCall(
        id=call_id(call, asked, at),
        type="function",
        function=models.ChatCompletionMessageToolCallFunction(name=call.function.name, arguments=arguments(call)),
    )

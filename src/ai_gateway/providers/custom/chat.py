"""Chat: the answer, and its response without streaming."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, cast

from pydantic import JsonValue

from ai_gateway.errors import UnsupportedValue
from ai_gateway.providers.custom import caching, faults, logprobs, prompt, sample, text, thinking, tools
from ai_gateway.providers.custom.dice import fingerprint
from ai_gateway.providers.custom.usage import SYSTEM_FINGERPRINT, usage
from ai_gateway.providers.custom.work import Work
from gateway_contract.openai import models

_CHOOSING = 50
_LOGPROBS, _LOGPROBS_EACH = 20, 12
"""The work of one choice, of the log probability of one token, and of each of its alternatives."""

type FinishReason = Literal["stop", "length", "tool_calls", "function_call", "content_filter"]

# Models with these finish reasons, for any content.
_ENDINGS: Final[Mapping[str, FinishReason]] = {
    faults.LENGTH: "length",
    faults.FILTERED: "content_filter",
    faults.PAUSED: "length",
    faults.FULL: "length",
}
# Reasons that chat completions lack, as the gateway reports them for other upstreams.
_NATIVE: Final = {faults.PAUSED: "pause_turn", faults.FULL: "model_context_window_exceeded"}
_REFUSAL: Final = "This model refuses everything, as its name says."


@dataclass(frozen=True, slots=True)
class Choice:
    """One choice: text as tokens, or tool calls; optionally after a thought, and cut at a stop string.

    `is_refusal` says that the text is a refusal; `ended_as` is a finish reason that chat completions lack.
    """

    index: int
    seed: str
    finish_reason: FinishReason
    tokens: Sequence[str] = ()
    calls: Sequence[tools.ToolCall] = ()
    function: tools.ToolCall | None = None
    thought: thinking.Thought | None = None
    stopped_by: str | None = None
    ended_as: str | None = None
    is_refusal: bool = False

    @property
    def is_text(self) -> bool:
        return not self.calls and self.function is None

    @property
    def reasoning_tokens(self) -> int:
        return 0 if self.thought is None else len(self.thought.tokens)

    @property
    def more(self) -> dict[str, object]:
        """Fields beside the finish reason: vLLM's `stop_reason`, the stop string, or another API's reason."""
        if self.ended_as is not None:
            return {"native_finish_reason": self.ended_as}
        return {} if self.stopped_by is None else {"stop_reason": self.stopped_by}

    @property
    def completion_tokens(self) -> int:
        calls = [*self.calls, *([self.function] if self.function else [])]
        return (
            self.reasoning_tokens
            + len(self.tokens)
            + sum(text.count(call.name) + text.count(call.input) for call in calls)
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """The content of a response or a stream; only `created` is not a function of the request."""

    id: str
    created: int
    model: str
    choices: Sequence[Choice]
    usage: models.CompletionUsage
    envelope: dict[str, str]
    """Further fields of every response and chunk."""


def answer(body: models.CreateChatCompletionRequest) -> Answer:
    """The complete answer; a stream splits it into chunks."""
    if body.modalities and "audio" in body.modalities:
        raise UnsupportedValue(
            "The built-in provider answers in text only: leave 'audio' out of modalities.", param="modalities"
        )
    seed = fingerprint("chat", body.model_dump_json(include={"model", "messages", "seed"}, warnings=False))
    work = Work()
    plan = _plan(body, work)
    choices = [_choice(body, plan, fingerprint(seed, str(index)), work, index) for index in range(body.n or 1)]
    return Answer(
        id=f"chatcmpl-{fingerprint(seed, body.model_dump_json(exclude={'stream', 'stream_options'}))[:29]}",
        created=int(time.time()),
        model=body.model,
        choices=choices,
        usage=usage(
            prompt.estimated_tokens(body.messages),
            sum(choice.completion_tokens for choice in choices),
            reasoning=sum(choice.reasoning_tokens for choice in choices),
            cached=caching.counts(body.messages),
        ),
        envelope={"system_fingerprint": SYSTEM_FINGERPRINT}
        | ({"service_tier": "default"} if body.service_tier else {}),
    )


def reply(body: models.CreateChatCompletionRequest) -> models.CreateChatCompletionResponse:
    """The answer as one response."""
    complete = answer(body)
    return models.CreateChatCompletionResponse(
        id=complete.id,
        object="chat.completion",
        created=complete.created,
        model=complete.model,
        choices=[_reply_choice(choice, body) for choice in complete.choices],
        usage=complete.usage,
        **complete.envelope,
    )


def token_logprobs(
    body: models.CreateChatCompletionRequest, choice: Choice, positions: range
) -> list[models.ChatCompletionTokenLogprob] | None:
    """The log probabilities of the tokens at these positions of a choice, if requested."""
    if not body.logprobs or not choice.is_text:
        return None
    return [_logprob(choice.tokens[at], body.top_logprobs or 0, f"{choice.seed}/{at}") for at in positions]


@dataclass(frozen=True, slots=True)
class _Plan:
    """Common to all choices: the tools to call, and what the texts refer to."""

    called: Sequence[tools.Tool]
    function: tools.Tool | None
    user_text: str
    introduced: bool


def _plan(body: models.CreateChatCompletionRequest, work: Work) -> _Plan:
    called, function = tools.called_tools(body, work), tools.called_function(body, work)
    if body.model in {faults.EMPTY, faults.REFUSAL, *_ENDINGS}:
        called, function = [], None
    return _Plan(called, function, prompt.last_user_text(body.messages), prompt.is_begun(body.messages))


def _choice(body: models.CreateChatCompletionRequest, plan: _Plan, seed: str, work: Work, index: int) -> Choice:
    thought = thinking.thought(body, seed)
    if plan.called:
        calls = [tools.call(tool, f"{seed}/{at}", work) for at, tool in enumerate(plan.called)]
        return Choice(index, seed, "tool_calls", calls=calls, thought=thought)
    if plan.function is not None:
        return Choice(index, seed, "function_call", function=tools.call(plan.function, seed, work))
    limits = [limit for limit in (body.max_tokens, body.max_completion_tokens) if limit is not None]
    cut = text.cut(_content(body, plan, seed, work), body.stop, min(limits, default=None))
    work.subject = "n"
    work.spend(_CHOOSING + len(cut.tokens))
    if body.logprobs:
        work.subject = "top_logprobs"
        work.spend(len(cut.tokens) * (_LOGPROBS + _LOGPROBS_EACH * (body.top_logprobs or 0)))
    return Choice(
        index,
        seed,
        _ENDINGS.get(body.model, cut.finish_reason),
        tokens=cut.tokens,
        thought=thought,
        stopped_by=cut.stopped_by,
        ended_as=_NATIVE.get(body.model),
        is_refusal=body.model == faults.REFUSAL,
    )


def _content(body: models.CreateChatCompletionRequest, plan: _Plan, seed: str, work: Work) -> str:
    """The complete text, in the requested format."""
    if body.model in {faults.EMPTY, faults.REFUSAL}:
        return _REFUSAL if body.model == faults.REFUSAL else ""
    words = text.reply(seed, plan.user_text, introduced=plan.introduced)
    match body.response_format:
        case models.ResponseFormatJsonObject():
            return tools.as_json({"answer": words})
        case models.ResponseFormatJsonSchema(json_schema=wanted):
            work.subject = "response_format"
            schema = cast("dict[str, JsonValue]", wanted.schema_.model_extra or {}) if wanted.schema_ else {}
            return tools.as_json(sample.object_instance(schema, seed, work))
        case _:
            source = prompt.last_source(body.messages)
            return f"{words} So says {source}." if source else words


def _reply_choice(
    choice: Choice, body: models.CreateChatCompletionRequest
) -> models.CreateChatCompletionResponseChoice:
    content = token_logprobs(body, choice, range(len(choice.tokens)))
    choice_logprobs = (
        None if content is None else models.CreateChatCompletionResponseChoiceLogprobs(content=content, refusal=None)
    )
    return models.CreateChatCompletionResponseChoice(
        index=choice.index,
        message=_message(choice),
        logprobs=choice_logprobs,
        finish_reason=choice.finish_reason,
        **choice.more,
    )


def _message(choice: Choice) -> models.ChatCompletionResponseMessage:
    words = "".join(choice.tokens) if choice.is_text else None
    content, refusal = (None, words) if choice.is_refusal else (words, None)
    thought: dict[str, object] = {}
    if choice.thought is not None:
        thought = {"reasoning_content": "".join(choice.thought.tokens), **choice.thought.fields}
    message = models.ChatCompletionResponseMessage(
        role="assistant", content=content, refusal=refusal, annotations=[], **thought
    )
    if choice.calls:
        message.tool_calls = [_tool_call(call) for call in choice.calls]
    if choice.function is not None:
        message.function_call = models.ChatCompletionResponseMessageFunctionCall(
            name=choice.function.name, arguments=choice.function.input
        )
    return message


def _tool_call(
    call: tools.ToolCall,
) -> models.ChatCompletionMessageToolCall | models.ChatCompletionMessageCustomToolCall:
    if call.kind == "custom":
        custom = models.ChatCompletionMessageCustomToolCallCustom(name=call.name, input=call.input)
        return models.ChatCompletionMessageCustomToolCall(id=call.id, type="custom", custom=custom)
    function = models.ChatCompletionMessageToolCallFunction(name=call.name, arguments=call.input)
    return models.ChatCompletionMessageToolCall(id=call.id, type="function", function=function)


def _logprob(token: str, count: int, seed: str) -> models.ChatCompletionTokenLogprob:
    candidates = logprobs.candidates(token, count, seed)
    alternatives = [
        models.ChatCompletionTokenLogprobTopLogprob(
            token=one.token, logprob=one.logprob, bytes=list(one.token.encode("utf-8", "surrogatepass"))
        )
        for one in candidates[:count]
    ]
    return models.ChatCompletionTokenLogprob(
        token=token,
        logprob=candidates[0].logprob,
        bytes=list(token.encode("utf-8", "surrogatepass")),
        top_logprobs=alternatives,
    )

"""Legacy completions: one sentence for each prompt, with and without streaming."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Literal

from ai_gateway.providers.custom import faults, logprobs, prompt, text
from ai_gateway.providers.custom.dice import fingerprint
from ai_gateway.providers.custom.usage import SYSTEM_FINGERPRINT, interleaved, usage
from ai_gateway.providers.custom.work import Work
from gateway_contract.openai import models

_DEFAULT_MAX_TOKENS = 16
_CHOOSING = 40
_ECHOED_EACH = 4
_LOGPROBS, _LOGPROBS_EACH = 15, 3
"""The work of one choice, of echoing so many characters once more, and of one token's log probabilities."""


@dataclass(frozen=True, slots=True)
class _Choice:
    index: int
    seed: str
    tokens: Sequence[str]
    echoed: int
    """The number of tokens that are the echoed prompt."""
    finish_reason: Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class _Answer:
    id: str
    created: int
    model: str
    choices: Sequence[_Choice]
    usage: models.CompletionUsage


def reply(body: models.CreateCompletionRequest) -> models.CreateCompletionResponse:
    """The answer as one response."""
    answer = _answer(body)
    return models.CreateCompletionResponse(
        id=answer.id,
        object="text_completion",
        created=answer.created,
        model=answer.model,
        system_fingerprint=SYSTEM_FINGERPRINT,
        choices=[_reply_choice(choice, body.logprobs) for choice in answer.choices],
        usage=answer.usage,
    )


def chunks(
    body: models.CreateCompletionRequest, report: Callable[[models.CompletionUsage], None] = lambda _: None
) -> Iterator[models.CreateCompletionStreamResponse]:
    """The answer token by token, with the choices interleaved. `report` is called with the usage at the end."""
    answer = _answer(body)
    choices = [_choice_chunks(choice, body.logprobs) for choice in answer.choices]
    yield from interleaved(choices, partial(_chunk, answer), answer.usage, body.stream_options, report)


def _answer(body: models.CreateCompletionRequest) -> _Answer:
    prompts, work = prompt.separate(body.prompt), Work(subject="prompt")
    seed = fingerprint("completion", body.model_dump_json(include={"model", "seed", "suffix"}))
    choices: list[_Choice] = []
    for one in prompts:
        given, echoed = fingerprint(seed, one.text), one.tokens if body.echo else []
        for n in range(body.n or 1):
            work.spend(len(one.given) // _ECHOED_EACH if body.echo and n else 0)
            choices.append(_choice(body, len(choices), echoed, fingerprint(given, str(n)), work))
    return _Answer(
        id=f"cmpl-{fingerprint(body.model_dump_json(exclude={'stream', 'stream_options'}))[:29]}",
        created=int(time.time()),
        model=body.model,
        choices=choices,
        usage=usage(sum(one.count for one in prompts), sum(len(choice.tokens) - choice.echoed for choice in choices)),
    )


def _choice(body: models.CreateCompletionRequest, index: int, echoed: Sequence[str], seed: str, work: Work) -> _Choice:
    words = "" if body.model == faults.EMPTY else text.continuation(seed)
    cut = text.cut(words, body.stop, _DEFAULT_MAX_TOKENS if body.max_tokens is None else body.max_tokens)
    tokens = (*echoed, *cut.tokens)
    work.spend(_CHOOSING + len(tokens))
    if body.logprobs is not None:
        work.spend(len(tokens) * (_LOGPROBS + _LOGPROBS_EACH * body.logprobs))
    return _Choice(index, seed, tokens, len(echoed), cut.finish_reason)


def _reply_choice(choice: _Choice, count: int | None) -> models.CreateCompletionResponseChoice:
    return models.CreateCompletionResponseChoice(
        index=choice.index,
        text="".join(choice.tokens),
        logprobs=_logprobs(choice, count, range(len(choice.tokens))),
        finish_reason=choice.finish_reason,
    )


def _choice_chunks(choice: _Choice, count: int | None) -> Iterator[models.CreateCompletionStreamResponseChoice]:
    offsets = accumulate(map(len, choice.tokens), initial=0)
    for at, (token, offset) in enumerate(zip(choice.tokens, offsets, strict=False)):
        yield models.CreateCompletionStreamResponseChoice(
            index=choice.index,
            text=token,
            logprobs=_logprobs(choice, count, range(at, at + 1), offset),
            finish_reason=None,
        )
    yield models.CreateCompletionStreamResponseChoice(
        index=choice.index, text="", logprobs=None, finish_reason=choice.finish_reason
    )


def _chunk(
    answer: _Answer, choices: list[models.CreateCompletionStreamResponseChoice]
) -> models.CreateCompletionStreamResponse:
    return models.CreateCompletionStreamResponse(
        id=answer.id,
        object="text_completion",
        created=answer.created,
        model=answer.model,
        system_fingerprint=SYSTEM_FINGERPRINT,
        choices=choices,
    )


def _logprobs(
    choice: _Choice, count: int | None, positions: range, offset: int = 0
) -> models.CreateCompletionResponseChoiceLogprobs | None:
    """The four parallel lists for the tokens at these positions; offsets refer to the returned text."""
    if count is None:
        return None
    tokens = [choice.tokens[at] for at in positions]
    candidates = [logprobs.candidates(choice.tokens[at], count, f"{choice.seed}/{at}") for at in positions]
    return models.CreateCompletionResponseChoiceLogprobs(
        tokens=tokens,
        token_logprobs=[one[0].logprob for one in candidates],
        top_logprobs=[{each.token: each.logprob for each in one[:count]} for one in candidates],
        text_offset=list(accumulate(map(len, tokens[:-1]), initial=offset)) if tokens else [],
    )

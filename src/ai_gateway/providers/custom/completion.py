"""Legacy completions: one sentence for each prompt, with and without streaming."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, zip_longest
from typing import Literal

from ai_gateway.providers.custom import faults, logprobs, prompt, text
from ai_gateway.providers.custom.dice import fingerprint
from ai_gateway.providers.custom.usage import SYSTEM_FINGERPRINT, usage
from gateway_contract.openai import models

_DEFAULT_MAX_TOKENS = 16


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


def chunks(body: models.CreateCompletionRequest) -> Iterator[models.CreateCompletionStreamResponse]:
    """The answer token by token, with the choices interleaved."""
    answer = _answer(body)
    with_usage = body.stream_options is not None and bool(body.stream_options.include_usage)
    for choice in chain.from_iterable(
        zip_longest(*(_choice_chunks(choice, body.logprobs) for choice in answer.choices))
    ):
        if choice is not None:
            chunk = _chunk(answer, [choice])
            if with_usage:
                chunk.usage = None
            yield chunk
    if with_usage:
        last = _chunk(answer, [])
        last.usage = answer.usage
        yield last


def _answer(body: models.CreateCompletionRequest) -> _Answer:
    prompts = prompt.tokenized(body.prompt)
    seed = fingerprint("completion", body.model_dump_json(include={"model", "seed", "suffix"}))
    numbered = enumerate((tokens, n) for tokens in prompts for n in range(body.n or 1))
    choices = [
        _choice(body, index, tokens, fingerprint(seed, "".join(tokens), str(n))) for index, (tokens, n) in numbered
    ]
    return _Answer(
        id=f"cmpl-{fingerprint(body.model_dump_json(exclude={'stream', 'stream_options'}))[:29]}",
        created=int(time.time()),
        model=body.model,
        choices=choices,
        usage=usage(sum(map(len, prompts)), sum(len(choice.tokens) - choice.echoed for choice in choices)),
    )


def _choice(body: models.CreateCompletionRequest, index: int, prompt_tokens: Sequence[str], seed: str) -> _Choice:
    words = "" if body.model == faults.EMPTY else text.continuation(seed)
    cut = text.cut(words, body.stop, _DEFAULT_MAX_TOKENS if body.max_tokens is None else body.max_tokens)
    echoed = prompt_tokens if body.echo else ()
    return _Choice(index, seed, (*echoed, *cut.tokens), len(echoed), cut.finish_reason)


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
    candidates = [_candidates(choice, at, count) for at in positions]
    return models.CreateCompletionResponseChoiceLogprobs(
        tokens=tokens,
        token_logprobs=[one[0].logprob if one else None for one in candidates],
        top_logprobs=[{each.token: each.logprob for each in one[:count]} if one else None for one in candidates],
        text_offset=list(accumulate(map(len, tokens[:-1]), initial=offset)) if tokens else [],
    )


def _candidates(choice: _Choice, at: int, count: int) -> list[logprobs.Candidate] | None:
    """None for the first token of an echoed prompt, which has no context to predict it from."""
    return None if at == 0 and choice.echoed else logprobs.candidates(choice.tokens[at], count, f"{choice.seed}/{at}")

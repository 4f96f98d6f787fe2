"""Usage and system fingerprint of every response, and the chunks of streams with a usage."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, zip_longest

from gateway_contract.openai import models

SYSTEM_FINGERPRINT = "fp_custom_2"
"""Changes with a release that gives the same request another text."""


@dataclass(frozen=True, slots=True)
class Cached:
    """Tokens of a prompt that were read from a cache, and that were written to one."""

    read: int = 0
    written: int = 0


def usage(
    prompt_tokens: int, completion_tokens: int, *, reasoning: int = 0, cached: Cached | None = None
) -> models.CompletionUsage:
    """The counts with their details: audio and prediction tokens are always 0."""
    of_prompt: dict[str, int] = {"audio_tokens": 0, "cached_tokens": cached.read if cached is not None else 0}
    if cached is not None:
        of_prompt["cache_write_tokens"] = cached.written
    return models.CompletionUsage(
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        total_tokens=prompt_tokens + completion_tokens,
        prompt_tokens_details=models.CompletionUsagePromptTokensDetails(**of_prompt),
        completion_tokens_details=models.CompletionUsageCompletionTokensDetails(
            accepted_prediction_tokens=0, audio_tokens=0, reasoning_tokens=reasoning, rejected_prediction_tokens=0
        ),
    )


def interleaved[Choice, Chunk: (models.CreateChatCompletionStreamResponse, models.CreateCompletionStreamResponse)](
    choices: Iterable[Iterable[Choice]],
    chunk: Callable[[list[Choice]], Chunk],
    used: models.CompletionUsage,
    options: models.ChatCompletionStreamOptionsObject | None,
    report: Callable[[models.CompletionUsage], None],
) -> Iterator[Chunk]:
    """A chunk for each part of the choices, which are interleaved, and the usage if it is requested."""
    with_usage = options is not None and bool(options.include_usage)
    for choice in chain.from_iterable(zip_longest(*choices)):
        if choice is not None:
            part = chunk([choice])
            if with_usage:
                part.usage = None  # present and null, as in OpenAI's streams with include_usage
            yield part
    report(used)
    if with_usage:
        last = chunk([])
        last.usage = used
        yield last

"""Usage and system fingerprint of every response."""

from dataclasses import dataclass

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

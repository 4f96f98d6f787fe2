"""Usage and system fingerprint of every response."""

from gateway_contract.openai import models

SYSTEM_FINGERPRINT = "fp_custom_2"
"""Changes with a release that gives the same request another text."""


def usage(prompt_tokens: int, completion_tokens: int) -> models.CompletionUsage:
    """The counts with their details: cached, audio, reasoning and prediction tokens are always 0."""
    return models.CompletionUsage(
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        total_tokens=prompt_tokens + completion_tokens,
        prompt_tokens_details=models.CompletionUsagePromptTokensDetails(audio_tokens=0, cached_tokens=0),
        completion_tokens_details=models.CompletionUsageCompletionTokensDetails(
            accepted_prediction_tokens=0, audio_tokens=0, reasoning_tokens=0, rejected_prediction_tokens=0
        ),
    )

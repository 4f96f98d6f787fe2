"""What every reply says about itself: its usage and the fingerprint of the system that made it."""

from gateway_contract.openai import models

SYSTEM_FINGERPRINT = "fp_custom_1"
"""Changes when the same request begins to get another text."""


def usage(prompt_tokens: int, completion_tokens: int) -> models.CompletionUsage:
    """The counts with both details: nothing is cached, thought, heard or predicted here."""
    return models.CompletionUsage(
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        total_tokens=prompt_tokens + completion_tokens,
        prompt_tokens_details=models.CompletionUsagePromptTokensDetails(audio_tokens=0, cached_tokens=0),
        completion_tokens_details=models.CompletionUsageCompletionTokensDetails(
            accepted_prediction_tokens=0, audio_tokens=0, reasoning_tokens=0, rejected_prediction_tokens=0
        ),
    )

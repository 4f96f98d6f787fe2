"""The details of a chat's token counts, with all the counts that OpenAI's own replies have.

Each of them is optional in the contract, but clients of strictly typed languages have been written against OpenAI's
replies: versions of openai-php and of Koog fail without.
"""

from collections.abc import Mapping
from typing import Any


def of_prompt(counts: Mapping[str, Any]) -> dict[str, Any]:
    """For APIs without audio, whose prompts have no tokens of it."""
    return {"audio_tokens": 0, "cached_tokens": 0, **counts}


def of_completion(counts: Mapping[str, Any]) -> dict[str, Any]:
    """For APIs with neither audio nor predicted output."""
    others = {"accepted_prediction_tokens": 0, "audio_tokens": 0, "rejected_prediction_tokens": 0}
    return {**others, "reasoning_tokens": 0, **counts}

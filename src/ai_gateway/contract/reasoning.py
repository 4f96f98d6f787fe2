"""What a model thinks, as upstreams of OpenAI's wire call it: the contract has no name for it."""

from collections.abc import Mapping
from typing import Final

REASONING_NAMES: Final = ("reasoning_content", "reasoning", "reasoning_text", "thinking")
"""Names of one thing, of which the last two are rare: an upstream that sends several says the same in each."""


def thought_in(fields: Mapping[str, object]) -> str:
    """The reasoning among the extra fields of a message or delta; empty where there is none."""
    return next((text for name in REASONING_NAMES if isinstance(text := fields.get(name), str) and text), "")

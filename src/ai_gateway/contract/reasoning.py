"""Reasoning fields of upstreams of OpenAI's wire, for which the contract has no name."""

from collections.abc import Mapping
from typing import Final

REASONING_NAMES: Final = ("reasoning_content", "reasoning", "reasoning_text", "thinking")
"""Names of the reasoning text, most frequent first; an upstream that sends several repeats the text in each."""


def thought_in(fields: Mapping[str, object] | None) -> str:
    """The reasoning among the extra fields of a message or delta; empty where there is none.

    `reasoning_details` (OpenRouter) is only read if there is no other.
    """
    if not fields:
        return ""
    for name in REASONING_NAMES:
        if isinstance(text := fields.get(name), str) and text:
            return text
    details = fields.get("reasoning_details")
    if not isinstance(details, list):
        return ""
    return "".join(str(part.get("text") or part.get("summary") or "") for part in details if isinstance(part, dict))

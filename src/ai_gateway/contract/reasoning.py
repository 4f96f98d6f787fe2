"""What a model thinks, as upstreams of OpenAI's wire call it: the contract has no name for it."""

from collections.abc import Mapping
from typing import Final

REASONING_NAMES: Final = ("reasoning_content", "reasoning", "reasoning_text", "thinking")
"""Names of one thing, of which the last two are rare: an upstream that sends several says the same in each."""


def thought_in(fields: Mapping[str, object] | None) -> str:
    """The reasoning among the extra fields of a message or delta; empty where there is none.

    That in `reasoning_details` counts where it is told nowhere else.
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

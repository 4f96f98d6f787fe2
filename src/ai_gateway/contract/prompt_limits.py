"""Errors of too long prompts, however an upstream words them, in Anthropic's wording.

Agents compact their history by it, and those of OpenAI's APIs by the code `context_length_exceeded`.

Anthropic's own agent (Claude Code) parses `prompt is too long: 9000 tokens > 8192 maximum`, and the message about
`max_tokens`.
"""

import re
from typing import Final

from ai_gateway.errors import GatewayError

_TOO_LONG: Final = "prompt is too long"
LONGEST_LOOKED_AT: Final = 2_000
"""Characters of a message that are searched; an upstream may send a whole page."""

_TOKENS = r"(?:(?:input|prompt) )?tokens"
# How upstreams word the size of a prompt and their limit: OpenAI, vLLM and OpenRouter, llama.cpp, Anthropic, SGLang and
# Together, Cerebras, Gemini.
_SIZES: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"context (?:length|window)(?: is| of|:)? (?P<most>\d+) tokens\D+?(?P<size>\d+) {_TOKENS}",
        r"request \((?P<size>\d+) tokens\) exceeds the available context size \((?P<most>\d+) tokens\)",
        r"prompt is too long: (?P<size>\d+) tokens > (?P<most>\d+)",
        r"(?:input|prompt)[^.\d]{0,40}?(?P<size>\d+)(?: tokens)?\)? "
        r"(?:exceeds|is longer than) the \D{0,60}?(?P<most>\d+)",
        r"current length is (?P<size>\d+) while limit is (?P<most>\d+)",
    )
)
# The same where prompt and requested output exceed the limit together: OpenAI and OpenRouter, vLLM, SGLang.
_SPLITS: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"context length is (?P<most>\d+) tokens\D+\d+ tokens "
        r"\((?P<size>\d+) [^,\d]*(?:messages|input|prompt)\b[^,\d]*, (?P<answer>\d+) [^)\d]*(?:completion|output)",
        r"too large: (?P<answer>\d+)\. This model's maximum context length is (?P<most>\d+) tokens "
        r"and your request has (?P<size>\d+) input tokens",
        r"context length of (?P<most>\d+) tokens\. You requested a total of \d+ tokens: "
        r"(?P<size>\d+) tokens from the input messages and (?P<answer>\d+) tokens for the completion",
    )
)
_ABOUT_SIZE: Final = re.compile(
    r"context (?:length|window|size)|prompt (?:is )?too long|input token count", re.IGNORECASE
)
_IS_TOO_MUCH: Final = re.compile(r"exceed|too (?:long|large|many)|longer than|reduce the length", re.IGNORECASE)
_ABOUT_OUTPUT: Final = re.compile(r"max_(?:completion_|output_)?tokens|max_new_tokens|num_predict", re.IGNORECASE)


def too_long(error: GatewayError, *, is_refusal: bool) -> str | None:
    """The message for a prompt that is too long, with its numbers if known; None if the error is another one.

    `is_refusal`: the upstream's status says that the request is at fault.
    """
    message = error.message[:LONGEST_LOOKED_AT]
    for split in _SPLITS:
        if found := split.search(message):
            return _together(*(int(found[name]) for name in ("size", "answer", "most")))
    numbers = _numbers(error, message)
    if numbers is not None:
        size, most = numbers
        return f"{_TOO_LONG}: {size} tokens > {most} maximum" if size > most else None
    if message.startswith(_TOO_LONG):
        return error.message
    is_about_input = _ABOUT_SIZE.search(message) and _IS_TOO_MUCH.search(message) and not _ABOUT_OUTPUT.search(message)
    if error.code == "context_length_exceeded" or (is_refusal and is_about_input):
        return f"{_TOO_LONG}: {error.message}"
    return None


def _numbers(error: GatewayError, message: str) -> tuple[int, int] | None:
    """The prompt's tokens, and the most that the model takes."""
    size, most = (error.extras.get(name) for name in ("n_prompt_tokens", "n_ctx"))  # llama.cpp's
    if type(size) is int and type(most) is int:
        return size, most
    found = next((found for sizes in _SIZES if (found := sizes.search(message))), None)
    return None if found is None else (int(found["size"]), int(found["most"]))


def _together(size: int, answer: int, most: int) -> str:
    """The message for a prompt that is too long, alone or with `max_tokens`: agents then lower `max_tokens`."""
    if size > most:
        return f"{_TOO_LONG}: {size} tokens > {most} maximum"
    sum_of = f"input length and `max_tokens` exceed context limit: {size} + {answer} > {most}"
    return f"{sum_of}, decrease input length or `max_tokens` and try again"

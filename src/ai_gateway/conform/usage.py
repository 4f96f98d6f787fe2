"""Token counts of upstreams: checked for plausibility and split into classes for billing."""

from collections.abc import Mapping
from typing import Any

from pydantic import MISSING, BaseModel

from ai_gateway.contract.tokens import Tokens, quickly
from gateway_contract.openai import models

# The largest whole number that every reader of JSON keeps exactly (RFC 8259, section 6).
_MAX_COUNT = 2**53 - 1
# Upstreams' names of cached input tokens, other than the contract's: api-docs.deepseek.com "Context Caching";
# platform.moonshot.ai and docs.together.ai; proxies of Anthropic's API.
_READ = ("prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens")
_NONE: Mapping[str, Any] = {}
# Groq's streams have their usage in this field of the last chunk with choices, unless `include_usage` makes a chunk of
# its own (github.com/groq/groq-python, types/chat/chat_completion_chunk.py: XGroq).
GROQ = "x_groq"
# Web searches that an upstream charges for: in an object of Anthropic's and OpenRouter's usage (docs.claude.com "Web
# search tool", openrouter.ai/docs "Server tools"), beside the tokens in Perplexity's (docs.perplexity.ai "Chat
# completions").
_SERVER_TOOLS, _ANTHROPIC_SEARCHES, _PERPLEXITY_SEARCHES = (
    "server_tool_use",
    "web_search_requests",
    "num_search_queries",
)

type _Details = models.CompletionUsagePromptTokensDetails | models.CompletionUsageCompletionTokensDetails


class ImpossibleCount(ValueError):
    """A count is negative or impossibly large."""


def tokens_of(counts: BaseModel) -> Tokens:
    """The tokens of each class in a reply's usage. Raises ImpossibleCount."""
    if type(counts) is not models.CompletionUsage:
        return Tokens(_possible(getattr(counts, "prompt_tokens", 0)))
    prompt, completion, total = counts.prompt_tokens, counts.completion_tokens, counts.total_tokens
    if not (0 <= prompt <= _MAX_COUNT and 0 <= completion <= _MAX_COUNT and 0 <= total <= _MAX_COUNT):
        raise ImpossibleCount
    read, made = counts.prompt_tokens_details, counts.completion_tokens_details
    return divided(
        (prompt, completion, total),
        _parts(read) if read is not MISSING else _NONE,
        _parts(made) if made is not MISSING else _NONE,
        counts.__pydantic_extra__ or _NONE,
    )


def divided(
    whole: tuple[int, int, int], read: Mapping[str, int], made: Mapping[str, int], more: Mapping[str, Any] = _NONE
) -> Tokens:
    """Prompt, completion and total counts split into classes; `more` has the further fields of the usage."""
    prompt, completion, total = whole
    tokens = quickly(Tokens, (prompt, completion, 0, 0, 0, 0, 0, 0, 0, 0, 0))
    if more or any(read.values()):
        tokens = _divided_input(tokens, read, more)
    if more and (searches := _searches(more)):
        tokens = tokens._replace(searches=searches)
    # Reasoning is a part of the output; the replies of x.ai and Gemini count it beside, in the total only
    # (docs.x.ai "Reasoning", ai.google.dev "Thinking").
    beside = total - prompt - completion
    if beside > 0 or any(made.values()):
        return _divided_output(tokens, made, beside if beside > 0 else 0)
    return tokens


def _parts(details: _Details) -> Mapping[str, int]:
    """The counts in the details of a usage, including kinds beyond the contract."""
    parts: dict[str, int] = {}
    for name, value in details.__dict__.items():
        if value and value is not MISSING:
            parts[name] = _possible(value)
    if details.__pydantic_extra__:
        parts |= {name: _count(value) for name, value in details.__pydantic_extra__.items()}
    return parts


def _divided_input(tokens: Tokens, parts: Mapping[str, int], more: Mapping[str, object]) -> Tokens:
    read = parts.get("cached_tokens") or next((count for name in _READ if (count := _count(more.get(name)))), 0)
    written = (
        parts.get("cache_write_tokens")
        or parts.get("cache_creation_tokens")
        or _count(more.get("cache_creation_input_tokens"))
    )
    by_time = more.get("cache_creation")
    long = min(written, _count(by_time.get("ephemeral_1h_input_tokens"))) if isinstance(by_time, dict) else 0
    audio, image = parts.get("audio_tokens", 0), parts.get("image_tokens", 0)
    rest = tokens.input - audio - image
    if read <= tokens.input and written <= tokens.input:  # if the parts exceed the total, they were counted separately
        rest -= read + written
    # A cached audio token counts as audio.
    return tokens._replace(
        input=max(0, rest),
        cache_read=read if rest >= 0 else max(0, read + rest),
        cache_write=written - long,
        cache_write_1h=long,
        input_audio=audio,
        input_image=image,
    )


def _divided_output(tokens: Tokens, parts: Mapping[str, int], beside: int) -> Tokens:
    whole = tokens.output + beside
    audio, image = parts.get("audio_tokens", 0), parts.get("image_tokens", 0)
    reasoning = min(whole, max(beside, parts.get("reasoning_tokens", 0)))
    return tokens._replace(
        output=max(0, whole - reasoning - audio - image),
        reasoning=reasoning,
        output_audio=audio,
        output_image=image,
    )


def _searches(more: Mapping[str, object]) -> int:
    used = more.get(_SERVER_TOOLS)
    if isinstance(used, dict) and (count := _count(used.get(_ANTHROPIC_SEARCHES))):
        return count
    return _count(more.get(_PERPLEXITY_SEARCHES))


def _possible(value: int) -> int:
    if not 0 <= value <= _MAX_COUNT:
        raise ImpossibleCount
    return value


def _count(value: object) -> int:
    """A token count under a name beyond the contract; 0 if it is not a number."""
    return value if type(value) is int and 0 < value <= _MAX_COUNT else 0

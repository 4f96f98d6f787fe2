"""An upstream's counts of tokens: whether they can be any, and how many are of which class. Bills are made of them."""

from collections.abc import Mapping

from pydantic import MISSING, BaseModel

from ai_gateway.contract.call import Tokens
from gateway_contract.openai import models

# The largest whole number that every reader of JSON keeps exactly (RFC 8259, section 6).
_MOST = 2**53 - 1
# What upstreams call input that was read from their cache, where they do not use the contract's name:
# api-docs.deepseek.com "Context Caching"; platform.moonshot.ai and docs.together.ai; proxies of Anthropic's API.
_READ = ("prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens")


def can_be_counts(usage: object) -> bool:
    """Whether no count in a model of counts is negative or too large to be one; details are such models as well."""
    for value in vars(usage).values():
        if type(value) is int:
            if not 0 <= value <= _MOST:
                return False
        elif value is not None and value is not MISSING and not can_be_counts(value):
            return False
    return True


def tokens_by_class(counts: models.CompletionUsage) -> Tokens:
    """What the counts of a reply say of each class of tokens."""
    prompt, completion = counts.prompt_tokens, counts.completion_tokens
    details, made = counts.prompt_tokens_details, counts.completion_tokens_details
    more = counts.model_extra or {}
    if not (more or _says_more(details) or _says_more(made)) and counts.total_tokens <= prompt + completion:
        return Tokens(prompt, completion)
    tokens = Tokens()
    _divide_input(tokens, prompt, {} if details is MISSING else _all(details), more)
    # Reasoning is a part of the output; the replies of x.ai and Gemini count it beside, in the total only
    # (docs.x.ai "Reasoning", ai.google.dev "Thinking").
    beside = max(0, counts.total_tokens - prompt - completion)
    _divide_output(tokens, completion + beside, beside, {} if made is MISSING else _all(made))
    return tokens


def _says_more(details: BaseModel | MISSING) -> bool:
    """Whether any of the details is more than nought: mostly all are there, and none is."""
    if details is MISSING:
        return False
    for value in vars(details).values():
        if value and value is not MISSING:
            return True
    return bool(details.model_extra)


def _divide_input(tokens: Tokens, prompt: int, details: Mapping[str, object], more: Mapping[str, object]) -> None:
    read = _count(details.get("cached_tokens")) or next(filter(None, (_count(more.get(name)) for name in _READ)), 0)
    written = (
        _count(details.get("cache_write_tokens"))
        or _count(details.get("cache_creation_tokens"))
        or _count(more.get("cache_creation_input_tokens"))
    )
    tokens.input_audio, tokens.input_image = _count(details.get("audio_tokens")), _count(details.get("image_tokens"))
    by_time = more.get("cache_creation")
    for_an_hour = _count(by_time.get("ephemeral_1h_input_tokens")) if isinstance(by_time, dict) else 0
    tokens.cache_write_1h = min(for_an_hour, written)
    tokens.cache_write = written - tokens.cache_write_1h
    rest = prompt - tokens.input_audio - tokens.input_image
    if read <= prompt and written <= prompt:  # more than the whole is no part of it, but was counted beside it
        rest -= read + written
    # Audio may have been read from the cache: such a token counts as audio.
    tokens.cache_read = max(0, read + min(0, rest))
    tokens.input = max(0, rest)


def _divide_output(tokens: Tokens, whole: int, beside: int, details: Mapping[str, object]) -> None:
    tokens.output_audio, tokens.output_image = _count(details.get("audio_tokens")), _count(details.get("image_tokens"))
    tokens.reasoning = min(whole, max(beside, _count(details.get("reasoning_tokens"))))
    tokens.output = max(0, whole - tokens.reasoning - tokens.output_audio - tokens.output_image)


def _all(
    details: models.CompletionUsagePromptTokensDetails | models.CompletionUsageCompletionTokensDetails,
) -> Mapping[str, object]:
    """What the contract names, and what it does not."""
    return {**vars(details), **(details.model_extra or {})}


def _count(value: object) -> int:
    """A number of tokens; 0 for what is none."""
    return value if type(value) is int and 0 < value <= _MOST else 0

"""Usage and stop reasons in Anthropic's terms."""

from collections.abc import Collection, Mapping
from typing import Any, Final, Literal

from pydantic import MISSING, BaseModel, JsonValue, ValidationError

from ai_gateway.errors import UpstreamInvalidResponse
from ai_gateway.translate.extra_fields import carry, extra_fields
from gateway_contract.anthropic import models as anthropic
from gateway_contract.openai import models as openai

type Fields = dict[str, JsonValue]
type StopReason = Literal[
    "end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal", "model_context_window_exceeded"
]

STOP_REASONS: Final[Mapping[str, StopReason]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
# Stop reasons for chat's `length` other than the request's limit, by the upstream's own reason: see
# conform/finish_reasons.py, and docs.claude.com "Handling stop reasons". A paused turn continues when it is sent back.
_CUT_SHORT: Final[Mapping[str, StopReason]] = {
    "pause_turn": "pause_turn",
    **dict.fromkeys(
        (
            *("model_context_window_exceeded", "context_window_exceeded", "context_length_exceeded"),
            *("model_length", "error_limit"),
        ),
        "model_context_window_exceeded",
    ),
}
NATIVE: Final = "native_finish_reason"
# Cached tokens in fields other than OpenAI's: api-docs.deepseek.com "Context Caching", platform.moonshot.ai "Chat".
_CACHED: Final = ("prompt_cache_hit_tokens", "cached_tokens")
_TIERS: Final = {"default": "standard", "priority": "priority"}
_UNKNOWN: Final[Fields] = {
    **dict.fromkeys(anthropic.AnthropicUsage.model_fields),
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
}


def usage(counted: openai.CompletionUsage, tier: object = None, served: object = None) -> anthropic.AnthropicUsage:
    """The usage; OpenAI includes cached tokens in the prompt's, Anthropic counts them separately.

    `served` counts uses of gateway-run tools, if the provider reports none of its own.
    """
    details, purposes = counted.prompt_tokens_details, counted.completion_tokens_details
    extras = counted.model_extra or {}
    read, written = _count(details, "cached_tokens", None), _count(details, "cache_write_tokens")
    if read is None:
        read = next((value for name in _CACHED if type(value := extras.get(name)) is int and value > 0), 0)
    thought = _count(purposes, "reasoning_tokens", None)
    creation = _as(anthropic.AnthropicCacheCreation, extras.get("cache_creation"))
    if creation is None and written:
        creation = anthropic.AnthropicCacheCreation(ephemeral_5m_input_tokens=written, ephemeral_1h_input_tokens=0)
    used = anthropic.AnthropicUsage(
        input_tokens=max(0, counted.prompt_tokens - read - written),
        output_tokens=counted.completion_tokens,
        cache_creation=creation,
        cache_creation_input_tokens=written,
        cache_read_input_tokens=read,
        inference_geo=None,
        output_tokens_details=None
        if thought is None
        else anthropic.AnthropicOutputTokensDetails(thinking_tokens=thought),
        server_tool_use=_as(anthropic.AnthropicServerToolUsage, extras.get("server_tool_use") or served),
        service_tier=_TIERS.get(tier) if isinstance(tier, str) else None,
    )
    if used.output_tokens_details is not None and isinstance(purposes, BaseModel):
        carry(extra_fields(purposes), used.output_tokens_details)
    return carry(extra_fields(counted, "cache_creation", "server_tool_use", *_CACHED), used)


def estimated(prompt: int, completion: int) -> Fields:
    """The same as JSON, from estimates."""
    return {**_UNKNOWN, "input_tokens": prompt, "output_tokens": completion}


def cut_short(native: object) -> StopReason | None:
    """The stop reason for an upstream's own reason of an early end; None if chat's reason says it."""
    return _CUT_SHORT.get(native.strip().lower()) if isinstance(native, str) else None


def require_answer(finish: str, *, is_empty: bool) -> None:
    """Raise UpstreamInvalidResponse if an empty answer ends in a tool call, which would be lost silently."""
    if is_empty and STOP_REASONS.get(finish) == "tool_use":
        raise UpstreamInvalidResponse("The provider called a tool, and did not say which.")


def stop_reason(finish: str, native: object, *, called: bool, refused: bool) -> StopReason:
    """The stop reason of a turn. One with tool calls is `tool_use`, whatever its upstream's reason.

    One without calls never is: agents would answer `tool_use` with an empty list of results.
    """
    reason = STOP_REASONS.get(finish, "end_turn")
    if reason == "max_tokens":
        return cut_short(native) or reason
    if reason == "tool_use" and not called:
        reason = "end_turn"
    if reason == "end_turn" and called:
        return "tool_use"
    return "refusal" if reason == "end_turn" and refused else reason


def stopped_by(choice: BaseModel, wanted: Collection[str]) -> str | None:
    """The stop sequence that ended a turn, if the upstream reports it: vLLM does, in `stop_reason`."""
    extras = choice.model_extra or {}
    own = extras.get("stop_sequence")
    if isinstance(own, str) and own:
        return own
    named = extras.get("stop_reason")
    return named if isinstance(named, str) and named in wanted else None


def _count(details: object, name: str, default: int | None = 0) -> Any:  # noqa: ANN401 - an int, or the default
    value = getattr(details, name, MISSING) if isinstance(details, BaseModel) else MISSING
    return default if value is MISSING or value is None else max(0, int(value))


def _as[Model: BaseModel](model: type[Model], value: object) -> Model | None:
    try:
        return model.model_validate(value, strict=True) if value is not None else None
    except ValidationError:
        return None

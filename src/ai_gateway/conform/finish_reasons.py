"""Finish reasons: upstreams' names, mapped to OpenAI's.

Names are compared without case, blanks and punctuation, so that `END_TURN`, `end-turn` and `endTurn` are one.
"""

import re
from collections.abc import Mapping
from typing import Literal

type Meaning = Literal["stop", "length", "tool_calls", "content_filter", "function_call", "failure"]

# The source of names that belong to one API is given beside them.
_NAMES: dict[Meaning, tuple[str, ...]] = {
    "stop": (
        "stop", "end", "done", "finish", "finished", "complete", "completed", "end_of_text", "eot", "eot_id", "im_end",
        "end_turn", "stop_sequence",  # docs.anthropic.com "Handling stop reasons"; Bedrock's Converse has the same
        "eos_token", "eos", "word",  # text-generation-inference's and llama.cpp's own APIs
        "endoftext",  # docs.ai21.com
        "load", "unload",  # ollama's docs/api.md "Load a model": an empty prompt's answer is whole
    ),
    "length": (
        "length", "max_tokens", "max_length", "max_new_tokens", "max_completion_tokens", "limit", "truncated",
        "max_output_tokens",  # OpenAI's Responses, `incomplete_details`; Gemini's is MAX_TOKENS
        "context_length_exceeded", "context_window_exceeded",
        "model_context_window_exceeded",  # docs.anthropic.com "Handling stop reasons"; docs.z.ai
        "pause_turn",  # the same: a paused turn is incomplete
        "model_length",  # docs.mistral.ai
        "token_limit", "time_limit", "not_finished",  # cloud.ibm.com watsonx.ai "Text generation"
        "error_limit",  # docs.cohere.com, API v1: the context is full
    ),
    "tool_calls": ("tool_calls", "tool_call", "tool_use"),
    "function_call": ("function_call",),
    "content_filter": (
        "content_filter", "content_filtered", "content_blocked", "blocked", "flagged", "moderation",
        "guardrail_intervened",  # docs.aws.amazon.com Bedrock "Converse"
        "refusal",  # docs.anthropic.com "Handling stop reasons"
        "sensitive",  # docs.z.ai
        # ai.google.dev "FinishReason"
        "safety", "recitation", "blocklist", "prohibited_content", "spii", "image_safety", "image_recitation",
        "image_prohibited_content",
        "error_toxic",  # docs.cohere.com, API v1
    ),
    # Failures: any finish reason would present a partial answer as complete.
    "failure": (
        "error", "failed", "failure", "cancelled", "canceled", "user_cancel", "user_cancelled", "timeout",
        "interrupted", "incomplete", "server_error", "internal_error", "overloaded",
        "abort", "aborted",  # `FINISH_REASON_STRINGS` in vllm/v1/engine/__init__.py; SGLang
        "network_error",  # docs.z.ai
        "insufficient_system_resource",  # api-docs.deepseek.com
        # ai.google.dev "FinishReason"; Bedrock's Converse
        "malformed_function_call", "malformed_tool_use", "malformed_model_output", "unexpected_tool_call",
        "too_many_tool_calls",
    ),
}  # fmt: skip
_OF_TEXTS = frozenset({"stop", "length", "content_filter"})
_OF_CHATS = _OF_TEXTS | {"tool_calls", "function_call"}
_NO_REASON = frozenset({"", "null", "none", "unspecified"})
_NOISE = re.compile(r"[^a-z0-9]+|^(?:finish|stop)[ _.-]?reason(?=[ _.-])")


def _bare(name: str) -> str:
    return _NOISE.sub("", name.strip().lower())


_MEANINGS: dict[str, Meaning] = {_bare(name): meaning for meaning, names in _NAMES.items() for name in names}


def meaning_of(reason: str) -> Meaning | None:
    """OpenAI's equivalent of a finish reason; None if it is unknown."""
    return _MEANINGS.get(_bare(reason))


def is_no_reason(reason: str) -> bool:
    """Whether it is a name for no finish reason."""
    return _bare(reason) in _NO_REASON


def allowed(choice: Mapping[str, object]) -> frozenset[str]:
    """The contract's finish reasons for a choice; legacy completions, whose choices have a text, have fewer."""
    return _OF_TEXTS if "text" in choice else _OF_CHATS

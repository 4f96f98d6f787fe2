"""The policy for every field of Anthropic's requests, for providers that do not speak its Messages API.

As for providers: *mapped* to OpenAI's format, or *dropped* and named in the response.
"""

from collections.abc import Collection, Mapping
from functools import cache
from typing import Final

from pydantic import BaseModel

from ai_gateway.contract.types import Policy
from ai_gateway.translate.anthropic_chat.open_kinds import UnknownBlock, UnknownTool
from gateway_contract.anthropic.models import AnthropicGatewayTool, AnthropicInputSchema
from gateway_contract.anthropic.parameters import OPERATION_OF, Policies, by_field

POLICIES: Final[Policies] = {
    "createMessage": {
        "model": "mapped",
        "messages": "mapped",
        "cache_control": "dropped",
        "container": "dropped",
        "inference_geo": "dropped",
        "max_tokens": "mapped",
        "metadata": "dropped",  # forwarded as `user`, its JSON is refused by upstreams
        "output_config": "mapped",
        "output_format": "mapped",
        "service_tier": "dropped",
        "stop_sequences": "mapped",
        "stream": "mapped",
        "system": "mapped",
        "temperature": "mapped",
        "thinking": "mapped",
        "tool_choice": "mapped",
        "tools": "mapped",
        "top_k": "dropped",
        "top_p": "mapped",
        "context_management": "dropped",
        "mcp_servers": "mapped",
    },
    "countMessageTokens": {
        "cache_control": "dropped",
        "messages": "mapped",
        "model": "mapped",
        "output_config": "mapped",
        "output_format": "mapped",
        "system": "mapped",
        "thinking": "mapped",
        "tool_choice": "mapped",
        "tools": "mapped",
        "context_management": "dropped",
        "mcp_servers": "dropped",
    },
}

ANTHROPIC_NAMES: Final[Mapping[str, str]] = {
    "stop": "stop_sequences",
    "max_completion_tokens": "max_tokens",
    "response_format": "output_config.format",
    "reasoning_effort": "output_config.effort",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
    "messages.reasoning_content": "messages.thinking",
    "messages.thinking_blocks": "messages.thinking",
    "messages.cache_control": "messages.content.cache_control",
}
"""OpenAI's fields by the name in the caller's request, where it differs."""

ADDED_FIELDS: Final = frozenset({"stream_options"})
"""OpenAI's fields that the gateway adds and no caller of Anthropic's API has sent."""

METRIC_LABELS: Final = frozenset(field for policies in by_field(POLICIES).values() for field in policies)
"""The contract's names, each a metric label of its own; all others are chosen by callers, and share one."""

_EMPTY: tuple[object, ...] = (None, "", [], {})
# Not searched: schemas, unknown kinds, which are named as a whole, and options of the gateway's tools, checked
# elsewhere.
_NAMED_OTHERWISE = {AnthropicInputSchema, AnthropicGatewayTool, UnknownBlock, UnknownTool}
_PLAIN = {str, int, float, bool, type(None)}
_NOT_SEARCHED = _PLAIN | _NAMED_OTHERWISE


def dropped_fields(body: BaseModel) -> list[str]:
    """The names of the fields that are dropped."""
    fields = body.__dict__
    return [name for name in _named(type(body), "dropped") if fields[name] not in _EMPTY]


def unknown_fields(body: BaseModel) -> list[str]:
    """The set fields beyond the contract, in the body and in its mapped fields."""
    unknown: list[str] = []
    _add_unknown(body, "", _named(type(body), "mapped") & body.__pydantic_fields_set__, unknown)
    return list(dict.fromkeys(unknown))


@cache
def _named(body: type[BaseModel], wanted: Policy) -> frozenset[str]:
    """The fields of the body with this policy."""
    policies = by_field(POLICIES)[OPERATION_OF[body]]
    return frozenset(name for name, policy in policies.items() if policy == wanted)


def _add_unknown(model: BaseModel, path: str, names: Collection[str], unknown: list[str]) -> None:
    extras = model.__pydantic_extra__
    if extras:
        unknown += [f"{path}{name}" for name, value in extras.items() if value not in _EMPTY]
    fields = model.__dict__
    for name in names:
        value = fields.get(name)
        if value.__class__ in _PLAIN:
            continue
        for each in value if isinstance(value, list) else (value,):
            # `isinstance` of a model is a function in Python for anything else.
            if each.__class__ not in _NOT_SEARCHED and isinstance(each, BaseModel):
                _add_unknown(each, f"{path}{name}.", each.__pydantic_fields_set__, unknown)

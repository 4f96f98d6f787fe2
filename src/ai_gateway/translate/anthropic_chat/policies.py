"""The policy for every field of Anthropic's requests, for providers that do not speak its Messages API.

As for providers: *mapped* to OpenAI's format, or *dropped* and named in the response.
"""

from collections.abc import Collection, Iterator, Mapping
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
_NAMED_OTHERWISE = (AnthropicInputSchema, AnthropicGatewayTool, UnknownBlock, UnknownTool)


_PLAIN = {str, int, float, bool}


def dropped_fields(body: BaseModel) -> list[str]:
    """The names of the fields that are dropped."""
    said = body.__dict__
    return [name for name in _named(type(body), "dropped") if said[name] not in _EMPTY]


def unknown_fields(body: BaseModel) -> list[str]:
    """The set fields beyond the contract, in the body and in its mapped fields."""
    return list(dict.fromkeys(_unknown(body, "", _named(type(body), "mapped") & body.model_fields_set)))


@cache
def _named(body: type[BaseModel], wanted: Policy) -> frozenset[str]:
    """The fields of the body with this policy."""
    policies = by_field(POLICIES)[OPERATION_OF[body]]
    return frozenset(name for name, policy in policies.items() if policy == wanted)


def _unknown(model: BaseModel, path: str, names: Collection[str]) -> Iterator[str]:
    extras = model.__pydantic_extra__
    if extras:
        yield from (f"{path}{name}" for name, value in extras.items() if value not in _EMPTY)
    for name in names:
        value = model.__dict__.get(name)
        if type(value) in _PLAIN:
            continue
        for each in value if isinstance(value, list) else (value,):
            if isinstance(each, BaseModel) and not isinstance(each, _NAMED_OTHERWISE):
                yield from _unknown(each, f"{path}{name}.", each.model_fields_set)

"""The policy for every field of Responses requests, for providers that speak chat completions.

As for providers: *mapped* to chat's format, *dropped* and named in the response, or *refused* because leaving the field
out would change the answer's meaning. Mapped fields without a counterpart in chat are repeated in the response, or
stored.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Final

from pydantic import BaseModel

from ai_gateway.errors import UnsupportedParameter
from gateway_contract.openai_responses import models
from gateway_contract.openai_responses.parameters import OPERATION_OF, Policies, by_field

POLICIES: Final[Policies] = {
    "createResponse": {
        "metadata": "mapped",  # repeated and stored; OpenAI accepts it only for stored chats
        "top_logprobs": "mapped",
        "temperature": "mapped",
        "top_p": "mapped",
        "user": "mapped",
        "safety_identifier": "mapped",
        "prompt_cache_key": "mapped",
        "prompt_cache_retention": "mapped",
        "prompt_cache_options": "mapped",
        "previous_response_id": "mapped",
        "model": "mapped",
        "background": "mapped",
        "max_tool_calls": "mapped",  # applies to gateway-run tools
        "text": "mapped",
        "tools": "mapped",
        "tool_choice": "mapped",
        "prompt": "refused",
        "service_tier": "mapped",
        "truncation": "mapped",
        "reasoning": "mapped",
        "input": "mapped",
        "include": "mapped",
        "parallel_tool_calls": "mapped",
        "store": "mapped",
        "instructions": "mapped",
        "moderation": "dropped",
        "stream": "mapped",
        "stream_options": "mapped",  # without effect: events are not padded
        "conversation": "refused",
        "context_management": "dropped",
        "max_output_tokens": "mapped",
    },
    "countInputTokens": {
        "model": "mapped",
        "input": "mapped",
        "previous_response_id": "mapped",
        "tools": "mapped",
        "text": "mapped",
        "reasoning": "dropped",
        "truncation": "dropped",
        "instructions": "mapped",
        "personality": "dropped",
        "conversation": "refused",
        "tool_choice": "dropped",
        "parallel_tool_calls": "dropped",
    },
    "compactResponse": {
        "model": "mapped",
        "input": "mapped",
        "previous_response_id": "mapped",
        "instructions": "mapped",
        "prompt_cache_key": "mapped",
        "prompt_cache_retention": "mapped",
        "prompt_cache_options": "mapped",
        "service_tier": "mapped",
    },
}

RESPONSES_NAMES: Final[Mapping[str, str]] = {
    "messages.thinking": "input.reasoning",
    "messages.reasoning_content": "input.reasoning",
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "verbosity": "text.verbosity",
    "reasoning_effort": "reasoning.effort",
    "logprobs": "top_logprobs",
}
"""Chat's fields by the name in the caller's request, where it differs."""

ADDED_FIELDS: Final = frozenset({"stream_options"})
"""Chat's fields that the gateway adds, which have no counterpart in the Responses API."""

# Nested fields of the contract without a counterpart in chat.
_LOST: Final[Mapping[type[BaseModel], tuple[str, ...]]] = {
    models.EasyInputMessage: ("phase",),
    models.OutputMessage: ("phase",),
    models.InputFileContent: ("detail",),
    models.InputFileContentParam: ("detail",),
    models.LocalEnvironmentParam: ("skills",),
}


_NUMBERS = {bool, int, float}
_PLAIN = {str, type(None), *_NUMBERS}


def apply_policies(body: BaseModel) -> list[str]:
    """The names of the dropped fields, unknown ones included. Raises UnsupportedParameter for a refused one.

    Null and empty values count as absent.
    """
    mapped, refused = _named(type(body))
    given = body.__pydantic_fields_set__
    for name in sorted(given & refused):
        if _is_set(getattr(body, name, None)):
            raise UnsupportedParameter(
                f"The gateway cannot honour '{name}': leave it out, and send what it stands for in the request itself.",
                param=name,
            )
    dropped = [name for name in given - mapped - refused if _is_set(getattr(body, name, None))]
    _add_lost(body, given & mapped, "", dropped)
    return sorted(set(dropped))


@cache
def _named(body: type[BaseModel]) -> tuple[frozenset[str], frozenset[str]]:
    """The body's fields that are mapped, and those that are refused."""
    policies = by_field(POLICIES)[OPERATION_OF[body]]
    mapped, refused = (frozenset(name for name in policies if policies[name] == own) for own in ("mapped", "refused"))
    return mapped, refused


def _is_set(value: object) -> bool:
    return bool(value) or type(value) in _NUMBERS  # false and 0 are values


def _add_lost(body: BaseModel, names: Iterable[str], path: str, lost: list[str]) -> None:
    """Add the set nested fields without a counterpart in chat, inside these fields of the body."""
    fields = body.__dict__
    for name in names:
        value = fields.get(name)
        if value.__class__ in _PLAIN:
            continue
        for each in value if isinstance(value, list) else (value,):
            # An object without declared fields is a schema, or arguments: its names are the caller's. (`isinstance`
            # of a model is slow for anything else.)
            if each is not None and getattr(each.__class__, "__pydantic_fields__", None):
                inside = f"{path}{name}."
                if each.__pydantic_extra__:
                    lost += _lost_extras(each, inside)
                lost += [f"{inside}{own}" for own in _LOST.get(each.__class__, ()) if getattr(each, own, None)]
                _add_lost(each, each.__pydantic_fields_set__, inside, lost)


def _lost_extras(model: BaseModel, path: str) -> Iterator[str]:
    """The fields of an object beyond the contract."""
    for name, value in (model.model_extra or {}).items() if not isinstance(model, models.GatewayTool) else ():
        if _is_set(value) and not (name == "call_id" and isinstance(model, models.LocalShellToolCallOutput)):
            yield f"{path}{name}"

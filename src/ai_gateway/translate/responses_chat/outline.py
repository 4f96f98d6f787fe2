"""Fields of a response beside its output: those that repeat the request, and usage.

It has the fields that OpenAI's document or the Open Responses specification requires; fields missing in the request
have their default.
"""

from collections.abc import Mapping
from typing import cast

from pydantic import BaseModel, JsonValue

from ai_gateway.translate.extra_fields import names_of, place
from ai_gateway.translate.responses_chat.tools import Fields
from gateway_contract.openai import models as openai
from gateway_contract.openai_responses import models as responses

# Default values.
_ECHOED: Mapping[str, JsonValue] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "temperature": 1.0,
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
}
_SECRET = frozenset({"authorization", "headers"})  # credentials of MCP servers
_ECHOED_IF_SENT = ("user", "prompt_cache_retention")
_COUNTS = names_of(responses.ResponseUsage)
_TIERS = frozenset({"auto", "default", "flex", "scale", "priority", "fast", "ultrafast"})


def echo(body: responses.CreateResponse, *, stored: bool = False, background: bool = False) -> Fields:
    """The fields that repeat the request, as JSON."""
    given = body.__dict__
    fields: Fields = {**_ECHOED}
    for name in _ECHOED.keys() & body.__pydantic_fields_set__:
        if (value := given[name]) is not None:
            fields[name] = value
    fields |= {name: value for name in _ECHOED_IF_SENT if (value := given[name]) is not None}
    fields["tools"] = [_tool(tool) for tool in body.tools or ()]
    choice = body.tool_choice
    fields["tool_choice"] = "auto" if not choice else plain(choice) if isinstance(choice, BaseModel) else choice
    fields["text"] = _text(body.text)
    thinking = body.reasoning
    fields["reasoning"] = {
        "effort": None if thinking is None else thinking.effort,
        "summary": None if thinking is None else thinking.summary,
    }
    fields |= {"presence_penalty": 0.0, "frequency_penalty": 0.0, "store": stored, "background": background}
    fields["service_tier"] = "default" if body.service_tier in {None, "auto"} else body.service_tier
    return fields


def served_tier(tier: object) -> Fields:
    """The service tier that the provider reports, if responses have a name for it."""
    return {"service_tier": tier} if isinstance(tier, str) and tier in _TIERS else {}


def usage(reported: openai.CompletionUsage | object) -> Fields | None:
    """The usage; None if the provider reports none."""
    return counted(reported) if isinstance(reported, openai.CompletionUsage) else None


def counted(counted: openai.CompletionUsage) -> Fields:
    """The usage from a provider's counts."""
    read = _details(counted.prompt_tokens_details)
    written = _details(counted.completion_tokens_details)
    return {
        "input_tokens": counted.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": _count(read.get("cached_tokens")),
            "cache_write_tokens": _count(read.get("cache_write_tokens")),
        },
        "output_tokens": counted.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": _count(written.get("reasoning_tokens"))},
        "total_tokens": counted.total_tokens,
        **_beyond(counted),
    }


def _beyond(counted: openai.CompletionUsage) -> Fields:
    """Counts beyond the contract, such as the cost."""
    placed: dict[str, object] = {}
    place(counted.model_extra or {}, placed, _COUNTS)
    return cast("Fields", placed)


def plain(model: BaseModel) -> Fields:
    """A part of the request, unchanged."""
    return model.model_dump(by_alias=True, exclude_unset=True)


def _tool(tool: BaseModel) -> Fields:
    """A tool, unchanged; a function with defaults, `strict` being false if missing."""
    if isinstance(tool, responses.MCPTool):
        return {name: value for name, value in plain(tool).items() if name not in _SECRET}
    if not isinstance(tool, responses.FunctionTool):
        return plain(tool)
    return {"description": None, "parameters": None, **plain(tool), "strict": bool(tool.strict)}


def _text(text: responses.ResponseTextParam | None) -> Fields:
    form = text.format if text is not None else None
    if form is None:
        shown: Fields = {"type": "text"}
    elif isinstance(form, responses.TextResponseFormatJsonSchema):
        shown = {"description": None, **plain(form), "strict": bool(form.strict)}
    else:
        shown = plain(form)
    verbosity = text.verbosity if text is not None else None
    return {"format": shown, **({} if verbosity is None else {"verbosity": verbosity})}


def _details(details: object) -> Fields:
    return plain(details) if isinstance(details, BaseModel) else {}


def _count(value: JsonValue) -> int:
    return value if type(value) is int and value >= 0 else 0

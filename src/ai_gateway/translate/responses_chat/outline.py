"""What a response repeats of its request, and what else it has beside its output.

It has the fields that OpenAI's document requires and those that the Open Responses specification does; what was not
asked for has the value that holds then.
"""

from collections.abc import Mapping
from typing import cast

from pydantic import BaseModel, JsonValue

from ai_gateway.translate.extra_fields import names_of, place
from ai_gateway.translate.responses_chat.tools import Fields
from gateway_contract.openai import models as openai
from gateway_contract.openai_responses import models as responses

# By what it is when it is not asked for.
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
_SECRET = frozenset({"authorization", "headers"})  # of a server, which is none of the response's readers' business
_ECHOED_IF_SENT = ("user", "prompt_cache_retention")
_COUNTS = names_of(responses.ResponseUsage)
_TIERS = frozenset({"auto", "default", "flex", "scale", "priority", "fast", "ultrafast"})


def echo(body: responses.CreateResponse, *, stored: bool = False, background: bool = False) -> Fields:
    """The fields that only repeat what was asked, as JSON."""
    said = body.__dict__
    fields: Fields = {name: default if (value := said[name]) is None else value for name, default in _ECHOED.items()}
    fields |= {name: value for name in _ECHOED_IF_SENT if (value := said[name]) is not None}
    fields["tools"] = [_tool(tool) for tool in body.tools or ()]
    choice = body.tool_choice
    fields["tool_choice"] = plain(choice) if isinstance(choice, BaseModel) else choice or "auto"
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
    """The tier that has served the request, where the provider says so in a word that a response has."""
    return {"service_tier": tier} if isinstance(tier, str) and tier in _TIERS else {}


def usage(told: openai.CompletionUsage | object) -> Fields | None:
    """What the response took; None where the provider has not said."""
    return counted(told) if isinstance(told, openai.CompletionUsage) else None


def counted(counted: openai.CompletionUsage) -> Fields:
    """What a response took, by a provider's count."""
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
    """What a provider counts beyond the contract, such as what it costs."""
    placed: dict[str, object] = {}
    place(counted.model_extra or {}, placed, _COUNTS)
    return cast("Fields", placed)


def plain(model: BaseModel) -> Fields:
    """A part of the request as it came."""
    return model.model_dump(by_alias=True, exclude_unset=True)


def _tool(tool: BaseModel) -> Fields:
    """A tool as it came; of a function also what it leaves open. Without a word about `strict`, it is not."""
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

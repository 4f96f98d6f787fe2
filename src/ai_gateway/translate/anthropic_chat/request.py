"""Requests of the Messages API in OpenAI's format: fields with a counterpart are mapped, the rest dropped and named."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel

from ai_gateway.translate.anthropic_chat.ids import ToolNames
from ai_gateway.translate.anthropic_chat.messages import conversation
from ai_gateway.translate.anthropic_chat.policies import dropped_fields, unknown_fields
from ai_gateway.translate.anthropic_chat.tokens import output_format
from ai_gateway.translate.anthropic_chat.tools import OfferedTools, offered_tools, tool_fields, tool_names
from ai_gateway.translate.chat_request import unchecked
from ai_gateway.translate.gateway_tools import NO_TOOLS, McpName, Runs
from gateway_contract.anthropic import models as anthropic
from gateway_contract.openai import models as openai

# Bytes that a block, a message or a tool takes: as a model of OpenAI's, and as JSON for an upstream.
_PART_BYTES = 2_500
# Thinking budgets and the nearest efforts, for models that take one or the other.
_LOW_BUDGET, _MEDIUM_BUDGET = 4_096, 16_384
_HIGHEST = {"xhigh": "high", "max": "high"}
_ALL: Mapping[str, str] = {}

type Fields = dict[str, object]


@dataclass(frozen=True, slots=True)
class TranslatedRequest:
    """A chat request, and the dropped fields of the original, under Anthropic's names.

    `names` and `mcp` map its tool names.
    """

    request: openai.CreateChatCompletionRequest
    dropped: list[str] = field(default_factory=list)
    names: ToolNames = field(default_factory=ToolNames)
    mcp: Mapping[str, McpName] = field(default_factory=dict)


def chat(
    body: anthropic.AnthropicCreateMessageParams, model: str, runs: Runs = NO_TOOLS, *, knows_efforts: bool = False
) -> TranslatedRequest:
    """The request as a chat for the gateway's model id. `runs` are the gateway-run tools of the caller.

    `knows_efforts`: all targets take this API's efforts.
    """
    dropped: set[str] = set()
    names = tool_names(body)
    has_tools = body.tools or body.mcp_servers
    offered = offered_tools(body, names, runs, dropped) if has_tools else OfferedTools()
    fields: Fields = {
        "model": model,
        "messages": conversation(body.system, body.messages, names, dropped),
        "max_tokens": body.max_tokens,
    }
    for name in ("temperature", "top_p"):
        if (value := getattr(body, name)) is not None:
            fields[name] = value
    if body.stop_sequences:
        fields["stop"] = body.stop_sequences
    if body.stream:
        options = unchecked(openai.ChatCompletionStreamOptionsObject, {"include_usage": True})
        fields |= {"stream": True, "stream_options": options}
    fields |= tool_fields(body, names, offered, dropped)
    fields |= _thinking(body.thinking, _effort(body, dropped, _ALL if knows_efforts else _HIGHEST), dropped)
    if (wanted := output_format(body)) is not None:
        fields["response_format"] = _format(wanted.schema_)
        if body.output_format not in (None, wanted):
            dropped.add("output_format")
    if getattr(body.thinking, "display", None) == "omitted":
        dropped.add("thinking.display")
    named = [*dropped_fields(body), *unknown_fields(body), *dropped]
    return TranslatedRequest(
        unchecked(openai.CreateChatCompletionRequest, fields), sorted(set(named)), names, offered.mcp
    )


def translated_size(body: anthropic.AnthropicCreateMessageParams) -> int:
    """An estimate of the translation's bytes beside texts: small parts grow a thousandfold."""
    blocks = sum(1 + (len(message.content) if isinstance(message.content, list) else 0) for message in body.messages)
    return (blocks + len(body.tools or ())) * _PART_BYTES


def _effort(body: anthropic.AnthropicCreateMessageParams, dropped: set[str], others: Mapping[str, str]) -> str | None:
    """The effort for the answer: a message sets that of all turns after it; the last one applies.

    `others` are substitutes for some efforts. See platform.claude.com "Per-message effort".
    """
    effort: str | None = body.output_config.effort if body.output_config is not None else None
    for message in body.messages:
        if message.output_config is None:
            continue
        if message.output_config.effort is not None:
            effort = message.output_config.effort
        if message.output_config.format is not None:
            dropped.add("messages.output_config.format")
    return others.get(effort, effort) if effort is not None else None


def _thinking(thinking: BaseModel | None, effort: str | None, dropped: set[str]) -> Fields:
    """The reasoning effort: given explicitly, or derived from a budget; adaptive thinking has none."""
    if thinking is not None and isinstance(thinking, anthropic.AnthropicThinkingConfigDisabled):
        if effort is not None:
            dropped.add("output_config.effort")
        return {"reasoning_effort": "none"}
    if thinking is not None and effort is None and isinstance(thinking, anthropic.AnthropicThinkingConfigEnabled):
        budget = thinking.budget_tokens
        effort = "low" if budget < _LOW_BUDGET else "medium" if budget < _MEDIUM_BUDGET else "high"
    return {} if effort is None else {"reasoning_effort": effort}


def _format(schema: Mapping[str, object]) -> openai.ResponseFormatJsonSchema:
    fields: Fields = {"name": "response", "schema": dict(schema)}
    if is_strict(schema):
        fields["strict"] = True
    wanted = openai.ResponseFormatJsonSchemaJsonSchema.model_validate(fields)
    return openai.ResponseFormatJsonSchema(type="json_schema", json_schema=wanted)


def is_strict(schema: object) -> bool:
    """Whether OpenAI's strict mode accepts the schema: its objects are closed, and all their fields required.

    Without recursion, for schemas of any depth.
    """
    waiting = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        if not isinstance(value, dict):
            continue
        properties = value.get("properties")
        if isinstance(properties, dict) or value.get("type") == "object":
            required = value.get("required")
            named = set(properties) if isinstance(properties, dict) else set()
            is_complete = isinstance(required, list) and named <= {name for name in required if isinstance(name, str)}
            if value.get("additionalProperties") is not False or not (is_complete or not named):
                return False
        waiting += [*(properties.values() if isinstance(properties, dict) else ()), *_inner(value)]
    return True


def _inner(schema: Mapping[str, object]) -> list[object]:
    maps = [schema.get(name) for name in ("$defs", "definitions")]
    return [
        *(schema.get(name) for name in ("items", "anyOf", "oneOf", "allOf")),
        *(each for held in maps if isinstance(held, dict) for each in held.values()),
    ]

"""OpenAI's chat request as one of the Messages API; fields without a counterpart are reported or rejected."""

import re
from dataclasses import dataclass

from ai_gateway.errors import InvalidRequest, UnsupportedParameter, UnsupportedValue
from ai_gateway.translate.chat_anthropic.messages import Conversation, conversation
from ai_gateway.translate.chat_anthropic.schema import closed
from ai_gateway.translate.chat_anthropic.thinking import budgeted, by_effort, has_budget
from ai_gateway.translate.chat_anthropic.tools import is_forced, tool_fields
from ai_gateway.translate.chat_request import drop_unknown_in_objects, drop_unknown_stream_options
from gateway_contract.openai import models

# `max_tokens` is required: docs.anthropic.com "Messages". OpenAI's limit is optional.
DEFAULT_MAX_TOKENS = 16_384
_TIERS = {"auto": "auto", "priority": "auto", "default": "standard_only"}
_LEAST_TOP_P = 0.95
_BETA = re.compile(r"[A-Za-z0-9._-]{1,100}")


@dataclass(frozen=True, slots=True)
class MessagesRequest:
    """The body to send, the betas for the header `anthropic-beta`, and the fields that were dropped."""

    body: dict[str, object]
    dropped: list[str]
    betas: list[str]


def to_messages(body: models.CreateChatCompletionRequest) -> MessagesRequest:
    """Raises InvalidRequest, or a subclass, that names the field that cannot be translated.

    Fields outside the contract that the policy for unknown fields has kept are forwarded unchanged.
    """
    _refuse_values(body)
    dropped: set[str] = set()
    chat = conversation(body.messages, dropped)
    sent: dict[str, object] = {"model": body.model, "max_tokens": _max_tokens(body)}
    if chat.system:
        sent["system"] = chat.system
    sent["messages"] = [{"role": turn.role, "content": turn.content} for turn in chat.turns]
    sent |= tool_fields(body, chat.called_functions, dropped)
    sent |= _thinking(body, chat, forced=is_forced(sent), dropped=dropped)
    sent |= _sampling(body, thinking="thinking" in sent and body.reasoning_effort != "none", dropped=dropped)
    sent |= _account(body, dropped)
    if body.response_format is not None:
        _add_format(sent, body.response_format)
    if body.stream:
        sent["stream"] = True
    drop_unknown_stream_options(body, dropped)
    drop_unknown_in_objects(body, dropped)
    betas = _add_unknown(sent, body)
    return MessagesRequest(sent, sorted(dropped), betas)


def _refuse_values(body: models.CreateChatCompletionRequest) -> None:
    if body.n is not None and body.n > 1:
        raise UnsupportedValue("This provider gives one choice: leave `n` out.", param="n")
    if body.logprobs or body.top_logprobs:
        param = "logprobs" if body.logprobs else "top_logprobs"
        raise UnsupportedValue("This provider gives no log probabilities: leave this out.", param=param)
    if body.modalities and "audio" in body.modalities:
        raise UnsupportedValue("This provider answers in text only.", param="modalities")


def _max_tokens(body: models.CreateChatCompletionRequest) -> int:
    """The lower limit of the two."""
    limits = {"max_completion_tokens": body.max_completion_tokens, "max_tokens": body.max_tokens}
    set_limits = {field: limit for field, limit in limits.items() if limit is not None}
    for field, limit in set_limits.items():
        if limit < 1:
            raise InvalidRequest("The limit is at least 1.", param=field, code="invalid_value")
    return min(set_limits.values(), default=DEFAULT_MAX_TOKENS)


def _thinking(
    body: models.CreateChatCompletionRequest, chat: Conversation, *, forced: bool, dropped: set[str]
) -> dict[str, object]:
    effort = body.reasoning_effort
    if effort is None or effort == "default":  # other vendors' name for the model's own default
        return {}
    if not has_budget(body.model):
        return by_effort(effort, forced=forced)
    if effort == "none":
        return {}
    if forced or chat.lacks_thinking:  # rejected: docs.anthropic.com "Extended thinking"
        dropped.add("reasoning_effort")
        return {}
    return budgeted(effort, _max_tokens(body))


def _sampling(body: models.CreateChatCompletionRequest, *, thinking: bool, dropped: set[str]) -> dict[str, object]:
    sampling: dict[str, object] = {}
    if body.temperature is not None:
        if body.temperature > 1:
            raise UnsupportedValue("This provider takes a temperature of 0 to 1.", param="temperature")
        sampling["temperature"] = body.temperature
    if body.top_p is not None:
        sampling["top_p"] = body.top_p
    if thinking:  # docs.anthropic.com "Extended thinking", feature compatibility
        rejected = {"temperature"} if sampling.get("temperature", 1) != 1 else set()
        rejected |= {"top_p"} if body.top_p is not None and body.top_p < _LEAST_TOP_P else set()
        dropped |= rejected
        sampling = {name: value for name, value in sampling.items() if name not in rejected}
    stop = _stop(body.stop)
    return sampling | ({"stop_sequences": stop} if stop else {})


def _stop(stop: str | list[str] | None) -> list[str]:
    """The stop sequences without empty ones."""
    sequences = [one for one in ([stop] if isinstance(stop, str) else stop or []) if one]
    if not all(sequence.strip() for sequence in sequences):
        raise UnsupportedValue("This provider cannot stop at white space alone.", param="stop")
    return sequences


def _account(body: models.CreateChatCompletionRequest, dropped: set[str]) -> dict[str, object]:
    """The user's id and the service tier."""
    account: dict[str, object] = {}
    user = body.safety_identifier or body.user
    if user:
        account["metadata"] = {"user_id": user}
    if body.user and body.user != user:
        dropped.add("user")
    if body.service_tier in _TIERS:
        account["service_tier"] = _TIERS[body.service_tier]
    elif body.service_tier is not None:
        dropped.add("service_tier")
    return account


def _add_format(
    sent: dict[str, object],
    response_format: models.ResponseFormatText | models.ResponseFormatJsonSchema | models.ResponseFormatJsonObject,
) -> None:
    if isinstance(response_format, models.ResponseFormatText):
        return
    if isinstance(response_format, models.ResponseFormatJsonObject):
        raise UnsupportedValue(
            "This provider promises JSON by a schema only: use `json_schema`.", param="response_format.type"
        )
    json_schema = response_format.json_schema
    if json_schema.schema_ is None:
        raise UnsupportedValue(
            "This provider promises JSON by a schema only: give one.", param="response_format.json_schema.schema"
        )
    schema = closed(json_schema.schema_.model_extra or {})
    if json_schema.description:
        schema.setdefault("description", json_schema.description)
    config = sent.get("output_config")
    sent["output_config"] = {**(config if isinstance(config, dict) else {}), "format": _format(schema)}


def _format(schema: dict[str, object]) -> dict[str, object]:
    return {"type": "json_schema", "schema": schema}


def _add_unknown(sent: dict[str, object], body: models.CreateChatCompletionRequest) -> list[str]:
    """Add the API's own fields unchanged; return the betas, which belong into a header."""
    extra = dict(body.model_extra or {})
    betas = extra.pop("betas", None) or []
    if not isinstance(betas, list) or not all(isinstance(one, str) and _BETA.fullmatch(one) for one in betas):
        raise InvalidRequest("The betas are a list of their names.", param="betas", code="invalid_value")
    for name, value in extra.items():
        if name in sent:
            raise UnsupportedParameter(
                "Another field of the request says the same in OpenAI's terms: send one of the two.", param=name
            )
        if value is not None:
            sent[name] = value
    return betas

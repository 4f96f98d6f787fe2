"""OpenAI's chat request as one for the Messages API; what cannot be said there is named or refused."""

import re
from dataclasses import dataclass

from ai_gateway.errors import InvalidRequest, UnsupportedParameter, UnsupportedValue
from ai_gateway.translate.chat_anthropic.messages import Conversation, conversation
from ai_gateway.translate.chat_anthropic.schema import closed
from ai_gateway.translate.chat_anthropic.thinking import budgeted, by_effort, has_budget
from ai_gateway.translate.chat_anthropic.tools import is_forced, tool_fields
from ai_gateway.translate.chat_request import drop_unread_options, drop_unread_wishes
from gateway_contract.openai import models

# The API wants a limit in every request; OpenAI's does not.
DEFAULT_MAX_TOKENS = 16_384
_TIERS = {"auto": "auto", "priority": "auto", "default": "standard_only"}
_LEAST_TOP_P = 0.95
_BETA = re.compile(r"[A-Za-z0-9._-]{1,100}")


@dataclass(frozen=True, slots=True)
class MessagesRequest:
    """The body to send, the API's betas to ask for, and which fields had no place in it."""

    body: dict[str, object]
    dropped: list[str]
    betas: list[str]


def to_messages(body: models.CreateChatCompletionRequest) -> MessagesRequest:
    """Raises InvalidRequest, or a kind of it, that names what cannot be translated.

    Fields that the contract does not name, as far as they are still there, go along as they are.
    """
    _refuse_values(body)
    dropped: set[str] = set()
    said = conversation(body.messages, dropped)
    sent: dict[str, object] = {"model": body.model, "max_tokens": _max_tokens(body)}
    if said.system:
        sent["system"] = said.system
    sent["messages"] = [{"role": turn.role, "content": turn.content} for turn in said.turns]
    sent |= tool_fields(body, said.called, dropped)
    sent |= _thinking(body, said, forced=is_forced(sent), dropped=dropped)
    sent |= _sampling(body, thinks="thinking" in sent and body.reasoning_effort != "none", dropped=dropped)
    sent |= _account(body, dropped)
    if body.response_format is not None:
        _add_format(sent, body.response_format)
    if body.stream:
        sent["stream"] = True
    drop_unread_options(body, dropped)
    drop_unread_wishes(body, dropped)
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
    """The tighter limit of the two."""
    limits = {"max_completion_tokens": body.max_completion_tokens, "max_tokens": body.max_tokens}
    given = {field: limit for field, limit in limits.items() if limit is not None}
    for field, limit in given.items():
        if limit < 1:
            raise InvalidRequest("The limit is at least 1.", param=field, code="invalid_value")
    return min(given.values(), default=DEFAULT_MAX_TOKENS)


def _thinking(
    body: models.CreateChatCompletionRequest, said: Conversation, *, forced: bool, dropped: set[str]
) -> dict[str, object]:
    effort = body.reasoning_effort
    if effort is None or effort == "default":  # as other vendors name the model's own way
        return {}
    if not has_budget(body.model):
        return by_effort(effort, forced=forced)
    if effort == "none":
        return {}
    if forced or said.unsigned:  # the API refuses to think there, and the call or the conversation matters more
        dropped.add("reasoning_effort")
        return {}
    return budgeted(effort, _max_tokens(body))


def _sampling(body: models.CreateChatCompletionRequest, *, thinks: bool, dropped: set[str]) -> dict[str, object]:
    found: dict[str, object] = {}
    if body.temperature is not None:
        if body.temperature > 1:
            raise UnsupportedValue("This provider takes a temperature of 0 to 1.", param="temperature")
        found["temperature"] = body.temperature
    if body.top_p is not None:
        found["top_p"] = body.top_p
    if thinks:  # a model that thinks does not let its sampling be changed
        gone = {"temperature"} if found.get("temperature", 1) != 1 else set()
        gone |= {"top_p"} if body.top_p is not None and body.top_p < _LEAST_TOP_P else set()
        dropped |= gone
        found = {name: value for name, value in found.items() if name not in gone}
    stop = _stop(body.stop)
    return found | ({"stop_sequences": stop} if stop else {})


def _stop(given: str | list[str] | None) -> list[str]:
    """The stop sequences; empty ones stop nothing."""
    found = [one for one in ([given] if isinstance(given, str) else given or []) if one]
    if not all(one.strip() for one in found):
        raise UnsupportedValue("This provider cannot stop at white space alone.", param="stop")
    return found


def _account(body: models.CreateChatCompletionRequest, dropped: set[str]) -> dict[str, object]:
    """Who asks, and at which tier."""
    found: dict[str, object] = {}
    user = body.safety_identifier or body.user
    if user:
        found["metadata"] = {"user_id": user}
    if body.user and body.user != user:
        dropped.add("user")
    if body.service_tier in _TIERS:
        found["service_tier"] = _TIERS[body.service_tier]
    elif body.service_tier is not None:
        dropped.add("service_tier")
    return found


def _add_format(
    sent: dict[str, object],
    wanted: models.ResponseFormatText | models.ResponseFormatJsonSchema | models.ResponseFormatJsonObject,
) -> None:
    if isinstance(wanted, models.ResponseFormatText):
        return
    if isinstance(wanted, models.ResponseFormatJsonObject):
        raise UnsupportedValue(
            "This provider promises JSON by a schema only: use `json_schema`.", param="response_format.type"
        )
    where = wanted.json_schema
    if where.schema_ is None:
        raise UnsupportedValue(
            "This provider promises JSON by a schema only: give one.", param="response_format.json_schema.schema"
        )
    schema = closed(where.schema_.model_extra or {})
    if where.description:
        schema.setdefault("description", where.description)
    config = sent.get("output_config")
    sent["output_config"] = {**(config if isinstance(config, dict) else {}), "format": _format(schema)}


def _format(schema: dict[str, object]) -> dict[str, object]:
    return {"type": "json_schema", "schema": schema}


def _add_unknown(sent: dict[str, object], body: models.CreateChatCompletionRequest) -> list[str]:
    """Fields of the API's own, as they came; betas, which it takes in a header, are returned."""
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

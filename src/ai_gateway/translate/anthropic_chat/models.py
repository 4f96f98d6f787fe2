"""Models in the form of Anthropic's API. Unknown facts are null, as its contract allows."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

from pydantic import ValidationError

from ai_gateway.errors import InvalidRequest
from gateway_contract.anthropic import models as anthropic
from gateway_contract.openai.models import Model

_CONTEXT = ("max_input_tokens", "context_length", "context_window", "max_model_len", "max_context_length")
_OUTPUT = ("max_completion_tokens", "max_output_tokens", "max_tokens")


def shown(model: Model) -> anthropic.AnthropicModelInfo:
    """One model, with its provider's own description if that speaks this wire."""
    extras = model.model_extra or {}
    name = extras.get("display_name")
    info = anthropic.AnthropicModelInfo(
        type="model",
        id=model.id,
        display_name=name if isinstance(name, str) and name else model.id,
        created_at=_time(model.created),
        max_input_tokens=_number(model, _CONTEXT),
        max_tokens=_number(model, _OUTPUT),
        capabilities=None,
        lifecycle="active",  # a listed model is available
    )
    for own in ("capabilities", "lifecycle"):
        if own in extras:
            with suppress(ValidationError):
                info.__pydantic_validator__.validate_assignment(info, own, extras[own], strict=True)
    return info


def page(
    models: Sequence[Model], limit: int, *, after: str | None, before: str | None
) -> anthropic.AnthropicListResponseModelInfo:
    """The page after or before the model with this id. Raises InvalidRequest for an unknown id."""
    at = {model.id: place for place, model in enumerate(models)}
    start, end = 0, len(models)
    if after is not None:
        start = _place(at, after, "after_id") + 1
    if before is not None:
        end = _place(at, before, "before_id")
    among = models[start:end]
    backwards = before is not None and after is None
    shown_here = among[-limit:] if backwards else among[:limit]
    return anthropic.AnthropicListResponseModelInfo(
        data=[shown(model) for model in shown_here],
        first_id=shown_here[0].id if shown_here else None,
        last_id=shown_here[-1].id if shown_here else None,
        has_more=len(among) > len(shown_here),
    )


def _place(at: dict[str, int], identifier: str, param: str) -> int:
    if identifier not in at:
        raise InvalidRequest("There is no model of this id in the list.", param=param, code="invalid_value")
    return at[identifier]


def _time(created: int) -> str:
    try:
        return datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return "1970-01-01T00:00:00Z"


def _number(model: Model, names: Sequence[str]) -> int | None:
    extras = model.model_extra or {}
    values = (extras.get(name) for name in names)
    return next((value for value in values if type(value) is int and value > 0), None)

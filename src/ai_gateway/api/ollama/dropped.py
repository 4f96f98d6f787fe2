"""Dropped fields of requests on Ollama's wire, under the caller's names."""

from typing import Final

from pydantic import BaseModel

from ai_gateway.api.dropped import FieldNames, unknown_field
from ai_gateway.providers.base import Provider
from ai_gateway.translate.ollama_chat.policies import ADDED_FIELDS, METRIC_LABELS, OLLAMA_NAMES, unknown_fields

_FIELD_NAMES: Final = FieldNames(OLLAMA_NAMES, ADDED_FIELDS, METRIC_LABELS)
note_dropped = _FIELD_NAMES.note


def refuse_unknown(provider: Provider, body: BaseModel) -> None:
    """Raise InvalidRequest for unknown fields if the provider's `unknown_params` is `reject`."""
    if unknown_fields(body) and provider.parameters.unknown("createChatCompletion") == "reject":
        raise unknown_field()

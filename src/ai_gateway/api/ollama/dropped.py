"""What a request on Ollama's wire loses on its way, named in the caller's own words."""

from collections.abc import Iterable

from pydantic import BaseModel

from ai_gateway.contract.call import Call
from ai_gateway.errors import InvalidRequest
from ai_gateway.observability.metrics import Event, count
from ai_gateway.providers.base import Provider
from ai_gateway.translate.ollama_chat.policies import ADDED_FIELDS, METRIC_LABELS, OLLAMA_NAMES, unknown_fields


def refuse_unknown(provider: Provider, body: BaseModel) -> None:
    """Where the operator wants unknown fields refused, a field that the contract does not name is InvalidRequest."""
    if unknown_fields(body) and provider.parameters.unknown("createChatCompletion") == "reject":
        raise InvalidRequest(
            "The body holds a field that the contract does not name: the gateway is set to refuse such requests.",
            code="unknown_parameter",
        )


def note_dropped(call: Call, dropped: list[str]) -> None:
    """Note what was dropped in the caller's terms: by the provider, which has counted it, and before it was called."""
    notes = call.notes
    by_provider = {OLLAMA_NAMES.get(name, name) for name in notes.dropped if name not in ADDED_FIELDS}
    if notes.provider:  # else none was called
        for field in _countable(dropped) - _countable(by_provider):
            count(Event.DROPPED, notes.provider, field)
    notes.dropped = {*by_provider, *dropped}


def _countable(fields: Iterable[str]) -> set[str]:
    return {name if name in METRIC_LABELS else "other" for name in fields}

"""What a request on Ollama's wire loses on its way, named in the caller's own words."""

from collections.abc import Iterable

from pydantic import BaseModel

from ai_gateway.contract.call import Call
from ai_gateway.errors import InvalidRequest
from ai_gateway.observability.metrics import Event, count
from ai_gateway.providers.base import Provider
from ai_gateway.providers.parameters import DROPPED_HEADER, names
from ai_gateway.translate.ollama_chat.policies import ADDED_FIELDS, METRIC_LABELS, OLLAMA_NAMES, unknown_fields


def refuse_unknown(provider: Provider, body: BaseModel) -> None:
    """Where the operator wants unknown fields refused, a field that the contract does not name is InvalidRequest."""
    if unknown_fields(body) and provider.parameters.unknown("createChatCompletion") == "reject":
        raise InvalidRequest(
            "The body holds a field that the contract does not name: the gateway is set to refuse such requests.",
            code="unknown_parameter",
        )


def name_dropped(call: Call, dropped: list[str]) -> None:
    """Say in the reply what was dropped: by the provider, which has counted it, and before it was asked."""
    there = {OLLAMA_NAMES.get(name, name) for name in call.dropped if name not in ADDED_FIELDS}
    provider = call.reply_headers.get("x-gateway-provider")
    if provider:  # else nobody was asked
        for field in _countable(dropped) - _countable(there):
            count(Event.DROPPED, provider, field)
    call.dropped = {*there, *dropped}
    if call.dropped:
        call.reply_headers[DROPPED_HEADER] = names(list(call.dropped))
    else:
        call.reply_headers.pop(DROPPED_HEADER, None)


def _countable(fields: Iterable[str]) -> set[str]:
    return {name if name in METRIC_LABELS else "other" for name in fields}

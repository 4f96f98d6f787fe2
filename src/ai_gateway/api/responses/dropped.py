"""What a Responses request loses on its way, and what a provider finds wrong, in the caller's own words."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from pydantic import BaseModel

from ai_gateway.contract.call import Call
from ai_gateway.errors import GatewayError, InvalidRequest
from ai_gateway.observability.metrics import Event, count
from ai_gateway.providers.base import Provider
from ai_gateway.translate.responses_chat.policies import ADDED_FIELDS, POLICIES, RESPONSES_NAMES
from gateway_contract.openai_responses.parameters import by_field

_KNOWN: Final = frozenset(name for policies in by_field(POLICIES).values() for name in policies)
_FIRST = re.compile(r"\w+")


def refuse_unknown(provider: Provider, body: BaseModel) -> None:
    """Where the operator wants unknown fields refused, a field that the contract does not name is InvalidRequest."""
    if body.model_extra and provider.parameters.unknown("createChatCompletion") == "reject":
        raise InvalidRequest(
            "The body holds a field that the contract does not name: the gateway is set to refuse such requests.",
            code="unknown_parameter",
        )


def note_dropped(call: Call, dropped: Iterable[str]) -> None:
    """Note what was dropped in the caller's terms: by the provider, which has counted it, and before it was called."""
    notes, dropped = call.notes, set(dropped)
    by_provider = {_renamed(name) for name in notes.dropped if _FIRST.match(name) and name not in ADDED_FIELDS}
    if notes.provider:  # else none was called
        for field in {name if name in _KNOWN else "other" for name in dropped} - by_provider:
            count(Event.DROPPED, notes.provider, field)
    notes.dropped = by_provider | dropped


@contextmanager
def in_terms_of_responses() -> Iterator[None]:
    """An error about a field of the chat request is one about what that was made of."""
    try:
        yield
    except GatewayError as error:
        if error.param is None or (renamed := _renamed(error.param)) == error.param:
            raise
        raise error.changed(param=renamed) from error


def _renamed(path: str) -> str:
    """A path in a chat request as one of the caller's. What stands where in messages only the request knows."""
    first = _FIRST.match(path)
    if first is None or first[0] not in RESPONSES_NAMES:
        return path
    named = RESPONSES_NAMES[first[0]]
    return named if first[0] == "messages" else named + path[first.end() :]

"""Dropped fields of Responses requests, and providers' errors, under the caller's names of fields."""

import re
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, override

from pydantic import BaseModel

from ai_gateway.api.dropped import FieldNames, unknown_field
from ai_gateway.contract.call import Call
from ai_gateway.errors import GatewayError
from ai_gateway.providers.base import Provider
from ai_gateway.translate.responses_chat.policies import ADDED_FIELDS, POLICIES, RESPONSES_NAMES
from gateway_contract.openai_responses.parameters import by_field

_KNOWN: Final = frozenset(name for policies in by_field(POLICIES).values() for name in policies)
_FIRST = re.compile(r"\w+")
note_dropped: Final = FieldNames(RESPONSES_NAMES, ADDED_FIELDS, _KNOWN).note


def refuse_unknown(call: Call, provider: Provider, body: BaseModel) -> None:
    """Raise InvalidRequest for anything outside the contract if the provider's `unknown_params` is `reject`.

    The built-in provider never takes unknown kinds.
    """
    refuses = provider.parameters.unknown("createChatCompletion") == "reject"
    if call.unknown is not None and (refuses or not provider.is_remote):
        raise call.unknown.error
    if body.model_extra and refuses:
        raise unknown_field()


def dropped_kinds(call: Call) -> set[str]:
    """The fields outside the contract that are dropped. Raises InvalidRequest if other unknown content remains."""
    if call.unknown is None:
        return set()
    if call.unknown.others:
        raise call.unknown.error
    return call.unknown.fields


class _Renaming(AbstractContextManager[None]):
    """Has no state. A generator as a context costs as much as the translation of a small request."""

    @override
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, GatewayError) and error.param is not None:
            renamed = _renamed(error.param)
            if renamed != error.param:
                raise error.changed(param=renamed) from error


_RENAMING: Final = _Renaming()


def in_terms_of_responses() -> AbstractContextManager[None]:
    """Renames the field of an error about the chat request to that of the caller's request."""
    return _RENAMING


def _renamed(path: str) -> str:
    """A path in the chat request as one in the caller's request; paths inside messages have no exact equivalent."""
    first = _FIRST.match(path)
    if first is None or first[0] not in RESPONSES_NAMES:
        return path
    named = RESPONSES_NAMES[first[0]]
    return named if first[0] == "messages" else named + path[first.end() :]

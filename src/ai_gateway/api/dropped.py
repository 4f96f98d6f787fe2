"""Dropped fields of requests on other wires than OpenAI's, under the caller's names."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from ai_gateway.contract.call import Call
from ai_gateway.errors import InvalidRequest
from ai_gateway.observability.metrics import Event, count


@dataclass(frozen=True, slots=True)
class FieldNames:
    """A wire's `names` of OpenAI's fields, the fields `added` by translation, and its names that are metric labels.

    Names outside of `labels` are chosen by callers, and are counted as one.
    """

    names: Mapping[str, str]
    added: Collection[str]
    labels: Collection[str]

    def note(self, call: Call, dropped: Iterable[str]) -> None:
        """Note dropped fields under the caller's names: those of the provider, counted already, and of translation."""
        notes = call.notes
        here = set(dropped)
        if not here and not notes.dropped:
            return
        by_provider = {self.names.get(name, name) for name in notes.dropped if name not in self.added}
        if notes.provider:  # else no provider was called
            for field in self._countable(here) - self._countable(by_provider):
                count(Event.DROPPED, notes.provider, field)
        notes.dropped = by_provider | here

    def _countable(self, fields: Iterable[str]) -> set[str]:
        return {name if name in self.labels else "other" for name in fields}


def unknown_field() -> InvalidRequest:
    """The error for fields outside the contract where UNKNOWN_PARAMS is `reject`."""
    return InvalidRequest(
        "The body holds a field that the contract does not name: the gateway is set to refuse such requests.",
        code="unknown_parameter",
    )

"""What a request on another wire than OpenAI's loses on its way, named in the caller's own words."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from ai_gateway.contract.call import Call
from ai_gateway.observability.metrics import Event, count


@dataclass(frozen=True, slots=True)
class Words:
    """A wire's `names` of OpenAI's fields, the fields that are `added` for its callers, and its names that are counted.

    All names outside of `labels` are chosen by callers, and are counted as one.
    """

    names: Mapping[str, str]
    added: Collection[str]
    labels: Collection[str]

    def note(self, call: Call, dropped: Iterable[str]) -> None:
        """Note what was dropped in the caller's terms: by the provider, which has counted it, and before."""
        notes = call.notes
        by_provider = {self.names.get(name, name) for name in notes.dropped if name not in self.added}
        here = set(dropped)
        if notes.provider:  # else none was called
            for field in self._countable(here) - self._countable(by_provider):
                count(Event.DROPPED, notes.provider, field)
        notes.dropped = by_provider | here

    def _countable(self, fields: Iterable[str]) -> set[str]:
        return {name if name in self.labels else "other" for name in fields}

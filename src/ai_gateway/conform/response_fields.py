"""What the events of a response are made with: fields of chat in their form, and what knows a client's tools."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from pydantic import JsonValue

type Fields = dict[str, JsonValue]

type Seal = Callable[[Sequence[str], Sequence[JsonValue]], str | None]
"""What of a reasoning item's summary and signed blocks only the gateway can read again; None for nothing."""


class Calls(Protocol):
    """What knows how a client calls its tools, which chat completions know as functions only."""

    def opened(self, function: str, item_id: str, call_id: str) -> Fields | None:
        """The item of a call before its arguments are there; None for one that can only be told whole."""

    def restored(self, function: str, arguments: str, item_id: str, call_id: str, *, cut: bool = False) -> Fields:
        """The item of a whole call. `cut` says that the arguments end where the answer was cut off."""

    def ran(self, call: Fields, next_id: Callable[[str], str]) -> tuple[Fields, Sequence[str]] | None:
        """The item of a call that was run here, and the states that a stream tells of it; None for one without."""


def shown_tokens(tokens: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """Tokens as events tell them: without their bytes."""
    shown = []
    for token in tokens:
        tops = token.get("top_logprobs")
        bare = {name: value for name, value in token.items() if name in {"token", "logprob"}}
        shown.append({**bare, "top_logprobs": shown_tokens(tops)} if isinstance(tops, list) else bare)
    return shown


def flat_annotation(annotation: Fields) -> Fields:
    """An annotation of chat completions, whose facts are in an object of their own, as one of a response."""
    kind = annotation.get("type")
    facts = annotation.get(kind) if isinstance(kind, str) else None
    return {"type": kind, **facts} if isinstance(facts, dict) else dict(annotation)

"""Fields of response events: chat fields converted, and the protocol for a client's tools."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from pydantic import JsonValue

from ai_gateway.conform.turn import REASONING, REFUSAL, TEXT

NAMES: Final = {
    TEXT: b"response.output_text",
    REFUSAL: b"response.refusal",
    REASONING: b"response.reasoning_summary_text",
}
"""The prefix of a part's text events."""
FUNCTION: Final = "function_call"
ARGUMENTS: Final = {
    "function_call": (b"response.function_call_arguments", "arguments"),
    "custom_tool_call": (b"response.custom_tool_call_input", "input"),
}
"""The prefix of a call's argument events, and the item's field for them."""

type Fields = dict[str, JsonValue]

# The required fields of annotations by type, with defaults for those that upstreams may omit.
_NEEDED: Final[Mapping[str, Mapping[str, type]]] = {
    "url_citation": {"url": str, "title": str, "start_index": int, "end_index": int},
    "file_citation": {"file_id": str, "index": int, "filename": str},
    "file_path": {"file_id": str, "index": int},
    "container_file_citation": {
        "container_id": str,
        "file_id": str,
        "start_index": int,
        "end_index": int,
        "filename": str,
    },
}
_FILLED: Final[Fields] = {"title": "", "start_index": 0, "end_index": 0, "index": 0, "filename": ""}

type Seal = Callable[[Sequence[str], Sequence[JsonValue]], str | None]
"""Seals a reasoning item's summary and signed blocks; None if there is nothing to seal."""


@dataclass(slots=True)
class OpenItem:
    """The open item. `function` is its tool's name in chat completions; `finished_parts` are its finished parts."""

    kind: str
    id: str
    index: int
    function: str = ""
    call_id: str = ""
    finished_parts: list[bytes] = field(default_factory=list)

    @property
    def place(self) -> bytes:
        """The item's id and index, as fields of an event."""
        return b'"item_id":"%b","output_index":%d' % (self.id.encode(), self.index)


class Calls(Protocol):
    """Maps function calls of chat completions to items of the client's own tools."""

    def opened(self, function: str, item_id: str, call_id: str) -> Fields | None:
        """The item of a call without its arguments yet; None for one that can only be sent whole."""

    def restored(self, function: str, arguments: str, item_id: str, call_id: str, *, cut: bool = False) -> Fields:
        """The item of a whole call. `cut` says that the answer was cut off within the arguments."""

    @property
    def ran(self) -> "RanHere":
        """The mapping of gateway-run calls."""
        ...


class RanHere(Protocol):
    """Maps gateway-run calls to items, and to their events by the suffix of the event's name."""

    def kind(self, call: Fields) -> str:
        """The type of a call's item."""
        ...

    def begun(self, call: Fields, item_id: str) -> tuple[Fields, Sequence[tuple[str, Fields]]]:
        """The item of a started call, and its events."""
        ...

    def ended(self, call: Fields, item_id: str) -> tuple[Fields, Sequence[tuple[str, Fields]]]:
        """The item of a call that has ended or was interrupted, and its events before `done`."""
        ...


# Formatting numbers is the largest cost of a delta event.
_END: Final = b',"sequence_number":%d}\n\n'
_ENDS: Final = [_END % number for number in range(64)]
_DELTA_END: Final = b'"' + _END
_DELTA_ENDS: Final = [_DELTA_END % number for number in range(1024)]


def event_end(number: int) -> bytes:
    """The end of the event with this number."""
    return _ENDS[number] if number < len(_ENDS) else _END % number


def delta_end(number: int) -> bytes:
    """The end of the delta event with this number."""
    return _DELTA_ENDS[number] if number < len(_DELTA_ENDS) else _DELTA_END % number


def delta_ends(first: int, stop: int) -> list[bytes]:
    """The same for several events."""
    return _DELTA_ENDS[first:stop] if stop <= len(_DELTA_ENDS) else [_DELTA_END % at for at in range(first, stop)]


def shown_tokens(tokens: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """Log probabilities as in events: without bytes."""
    shown = []
    for token in tokens:
        tops = token.get("top_logprobs")
        bare = {name: value for name, value in token.items() if name in {"token", "logprob"}}
        shown.append({**bare, "top_logprobs": shown_tokens(tops)} if isinstance(tops, list) else bare)
    return shown


def with_bytes(token: dict[str, object]) -> dict[str, object]:
    """A log probability as in parts: its bytes are a list, empty if unknown."""
    tops = token.get("top_logprobs")
    more = {"top_logprobs": [with_bytes(each) for each in tops]} if isinstance(tops, list) else {}
    return {**token, "bytes": token.get("bytes") or [], **more}


def flat_annotation(annotation: Fields) -> Fields | None:
    """An annotation of chat completions, whose fields are nested, in the flat form of the Responses API.

    None for one that the Responses API does not have.
    """
    kind = annotation.get("type")
    if not isinstance(kind, str) or kind not in _NEEDED:
        return None
    facts = annotation.get(kind)
    flat: Fields = {"type": kind, **facts} if isinstance(facts, dict) else dict(annotation)
    for name, form in _NEEDED[kind].items():
        if flat.get(name) is None and name in _FILLED:
            flat[name] = _FILLED[name]
        if type(flat.get(name)) is not form:
            return None
    return flat


def kept_item(item_id: str, sealed: str) -> Fields:
    """The reasoning item with sealed data for the provider: clients return reasoning items unchanged."""
    return {"type": "reasoning", "id": item_id, "summary": [], "encrypted_content": sealed, "status": "completed"}

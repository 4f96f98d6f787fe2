"""What the events of a response are made with: fields of chat in their form, and what knows a client's tools."""

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
"""What the events of a part's texts begin with."""
FUNCTION: Final = "function_call"
ARGUMENTS: Final = {
    "function_call": (b"response.function_call_arguments", "arguments"),
    "custom_tool_call": (b"response.custom_tool_call_input", "input"),
}
"""What the events of a call's arguments begin with, and where its item has them."""

type Fields = dict[str, JsonValue]

# What an annotation has to say, by its type, and what of it can be filled in where an upstream leaves it out.
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
"""What of a reasoning item's summary and signed blocks only the gateway can read again; None for nothing."""


@dataclass(slots=True)
class OpenItem:
    """The item that is open. `function` is what its tool is called in chat completions; `told` its finished parts."""

    kind: str
    id: str
    index: int
    function: str = ""
    call_id: str = ""
    told: list[bytes] = field(default_factory=list)

    @property
    def place(self) -> bytes:
        """Where it is, as fields of an event."""
        return b'"item_id":"%b","output_index":%d' % (self.id.encode(), self.index)


class Calls(Protocol):
    """What knows how a client calls its tools, which chat completions know as functions only."""

    def opened(self, function: str, item_id: str, call_id: str) -> Fields | None:
        """The item of a call before its arguments are there; None for one that can only be told whole."""

    def restored(self, function: str, arguments: str, item_id: str, call_id: str, *, cut: bool = False) -> Fields:
        """The item of a whole call. `cut` says that the arguments end where the answer was cut off."""

    @property
    def ran(self) -> "RanHere":
        """What knows the calls that are run here."""
        ...


class RanHere(Protocol):
    """What knows the items of calls that are run here, and what is told of them, by the end of an event's name."""

    def kind(self, call: Fields) -> str:
        """The type of a call's item."""
        ...

    def begun(self, call: Fields, item_id: str) -> tuple[Fields, Sequence[tuple[str, Fields]]]:
        """The item of a call that has started, and what is told of it then."""
        ...

    def ended(self, call: Fields, item_id: str) -> tuple[Fields, Sequence[tuple[str, Fields]]]:
        """The item of one that is over, or has broken off, and what is told before it is done."""
        ...


# Formatting numbers is most of what an event costs that goes on with a text.
_DELTA_END: Final = b'","sequence_number":%d}\n\n'
_DELTA_ENDS: Final = [_DELTA_END % number for number in range(1024)]


def delta_end(number: int) -> bytes:
    """How the event of this number ends, which goes on with a text."""
    return _DELTA_ENDS[number] if number < len(_DELTA_ENDS) else _DELTA_END % number


def delta_ends(first: int, stop: int) -> list[bytes]:
    """The same of several."""
    return _DELTA_ENDS[first:stop] if stop <= len(_DELTA_ENDS) else [_DELTA_END % at for at in range(first, stop)]


def shown_tokens(tokens: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """Tokens as events tell them: without their bytes."""
    shown = []
    for token in tokens:
        tops = token.get("top_logprobs")
        bare = {name: value for name, value in token.items() if name in {"token", "logprob"}}
        shown.append({**bare, "top_logprobs": shown_tokens(tops)} if isinstance(tops, list) else bare)
    return shown


def with_bytes(token: dict[str, object]) -> dict[str, object]:
    """A token as parts have it: its bytes are a list, also where nobody has told them."""
    tops = token.get("top_logprobs")
    more = {"top_logprobs": [with_bytes(each) for each in tops]} if isinstance(tops, list) else {}
    return {**token, "bytes": token.get("bytes") or [], **more}


def flat_annotation(annotation: Fields) -> Fields | None:
    """An annotation of chat completions, whose facts are in an object of their own, as one of a response.

    None for one that a response has no form for.
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
    """The item that holds what a provider wants back: clients send reasoning as it came, and nothing else unread."""
    return {"type": "reasoning", "id": item_id, "summary": [], "encrypted_content": sealed, "status": "completed"}

"""What the events of a response are made with: fields of chat in their form, and what knows a client's tools."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from pydantic import JsonValue

from ai_gateway.conform.turn import REASONING, REFUSAL, TEXT

NAMES: Final = {
    TEXT: b"response.output_text",
    REFUSAL: b"response.refusal",
    REASONING: b"response.reasoning_summary_text",
}
"""What the events of a part's texts begin with."""
PREFIXES: Final = {
    "message": "msg_",
    "reasoning": "rs_",
    "function_call": "fc_",
    "custom_tool_call": "ctc_",
    "tool_search_call": "tsc_",
    "local_shell_call": "lsh_",
    "shell_call": "sh_",
    "apply_patch_call": "apc_",
    "web_search_call": "ws_",
    "code_interpreter_call": "ci_",
    "mcp_call": "mcp_",
    "mcp_list_tools": "mcpl_",
}
"""What OpenAI's own ids begin with."""
FUNCTION: Final = "function_call"
ARGUMENTS: Final = {
    "function_call": (b"response.function_call_arguments", "arguments"),
    "custom_tool_call": (b"response.custom_tool_call_input", "input"),
}
"""What the events of a call's arguments begin with, and where its item has them."""

type Fields = dict[str, JsonValue]

type Seal = Callable[[Sequence[str], Sequence[JsonValue]], str | None]
"""What of a reasoning item's summary and signed blocks only the gateway can read again; None for nothing."""


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

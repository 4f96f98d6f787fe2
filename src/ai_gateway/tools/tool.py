"""The interface of gateway-run tools: functions that the gateway runs instead of the client."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import JsonValue

from ai_gateway.contract.call import Caller

type Error = Literal["invalid_arguments", "max_uses_exceeded", "timed_out", "failed"]


@dataclass(frozen=True, slots=True)
class Citation:
    """A source in a result, for the `url_citation` annotations of the answer."""

    url: str
    title: str


@dataclass(frozen=True, slots=True)
class Result:
    """A tool's result: `text` is for the model. A `failed` one is a result too, never an error of the request.

    `error` says why it failed, if it did. `first` is the number of the first citation in the text.
    """

    text: str
    failed: bool = False
    citations: tuple[Citation, ...] = ()
    error: Error = "failed"
    first: int = 1


@dataclass(frozen=True, slots=True)
class Use:
    """One call of a function by a model. `seconds` is how long it may take.

    `options` are the fields beside `type` of the typed tool in the request. `session` identifies caller and
    conversation: state between calls is kept under it.
    """

    caller: Caller
    call_id: str
    session: str
    arguments: Mapping[str, JsonValue]
    options: Mapping[str, JsonValue]
    seconds: float


@dataclass(frozen=True, slots=True)
class Origin:
    """The MCP server and name of a tool, and whether it declares to be read-only."""

    server: str
    name: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Function:
    """One function offered to a model. `parameters` is a JSON schema; `name` is without the gateway's prefix."""

    name: str
    description: str
    parameters: Mapping[str, JsonValue]
    run: Callable[[Use], Awaitable[Result]]
    origin: Origin | None = None


class Tool(Protocol):
    """A tool; requests enable it with the type `gateway:{name}`."""

    name: str

    async def functions(self, caller: Caller, options: Mapping[str, JsonValue]) -> Sequence[Function]:
        """The functions for this caller. Raises a `GatewayError` (400) for wrong options."""
        ...

    async def close(self) -> None:
        """End its processes and connections."""
        ...

"""What a tool of the gateway is: functions that a model may call, run here instead of by the client."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import JsonValue

from ai_gateway.contract.call import Caller

type Error = Literal["invalid_arguments", "max_uses_exceeded", "timed_out", "failed"]


@dataclass(frozen=True, slots=True)
class Citation:
    """A source that a result names, for the `url_citation` annotations of the answer."""

    url: str
    title: str


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool came back with: `text` is what the model reads. A `failed` one is a result too, never an error.

    `error` says why it failed, if it did. `first` is the number by which its text names the first of `citations`.
    """

    text: str
    failed: bool = False
    citations: tuple[Citation, ...] = ()
    error: Error = "failed"
    first: int = 1


@dataclass(frozen=True, slots=True)
class Use:
    """One call of a function by a model. `seconds` is how long it may take.

    `options` are the fields beside `type` of the typed tool in the request. `session` names the conversation as far as
    the gateway knows it: state between calls of one request is kept under it, and never shared with another caller.
    """

    caller: Caller
    call_id: str
    session: str
    arguments: Mapping[str, JsonValue]
    options: Mapping[str, JsonValue]
    seconds: float


@dataclass(frozen=True, slots=True)
class Origin:
    """A tool of another server's: by its own name there, and whether it says that it only reads."""

    server: str
    name: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Function:
    """One function that a model is told of. `parameters` is a JSON schema; `name` is without the gateway's prefix."""

    name: str
    description: str
    parameters: Mapping[str, JsonValue]
    run: Callable[[Use], Awaitable[Result]]
    origin: Origin | None = None


class Tool(Protocol):
    """A tool by its `name`, which a request switches on with the type `gateway:{name}`."""

    name: str

    async def functions(self, caller: Caller, options: Mapping[str, JsonValue]) -> Sequence[Function]:
        """What the model may call, for this caller. Raises a `GatewayError` (400) for options that are wrong."""
        ...

    async def close(self) -> None:
        """Ends what runs for it: processes, connections."""
        ...

"""Usage records: exactly one for each call, also after disconnects and crashes.

Amounts are integers of 1e-12 USD; None is unknown, not zero. Times are milliseconds since the epoch. Records are named
tuples, which take a third of the time of other classes to create, write and store.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from ai_gateway.contract.tokens import Tokens

type End = Literal["whole", "left", "broken", "failed", "lost"]
"""How a call ended: whole reply, client disconnected, stream broken off, error response, or process gone."""
type Basis = Literal["reported", "estimated", "incomplete"]
"""The source of token counts: the upstream; the gateway's estimate; or the bound, for a lost call."""

type ToolRecord = tuple[str, int, int, bool, int]
"""A gateway-run tool: name, start and end, whether it failed, and its cost."""

MAX_TOKENS = 10**12
MAX_COST = 10**16
"""The largest accepted count: upstreams' numbers are summed in 64 bits."""


@dataclass(slots=True, kw_only=True)
class AttemptRecord:
    """One attempt at an upstream. `status` and `code` are those of a failure, None for a success."""

    provider: str
    model: str
    started_at: int
    ended_at: int
    status: int | None = None
    code: str | None = None
    tokens: Tokens | None = None
    cost: int | None = None


class Start(NamedTuple):
    """The facts at a call's start, and all that remains if its process dies.

    `id` is unique, where callers may repeat a request id, and begins with the second of `at` (`second_of`). `bound` is
    its maximum cost, for so many tokens. `holds` are its holds in the counters and their time (`accounts/counters`), to
    be released. `later_holds` are those for limits that were set later, with their ids. `round` is the round of a tool
    loop, else 0.
    """

    at: int
    id: str
    request_id: str
    project_id: str
    key_id: str | None
    wire: str
    operation: str
    model: str
    stream: bool
    provider: str
    upstream_model: str
    bound: int | None
    bound_input: int
    bound_output: int
    holds: Sequence[Any] = ()
    later_holds: Sequence[Any] = ()
    round: int = 0


class Record(NamedTuple):
    """The record of an ended call.

    `price` names the basis of its cost: table, version and hash. `search_cost` is the part for searches. `tools` are
    those that were run after it, whose cost is a part of its own. `attempts` are only given if there was more than one,
    or if the only one failed.
    """

    start: Start
    tokens: Tokens
    ended_at: int
    first_byte_ms: int | None
    provider: str
    upstream_model: str
    service_tier: str | None
    end: End
    basis: Basis
    status: int | None
    code: str | None
    cost: int | None
    price: str | None
    repairs: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    search_cost: int = 0
    tools: tuple[ToolRecord, ...] = ()
    attempts: tuple[AttemptRecord, ...] = ()


def second_of(identifier: str) -> int | None:
    """The start of the call with this id, in seconds since the epoch; None for an invalid id."""
    try:
        return int(identifier[:8], 16)
    except ValueError:
        return None


class CallLog(Protocol):
    """The destination of starts and records: neither method raises or waits. `refuses` if it cannot keep one more.

    `size` is that of records not stored yet, in bytes, and `waiting` their known number.
    """

    refuses: bool

    @property
    def size(self) -> int: ...
    @property
    def waiting(self) -> int | None: ...

    def started(self, start: Start) -> None: ...
    def ended(self, record: Record) -> None: ...

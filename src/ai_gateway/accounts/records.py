"""What is kept of each call: one record, whoever left and whatever crashed.

Amounts are integers of 1e-12 USD; None is unknown, which is not nothing. Times are milliseconds since the epoch. What
is made for every call is a tuple, which is made, written and stored in a third of the time that other values take.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from ai_gateway.contract.call import Tokens

type End = Literal["whole", "left", "broken", "failed", "lost"]
"""How a call ended: with its whole reply; its client left; a stream broke off; with an error in place of a reply; or
nobody knows, since the process that served it is gone."""
type Basis = Literal["reported", "estimated", "incomplete"]
"""Where the tokens are from: the upstream; our own count of what went through; or the bound, for a lost call."""

type ToolRecord = tuple[str, int, int, bool, int]
"""A tool that was run here: its name, when it started and ended, whether it failed, and its cost."""

MOST_TOKENS = 10**12
MOST_COST = 10**16
"""What an upstream says is added to other numbers, in 64 bits: no single call may take them all."""


@dataclass(slots=True, kw_only=True)
class AttemptRecord:
    """One upstream that was asked. `status` and `code` tell of its failure; both are None for what was answered."""

    provider: str
    model: str
    started_at: int
    ended_at: int
    status: int | None = None
    code: str | None = None
    tokens: Tokens | None = None
    cost: int | None = None


class Start(NamedTuple):
    """What is known when a call begins, and all that is left of it if its process dies.

    `id` is unique, where callers may repeat a request id, and begins with the second of `at` (`second_of`). `bound` is
    what it can cost at the most, for so many tokens. `holds` is when counters began to hold something for it, and what
    (`accounts/counters`), to be given back. `later_holds` are those for limits that were set since, with their ids.
    `round` is the number of the call of a model in a request whose tools run here, else 0.
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
    """A call that is over.

    `price` names the basis of its cost: table, version and hash. `search_cost` is what of it is for searches.
    `tools` are those that were run after it, whose cost is a part of its own.
    `attempts` are there if there was more than one, or if the only one failed: else it is what the record itself says.
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
    """When the call with this id began, in seconds since the epoch; None for what is no id of a call."""
    try:
        return int(identifier[:8], 16)
    except ValueError:
        return None


class CallLog(Protocol):
    """Where starts and records go: neither method raises or waits. `refuses` where it could not keep one more.

    `size` is that in bytes of what may not be in the store yet, and `waiting` how many records are known to wait.
    """

    refuses: bool

    @property
    def size(self) -> int: ...
    @property
    def waiting(self) -> int | None: ...

    def started(self, start: Start) -> None: ...
    def ended(self, record: Record) -> None: ...

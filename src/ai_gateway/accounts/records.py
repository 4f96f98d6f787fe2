"""What is kept of each call: one record, whoever left and whatever crashed.

Amounts are integers of 1e-12 USD; None is unknown, which is not nothing. Times are milliseconds since the epoch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from ai_gateway.contract.call import Tokens

type End = Literal["whole", "left", "broken", "failed", "lost"]
"""How a call ended: with its whole reply; its client left; a stream broke off; with an error in place of a reply; or
nobody knows, since the process that served it is gone."""
type Basis = Literal["reported", "estimated", "incomplete"]
"""Where the tokens are from: the upstream; our own count of what went through; or the bound, for a lost call."""

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


@dataclass(slots=True, kw_only=True)  # never changed, but made for every request: see `Call`
class Start:
    """What is known when a call begins, and all that is left of it if its process dies.

    `id` is unique, where callers may repeat a request id, and begins with the second of `at` (`second_of`). `bound` is
    what it can cost at the most; `holds` is when counters began to hold something for it, and what
    (`accounts/counters`), to be given back. `later_holds` are those for limits that were set since, with their ids.
    """

    id: str
    request_id: str
    at: int
    project_id: str
    key_id: str | None
    wire: str
    operation: str
    model: str
    stream: bool
    provider: str
    upstream_model: str
    bound: int | None
    bound_tokens: Tokens
    holds: Sequence[Any] = ()
    later_holds: Sequence[Any] = ()


@dataclass(slots=True, kw_only=True)
class Record:
    """A call that is over.

    `price` names the basis of its cost: table, version and hash. `search_cost` is what of it is for searches.
    `attempts` are there if there was more than one, or if the only one failed: else it is what the record itself says.
    """

    start: Start
    ended_at: int
    first_byte_ms: int | None
    end: End
    basis: Basis
    status: int | None
    code: str | None
    provider: str
    upstream_model: str
    tokens: Tokens
    cost: int | None
    price: str | None
    search_cost: int = 0
    service_tier: str | None = None
    attempts: tuple[AttemptRecord, ...] = ()
    repairs: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


def second_of(identifier: str) -> int | None:
    """When the call with this id began, in seconds since the epoch; None for what is no id of a call."""
    try:
        return int(identifier[:8], 16)
    except ValueError:
        return None


class CallLog(Protocol):
    """Where starts and records go: neither method raises or waits. `refuses` where it could not keep one more.

    `size` is that in bytes of what may not be in the store yet.
    """

    refuses: bool

    @property
    def size(self) -> int: ...

    def started(self, start: Start) -> None: ...
    def ended(self, record: Record) -> None: ...

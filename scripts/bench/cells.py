"""The cells: what is sent, how many at a time, and by what its cost is counted."""

from dataclasses import dataclass
from typing import Final, Literal

EVENTS: Final = 50
GAP_MS: Final = 20

UPSTREAM, RELAY, GATEWAY, UNCHECKED = "upstream", "relay", "gateway", "unchecked"
ACCOUNTS, ACCOUNTS_VALKEY, UNCOUNTED = "accounts", "accounts-valkey", "uncounted"
NGINX, VLLM_ROUTER, LITELLM = "nginx", "vllm-router", "litellm"


type Door = Literal["chat", "responses", "messages", "relayed", "relayed messages"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of load. `events` makes it a stream of so many, with `gap_ms` between two; `body` is a size in bytes.

    `door` is the API that is asked; what is `relayed` comes from an upstream that speaks it itself. `extra` are targets
    that are measured in this cell alone, and `only` names all of them. The ratios of a `kept` cell belong in the
    baseline; that to the relay is much the same on all machines if it is `portable`.
    """

    name: str
    title: str
    concurrency: int
    events: int | None = None
    gap_ms: int = 0
    body: int = 0
    door: Door = "chat"
    only: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    kept: bool = False
    portable: bool = False

    @property
    def counted(self) -> int:
        """How many units one request is: its events, if it is a stream."""
        return self.events or 1

    @property
    def unit(self) -> str:
        """What CPU time is given for."""
        return "request" if self.events is None else "event"


# How many events of a burst arrive in one packet depends on the machine, and so does what one of them costs; and what a
# long body costs depends on its memory.
CELLS: Final = (
    Cell("whole-1", "whole reply, c=1", 1, extra=(UPSTREAM,)),
    Cell(
        "whole-16",
        "whole reply, c=16",
        16,
        extra=(UNCHECKED, ACCOUNTS, ACCOUNTS_VALKEY, UNCOUNTED),
        kept=True,
        portable=True,
    ),
    Cell("whole-64", "whole reply, c=64", 64),
    Cell("burst-16", f"burst stream of {EVENTS} events, c=16", 16, EVENTS, extra=(UNCHECKED,), kept=True),
    Cell("responses-16", "the same as a response's events", 16, EVENTS, door="responses", only=(GATEWAY,)),
    Cell("messages-16", "the same as a message's events", 16, EVENTS, door="messages", only=(GATEWAY,)),
    Cell("relayed-16", "a response's events, relayed", 16, EVENTS, door="relayed", only=(GATEWAY,)),
    Cell("relayed-messages-16", "a message's events, relayed", 16, EVENTS, door="relayed messages", only=(GATEWAY,)),
    Cell("paced-64", f"64 streams, an event each {GAP_MS} ms", 64, EVENTS, GAP_MS, kept=True, portable=True),
    Cell("body-100k", "100 KB body, c=16", 16, body=100_000, kept=True),
    Cell("body-5m", "5 MB body, c=1", 1, body=5_000_000),
)


def cell(name: str) -> Cell:
    """The cell of this name."""
    return next(each for each in CELLS if each.name == name)

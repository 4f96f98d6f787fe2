"""Records of a tool loop: its rounds and the tools that ran."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ToolRun:
    """One run of a gateway-run tool; its cost is in 1e-12 USD, its times are seconds since the epoch."""

    name: str
    started: float
    ended: float
    failed: bool = False
    cost: int = 0


@dataclass(frozen=True, slots=True)
class Round:
    """One round of a tool loop, numbered from 1.

    `tools_bound` is the most that the tools it may call can cost, in 1e-12 USD, and `earlier` the cost of the rounds
    before it, None if unknown.
    """

    number: int
    tools_bound: int = 0
    earlier: int | None = 0

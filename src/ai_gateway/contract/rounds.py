"""Rounds of a model between which tools run here, and what such a tool has come to."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ToolRun:
    """A tool that the gateway has run, by its name, and its cost in 1e-12 USD. Times are seconds since the epoch."""

    name: str
    started: float
    ended: float
    failed: bool = False
    cost: int = 0


@dataclass(frozen=True, slots=True)
class Round:
    """Which round of a request this is whose tools run here, from 1.

    `tools_bound` is the most that the tools cost which it may call, in 1e-12 USD, and `earlier` what the rounds before
    it came to, None where that is not known.
    """

    number: int
    tools_bound: int = 0
    earlier: int | None = 0

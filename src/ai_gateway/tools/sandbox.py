"""Where code of a model runs: what every sandbox offers, and what comes of a run."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class CodeLimits:
    """How long one run may take, and how much memory and output (bytes) it may have; how many run at once.

    `sessions` are the bytes that are kept of all conversations together, for their next run.
    """

    seconds: float = 5.0
    memory: int = 64 * 2**20
    output: int = 16 * 2**10
    workers: int = 4
    sessions: int = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Ran:
    """A run that is over: what it has printed, the value of its last expression, and what went wrong, if anything.

    `state` are the variables that it leaves behind, for the next run; None if they are lost.
    """

    printed: str = ""
    value: str = ""
    problem: str = ""
    state: bytes | None = None


class Sandbox(Protocol):
    """Runs code of strangers, bounded in time, memory and output, and without files, network and other processes."""

    keeps_state: bool

    async def run(self, code: str, state: bytes | None, seconds: float) -> Ran:
        """Run it, with the variables of an earlier run. Whatever the code does, there is a `Ran`."""
        ...

    async def close(self) -> None:
        """End every process of it."""
        ...

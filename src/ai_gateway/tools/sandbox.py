"""The interface of sandboxes for a model's code."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class CodeLimits:
    """Limits of one run: seconds, memory and output in bytes; and the number of concurrent runs.

    `sessions` are the bytes kept for the next runs of all conversations.
    """

    seconds: float = 5.0
    memory: int = 64 * 2**20
    output: int = 16 * 2**10
    workers: int = 4
    sessions: int = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Ran:
    """A finished run: its output, the value of its last expression, and its error, if any.

    `state` are its variables for the next run; None if they are lost.
    """

    printed: str = ""
    value: str = ""
    problem: str = ""
    state: bytes | None = None


class Sandbox(Protocol):
    """Runs untrusted code, bounded in time, memory and output, and without files, network and other processes."""

    keeps_state: bool

    async def run(self, code: str, state: bytes | None, seconds: float) -> Ran:
        """Run the code with the variables of an earlier run. Returns a `Ran` for any code.

        Callers hold one of its `CodeLimits.workers` places.
        """
        ...

    async def close(self) -> None:
        """End all its processes."""
        ...

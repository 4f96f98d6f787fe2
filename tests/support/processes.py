"""Which processes live, told although they may end while one looks."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil

_AT_REST = frozenset("STtZXI")


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs; one that has ended and whose parent was not told yet does not."""
    return _holds(process, lambda each: each.status() != psutil.STATUS_ZOMBIE)


def children(of: int | None, wanted: Callable[[psutil.Process], bool]) -> list[psutil.Process]:
    """Those alive of what this process (or our own) has started, near and far, and that are wanted."""
    found = psutil.Process(of).children(recursive=True)
    return [each for each in found if is_alive(each) and _holds(each, wanted)]


def _holds(process: psutil.Process, what: Callable[[psutil.Process], bool]) -> bool:
    try:
        return process.is_running() and what(process)
    except psutil.NoSuchProcess:  # it ended after it was found
        return False


def is_at_rest(pid: int) -> bool:
    """Whether no thread of this process and its children runs or waits for the processor; always, where none can tell.

    A process of a busy machine that has something to do is seen to want to, however long it has to wait.
    """
    return all(state in _AT_REST for state in _states(Path("/proc", str(pid), "task")))


def _states(threads: Path) -> Iterator[str]:
    with suppress(OSError):  # it has ended, or this system has no such files
        for thread in threads.iterdir():
            yield (thread / "stat").read_text().rpartition(")")[2].split()[0]
            for child in (thread / "children").read_text().split():
                yield from _states(Path("/proc", child, "task"))

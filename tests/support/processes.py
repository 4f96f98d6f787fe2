"""Which processes live, told although they may end while one looks."""

from collections.abc import Callable

import psutil


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

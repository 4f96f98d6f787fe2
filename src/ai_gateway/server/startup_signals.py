"""Signal handlers for the time until the server runs: the start takes a second, most of it imports.

By default, SIGINT would print a traceback of the imports, SIGHUP and SIGQUIT would end the process like a crash, and
SIGTERM would be ignored if the gateway is the first process of a container.
"""

import errno
import os
import signal
from types import FrameType

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)
_pending_sighups: list[int] = []


def expect_signals() -> None:
    """From now on, a stop signal ends the process at once, and a reload signal is remembered."""
    for sig in STOPS:
        signal.signal(sig, _end)
    signal.signal(signal.SIGHUP, note_reload)


def _end(_sig: int, _frame: FrameType | None) -> None:
    os._exit(0)  # nothing is running that needs a clean stop


def note_reload(sig: int, frame: FrameType | None) -> None:
    """Handle SIGHUP: remember it for `take_pending_reload`, or end if the terminal has gone."""
    if terminal_is_gone():
        _end(sig, frame)
    _pending_sighups.append(sig)


def take_pending_reload() -> bool:
    """Whether a reload is pending from the startup; clears it, since the caller of this performs it."""
    pending = bool(_pending_sighups)
    _pending_sighups.clear()
    return pending


def terminal_is_gone() -> bool:
    """Whether a SIGHUP means that the controlling terminal was closed, and not that a reload is requested."""
    try:
        os.tcgetpgrp(0)
    except OSError as error:
        return error.errno == errno.EIO
    return False

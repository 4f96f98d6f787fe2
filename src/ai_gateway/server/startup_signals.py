"""What signals mean until there is a server to act on them: the start takes a second, most of it imports.

Left alone, SIGINT would print where the imports were, SIGHUP and SIGQUIT would end the process like a crash, and
SIGTERM would be ignored where the gateway is the first process of a container.
"""

import errno
import os
import signal
from types import FrameType

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)
_pending_sighups: list[int] = []


def expect_signals() -> None:
    """From now on, whoever stops the gateway stops it at once, and a reload is remembered."""
    for sig in STOPS:
        signal.signal(sig, _end)
    signal.signal(signal.SIGHUP, note_reload)


def _end(_sig: int, _frame: FrameType | None) -> None:
    os._exit(0)  # nothing has begun that would have to end


def note_reload(sig: int, frame: FrameType | None) -> None:
    """Handle SIGHUP: remember it for `take_pending_reload`, or end if the terminal has gone."""
    if terminal_is_gone():
        _end(sig, frame)
    _pending_sighups.append(sig)


def take_pending_reload() -> bool:
    """Whether a reload was asked for before anybody could do it: whoever asks this does it, and it pends no longer."""
    pending = bool(_pending_sighups)
    _pending_sighups.clear()
    return pending


def terminal_is_gone() -> bool:
    """Whether a SIGHUP says that the terminal in which this was started has been closed, and not that one is wanted."""
    try:
        os.tcgetpgrp(0)
    except OSError as error:
        return error.errno == errno.EIO
    return False

"""Threads that write what nobody is to wait for."""

import signal
import threading
from collections.abc import Callable


def start_thread(run: Callable[[], None], name: str) -> threading.Thread | None:
    """A daemon that leaves signals to those who act on them. None if the system has no thread left."""

    def without_signals() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        run()

    thread = threading.Thread(target=without_signals, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:  # also when the interpreter ends
        return None
    return thread

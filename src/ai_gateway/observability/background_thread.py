"""Background threads that write logs, bodies and traces."""

import signal
import threading
from collections.abc import Callable


def start_thread(run: Callable[[], None], name: str) -> threading.Thread | None:
    """Start a daemon thread with all signals blocked, so that the main thread gets them. None if that is impossible."""

    def without_signals() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        run()

    thread = threading.Thread(target=without_signals, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no thread left, or the interpreter is shutting down
        return None
    return thread

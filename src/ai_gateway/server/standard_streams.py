"""The three standard descriptors, which a parent process may have closed."""

import os
import sys


def open_standard_streams() -> None:
    """Open /dev/null for each standard descriptor that is closed.

    Otherwise the next file or socket that is opened would become, for example, standard error.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process

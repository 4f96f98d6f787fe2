"""The three descriptors that every process is expected to have, whoever started this one."""

import os
import sys


def open_standard_streams() -> None:
    """Have something in the place of those that were closed at the start.

    Else the next file or socket that is opened would be, say, standard error, and get what is written there.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process

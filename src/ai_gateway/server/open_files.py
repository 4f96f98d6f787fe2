"""Tells the operator when a worker has as many open files as it may.

The event loop closes further connections then, without a word (libuv, `uv__emfile_trick`).
"""

import math
import os
import resource
import time

import structlog

_NOT_AGAIN_S = 30.0
_log = structlog.get_logger(__name__)


class OpenFiles:
    """The files of this worker, to be looked at now and then."""

    def __init__(self) -> None:
        self._logged_at = -math.inf

    def look(self) -> None:
        """Report if no more can be opened."""
        try:
            os.close(os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            if (now := time.monotonic()) >= self._logged_at + _NOT_AGAIN_S:
                self._logged_at = now
                limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
                _log.error("no more files can be opened: new connections are closed", limit=limit, error=str(error))

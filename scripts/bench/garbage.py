"""The gateway with its collector off, which counts on SIGUSR1 what only a collector could free.

Requests are to leave nothing of that kind behind: a collection stops every request that is under way, and the tail of
latency is made of them. `python -m scripts.bench.garbage serve ...` writes garbage.json into its working directory.
"""

import gc
import json
import signal
from collections import Counter
from pathlib import Path
from types import FrameType

import ai_gateway.cli.starting  # noqa: F401 - before it counts: imports leave garbage behind
from ai_gateway.cli import app

_FILE = Path("garbage.json")


def unreachable() -> dict[str, int]:
    """Collect; how many objects of each type were found."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    types = Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.garbage)
    gc.set_debug(0)
    gc.garbage.clear()
    gc.collect()  # or they would be found again
    return dict(types)


def _write(_signal: int, _frame: FrameType | None) -> None:
    partial = _FILE.with_suffix(".part")
    partial.write_text(json.dumps(unreachable()), encoding="utf-8")
    partial.rename(_FILE)  # a reader that waits for it finds all of it


if __name__ == "__main__":
    gc.disable()
    signal.signal(signal.SIGUSR1, _write)
    app()

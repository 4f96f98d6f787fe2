"""`make bench`: the gateway's cost in time and memory, beside a bare relay and the direct upstream.

Everything runs on loopback against a mock upstream. The exit code says whether every request was answered, not how
fast: speed on a shared machine is for people to judge.
"""

import argparse
import json
import os
import platform
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from types import FrameType

import psutil

from scripts.bench.processes import BenchFailed, cores
from scripts.bench.report import as_json, lines
from scripts.bench.session import QUICK, Plan, Results, run


class Progress:
    """One line a step on standard error, with the time since the start."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, step: str) -> None:
        print(f"[{time.monotonic() - self._began:5.0f} s] {step}", file=sys.stderr, flush=True)


def machine() -> dict[str, object]:
    """What the figures were taken on."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "pinned": cores() != (None, None),
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the bench. The exit code is 1 if a request failed or a process did not start."""
    parser = argparse.ArgumentParser(prog="python -m scripts.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of a few seconds for each cell")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON as well")
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with it ignored
    signal.signal(signal.SIGTERM, _stop)
    plan = QUICK if chosen.quick else Plan()
    try:
        results = run(plan, Progress())
    except (BenchFailed, OSError, psutil.Error) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: stopped", file=sys.stderr)
        return 130
    return _report(plan, results, chosen.json)


def _report(plan: Plan, results: Results, file: Path | None) -> int:
    print("", *lines(results), sep="\n")
    if file is not None:
        document = {"machine": machine(), "plan": asdict(plan), **as_json(results)}
        file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 1 if results.errors() else 0


def _stop(_signal: int, _frame: FrameType | None) -> None:
    """End like a Ctrl-C does: an exception raised right here could end in a callback of the event loop, unheard."""
    signal.raise_signal(signal.SIGINT)


if __name__ == "__main__":
    sys.exit(main())

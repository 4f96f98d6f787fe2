"""`make bench`: what the gateway costs in time and memory, beside nginx and a bare relay in the same run.

Everything runs on loopback against a mock upstream. The exit code says whether every request was answered, not how
fast; with --check it says as well whether a ratio is beyond 1.15 x of the committed baseline.
"""

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType

import psutil

from scripts.bench import baseline
from scripts.bench.cells import NGINX
from scripts.bench.machine import disturbance, hardware, interpreter, sentence
from scripts.bench.peers import PEERS
from scripts.bench.processes import BenchFailed, cores
from scripts.bench.report import as_json, comparison_lines, lines
from scripts.bench.results import Results
from scripts.bench.session import ALL_COUNTED, QUICK, Plan, run


class Progress:
    """One line a step on standard error, with the time since the start."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, step: str) -> None:
        print(f"[{time.monotonic() - self._began:5.0f} s] {step}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench. The exit code is 1 if a request failed, a process did not start, or a check failed."""
    chosen = _parser().parse_args(arguments)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with it ignored
    signal.signal(signal.SIGTERM, _stop)
    plan, disturbed = _plan(chosen), disturbance()
    try:
        before = baseline.load() if chosen.check else None
        recheck = None if before is None else lambda results: baseline.suspects(results, before)
        results = run(plan, Progress(), recheck)
    except (BenchFailed, OSError, ValueError, psutil.Error) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: stopped", file=sys.stderr)
        return 130
    print("", sentence(), *([disturbed] if disturbed else []), "", *lines(results), sep="\n")
    if chosen.json is not None:
        _write(plan, results, chosen.json)
    if before is not None:
        print("", *comparison_lines(results, before), sep="\n")
    code = exit_code(results, before)
    if chosen.save_baseline and code == 0:
        baseline.save(results)
        print(f"\nThe baseline is written: {baseline.FILE}")
    return code


def exit_code(results: Results, before: baseline.Baseline | None) -> int:
    """1 if a request failed or, where there is a baseline to keep to, if a ratio is beyond it or none was measured."""
    if results.errors():
        return 1
    if before is None:
        return 0
    comparisons = baseline.check(results, before)
    return 1 if not comparisons or any(each.regressed for each in comparisons) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short slices, in less than a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON as well")
    parser.add_argument(
        "--peers",
        type=_names,
        nargs="?",
        const=(NGINX,),
        metavar="NAMES",
        help=f"compare with these, separated by commas, and install what is missing: {', '.join(PEERS)} "
        "[default: nginx, if it is installed; with --peers alone it is installed]",
    )
    parser.add_argument("--instructions", action="store_true", help="count instructions as well; needs valgrind")
    parser.add_argument("--check", action="store_true", help="fail if a ratio is beyond 1.15 x of the baseline")
    parser.add_argument("--save-baseline", action="store_true", help="make this run the baseline, with instructions")
    return parser


def _names(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if unknown := [name for name in names if name not in PEERS]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not among {', '.join(PEERS)}")
    return names


def _plan(chosen: argparse.Namespace) -> Plan:
    named: tuple[str, ...] = chosen.peers or ()
    return replace(
        QUICK if chosen.quick else Plan(),
        counted=ALL_COUNTED if chosen.instructions or chosen.save_baseline else (),
        # What is named is installed; nginx takes part wherever it is.
        peers=tuple(dict.fromkeys((NGINX, *named))),
        install=named,
    )


def _write(plan: Plan, results: Results, file: Path) -> None:
    machine = {**hardware(), "interpreter": interpreter(), "pinned": cores() != (None, None)}
    document = {"machine": machine, "plan": asdict(plan), **as_json(results)}
    file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _stop(_signal: int, _frame: FrameType | None) -> None:
    """End like a Ctrl-C does: an exception raised right here could end in a callback of the event loop, unheard."""
    signal.raise_signal(signal.SIGINT)


if __name__ == "__main__":
    sys.exit(main())

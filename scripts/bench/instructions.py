"""Instructions per request, counted by callgrind: what a request costs whatever else the machine does.

It sees user space alone, and no caches; but its counts repeat to a fraction of a percent where times vary by a tenth.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from scripts.bench.cells import Cell, cell
from scripts.bench.load import Tally, connected
from scripts.bench.measure import ask_once, in_loop, job_for
from scripts.bench.processes import Program, Running, Skipped, cpu_seconds, running, wait_until_listening

# Each cell with the requests that are counted. A process under callgrind is some fifty times slower.
COUNTED: Final = {"whole-16": 160, "burst-16": 48, "body-100k": 48}
# The same of those that only the gateway serves.
COUNTED_HERE: Final = {"responses-16": 48, "messages-16": 48, "relayed-16": 48, "relayed-messages-16": 48}
# With fewer before them, a door that is first used here would be counted while its code is learnt.
_TO_LEARN = 96
_START_S = 300.0
_WITHIN_S = 300.0
# Idle is who takes less than this share of a core in so many looks at it, one after the other.
_QUIET, _LOOK_S, _IDLE_SHARE, _IDLE_WITHIN_S = 3, 0.5, 0.1, 20.0
_OUTPUT = "callgrind.out"
_TOTALS = re.compile(r"^totals: (\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Instructions:
    """Thousands of user-space instructions per request of one cell."""

    cell: str
    target: str
    kilo: float
    errors: dict[str, int] = field(default_factory=dict)


def count_instructions(program: Program, core: int | None, names: tuple[str, ...]) -> list[Instructions] | Skipped:
    """Run the program under callgrind and count these cells."""
    if shutil.which("valgrind") is None or shutil.which("callgrind_control") is None:
        return Skipped("instructions are counted by valgrind, which is not installed: `apt-get install valgrind`")
    with running(_under_callgrind(program), core) as target:
        wait_until_listening(target)
        ask_once(target.program)
        try:
            return list(_counts(target, [cell(name) for name in names]))
        except _Uncontrolled as error:
            return Skipped(f"callgrind could not be controlled: {error}")


class _Uncontrolled(Exception):
    """The process takes no commands: where it may not be traced, say."""


def _under_callgrind(program: Program) -> Program:
    options = ("--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={_OUTPUT}")
    # The seed of hashes decides how sets and dicts are laid out, and so how many steps a look-up takes.
    return replace(
        program,
        command=("valgrind", *options, *program.command),
        env={**program.env, "PYTHONHASHSEED": "0"},
        start_s=_START_S,
    )


def _counts(target: Running, cells: list[Cell]) -> Iterator[Instructions]:
    for counted in cells:
        requests = (COUNTED | COUNTED_HERE)[counted.name]
        # What is made once, and what the interpreter learns of its own code, does not count.
        _send(target, counted, max(requests // 2, _TO_LEARN))
        _wait_until_idle(target)
        _control(target, "--zero")
        _control(target, "--instr=on")
        tally = _send(target, counted, requests)
        _wait_until_idle(target)  # records are written a while after their requests, and belong to them
        _control(target, "--instr=off")
        total = _dumped(target)
        kilo = total / max(1, len(tally.latencies)) / 1e3
        yield Instructions(counted.name, target.program.name, kilo, dict(tally.errors))


def _wait_until_idle(target: Running) -> None:
    """Wait until it has done next to nothing for a while; not for ever, since a machine may be too busy to show it."""
    quiet, deadline = 0, time.monotonic() + _IDLE_WITHIN_S
    while quiet < _QUIET and time.monotonic() < deadline:
        before = cpu_seconds(target.pid)
        time.sleep(_LOOK_S)
        quiet = quiet + 1 if cpu_seconds(target.pid) - before < _IDLE_SHARE * _LOOK_S else 0


def _send(target: Running, counted: Cell, requests: int) -> Tally:
    async def send() -> Tally:
        async with connected(target.program.port, counted.concurrency) as load:
            return await load.count(job_for(target.program, counted), requests, _WITHIN_S)

    return in_loop(send())


def _dumped(target: Running) -> int:
    before = set(target.home.glob(f"{_OUTPUT}.*"))
    _control(target, "--dump")
    written = [_TOTALS.search(file.read_text()) for file in set(target.home.glob(f"{_OUTPUT}.*")) - before]
    totals = [int(found[1]) for found in written if found]
    if not totals:
        raise _Uncontrolled("it wrote no counts")
    return sum(totals)


def _control(target: Running, option: str) -> None:
    # Both sides have to look for each other in the same directory for temporary files.
    env = {"PATH": os.environ.get("PATH", ""), "HOME": str(target.home)}
    command = ["callgrind_control", option, str(target.pid)]
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired as error:
        raise _Uncontrolled(str(error)) from error
    if done.returncode or "OK." not in done.stdout:
        raise _Uncontrolled((done.stderr or done.stdout).strip()[-300:])

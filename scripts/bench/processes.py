"""The processes of a bench: started on loopback, pinned to a core, and ended whatever happens."""

import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

HOST = "127.0.0.1"
KEY = "sk-bench-0123456789abcdef"
ROOT = Path(__file__).resolve().parents[2]
START_S = 30.0
STOP_S = 5.0
CHAT = "/v1/chat/completions"
_SCHEDULED = 2
_LIMITED = """
[keys.bench]
key_env = "BENCH_KEY"
requests_per_minute = 1_000_000_000
spend_limit_cents = 1_000_000

[prices."bench/*"]
input = 0.000001
output = 0.000001
"""


class BenchFailed(Exception):
    """The bench cannot go on; the message says which of its processes failed and what it wrote last."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A part that this machine does not allow, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Program:
    """How to start one of the compared, and where it takes chat requests.

    `files` are written into its working directory before it starts.
    """

    name: str
    port: int
    path: str
    command: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    start_s: float = START_S


@dataclass(frozen=True, slots=True)
class Running:
    """A program that runs, in a directory of its own. `began` is when it was spawned (perf_counter)."""

    program: Program
    pid: int
    began: float
    home: Path


def free_port() -> int:
    """A port that is free right now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _python(name: str, port: int, path: str, *arguments: str, **env: str) -> Program:
    """A module of this project, on this interpreter."""
    return Program(name, port, path, (sys.executable, "-m", *arguments), {"PYTHONPATH": str(ROOT), **env})


def upstream_program() -> Program:
    """The mock upstream."""
    port = free_port()
    return _python("upstream", port, CHAT, "scripts.bench.upstream", "--port", str(port))


def relay_program(upstream: Program) -> Program:
    """The bare relay in front of the upstream."""
    port = free_port()
    url = f"http://{HOST}:{upstream.port}{CHAT}"
    return _python("relay", port, CHAT, "scripts.bench.relay", "--port", str(port), "--upstream", url)


def gateway_program(upstream: Program, name: str = "gateway", module: str = "ai_gateway") -> Program:
    """The gateway as an operator runs it: keys, validation, and its access log into a file."""
    port = free_port()
    return _python(
        name,
        port,
        f"/bench{CHAT}",
        *(module, "serve", "--port", str(port)),
        ALLOWED_API_KEYS=KEY,
        PROVIDER_BENCH_BASE_URL=f"http://{HOST}:{upstream.port}/v1",
        # These speak Responses and Messages as well.
        OPENAI_BASE_URL=f"http://{HOST}:{upstream.port}/v1",
        OPENAI_API_KEY=KEY,
        VLLM_BASE_URL=f"http://{HOST}:{upstream.port}/v1",
        LOG_LEVEL="info",
        GRACE_PERIOD_S="1",
    )


def unchecked_program(upstream: Program) -> Program:
    """The same with conformance taken out, to show what that costs."""
    return gateway_program(upstream, "unchecked", "scripts.bench.unchecked")


def accounts_program(upstream: Program) -> Program:
    """The same with a caller who is held to limits of requests and of money, each of which it never reaches."""
    program = gateway_program(upstream, "accounts")
    env = {name: value for name, value in program.env.items() if name != "ALLOWED_API_KEYS"}
    return replace(program, env={**env, "BENCH_KEY": KEY}, files={"gateway.toml": _LIMITED})


def valkey_program() -> Program | Skipped:
    """A Valkey, or a Redis if there is none, that keeps nothing."""
    path = shutil.which("valkey-server") or shutil.which("redis-server")
    if path is None:
        return Skipped("accounts with Valkey are not measured: `apt-get install redis-server`, or valkey-server")
    port = free_port()
    command = (path, "--bind", HOST, "--port", str(port), "--save", "", "--appendonly", "no")
    return Program("valkey", port, "", command)


def accounts_valkey_program(upstream: Program, valkey: Program) -> Program:
    """The same, with its limits counted in Valkey."""
    program = accounts_program(upstream)
    return replace(
        program, name="accounts-valkey", env={**program.env, "VALKEY_URL": f"redis://{HOST}:{valkey.port}/0"}
    )


def uncounted_program(upstream: Program) -> Program:
    """The same without accounts, to show what these cost."""
    program = gateway_program(upstream, "uncounted")
    return replace(program, env={**program.env, "STORE_URL": "off"})


def garbage_program(upstream: Program) -> Program:
    """The same with its collector off, and what requests leave behind counted."""
    return gateway_program(upstream, "garbage", "scripts.bench.garbage")


@contextmanager
def running(program: Program, core: int | None = None) -> Iterator[Running]:
    """Spawn it; it has ended when the block has."""
    with tempfile.TemporaryDirectory(prefix="bench-") as home:
        place = Path(home)
        for name, text in program.files.items():
            (place / name).write_text(text, encoding="utf-8")
        log = place / "output.log"
        began = time.perf_counter()
        process = _spawn(program, home, log, core)
        try:
            yield Running(program, process.pid, began, place)
        except (BenchFailed, OSError, psutil.Error) as error:
            if process.poll() is not None:
                raise BenchFailed(f"{program.name} ended with {process.returncode}:\n{_tail(log)}") from error
            raise
        finally:
            _end(process)


def _spawn(program: Program, home: str, log: Path, core: int | None) -> subprocess.Popen[bytes]:
    # A working directory of its own, so that no .env or gateway.toml is read; and no share in a Ctrl-C, which is for
    # the bench alone to act on. What it starts itself inherits its core.
    with log.open("wb") as sink, pinned_here(core):
        return subprocess.Popen(
            program.command,
            env={"PATH": os.environ.get("PATH", ""), "HOME": home, **program.env},
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-2_000:]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
    finally:  # also when a second Ctrl-C breaks the wait off
        if process.poll() is None:
            process.kill()
            process.wait()


def wait_until_listening(target: Running) -> None:
    """Return as soon as the port takes a connection. Raises BenchFailed."""
    while True:
        try:
            socket.create_connection((HOST, target.program.port), timeout=1).close()
        except OSError:
            _check_progress(target)
            time.sleep(0.002)
        else:
            return


def _check_progress(target: Running) -> None:
    if time.perf_counter() - target.began > target.program.start_s:
        raise BenchFailed(f"{target.program.name} did not start within {target.program.start_s:.0f} s")
    if psutil.Process(target.pid).status() == psutil.STATUS_ZOMBIE:
        raise BenchFailed(f"{target.program.name} ended before it listened")


def cpu_seconds(pid: int) -> float:
    """User and system time of the process and its children so far."""
    return sum(_cpu_seconds(member) for member in _tree(pid))


def _cpu_seconds(member: psutil.Process) -> float:
    # Linux has a clock for every process, in nanoseconds, with the threads that have ended; its number is made as
    # clock_getcpuclockid(3) makes it. Other sources count ticks of 10 ms, too coarse for a short slice.
    if sys.platform == "linux":
        with suppress(OSError):
            return time.clock_gettime((~member.pid << 3) | _SCHEDULED)
    times = member.cpu_times()
    return times.user + times.system


def resident_mb(pid: int) -> float:
    """Resident memory of the process and its children."""
    return sum(member.memory_info().rss for member in _tree(pid)) / 1e6


def _tree(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def cores() -> tuple[int | None, int | None]:
    """A core for what is measured and one for load and upstream; None where nothing can or need be pinned."""
    if sys.platform != "linux":
        return None, None
    allowed = sorted(os.sched_getaffinity(0))
    return (allowed[0], allowed[1]) if len(allowed) > 1 else (None, None)


@contextmanager
def pinned_here(core: int | None) -> Iterator[None]:
    """Keep this process on one core for a while."""
    if core is None or sys.platform != "linux":
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def allow_open_files(wanted: int) -> int:
    """Raise the soft limit towards `wanted`, for this process and those it will start; the limit that holds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    reachable = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < reachable:
        resource.setrlimit(resource.RLIMIT_NOFILE, (reachable, hard))
        return reachable
    return wanted if soft == resource.RLIM_INFINITY else soft

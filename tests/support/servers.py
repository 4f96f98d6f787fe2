"""Real servers of the stores, as the system's packages have them: private ones on free ports, in temporary directories.

Where a machine has none of a kind, the tests that need it are skipped, which CI does not allow.
"""

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]
import psutil
import pytest

from ai_gateway.accounts.store.postgres import PostgresStore
from tests.support.gateway import HOST, free_port
from tests.support.processes import is_alive

_START_S = _END_S = 60.0
# As root, servers are started as somebody else: PostgreSQL insists on it.
_UNPRIVILEGED = ("postgres", "nobody")


@dataclass
class Server:
    """A server that answers at `port`, and can be ended, started again, and stopped in its tracks."""

    name: str
    home: Path
    port: int
    command: Sequence[str | Path]
    environment: dict[str, str]
    answers: "Callable[[Server], bool]"
    process: subprocess.Popen[bytes] | None = None
    migrated: str | None = None
    """The database of a PostgreSQL that has the schema of a store and no rows."""

    def start(self) -> None:
        with (self.home / "output.log").open("ab") as output:
            self.process = subprocess.Popen(
                self.command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=self.home,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C", **self.environment}, user=_user(),
            )  # fmt: skip
        deadline = time.monotonic() + _START_S
        while not self.answers(self):
            log = (self.home / "output.log").read_text("utf-8", "replace")
            assert self.process.poll() is None, f"{self.name} ended:\n{log}"
            assert time.monotonic() < deadline, f"{self.name} did not start:\n{log}"
            time.sleep(0.05)

    def kill(self) -> None:
        """As a crash would, with all of its processes. Returns when they are gone, and what they shared with them."""
        if self.process is not None and self.process.poll() is None:
            family = self._stop()
            for process in family:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self.process.wait(_END_S)
            deadline = time.monotonic() + _END_S
            while any(map(is_alive, family)):
                assert time.monotonic() < deadline, f"{self.name} did not end"
                time.sleep(0.01)
        self.process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """None of its processes does anything, but its connections stay."""
        family = self._stop()
        try:
            yield
        finally:
            for process in family:
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    def _stop(self) -> list[psutil.Process]:
        """Stop all of its processes, the first one before the others: then it starts no more, nor sees them end."""
        assert self.process is not None
        first = psutil.Process(self.process.pid)
        first.suspend()
        family = [first, *first.children(recursive=True)]  # PostgreSQL gives each a group of its own
        for process in family[1:]:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        return family


@contextmanager
def running_valkey(*options: str) -> Iterator[Server]:
    """A Valkey, or a Redis if there is none. Nothing of it survives but what `options` say."""
    program = shutil.which("valkey-server") or shutil.which("redis-server")
    with _home() as home:
        environment: dict[str, str] = {}
        if program is None:
            program, environment = _unpacked(home, "bin/redis-server", "redis-server", "redis-tools")
        port = free_port()
        command = [program, "--bind", HOST, "--port", str(port), "--save", "", "--appendonly", "no", *options]
        yield from _running(Server("Valkey", home, port, command, environment, _valkey_answers))


@contextmanager
def running_postgres() -> Iterator[Server]:
    """A PostgreSQL, for its user `gateway` without a password. It sorts text as people do, as many installations do."""
    directories = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    with _home() as home:
        environment: dict[str, str] = {}
        if directories:
            programs = directories[-1]
        else:
            program, environment = _unpacked(home, "lib/postgresql/15/bin/postgres", "postgresql-15")
            programs = Path(program).parent
        options: list[str | Path] = [
            "--username=gateway",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=icu",
            "--icu-locale=en-US",
            "--no-sync",
            "-D",
            home / "data",
        ]
        subprocess.run(
            [programs / "initdb", *options], check=True, capture_output=True, user=_user(), cwd=home, timeout=60,
            env={"PATH": os.environ["PATH"], **environment},
        )  # fmt: skip
        port = free_port()
        command: list[str | Path] = [
            programs / "postgres",
            "-D",
            home / "data",
            "-h",
            HOST,
            "-p",
            str(port),
            "-k",
            home,
            "-F",
        ]
        yield from _running(Server("PostgreSQL", home, port, command, environment, _postgres_answers))


@contextmanager
def running_prometheus(configuration: str, *files: Path) -> Iterator[Server]:
    """A Prometheus with this configuration, and the files that it names beside it."""
    with _home() as home:
        program = _prometheus(home, "prometheus")
        for file in files:
            shutil.copy(file, home)
        (home / "prometheus.yml").write_text(configuration, "utf-8")
        port = free_port()
        command = [
            program,
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            f"--web.listen-address={HOST}:{port}",
        ]
        yield from _running(Server("Prometheus", home, port, command, {}, _prometheus_answers))


@contextmanager
def promtool() -> Iterator[str]:
    """The program that checks rules and metrics."""
    with _home() as home:
        yield _prometheus(home, "promtool")


def _prometheus(home: Path, program: str) -> str:
    return shutil.which(program) or _unpacked(home, f"bin/{program}", "prometheus")[0]


def _running(server: Server) -> Iterator[Server]:
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def _home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="server-", ignore_cleanup_errors=True) as name:
        if (user := _user()) is not None:
            os.chown(name, pwd.getpwnam(user).pw_uid, -1)
        yield Path(name)


def _user() -> str | None:
    """Who servers run as; None for whoever runs the tests."""
    if os.getuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in _UNPRIVILEGED if name in known)


def _unpacked(home: Path, program: str, *packages: str) -> tuple[str, dict[str, str]]:
    """A program of the system's packages, which are unpacked and not installed; with the environment that it needs."""
    if os.environ.get("CI") != "true":
        pytest.skip(f"{packages[0]} is not installed")
    root = home / "root"
    try:
        wanted = [*packages, *_libraries_of(packages)]
        subprocess.run(["apt-get", "download", *wanted], cwd=home, check=True, capture_output=True, timeout=120)  # noqa: S607
        for package in home.glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, root], check=True, capture_output=True, timeout=60)  # noqa: S607
    except (OSError, subprocess.SubprocessError) as error:
        pytest.fail(f"{packages[0]} could not be had: {error}")
    libraries = ":".join(sorted({str(path.parent) for path in root.rglob("*.so*")}))
    return str(root / "usr" / program), {"LD_LIBRARY_PATH": libraries}


def _libraries_of(packages: Sequence[str]) -> set[str]:
    """Those that these packages say they need, without what every system has."""
    command = ["apt-cache", "depends", "--no-recommends", "--no-suggests", *packages]
    lines = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.splitlines()
    names = {line.split("Depends:")[1].strip() for line in lines if "Depends:" in line}
    return {name for name in names if name.startswith("lib") and name not in {"libc6", "libgcc-s1"}}


def _valkey_answers(server: Server) -> bool:
    return _told(server.port, b"PING\r\n").startswith(b"+PONG")


def _prometheus_answers(server: Server) -> bool:
    request = b"GET /-/ready HTTP/1.1\r\nHost: prometheus\r\nConnection: close\r\n\r\n"
    return _told(server.port, request).startswith(b"HTTP/1.1 200")


def _postgres_answers(server: Server) -> bool:
    start = b"\x00\x03\x00\x00user\x00gateway\x00database\x00postgres\x00\x00"
    return _told(server.port, (len(start) + 4).to_bytes(4, "big") + start).startswith(b"R")


def _told(port: int, request: bytes) -> bytes:
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1) as connection:
        connection.sendall(request)
        return connection.recv(64)
    return b""


@contextmanager
def running_cluster() -> Iterator[list[Server]]:
    """Three nodes of Valkey or Redis, each with a third of the slots."""
    with ExitStack() as stack:
        buses = [free_port() for _ in range(3)]
        nodes = [
            stack.enter_context(running_valkey("--cluster-enabled", "yes", "--cluster-port", str(bus))) for bus in buses
        ]
        for number, node in enumerate(nodes):
            slots = f"{number * 16384 // 3} {(number + 1) * 16384 // 3 - 1}"
            assert _told(node.port, f"CLUSTER ADDSLOTSRANGE {slots}\r\n".encode()).startswith(b"+OK")
            meet = f"CLUSTER MEET {HOST} {nodes[0].port} {buses[0]}\r\n"
            assert number == 0 or _told(node.port, meet.encode()).startswith(b"+OK")
        deadline = time.monotonic() + _START_S
        while not all(b"cluster_state:ok" in _told(node.port, b"CLUSTER INFO\r\n") for node in nodes):
            assert time.monotonic() < deadline, "no cluster"
            time.sleep(0.05)
        yield nodes


async def new_database(postgres: Server, template: str = "template1") -> str:
    """The address of a database that nobody else has."""
    name = f"test_{secrets.token_hex(8)}"
    connection = await asyncpg.connect(f"postgresql://gateway@{HOST}:{postgres.port}/postgres")
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")  # two thirds of a log's
    await connection.close()
    return f"postgresql://gateway@{HOST}:{postgres.port}/{name}"


async def migrated_database(postgres: Server) -> str:
    """The same with the schema of a store, as a copy of one: to migrate each takes three times as long."""
    if postgres.migrated is None:
        url = await new_database(postgres)
        store = PostgresStore(url)
        await store.migrate()
        await store.aclose()  # a database in use is not copied
        postgres.migrated = url.rpartition("/")[2]
    return await new_database(postgres, postgres.migrated)


def flush(valkey: Server) -> None:
    """Empty it."""
    assert _told(valkey.port, b"FLUSHALL\r\n").startswith(b"+OK")

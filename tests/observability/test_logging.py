"""Records as they reach standard error: whole lines, in order, few writes, and never at the expense of a request."""

import asyncio
import json
import logging
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog

from ai_gateway.observability.logging import configure_logging, drain, fragment, timestamp, write_line
from ai_gateway.observability.output import Output
from tests.support.client import eventually

pytestmark = pytest.mark.anyio


def write_record(record: dict[str, object], foreign: Iterable[str] = ()) -> None:
    write_line(f"{{{fragment(record, [*foreign])}}}\n")


class Terminal:
    """Standard error of this process, as far as it was written since."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd
        self._text = ""

    @property
    def text(self) -> str:
        drain(10)
        self._text += self._capfd.readouterr().err
        return self._text

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    def events(self) -> list[str]:
        return [record["event"] for record in self.records()]


@pytest.fixture
def terminal(capfd: pytest.CaptureFixture[str]) -> Iterator[Terminal]:
    """With records of level info."""
    configure_logging("info")
    drain(10)
    capfd.readouterr()
    yield Terminal(capfd)
    configure_logging("error")


def test_a_loop_that_ended_loses_no_line(terminal: Terminal) -> None:
    async def turn(event: str) -> None:
        write_record({"event": event}, ())

    for event in ("one", "two"):
        asyncio.run(turn(event))
    write_record({"event": "three"}, ())
    assert terminal.events() == ["one", "two", "three"]


def test_records_of_every_kind_keep_their_order(terminal: Terminal) -> None:
    write_record({"event": "one"}, ())
    structlog.get_logger("ai_gateway.test").warning("two")
    write_record({"event": "three"}, ())
    logging.getLogger("elsewhere").warning("four")
    write_record({"event": "five"}, ())
    assert terminal.events() == ["one", "two", "three", "four", "five"]


def test_a_record_has_the_time_of_day_in_utc(terminal: Terminal) -> None:
    before = datetime.now(UTC)
    write_record({"timestamp": timestamp(), "level": "info", "event": "request", "duration_ms": float("nan")}, ())
    after = datetime.now(UTC)
    (record,) = terminal.records()
    assert before.replace(microsecond=0) <= datetime.fromisoformat(record["timestamp"]) <= after
    assert record["timestamp"].endswith("+00:00")
    assert record == {"timestamp": record["timestamp"], "level": "info", "event": "request", "duration_ms": None}


def test_whatever_is_logged_nothing_is_raised_and_it_is_one_line() -> None:
    """In a process of its own: pytest has handlers that do raise."""
    program = """
import logging
import structlog
from ai_gateway.observability.logging import configure_logging, fragment, write_line

class Unspeakable:
    def __repr__(self): raise RuntimeError
    __str__ = __repr__

around = []
around.append(around)
configure_logging("info")
for value in (Unspeakable(), around, "\\ud800", {1: 2, (3,): 4}, b"\\xff", float("inf"), 10**400, object(), "a\\nb"):
    write_line("{" + fragment({"event": "request", "value": value}, ["value"]) + "}\\n")
    structlog.get_logger("ai_gateway.test").warning("odd", value=value)
    logging.getLogger("elsewhere").warning("odd %d", value)
    logging.getLogger("elsewhere").warning(value)
    try:
        raise ValueError(value)
    except ValueError:
        structlog.get_logger("ai_gateway.test").exception("raised")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stderr.splitlines()]
    assert len(records) == 9 * 5


@pytest.mark.parametrize(
    "text", ["\x9b31m", "a\u2028b", "a\u2029b", "\x85", "\x7f", "\x1b[2J", "\u202eabc", "\n{}", "\U000e0041"]
)
def test_what_a_terminal_or_a_reader_of_lines_would_obey_is_escaped(terminal: Terminal, text: str) -> None:
    write_record({"event": "request", "path": text}, ["path"])
    structlog.get_logger("ai_gateway.test").warning(text, value=text)
    logging.getLogger("elsewhere").warning("%s", text)
    written = terminal.text
    assert written.replace("\n", "").isprintable()
    assert [record.get("path", record["event"]) for record in terminal.records()] == [text] * 3


def test_letters_of_any_script_stay_as_they_are(terminal: Terminal) -> None:
    write_record({"event": "request", "path": "/größe/名前"}, ["path"])
    assert "/größe/名前" in terminal.text


# -- the output itself --


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    ends = list(os.pipe())
    try:
        yield ends[0], ends[1]
    finally:
        for end in ends:
            with suppress(OSError):  # the test has done it
                os.close(end)


def fill(end: int) -> None:
    """A pipe that nobody reads."""
    os.set_blocking(end, False)
    with suppress(BlockingIOError):
        while True:
            os.write(end, b"x" * 1024)
    os.set_blocking(end, True)


def read(end: int, size: int) -> bytes:
    data = b""
    while len(data) < size and (part := os.read(end, size - len(data))):
        data += part
    return data


def add_all(output: Output, lines: Iterable[bytes]) -> None:
    for line in lines:
        output.add(line)


def test_many_lines_leave_in_order_and_in_pieces_that_a_pipe_takes_whole() -> None:
    """Datagrams keep the writes apart."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, its:
        ours.settimeout(30)
        output = Output(its.fileno())
        lines = [b"%d %b\n" % (number, b"x" * (number % 300)) for number in range(200)] + [b"y" * 10_000 + b"\n"]
        threading.Thread(target=add_all, args=(output, lines)).start()
        writes = list[bytes]()
        while b"".join(writes) != b"".join(lines):
            writes.append(ours.recv(2**20))
        assert all(write.endswith(b"\n") for write in writes)
        assert all(len(write) <= select.PIPE_BUF for write in writes[:-1])
        assert len(writes) < 100


def test_a_pipe_that_nobody_reads_holds_nobody_up_and_what_does_not_fit_is_counted() -> None:
    recovered: list[int] = []
    with pipe() as (reading, writing):
        fill(writing)
        output = Output(writing, recovered.append, max_bytes=10_000)
        before = time.process_time()
        for _ in range(20_000):
            output.add(b"a" * 99 + b"\n")
        assert time.process_time() - before < 5
        output.drain(0.05)
        assert 19_700 < output.dropped < 20_000
        read(reading, 65_536)
        kept = (20_000 - output.dropped) * 100
        assert read(reading, kept) == (b"a" * 99 + b"\n") * (kept // 100)
        output.add(b"later\n")
        assert read(reading, 6) == b"later\n"
        eventually(lambda: sum(recovered) == output.dropped)


def test_a_reader_that_is_gone_loses_lines_and_another_one_gets_the_next() -> None:
    recovered: list[int] = []
    with pipe() as (reading, writing):
        output = Output(writing, recovered.append)
        os.close(reading)
        for number in range(5):
            output.add(b"lost\n")
            eventually(lambda expected=number + 1: output.dropped == expected)  # type: ignore[misc]
        other = os.pipe()
        os.dup2(other[1], writing)
        output.add(b"read\n")
        assert read(other[0], 5) == b"read\n"
        eventually(lambda: recovered == [5])
        for end in other:
            os.close(end)


def test_a_full_disk_loses_lines_and_fails_nobody() -> None:
    with open("/dev/full", "wb", buffering=0) as full:
        output = Output(full.fileno())
        for _ in range(3):
            output.add(b"line\n")
        eventually(lambda: output.dropped == 3)


def test_what_follows_a_line_that_a_full_disk_cut_is_a_line_of_its_own(tmp_path: Path) -> None:
    program = """
import os, sys
from resource import RLIM_INFINITY, RLIMIT_FSIZE, setrlimit
from ai_gateway.observability.output import Output
output = Output(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND))
setrlimit(RLIMIT_FSIZE, (9, RLIM_INFINITY))
for line in (b"first\\n", b"second\\n", b"third\\n"):
    output.add(line)
    output.drain(20)
setrlimit(RLIMIT_FSIZE, (RLIM_INFINITY, RLIM_INFINITY))
for line in (b"fourth\\n", b"fifth\\n"):
    output.add(line)
    output.drain(20)
assert output.dropped == 2
"""
    log = tmp_path / "log"
    command = [sys.executable, "-c", program, str(log)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert log.read_text() == "first\nsec\nfourth\nfifth\n"


def test_a_descriptor_that_does_not_wait_loses_nothing() -> None:
    with pipe() as (reading, writing):
        fill(writing)
        os.set_blocking(writing, False)
        output = Output(writing)
        output.add(b"line\n")
        time.sleep(0.05)
        while (data := os.read(reading, 65_536)) and not data.endswith(b"line\n"):
            pass
        assert output.dropped == 0


def test_a_forked_process_writes_its_own_lines_and_none_twice_and_no_thread_lives_at_the_fork() -> None:
    program = """
import os
from ai_gateway.observability.logging import write_line
for number in range(3):
    write_line(f'{{"event":"parent {number}"}}\\n')
    if os.fork() == 0:
        write_line(f'{{"event":"child {number}"}}\\n')
        raise SystemExit
    os.wait()
write_line('{"event":"parent again"}\\n')
"""
    done = subprocess.run(  # CPython warns of a fork beside threads
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    events = [json.loads(line)["event"] for line in done.stderr.splitlines()]
    assert events == [*(f"{who} {number}" for number in range(3) for who in ("parent", "child")), "parent again"]


def test_a_fork_does_not_wait_for_a_log_that_nobody_reads() -> None:
    program = """
import os, sys, time, warnings
from ai_gateway.observability.output import Output
warnings.simplefilter("ignore")  # here a thread lives at the fork, which is better than no fork
reading, writing = os.pipe()
output = Output(writing)
for _ in range(5_000):
    output.add(b"x" * 1_000 + b"\\n")
began = time.monotonic()
if os.fork() == 0:
    os._exit(0)
os.wait()
assert time.monotonic() - began < 20
while b"end" not in os.read(reading, 65_536):  # and what was kept is written afterwards
    output.add(b"end\\n")
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("end", ["pass", "sys.exit(3)", "raise KeyboardInterrupt"])
def test_what_was_added_last_is_written_when_the_process_ends(end: str) -> None:
    program = f"""
import asyncio, sys
from ai_gateway.observability.logging import write_line
async def main():
    write_line('{{"event":"last"}}\\n')
    {end}
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert '"event":"last"' in done.stderr


def test_a_level_that_is_set_later_holds_for_loggers_that_were_used(terminal: Terminal) -> None:
    logger = structlog.get_logger("used")
    for level in ("info", "error", "debug"):
        configure_logging(level)
        logger.debug("debug", at=level)
        logger.info("info", at=level)
    written = [(record["event"], record["at"]) for record in terminal.records()]
    assert written == [("info", "info"), ("debug", "debug"), ("info", "debug")]

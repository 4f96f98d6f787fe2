"""Records as they reach standard error: whole lines, in order, few writes, and never at the expense of a request."""

import asyncio
import json
import logging
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from datetime import UTC, datetime
from typing import override

import pytest
import structlog

from ai_gateway.observability.logging import configure_logging, write_record

pytestmark = pytest.mark.anyio


class Terminal:
    """Standard error, with its writes kept apart."""

    def __init__(self) -> None:
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        self.writes.append(text)
        return len(text)

    def flush(self) -> None:
        pass

    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in "".join(self.writes).splitlines()]


@contextmanager
def terminal() -> Iterator[Terminal]:
    """Standard error of the block, with records of level info."""
    made = Terminal()
    configure_logging("info")
    try:
        with redirect_stderr(made):
            yield made
    finally:
        configure_logging("error")


async def test_the_lines_of_one_turn_leave_in_one_write_at_its_end() -> None:
    with terminal() as written:
        for number in range(3):
            write_record("request", {"number": number})
        assert written.writes == []
        await asyncio.sleep(0)
        assert len(written.writes) == 1
        assert [json.loads(line)["number"] for line in written.writes[0].splitlines()] == [0, 1, 2]
        write_record("request", {})
        await asyncio.sleep(0)
        assert len(written.writes) == 2


def test_without_an_event_loop_a_line_leaves_at_once() -> None:
    with terminal() as written:
        write_record("request", {})
        assert written.events() == ["request"]


def test_a_loop_that_ended_before_its_turn_loses_no_line() -> None:
    async def turn(event: str) -> None:
        write_record(event, {})

    with terminal() as written:
        for event in ("one", "two"):
            loop = asyncio.new_event_loop()
            loop.run_until_complete(turn(event))
            loop.close()
        asyncio.run(turn("three"))
        write_record("four", {})
        assert written.events() == ["one", "two", "three", "four"]


async def test_records_of_every_kind_keep_their_order() -> None:
    with terminal() as written:
        write_record("one", {})
        structlog.get_logger("ai_gateway.test").warning("two")
        write_record("three", {})
        logging.getLogger("elsewhere").warning("four")
        write_record("five", {})
        await asyncio.sleep(0)
        assert written.events() == ["one", "two", "three", "four", "five"]


async def test_many_lines_leave_in_pieces_that_a_pipe_takes_whole() -> None:
    with terminal() as written:
        for number in range(100):
            write_record("request", {"path": "/é" * (number % 40)})
        write_record("long", {"path": "x" * 10_000})
        write_record("request", {})
        await asyncio.sleep(0)
        assert len(written.events()) == 102
        assert all(write.endswith("\n") for write in written.writes)
        sizes = [len(write.encode()) for write in written.writes if "x" * 10_000 not in write]
        assert max(sizes) <= select.PIPE_BUF
        assert len(sizes) < 20


async def test_a_record_has_the_time_of_day_in_utc() -> None:
    with terminal() as written:
        before = datetime.now(UTC)
        write_record("request", {"duration_ms": float("nan")})
        after = datetime.now(UTC)
        await asyncio.sleep(0)
        record = json.loads(written.writes[0])
        assert before.replace(microsecond=0) <= datetime.fromisoformat(record["timestamp"]) <= after
        assert record["timestamp"].endswith("+00:00")
        assert record == {"timestamp": record["timestamp"], "level": "info", "event": "request", "duration_ms": None}


class Broken(Terminal):
    """A pipe whose other end is closed, or a file that is."""

    def __init__(self, failure: type[Exception]) -> None:
        super().__init__()
        self.failure = failure
        self.attempts = 0

    @override
    def write(self, text: str) -> int:
        self.attempts += 1
        raise self.failure


@pytest.mark.parametrize("failure", [BrokenPipeError, ValueError])
async def test_a_log_that_nobody_reads_ends_no_request(failure: type[Exception]) -> None:
    broken = Broken(failure)
    with terminal() as written, redirect_stderr(broken):
        write_record("request", {})
        await asyncio.sleep(0)
        structlog.get_logger("ai_gateway.test").warning("nobody reads it")
        logging.getLogger("elsewhere").warning("nor this")
    assert broken.attempts == 3
    assert written.writes == []


@pytest.mark.parametrize("end", ["pass", "sys.exit(3)", "raise KeyboardInterrupt"])
def test_what_was_added_last_is_written_when_the_process_ends(end: str) -> None:
    program = f"""
import asyncio, sys
from ai_gateway.observability.logging import write_record
async def main():
    write_record("last", {{}})
    {end}
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert '"event":"last"' in done.stderr

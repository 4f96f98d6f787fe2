"""What people see of the log on a terminal."""

import os
import pty
import re
import subprocess
import sys
from typing import Any

import orjson
import pytest

from ai_gateway.observability.console import console_line
from tests.support.gateway import run_cli

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def shown(*, colours: bool = False, **record: object) -> str:
    head = {"timestamp": "2026-11-27T04:21:33.123456+00:00", "level": "info", "event": "request"}
    return console_line(orjson.dumps({**head, **record}), colours=colours).decode()


def test_a_request_is_one_line_that_begins_with_what_matters() -> None:
    line = shown(
        method="POST", path="/v1/chat/completions", status_code=200, duration_ms=12.5, provider="lab", code=None
    )
    assert line == "04:21:33.123 info    POST /v1/chat/completions 200 12.5 ms provider=lab"


def test_colours_are_added_and_nothing_else() -> None:
    record: dict[str, Any] = {"method": "GET", "path": "/", "status_code": 503, "duration_ms": 1, "code": "overloaded"}
    assert ESCAPE.sub("", shown(colours=True, **record)) == shown(**record)
    assert "\x1b[31m503\x1b[0m" in shown(colours=True, **record)


@pytest.mark.parametrize("field", ["path", "method", "event", "model", "exception", "code"])
@pytest.mark.parametrize("text", ["\x1b[2J", "a\nlevel=error", "\u202ex", "\x9b31m", "a\r", "a\x7f", "a\u2028b"])
def test_nothing_that_others_wrote_acts_on_a_terminal_or_forges_a_line(field: str, text: str) -> None:
    record: dict[str, Any] = {"method": "GET", "path": "/", "status_code": 200, "duration_ms": 1, field: text}
    line = shown(**record)
    body = line.partition("\n")[2] if field == "exception" else line
    assert field != "exception" or "\n" not in text or body.count("\n") == 1
    assert all(part.isprintable() for part in body.split("\n"))
    assert field == "exception" or "\n" not in line


def test_a_value_with_blanks_is_told_where_it_ends() -> None:
    assert shown(event="odd", reason="two words", empty="", number=3, many=["a"]).endswith(
        'odd reason="two words" empty="" number=3 many=["a"]'
    )


PROGRAM = """
from ai_gateway.observability.logging import configure_logging, timestamp, write_line
configure_logging("info", "auto")
write_line('{"timestamp":"%s","level":"info","event":"request","method":"GET","path":"/"}\\n' % timestamp())
"""


@pytest.mark.parametrize(("env", "begins"), [({}, "\x1b[2m"), ({"NO_COLOR": "1"}, "20"), ({"NO_COLOR": ""}, "\x1b[2m")])
def test_auto_is_for_people_on_a_terminal(env: dict[str, str], begins: str) -> None:
    ours, theirs = pty.openpty()
    try:
        clean = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        subprocess.run([sys.executable, "-c", PROGRAM], stderr=theirs, env={**clean, **env}, timeout=60, check=True)
        text = os.read(ours, 10_000).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert re.match(r"(\x1b\[2m)?\d\d:\d\d:\d\d", text), text
    assert text.startswith("\x1b[2m") == (begins != "20")


def test_auto_is_json_elsewhere_and_a_level_may_be_called_warn() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], stderr=subprocess.PIPE, env=dict(os.environ), timeout=60, check=True
    )
    assert orjson.loads(done.stderr)["event"] == "request"
    refused = run_cli("serve", LOG_LEVEL="warn", SERVICE_PORT="-1")
    assert "LOG_LEVEL" not in refused.stderr

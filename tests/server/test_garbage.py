"""Requests leave nothing for the garbage collector."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).with_name("garbage_program.py")


def test_two_hundred_requests_of_any_kind_leave_no_unreachable_object() -> None:
    done = subprocess.run([sys.executable, PROGRAM], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) > 5
    assert {kind: left for kind, left in found.items() if left} == {}

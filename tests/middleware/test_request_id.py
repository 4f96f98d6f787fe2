"""Ids that nobody can guess, and that are given out once."""

import re
import subprocess
import sys
import time

from ai_gateway.middleware.request_id import new_request_id

FORKED = """
import os
from ai_gateway.middleware.request_id import new_request_id

new_request_id()
read, write = os.pipe()
if not os.fork():
    os.write(write, b" ".join(new_request_id() for _ in range(50)))
    os._exit(0)
os.close(write)
print(b" ".join(new_request_id() for _ in range(50)).decode(), os.read(read, 2**16).decode())
os.wait()
"""


def test_ids_are_random_and_never_the_same() -> None:
    ids = [new_request_id() for _ in range(2_000)]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(rb"req_[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}", each) for each in ids)
    assert {each[20:21] for each in ids} == {b"8", b"9", b"a", b"b"}
    digits = b"".join(each[17:20] + each[21:] for each in ids)  # behind the time at which they were made
    assert all(0.05 < digits.count(b"%x" % digit) / len(digits) < 0.075 for digit in range(16))


def test_ids_that_are_made_one_after_the_other_are_near_each_other_in_an_index() -> None:
    """Or each batch of the ledger would change every page of the index that the last second filled."""
    began = int(time.time() * 0x1_0000)
    times = [int(new_request_id()[4:16], 16) for _ in range(5_000)]
    assert times == sorted(times)
    assert len(set(times)) > 10
    assert times[-1] - began < 10 * 0x1_0000


def test_processes_that_were_forked_share_no_ids() -> None:
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=60, check=True)
    ids = done.stdout.split()
    assert len(ids) == 100
    assert len(set(ids)) == 100

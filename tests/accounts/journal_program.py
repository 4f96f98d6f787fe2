"""Workers that note calls until they are killed, one after the other.

Each says which calls it has noted before it notes the next one; what it said stands in a file of its own.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from ai_gateway.accounts.journal import Journal
from tests.accounts.calls import ended, started


def note_until_killed(root: Path, saying: int) -> None:
    """Every ninth call stays open."""
    journal = Journal(root, segment_size=20_000)
    journal.open()
    number = 0
    while True:
        starts = [started(f"call-{number + each}") for each in range(9)]
        for start in starts:
            journal.started(start)
            os.write(saying, f"S {start.id}\n".encode())
        for start in starts[:8]:
            journal.ended(ended(start))
            os.write(saying, f"E {start.id}\n".encode())
        number += 9


def main() -> None:
    place, rounds = Path(sys.argv[1]), int(sys.argv[2])
    dice = random.Random(7)
    for round_ in range(rounds):
        said = os.open(place / f"{round_}.said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        worker = os.fork()
        if not worker:
            note_until_killed(place / f"{round_}", said)
        while not os.fstat(said).st_size:
            time.sleep(0.001)
        time.sleep(dice.random() / 50)
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)
        os.close(said)


main()

"""Two workers that count calls in one file until they are killed, round after round.

Each says which calls were granted to it (`G`), and which of them it has settled (`S`), in a file of its own.
"""

import asyncio
import os
import random
import signal
import sys
import time
from itertools import count
from pathlib import Path

from ai_gateway.accounts.counters.base import CountersError, Granted, Hold
from ai_gateway.accounts.counters.file import FileCounters

HOLDS = [Hold("rpd", 1, 10**9, 24 * 60), Hold("spend", 10, 10**9, money=True)]


async def count_until_killed(path: Path, name: str, saying: int) -> None:
    """Every third call stays open."""
    counters = FileCounters(path, owner=name, max_size=3_000)
    for number in count():
        call = f"{name}-{number}"
        await asyncio.sleep(0)  # each call begins in a turn of its own
        try:
            answer = await counters.reserve(call, HOLDS)
        except CountersError:  # the other one was not given the time to unlock it
            continue
        if isinstance(answer, Granted):
            os.write(saying, f"G{call}\n".encode())
            if number % 3:
                await counters.settle(call, HOLDS, [1, 4], answer.at)
                os.write(saying, f"S{call}\n".encode())


def main() -> None:
    place, rounds = Path(sys.argv[1]), int(sys.argv[2])
    dice = random.Random(7)
    path = place / "counters"
    asyncio.run(FileCounters(path).seed("spend", 0, 0))
    for round_ in range(rounds):
        workers = []
        for which in "ab":
            said = os.open(place / f"{round_}{which}.said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            if not (worker := os.fork()):
                asyncio.run(count_until_killed(path, f"{round_}{which}", said))
            workers.append((worker, said))
        for _, said in workers:
            while not os.fstat(said).st_size:
                time.sleep(0.001)
        for worker, said in workers:
            time.sleep(dice.random() / 100)
            os.kill(worker, signal.SIGKILL)
            os.waitpid(worker, 0)
            os.close(said)


main()

"""Stores that are away for half a minute, and everything that can be killed: no call is lost, none counts twice."""

import asyncio
import random
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from decimal import Decimal
from pathlib import Path

import httpx2
import psutil
import pytest

from tests.accounts.metered import CENT, Load, Site, all_recorded_once, calling_all, environment, request, shared
from tests.support import bare_sockets
from tests.support.administration import ADMIN_KEY, Administrator
from tests.support.client import NO_CERTIFICATES, TIMEOUT_S
from tests.support.gateway import LiveGateway, running_gateway
from tests.support.servers import Server, running_postgres, running_valkey
from tests.support.upstream import Upstream

pytestmark = pytest.mark.live

AWAY_S = 30.0
HOLDS_FILES = """
import fcntl, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN EXCLUSIVE")
for path in sys.argv[2:]:
    counters = open(path, "r+b")
    fcntl.flock(counters, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.readline()
"""


@contextmanager
def locked(data: Path, *others: str) -> Iterator[None]:
    """Another process is in the middle of a transaction in the store, and of a change to these other files."""
    command = [sys.executable, "-c", HOLDS_FILES, str(data / "gateway.db"), *(str(data / name) for name in others)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        yield
        holder.kill()


@contextmanager
def no_space(live: LiveGateway) -> Iterator[None]:
    """What the kernel does at the bound of a file's size is what it does on a full disk: a part, then an error."""
    former = resource.prlimit(live.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(live.process.pid, resource.RLIMIT_FSIZE, (40_000, former[1]))
    try:
        yield
    finally:
        resource.prlimit(live.process.pid, resource.RLIMIT_FSIZE, former)


@contextmanager
def gone(*servers: Server) -> Iterator[None]:
    for server in servers:
        server.kill()
    try:
        yield
    finally:
        for server in servers:
            server.start()


@pytest.mark.slow
async def test_half_a_minute_without_a_store_fails_no_call_and_loses_and_doubles_none(
    shared_upstream: Upstream, tmp_path: Path
) -> None:
    """Every way in which one can be away at the same time, each with a gateway of its own that lets money go on."""
    shared_upstream.forget()
    with ExitStack() as stack:
        frozen = stack.enter_context(running_postgres()), stack.enter_context(running_valkey())
        killed = stack.enter_context(running_postgres()), stack.enter_context(running_valkey())
        sites: list[Site] = []
        for name, more in {
            "locked": {}, "full": {}, "frozen": await shared(*frozen), "killed": await shared(*killed),
        }.items():  # fmt: skip
            home = tmp_path / name
            env = environment(shared_upstream, home, LIMITS_OUTAGE="open", **more)
            live = stack.enter_context(running_gateway(**env))
            sites.append(Site.of(name, live, more.get("STORE_URL", home / "data" / "gateway.db")))
        loads, over, calling = await calling_all(sites, pause_s=0.15)
        with ExitStack() as faults:
            faults.enter_context(locked(tmp_path / "locked" / "data", "counters"))
            faults.enter_context(no_space(sites[1].live))
            for server in frozen:
                faults.enter_context(server.frozen())
            faults.enter_context(gone(*killed))
            away = asyncio.create_task(asyncio.sleep(AWAY_S))
            for site in sites:
                await reported(site, "ledger away: records wait in the journal")
            await reported(sites[0], "counters away")
            await reported(sites[1], "journal cannot be written: records wait in memory")
            await away
        await asyncio.sleep(2)
        over.set()
        await asyncio.gather(*calling)
        for site, load in zip(sites, loads, strict=True):
            assert set(load.statuses.values()) == {200}, site.name
            costs = await all_recorded_once(load, site.store, shared_upstream)
            assert costs == dict.fromkeys(load.statuses, CENT), site.name
            assert len(costs) > AWAY_S, site.name


async def reported(site: Site, event: str) -> None:
    """Wait until its gateway has noticed."""
    deadline = time.monotonic() + TIMEOUT_S
    while not await asyncio.to_thread(site.live.records, event):
        assert time.monotonic() < deadline, f"{site.name}: {event}"
        await asyncio.sleep(0.2)


async def test_a_store_that_was_locked_while_a_budget_began_is_written_again_as_soon_as_it_is_free(
    shared_upstream: Upstream, tmp_path: Path
) -> None:
    """Calls, their records and administrators wait for it, are told so, and go on."""

    def state(live: LiveGateway) -> str:
        with httpx2.Client(
            base_url=live.base_url, timeout=TIMEOUT_S, trust_env=False, verify=NO_CERTIFICATES
        ) as client:
            report = client.get("/health", headers={"authorization": f"Bearer {ADMIN_KEY}"}).json()
        return str(report["accounts"]["store"]["state"])

    env = environment(shared_upstream, tmp_path / "home")
    with running_gateway(**env) as live:
        site = Site.of("locked-at-first", live, tmp_path / "home" / "data" / "gateway.db")
        load = Load(live.port, "locked-at-first")
        with locked(tmp_path / "home" / "data"):
            assert await load.call(site.keys[0]) == 200, "a call that nothing limits waits for no store"
            assert await load.call(site.keys[1]) == 503
            async with asyncio.timeout(TIMEOUT_S):
                while await asyncio.to_thread(state, live) != "away":  # noqa: ASYNC110 - no event
                    await asyncio.sleep(0.1)
        await site.ready()
        await asyncio.to_thread(Administrator(live).project)
        async with asyncio.timeout(TIMEOUT_S):
            while await asyncio.to_thread(state, live) != "ready":  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.1)
        await all_recorded_once(load, site.store, shared_upstream)


HELD = """
import asyncio, os, signal, sys
from pathlib import Path
from ai_gateway.accounts.counters.base import Hold
from ai_gateway.accounts.counters.file import FileCounters
counters = FileCounters(Path(sys.argv[1]))
asyncio.run(counters.reserve("nobody-knows", [Hold(sys.argv[2], 1, 1)]))
print("held", flush=True)
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""


async def test_what_a_worker_held_that_was_killed_before_its_journal_said_so_is_given_back(
    shared_upstream: Upstream, tmp_path: Path
) -> None:
    """Else a key that may make one call at a time could make none any more."""
    env = environment(shared_upstream, tmp_path / "home")
    with running_gateway(**env) as live:
        admin = Administrator(live)
        key = admin.account(admin.project(), rate_limits={"max_parallel_requests": 1})["api_key"]
        held = [sys.executable, "-c", HELD, str(tmp_path / "home" / "data" / "counters"), f"parallel/{key['id']}/*"]
        load = Load(live.port, "held")
        assert await load.call(key["value"]) == 200
        pipe = asyncio.subprocess.PIPE
        holder = await asyncio.create_subprocess_exec(*held, stdin=pipe, stdout=pipe)
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert await holder.stdout.readline() == b"held\n"
        assert await load.call(key["value"]) == 429
        holder.stdin.write(b"\n")
        await holder.wait()
        async with asyncio.timeout(TIMEOUT_S):
            while await load.call(key["value"]) != 200:  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.2)


HELD_IN_VALKEY = """
import asyncio, os, signal, sys
from pathlib import Path
from ai_gateway.accounts.counters.base import Hold
from ai_gateway.accounts.counters.valkey import ValkeyCounters
from ai_gateway.accounts.counters.valkey_connection import address_of
from ai_gateway.accounts.journal import Journal
async def hold():
    Journal(Path(sys.argv[1]), owner="0123456789abcdef").open()
    counters = ValkeyCounters(address_of(sys.argv[2]))
    print(await counters.reserve("6a6a6a6a0123456789abcdef00000001", [Hold(sys.argv[3], 1, 1)]), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(hold())
"""


async def test_the_same_of_a_replica_that_counts_in_valkey(shared_upstream: Upstream, tmp_path: Path) -> None:
    """Within seconds: what a dead replica holds and nobody knows of is not given back for a minute."""
    home = tmp_path / "home"
    with running_valkey() as valkey:
        url = f"redis://127.0.0.1:{valkey.port}"
        with running_gateway(**environment(shared_upstream, home, VALKEY_URL=url)) as live:
            admin = Administrator(live)
            key = admin.account(admin.project(), rate_limits={"max_parallel_requests": 1})["api_key"]
            journal, counter = str(home / "data" / "journal"), f"parallel/{key['id']}/*"
            load = Load(live.port, "held")
            assert await load.call(key["value"]) == 200
            held = [sys.executable, "-c", HELD_IN_VALKEY, journal, url, counter]
            done = await asyncio.to_thread(subprocess.run, held, timeout=60, capture_output=True, check=False)
            assert done.stdout.startswith(b"Granted"), done.stderr
            async with asyncio.timeout(TIMEOUT_S):
                while await load.call(key["value"]) != 200:  # noqa: ASYNC110 - no event
                    await asyncio.sleep(0.2)


async def kill_again_and_again(env: dict[str, str], site: Site, loads: tuple[Load, Load], rounds: int) -> None:
    """Kill the gateway as soon as it has served for a moment, and start it again."""
    chance = random.Random(8)

    def begin() -> tuple[ExitStack, LiveGateway]:
        stack = ExitStack()
        return stack, stack.enter_context(running_gateway(**env))

    for _ in range(rounds):
        stack, site.live = await asyncio.to_thread(begin)
        for load in loads:
            load.port = site.live.port
        served = loads[0].served
        async with asyncio.timeout(60):
            while loads[0].served == served:  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.02)
        await asyncio.sleep(chance.uniform(0.1, 0.6))
        site.live.process.kill()
        site.live.process.wait(60)
        await asyncio.to_thread(stack.close)


async def told_spent(site: Site) -> int:
    """What a refusal says that has been spent, once nothing is held any more; in 1e-12 USD."""
    said = ""
    for _ in range(400):
        with suppress(OSError, EOFError):
            asked = request(site.keys[1], "much", max_tokens=1_000_000)
            said = (await bare_sockets.ask(site.live.port, asked))[2].decode()
            found = re.search(r"Spent \$([0-9.]+), reserved \$([0-9.]+[0-9])", said)
            if found and not Decimal(found[2]):
                return int(Decimal(found[1]) * 10**12)
        await asyncio.sleep(0.3)
    pytest.fail(f"{site.name}: something is still held: {said}")


async def oldest_worker(live: LiveGateway, lived_s: float) -> psutil.Process:
    """Of those that there are, once it is so old."""
    while True:
        workers = psutil.Process(live.process.pid).children()
        oldest = min(workers, key=psutil.Process.create_time, default=None)
        if oldest is not None and time.time() - oldest.create_time() > lived_s:
            return oldest
        await asyncio.sleep(0.05)


# A worker that has lived for 10 s is replaced at once: else the pause before that grows with every round.
ROUNDS = [
    pytest.param(4, 0.0, marks=pytest.mark.slow),
    pytest.param(50, 10.5, marks=[pytest.mark.soak, pytest.mark.timeout(1800)]),
]


@pytest.mark.parametrize(("rounds", "lived_s"), ROUNDS)
async def test_whatever_is_killed_no_call_is_lost_or_doubled_and_no_budget_is_exceeded(
    shared_upstream: Upstream, tmp_path: Path, rounds: int, lived_s: float
) -> None:
    """Workers, Valkey and PostgreSQL of one gateway in turn; beside it another one, which is killed as a whole."""
    shared_upstream.forget()
    cents = 12 * rounds
    with ExitStack() as stack:
        postgres, valkey = stack.enter_context(running_postgres()), stack.enter_context(running_valkey())
        env = environment(shared_upstream, tmp_path / "shared", WORKERS="5", **await shared(postgres, valkey))
        workers = stack.enter_context(running_gateway(**env))
        env_alone = environment(shared_upstream, tmp_path / "alone")
        data = tmp_path / "alone" / "data" / "gateway.db"
        with running_gateway(**env_alone) as first:
            alone = Site.of("alone", first, data, cents)
        sites = [Site.of("shared", workers, env["STORE_URL"], cents), alone]
        loads = [(Load(site.live.port, f"{site.name}-free"), Load(site.live.port, site.name)) for site in sites]
        over = asyncio.Event()
        calling = [
            asyncio.create_task(work([key], over, 0.02))
            for site, of_site in zip(sites, loads, strict=True)
            for load, key in zip(of_site, site.keys, strict=True)
            for work in (load.keep_calling, load.keep_leaving)
        ]
        beside = asyncio.create_task(kill_again_and_again(env_alone, alone, loads[1], rounds))
        chance = random.Random(7)
        for _ in range(rounds):
            await asyncio.sleep(chance.uniform(0, 0.3))
            (await oldest_worker(workers, lived_s)).kill()
            for server in (valkey, postgres):
                await asyncio.sleep(chance.uniform(0, 0.2))
                server.kill()
                await asyncio.sleep(chance.uniform(0, 0.1))
                await asyncio.to_thread(server.start)
        await beside
        over.set()
        await asyncio.gather(*calling)
        alone.live = stack.enter_context(running_gateway(**env_alone))
        for site, (free, capped) in zip(sites, loads, strict=True):
            assert free.served >= rounds, site.name
            await all_recorded_once(free, site.store, shared_upstream)
            costs = await all_recorded_once(capped, site.store, shared_upstream)
            # A call whose process was killed after its cost was counted, and before its journal had that, is in the
            # ledger with what it could have cost (docs/reliability.md, "Money"): two were at work with this key.
            cut = 2 * rounds
            assert sum(costs.values()) <= (cents + cut) * CENT, site.name
            spent = await told_spent(site)
            # Counters of a server that was killed are counted anew from the ledger; those in a file are not.
            assert spent <= (cents if site is alone else cents + cut) * CENT, site.name
            difference, most = sum(costs.values()) - spent, cut if site is alone else 0
            assert 0 <= difference <= most * CENT, site.name

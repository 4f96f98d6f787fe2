"""Stores that are away for half a minute, and everything that can be killed: no call is lost, none counts twice."""

import asyncio
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.accounts.metered import CENT, Load, Site, all_recorded_once, environment, shared
from tests.support.gateway import LiveGateway, running_gateway
from tests.support.servers import Server, running_postgres, running_valkey
from tests.support.upstream import Upstream

AWAY_S = 30.0
HOLDS_FILES = """
import sqlite3, sys
held = [sqlite3.connect(path, isolation_level=None) for path in sys.argv[1:]]
for db in held:
    db.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.readline()
"""


@contextmanager
def locked(data: Path) -> Iterator[None]:
    """Another process is in the middle of a transaction, in the store and in the counters."""
    command = [sys.executable, "-c", HOLDS_FILES, str(data / "gateway.db"), str(data / "counters.db")]
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
        await asyncio.gather(*(site.ready() for site in sites))
        loads = [Load(site.live.port, site.name) for site in sites]
        over = asyncio.Event()
        calling = [
            asyncio.create_task(load.keep_calling(site.keys, over, 0.15))
            for site, load in zip(sites, loads, strict=True)
            for _ in range(2)
        ]
        with ExitStack() as faults:
            faults.enter_context(locked(tmp_path / "locked" / "data"))
            faults.enter_context(no_space(sites[1].live))
            for server in frozen:
                faults.enter_context(server.frozen())
            faults.enter_context(gone(*killed))
            await asyncio.sleep(AWAY_S)
            told = [site.live.records("ledger away: records wait in the journal") for site in sites]
            assert [bool(each) for each in told] == [True] * 4, "one of the stores was not away"
            assert sites[1].live.records("journal cannot be written: records wait in memory"), "the disk was not full"
        await asyncio.sleep(2)
        over.set()
        await asyncio.gather(*calling)
        for site, load in zip(sites, loads, strict=True):
            assert set(load.statuses.values()) == {200}, site.name
            costs = await all_recorded_once(load, site.store, shared_upstream)
            assert costs == dict.fromkeys(load.statuses, CENT), site.name
            assert len(costs) > AWAY_S, site.name

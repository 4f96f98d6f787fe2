"""Gateways whose every call is counted twice: by the upstream's own log, and by their records."""

import asyncio
import json
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]

from ai_gateway.accounts.store.postgres import PostgresStore
from tests.support import bare_sockets
from tests.support.administration import ADMIN_KEY, Administrator
from tests.support.client import CHAT, TIMEOUT_S, body_of
from tests.support.gateway import HOST, LiveGateway, in_front_of
from tests.support.servers import Server
from tests.support.upstream import Upstream

# A token of output is a quarter of a cent, so that the four of each reply are one cent. What goes in costs nothing.
PRICES = """
[prices."lab/*"]
input = 0
output = 2500
"""
CENT = 10**10
PATH = "/lab/v1/chat/completions"


def request(key: str, model: str, *, stream: bool = False, max_tokens: int = 4) -> bytes:
    """A call that can cost a cent at the most, or a quarter of one for each token."""
    asked = body_of(CHAT, model, max_tokens=max_tokens, **({"stream": True} if stream else {}))
    body = json.dumps(asked).encode()
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def database_url(postgres: Server) -> str:
    return f"postgresql://gateway@{HOST}:{postgres.port}/postgres"


def team_with_a_budget(live: LiveGateway, cents: int) -> str:
    """The key of a new project that may spend so much."""
    admin = Administrator(live)
    project = admin.project()
    limit = {"threshold_amount": cents, "currency": "USD", "interval": "month"}
    admin.post(f"projects/{project}/spend_limit", limit)
    return str(admin.account(project)["api_key"]["value"])


def key_without_limits(live: LiveGateway) -> str:
    admin = Administrator(live)
    return str(admin.account(admin.project())["api_key"]["value"])


@dataclass
class Load:
    """Calls to a gateway at `port`, each of a model of its own. Every third is a stream."""

    port: int
    name: str
    statuses: dict[str, int] = field(default_factory=dict)
    """Of each model; 0 for no whole reply."""

    async def call(self, key: str, behaviour: str = "m", patience_s: float = TIMEOUT_S) -> int:
        """The status, 0 where none came or the client left before the end of the reply."""
        model = f"{behaviour}#{self.name}-{len(self.statuses)}"
        self.statuses[model] = 0
        stream = behaviour == "paced" or len(self.statuses) % 3 == 0
        with suppress(OSError, EOFError, TimeoutError, ValueError, IndexError):
            async with asyncio.timeout(patience_s):
                self.statuses[model], _, _ = await bare_sockets.ask(self.port, request(key, model, stream=stream))
        return self.statuses[model]

    async def keep_calling(self, keys: Sequence[str], over: asyncio.Event, pause_s: float) -> None:
        """One call after the other, by each key in turn, until it is over."""
        while not over.is_set():
            await self.call(keys[len(self.statuses) % len(keys)])
            await asyncio.sleep(pause_s)

    async def keep_leaving(self, keys: Sequence[str], over: asyncio.Event, pause_s: float) -> None:
        """The same, but clients may leave at any time, and upstreams may hang."""
        chance = random.Random(self.name)
        while not over.is_set():
            behaviour, patience_s = chance.choice([("m", TIMEOUT_S), ("m", 0.01), ("paced", 0.1), ("paced", 0.4)])
            await self.call(chance.choice(keys), behaviour, patience_s)
            await asyncio.sleep(pause_s)

    @property
    def served(self) -> int:
        """How many calls were answered as they should."""
        return list(self.statuses.values()).count(200)

    def seen(self, upstream: Upstream) -> dict[str, int]:
        """How often the upstream was asked for each of the models, if at all."""
        asked = Counter(seen.model for seen in list(upstream.requests))
        return {model: asked[model] for model in self.statuses if asked[model]}


async def recorded(store: str | Path) -> dict[str, list[int | None]]:
    """What each call of a model cost, in a store: an address of PostgreSQL or a file of SQLite."""
    if isinstance(store, str):
        connection = await asyncpg.connect(store)
        rows = await connection.fetch("SELECT upstream_model, cost FROM records")
        await connection.close()
    else:
        with closing(sqlite3.connect(store)) as db:
            rows = db.execute("SELECT upstream_model, cost FROM records").fetchall()
    found: dict[str, list[int | None]] = {}
    for model, cost in rows:
        found.setdefault(model, []).append(cost)
    return found


async def all_recorded_once(load: Load, store: str | Path, upstream: Upstream) -> dict[str, int]:
    """The cost of each call, once each that the upstream has seen has a record; none may have two.

    A call that was on its way when a process died may have a record although it never got to the upstream.
    """
    began = time.monotonic()
    while True:
        seen = load.seen(upstream)
        found = {model: costs for model, costs in (await recorded(store)).items() if model in load.statuses}
        missing = seen.keys() - found.keys()
        if not missing or time.monotonic() - began > 2 * TIMEOUT_S:
            break
        await asyncio.sleep(0.2)
    assert not missing, f"{len(missing)} of {len(seen)} calls have no record: {sorted(missing)[:5]}"
    twice = {model: len(costs) for model, costs in found.items() if len(costs) > 1}
    assert not twice, f"{len(twice)} calls are recorded more than once"
    assert set(seen.values()) <= {1}, f"asked again: {Counter(seen.values())}"
    return {model: costs[0] or 0 for model, costs in found.items()}


@dataclass
class Site:
    """A gateway, where its records are, and keys of it: one without limits, and one with a budget."""

    name: str
    live: LiveGateway
    store: str | Path
    keys: list[str]

    @classmethod
    def of(cls, name: str, live: LiveGateway, store: str | Path, cents: int = 100_000) -> "Site":
        return cls(name, live, store, [key_without_limits(live), team_with_a_budget(live, cents)])

    async def ready(self) -> None:
        """Money can be counted: not before a server of counters has been up for two seconds."""
        load = Load(self.live.port, f"ready-{self.name}")
        async with asyncio.timeout(60):
            while {await load.call(key) for key in self.keys} != {200}:  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.1)


def environment(upstream: Upstream, home: Path, **more: str) -> dict[str, str]:
    home.mkdir(exist_ok=True)
    (home / "gateway.toml").write_text(PRICES)
    return {
        **in_front_of(upstream),
        "ADMIN_API_KEY": ADMIN_KEY,
        "GATEWAY_DATA_DIR": str(home / "data"),
        "GATEWAY_CONFIG": str(home / "gateway.toml"),
        "LOG_LEVEL": "warning",
        **more,
    }


async def shared(postgres: Server, valkey: Server) -> dict[str, str]:
    url = database_url(postgres)
    await PostgresStore(url).migrate()
    return {"STORE_URL": url, "VALKEY_URL": f"redis://{HOST}:{valkey.port}"}


async def calling_all(
    sites: Sequence[Site], pause_s: float
) -> tuple[list[Load], asyncio.Event, list[asyncio.Task[None]]]:
    """Two callers of each site, once it is ready, until the event says that it is over."""
    await asyncio.gather(*(site.ready() for site in sites))
    loads = [Load(site.live.port, site.name) for site in sites]
    over = asyncio.Event()
    calling = [
        asyncio.create_task(load.keep_calling(site.keys, over, pause_s))
        for site, load in zip(sites, loads, strict=True)
        for _ in range(2)
    ]
    return loads, over, calling

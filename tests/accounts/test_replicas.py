"""Two replicas with one PostgreSQL and one Valkey, behind nginx: one set of keys, limits, money and records."""

import asyncio
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import httpx2
import psutil
import pytest

from tests.accounts.metered import CENT, PATH, PRICES, request
from tests.support import bare_sockets
from tests.support.administration import ADMIN_KEY, Administrator
from tests.support.client import CHAT, NO_CERTIFICATES, TIMEOUT_S, body_of
from tests.support.gateway import HOST, LiveGateway, in_front_of, run_cli, running_gateway
from tests.support.nginx import running_nginx
from tests.support.servers import Server, running_postgres, running_valkey
from tests.support.upstream import Upstream

pytestmark = pytest.mark.slow

CONFIGURATION = f"""{PRICES}
[keys.fifty]
key_env = "KEY_OF_FIFTY"
requests_per_day = 50
"""
FIFTY = "sk-fifty-0123456789abcdef"
LEFT = ("m", "paced", "hang-before-headers", "stalled-stream")


@dataclass
class Team:
    """Two replicas, the address in front of them, and what they share."""

    replicas: list[LiveGateway]
    environments: list[dict[str, str]]
    port: int
    postgres: Server
    valkey: Server
    url: str

    @property
    def admin(self) -> Administrator:
        return Administrator(self.replicas[0])

    def key(self, cents: int | None = None) -> tuple[str, str]:
        """Of a new project, which may spend so much: the project's id, and the key."""
        project = self.admin.project()
        if cents is not None:
            limit = {"threshold_amount": cents, "currency": "USD", "interval": "month"}
            self.admin.post(f"projects/{project}/spend_limit", limit)
        return project, str(self.admin.account(project)["api_key"]["value"])

    def records_of(self, project: str) -> list[Any]:
        """Those of a project that are there."""
        return asyncio.run(self.query("SELECT * FROM records WHERE project_id = $1", project))

    def records(self, project: str, count: int) -> list[Any]:
        """The same, once so many are there; more would be there at once."""
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            found = self.records_of(project)
            if len(found) >= count or time.monotonic() > deadline:
                assert len(found) == count
                return found
            time.sleep(0.1)

    async def query(self, statement: str, *values: object) -> list[Any]:
        connection = await asyncpg.connect(self.url)
        try:
            return list(await connection.fetch(statement, *values))
        finally:
            await connection.close()


@pytest.fixture(scope="module")
def team(shared_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    home = tmp_path_factory.mktemp("team")
    (home / "gateway.toml").write_text(CONFIGURATION)
    with ExitStack() as stack:
        postgres, valkey = stack.enter_context(running_postgres()), stack.enter_context(running_valkey())
        url = f"postgresql://gateway@{HOST}:{postgres.port}/postgres"
        migrated = [run_cli("store", "migrate", STORE_URL=url) for _ in range(2)]
        assert [each.returncode for each in migrated] == [0, 0], migrated[0].stderr
        assert ["brought to version" in migrated[0].stdout, "up to date" in migrated[1].stdout] == [True, True]
        environments = [
            {
                **in_front_of(shared_upstream),
                "ADMIN_API_KEY": ADMIN_KEY,
                "KEY_OF_FIFTY": FIFTY,
                "STORE_URL": url,
                "VALKEY_URL": f"redis://{HOST}:{valkey.port}/1",
                "REPLICAS": "2",
                "DRAIN_DELAY_S": "0",
                "GATEWAY_DATA_DIR": str(home / name),
                "GATEWAY_CONFIG": str(home / "gateway.toml"),
            }
            for name in ("one", "other")
        ]
        replicas = [stack.enter_context(running_gateway(**each)) for each in environments]
        (home / "nginx").mkdir()
        port = stack.enter_context(running_nginx(home / "nginx", [each.port for each in replicas]))
        yield Team(replicas, environments, port, postgres, valkey, url)


def ask(port: int, key: str, model: str = "m", **fields: Any) -> httpx2.Response:
    body = body_of(CHAT, model, **{"max_tokens": 4, **fields})
    with httpx2.Client(timeout=TIMEOUT_S, trust_env=False, verify=NO_CERTIFICATES) as client:
        return client.post(f"http://{HOST}:{port}{PATH}", headers={"authorization": f"Bearer {key}"}, json=body)


@contextmanager
def in_flight(port: int, key: str, model: str) -> Iterator[None]:
    """A stream that has begun, and ends when this does, since its client leaves."""
    body = body_of(CHAT, model, max_tokens=4, stream=True)
    headers = {"authorization": f"Bearer {key}"}
    with (
        httpx2.Client(timeout=TIMEOUT_S, trust_env=False, verify=NO_CERTIFICATES) as client,
        client.stream("POST", f"http://{HOST}:{port}{PATH}", headers=headers, json=body) as reply,
    ):
        assert reply.status_code == 200
        yield


async def ask_all(ports: Sequence[int], key: str, models: Sequence[str]) -> list[int]:
    """The status of each of these streamed calls, all at once, to one port after the other."""

    async def one(number: int, model: str) -> int:
        status, _, _ = await bare_sockets.ask(ports[number % len(ports)], request(key, model, stream=True))
        return status

    return await asyncio.gather(*(one(number, model) for number, model in enumerate(models)))


type Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connected(live: LiveGateway, count: int) -> list[Connection]:
    """Connections to a gateway, of which each of its workers has accepted as many, one worker's after the other's.

    Left to themselves, idle workers are quick enough for one of them to accept all.
    """
    workers = psutil.Process(live.process.pid).children()
    of_each = [await accepted_by(worker, workers, live.port, count // len(workers)) for worker in workers]
    return [connection for row in zip(*of_each, strict=True) for connection in row]


async def accepted_by(worker: psutil.Process, workers: list[psutil.Process], port: int, count: int) -> list[Connection]:
    """Connections that one worker has accepted while the others stand still.

    One that is stopped with a lock in its hands keeps this one from being ready: then it has to go on for a while.
    """
    others = [other for other in workers if other != worker]
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        for other in others:
            other.suspend()
        try:
            first = await asyncio.open_connection(HOST, port)
            if await answered(first, bare_sockets.get("/ready")) == 200:
                opened = [first, *[await asyncio.open_connection(HOST, port) for _ in range(count - 1)]]
                assert {await answered(each, bare_sockets.get("/healthz")) for each in opened} == {200}
                return opened
            first[1].close()
        finally:
            for other in others:
                other.resume()
        assert time.monotonic() < deadline, "the worker is not ready by itself"
        await asyncio.sleep(0.2)


async def answered(connection: Connection, asked: bytes) -> int:
    """The status, after the whole reply."""
    reader, writer = connection
    writer.write(asked)
    status, headers = await bare_sockets.head_of(reader)
    await bare_sockets.body_of(reader, headers)
    return status


async def ask_over(connections: Sequence[Connection], key: str, models: Sequence[str]) -> list[int]:
    """The status of each of these streamed calls, all at once, each over one of the connections."""
    requests = [request(key, model, stream=True) for model in models]
    return await asyncio.gather(*map(answered, connections, requests))


async def leave_at_random(connections: Sequence[Connection], key: str, models: Sequence[str]) -> None:
    """The same within seconds, but clients leave when they like: some before they are heard, some after all is over."""
    chance = random.Random(7)

    async def one(connection: Connection, model: str) -> None:
        await asyncio.sleep(chance.uniform(0, 3))
        with suppress(OSError, EOFError, TimeoutError):
            async with asyncio.timeout(chance.choice([0.02, 0.1, 0.5, 2.0, 4.0])):
                await answered(connection, request(key, model, stream=True))
        connection[1].close()

    await asyncio.gather(*map(one, connections, models))


def leavers(name: str) -> list[str]:
    """Models whose replies are quick, take their time, or never end."""
    return [f"{kind}#{name}-{number}" for number in range(75) for kind in LEFT]


def judge_left(records: Sequence[Any], asked: Mapping[str, int], cents: int) -> None:
    """One record each of what the upstream was asked, within the limit; and more than one process has served."""
    models = [row["upstream_model"] for row in records]
    assert len(models) == len(set(models)), "a call has two records"
    assert set(asked) <= set(models), "a call has no record"
    assert set(asked.values()) == {1}
    assert sum(row["cost"] for row in records) <= cents * CENT
    assert len(records) >= cents, "what nobody took could not be spent"
    assert {"whole", "left"} <= {row["ending"] for row in records} <= {"whole", "left", "failed"}
    assert len(processes(records)) == 2


def processes(records: Sequence[Any]) -> Counter[str]:
    """How many calls each has served: after their second, the ids of a process begin alike."""
    return Counter(str(row["id"])[8:24] for row in records)


def asked_of(upstream: Upstream, models: Sequence[str]) -> dict[str, int]:
    known, asked = set(models), Counter(seen.model for seen in list(upstream.requests))
    return {model: count for model, count in asked.items() if model in known}


def seen(upstream: Upstream, models: Sequence[str]) -> int:
    return sum(len(upstream.seen(model)) for model in models)


def nothing_is_held(port: int, key: str) -> bool:
    """Ask for more than there can be: the refusal says what is held."""
    refused = ask(port, key, max_tokens=10_000)
    return refused.status_code == 429 and "reserved $0.00" in refused.json()["error"]["message"]


def until(condition: Callable[[], object], what: str) -> float:
    """Seconds until it was so."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < 2 * TIMEOUT_S, what
        time.sleep(0.05)
    return time.monotonic() - began


def test_three_hundred_calls_at_once_spend_what_a_cap_pays_for_and_no_more(team: Team, upstream: Upstream) -> None:
    project, key = team.key(cents=40)
    models = [f"cap#{number}" for number in range(300)]
    statuses = asyncio.run(ask_all([team.port], key, models))
    assert {status: statuses.count(status) for status in set(statuses)} == {200: 40, 429: 260}
    assert seen(upstream, models) == 40, "a refused call has reached the upstream"
    records = team.records(project, 40)
    assert sum(row["cost"] for row in records) == 40 * CENT


def test_a_limit_that_is_set_counts_what_was_spent_and_what_is_in_flight_at_every_replica(team: Team) -> None:
    project, key = team.key()
    ports = [each.port for each in team.replicas]
    statuses = [ask(port, key).status_code for port in ports]

    def refusals() -> list[str]:
        return [str(ask(port, key, max_tokens=1000).json()["error"]["message"]) for port in ports]

    with ExitStack() as stack:
        for number in range(4):
            stack.enter_context(in_flight(ports[number % 2], key, f"stalled-stream#later-{number}"))
        limit = {"threshold_amount": 40, "currency": "USD", "interval": "month"}
        team.admin.post(f"projects/{project}/spend_limit", limit)
        while statuses[-1] == 200:  # until the other replica knows of it
            time.sleep(0.1)
            statuses.append(ask(ports[1], key, max_tokens=1000).status_code)
        numbers = f"Spent $0.{statuses.count(200):02}, reserved $0.04"
        until(lambda: all(numbers in each for each in refusals()), f"not counted: {numbers}")
        left = [ask(port, key).status_code for port in ports for _ in range(20)]
        assert left.count(200) == 40 - 4 - statuses.count(200)
    until(lambda: all("reserved $0.00" in each for each in refusals()), "what ended is held still")


def test_clients_that_leave_at_random_spend_what_a_cap_pays_for_and_no_more(team: Team, upstream: Upstream) -> None:
    project, key = team.key(cents=40)
    until(lambda: all(nothing_is_held(each.port, key) for each in team.replicas), "money is not counted")
    models = leavers("left")

    async def leave() -> None:
        connections = [await asyncio.open_connection(HOST, team.port) for _ in models]
        await leave_at_random(connections, key, models)

    asyncio.run(leave())
    until(lambda: all(nothing_is_held(each.port, key) for each in team.replicas), "what is over is still held")
    asked = asked_of(upstream, models)
    until(lambda: asked.keys() <= {row["upstream_model"] for row in team.records_of(project)}, "a call has no record")
    judge_left(team.records_of(project), asked, 40)


def test_of_six_hundred_calls_to_two_replicas_as_many_pass_as_a_limit_lets_through(
    team: Team, upstream: Upstream
) -> None:
    models = [f"fifty#{number}" for number in range(600)]
    statuses = asyncio.run(ask_all([each.port for each in team.replicas], FIFTY, models))
    assert {status: statuses.count(status) for status in set(statuses)} == {200: 50, 429: 550}
    assert seen(upstream, models) == 50


def test_a_key_is_good_everywhere_at_once_and_revoked_everywhere_within_seconds(team: Team) -> None:
    project, key = team.key()
    one, other = team.replicas
    assert [ask(each.port, key).status_code for each in (other, one)] == [200, 200]
    (account,) = team.admin.get(f"projects/{project}/service_accounts")["data"]
    team.admin.delete(f"projects/{project}/service_accounts/{account['id']}")
    assert ask(one.port, key).status_code == 401
    until(lambda: ask(other.port, key).status_code == 401, "a revoked key is still good on another replica")


def test_without_a_limit_no_call_fails_whatever_is_away_and_each_is_recorded(team: Team, upstream: Upstream) -> None:
    project, key = team.key()
    models = [f"away#{number}" for number in range(120)]
    assert [ask(each.port, key).status_code for each in team.replicas] == [200, 200]
    statuses = []
    with team.postgres.frozen(), team.valkey.frozen():
        statuses += asyncio.run(ask_all([team.port], key, models[:40]))
        time.sleep(2)
    team.postgres.kill()
    team.valkey.kill()
    statuses += asyncio.run(ask_all([team.port], key, models[40:80]))
    team.postgres.start()
    team.valkey.start()
    statuses += asyncio.run(ask_all([team.port], key, models[80:]))
    assert set(statuses) == {200}
    records = team.records(project, 122)
    assert len({row["id"] for row in records}) == 122
    assert seen(upstream, models) == 120


def test_while_nothing_counts_rates_are_divided_and_money_is_closed(team: Team, upstream: Upstream) -> None:
    _, key = team.key(cents=1_000)
    until(lambda: ask(team.port, key).status_code == 200, "money is not counted")
    project, rated = team.key()
    team.admin.post(f"projects/{project}/rate_limits/rl-*", {"max_requests_per_1_day": 40})
    until(lambda: "x-ratelimit-limit-requests" in ask(team.replicas[1].port, rated).headers, "no limit")
    with team.valkey.frozen():
        refused = ask(team.port, key)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        models = [f"share#{number}" for number in range(60)]
        statuses = asyncio.run(ask_all([team.replicas[0].port], rated, models))
        assert statuses.count(200) == 20, "half of the limit is this replica's share"
    until(lambda: ask(team.port, key).status_code == 200, "money is not counted again")


def test_a_server_of_counters_that_is_killed_loses_no_money(team: Team, upstream: Upstream) -> None:
    project, key = team.key(cents=30)

    def counts() -> bool:
        return all(ask(each.port, key, max_tokens=10_000).status_code == 429 for each in team.replicas)

    until(counts, "money is not counted")
    models = [f"killed#{number}" for number in range(12)]
    assert set(asyncio.run(ask_all([team.port], key, models))) == {200}
    team.records(project, 12)
    team.valkey.kill()
    team.valkey.start()
    until(counts, "money is not counted again")
    more = [f"killed#{number}" for number in range(100, 160)]
    statuses = asyncio.run(ask_all([team.port], key, more))
    assert {status: statuses.count(status) for status in set(statuses)} == {200: 18, 429: 42}
    assert seen(upstream, more) == 18
    assert sum(row["cost"] for row in team.records(project, 30)) == 30 * CENT


def test_a_schema_that_lacks_a_column_makes_replicas_unready(team: Team) -> None:
    def ready() -> set[int]:
        with httpx2.Client(timeout=TIMEOUT_S, trust_env=False, verify=NO_CERTIFICATES) as client:
            return {client.get(f"{each.base_url}/ready").status_code for each in team.replicas}

    until(lambda: ready() == {200}, "not ready")
    asyncio.run(team.query("ALTER TABLE audit RENAME COLUMN actor TO someone"))
    try:
        until(lambda: ready() == {503}, "ready without a column")
    finally:
        asyncio.run(team.query("ALTER TABLE audit RENAME COLUMN someone TO actor"))
    until(lambda: ready() == {200}, "not ready again")
    (reported, *_) = team.replicas[0].records("store cannot be used")
    assert "lacks audit.actor" in reported["problem"]


def test_a_replica_ends_in_time_although_its_stores_are_frozen_and_the_next_one_ships_what_it_left(
    team: Team, shared_upstream: Upstream, tmp_path: Path
) -> None:
    project, key = team.key()
    environment = {**team.environments[0], "GATEWAY_DATA_DIR": str(tmp_path), "GRACE_PERIOD_S": "2"}
    with running_gateway(**environment) as third:
        assert ask(third.port, key).status_code == 200
        with team.postgres.frozen(), team.valkey.frozen():
            assert [ask(third.port, key).status_code for _ in range(5)] == [200] * 5
            third.process.send_signal(signal.SIGTERM)
            assert third.process.wait(60) == 0
    with running_gateway(**environment):
        team.records(project, 6)


def test_a_replica_that_never_saw_its_store_is_neither_ready_nor_open(team: Team, tmp_path: Path) -> None:
    environment = {**team.environments[0], "GATEWAY_DATA_DIR": str(tmp_path), "STORE_URL": f"{team.url}_missing"}
    with running_gateway(**environment) as lonely:
        with httpx2.Client(timeout=TIMEOUT_S, trust_env=False, verify=NO_CERTIFICATES) as client:
            assert client.get(f"{lonely.base_url}/ready").status_code == 503
        assert ask(lonely.port, "sk-unknown-0123456789").status_code == 503
        assert ask(lonely.port, FIFTY).status_code in {200, 429}, "a key of the configuration needs no store"
        asyncio.run(team.query("CREATE DATABASE postgres_missing"))
        until(lambda: "ai-gateway store migrate" in lonely.log(), "the log does not say what to do")


def test_without_a_server_of_counters_each_replica_counts_its_share_and_money_is_refused(
    team: Team, upstream: Upstream, tmp_path: Path
) -> None:
    _, key = team.key(cents=1_000)
    environment = {**team.environments[0], "GATEWAY_DATA_DIR": str(tmp_path)}
    del environment["VALKEY_URL"]
    with running_gateway(**environment) as alone:
        refused = ask(alone.port, key)
        assert (refused.status_code, refused.headers["x-should-retry"]) == (503, "false")
        assert "VALKEY_URL" in refused.json()["error"]["message"]
        models = [f"divided#{number}" for number in range(60)]
        statuses = asyncio.run(ask_all([alone.port], FIFTY, models))
        assert statuses.count(200) == seen(upstream, models) == 25, "half of the limit of fifty"
        (warned,) = alone.records(
            "limits are not shared by replicas: each counts its share, and spend limits refuse all calls"
        )
        assert warned["advice"] == "set VALKEY_URL"


def test_two_workers_share_limits_and_money_without_any_server(shared_upstream: Upstream, tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text(CONFIGURATION)
    with running_gateway(
        **in_front_of(shared_upstream), ADMIN_API_KEY=ADMIN_KEY, KEY_OF_FIFTY=FIFTY, WORKERS="2",
        GATEWAY_DATA_DIR=str(tmp_path), GATEWAY_CONFIG=str(tmp_path / "gateway.toml"),
    ) as live:  # fmt: skip
        admin = Administrator(live)
        project, key = capped_team(admin, 40)
        left, other_key = capped_team(admin, 40)
        capped, limited, leaving = (
            [f"workers#{number}" for number in range(300)],
            [f"workers-fifty#{number}" for number in range(300)],
            leavers("workers-left"),
        )

        async def ask_both() -> tuple[list[int], list[int]]:
            connections = await connected(live, 300)
            await asyncio.sleep(4)  # until the other worker knows of the limits as well
            both = await ask_over(connections, key, capped), await ask_over(connections, FIFTY, limited)
            await leave_at_random(connections, other_key, leaving)
            return both

        of_capped, of_limited = asyncio.run(ask_both())
        assert Counter(of_capped) == {200: 40, 429: 260}
        assert seen(shared_upstream, capped) == 40
        assert Counter(of_limited) == {200: 50, 429: 250}
        refused = ask(live.port, key, max_tokens=10_000).json()["error"]["message"]
        assert "Spent $0.40, reserved $0.00" in refused
        until(lambda: nothing_is_held(live.port, other_key), "what is over is still held")
        asked = asked_of(shared_upstream, [*capped, *limited, *leaving])
        until(lambda: asked.keys() <= {row["upstream_model"] for row in rows_of(tmp_path)}, "a call has no record")
        assert sum(row["cost"] for row in rows_of(tmp_path, project)) == 40 * CENT
        judge_left(rows_of(tmp_path, left), asked_of(shared_upstream, leaving), 40)
        ids = [row["id"] for row in rows_of(tmp_path)]
        assert len(ids) == len(set(ids)) >= 130


def capped_team(admin: Administrator, cents: int) -> tuple[str, str]:
    """A new project that may spend so much, and a key of it."""
    project = admin.project()
    limit = {"threshold_amount": cents, "currency": "USD", "interval": "month"}
    admin.post(f"projects/{project}/spend_limit", limit)
    return project, str(admin.account(project)["api_key"]["value"])


def rows_of(data: Path, project: str | None = None) -> list[sqlite3.Row]:
    """The records of a project, or all."""
    with closing(sqlite3.connect(data / "gateway.db")) as db:
        db.row_factory = sqlite3.Row
        rows = db.execute("SELECT * FROM records").fetchall()
    return [row for row in rows if project in {None, row["project_id"]}]

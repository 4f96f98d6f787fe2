"""Counters that replicas share: the same answers as in one process, whatever the server of them loses."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from ai_gateway.accounts.calls import StoredCall
from ai_gateway.accounts.counters.base import Counters, CountersError, Granted, Hold, Refused, Unknown
from ai_gateway.accounts.counters.file import FileCounters
from ai_gateway.accounts.counters.memory import MemoryCounters
from ai_gateway.accounts.counters.valkey import ValkeyCounters
from ai_gateway.accounts.counters.valkey_connection import Address, address_of
from ai_gateway.accounts.recovery import Recovery
from tests.support.certificate import self_signed
from tests.support.clock import Clock
from tests.support.gateway import HOST, free_port
from tests.support.servers import Server, flush, running_cluster, running_valkey

START = 1_800_000_000.0
CENT = 10**10
UNTIL = int(START) + 40 * 86_400
type Engine = Callable[[Clock], Awaitable[Counters]]


def hold(name: str, amount: int, limit: int) -> Hold:
    """Of a counter whose kind its name tells."""
    unit_s = {"rpm": 1, "tpm": 1, "rpd": 1440}.get(name, 0)
    money = name.startswith("spend")
    return Hold(name, amount, limit, unit_s, money, UNTIL if money else 0)


# What is asked of counters: to reserve (some of these, each with amount and limit), to settle (one of the open calls,
# for a part of what it holds or more), or to let time pass.
HOLDS = st.fixed_dictionaries(
    {},
    optional={
        "rpm": st.tuples(st.just(1), st.integers(1, 6)),
        "rpd": st.tuples(st.just(1), st.integers(1, 12)),
        "tpm": st.tuples(st.integers(0, 60), st.integers(1, 100)),
        "parallel": st.tuples(st.just(1), st.integers(1, 4)),
        "spend/a": st.tuples(st.integers(0, 400 * CENT), st.integers(0, 1_000 * CENT)),
        # More digits than a double has.
        "spend/b": st.tuples(st.integers(10**17, 10**18), st.sampled_from([2 * 10**18, 2 * 10**18 + 1])),
    },
)
STEPS = st.lists(
    st.one_of(
        HOLDS.map(lambda holds: ("reserve", holds)),
        st.tuples(st.just("settle"), st.integers(0, 10), st.integers(0, 3)),
        st.tuples(
            st.just("pass"),
            st.sampled_from([0.25, 1.0, 7.5, 59.0, 61.0, 1440.0, 50_000.0, 90_000.0, -7.5, -61.0, -5_000.0]),
        ),
    ),
    max_size=25,
)


async def answers(  # noqa: C901 - one branch for each step and answer
    counters: Counters, clock: Clock, steps: list[tuple[object, ...]]
) -> list[object]:
    """What counters say to these steps, in a form that can be compared."""
    said: list[object] = []
    calls: list[tuple[str, list[Hold], float]] = []
    for number, (what, *values) in enumerate(steps):
        if what == "pass":
            clock.now += float(str(values[0]))
        elif what == "settle" and calls:
            call, holds, at = calls.pop(int(str(values[0])) % len(calls))
            await counters.settle(call, holds, [each.amount * int(str(values[1])) // 2 for each in holds], at)
            found = await counters.read(["parallel", "spend/a", "spend/b"])
            said.append({name: counts for name, counts in found.items() if counts != (0, 0)})
        elif what == "reserve":
            assert isinstance(values[0], dict)
            holds = [hold(name, *each) for name, each in values[0].items()]
            answer = await counters.reserve(f"call-{number}", holds)
            if isinstance(answer, Unknown):
                for counter in answer.counters:
                    await counters.seed(counter, len(counter), UNTIL)
                said.append(sorted(answer.counters))
                answer = await counters.reserve(f"call-{number}", holds)
            if isinstance(answer, Granted):
                calls.append((f"call-{number}", holds, answer.at))
                said.append((answer.at, *answer.left, *answer.resets))
            if isinstance(answer, Refused):
                said.append((answer[:4], *answer.left, *answer.resets))
    return said


_spaces = iter(range(10**9))


def address_for(server: Server, database: int = 0) -> Address:
    return address_of(f"redis://{HOST}:{server.port}/{database}")


async def a_valkey(server: Server, clock: Clock | None, lease_s: float = 60.0) -> ValkeyCounters:
    """Counters that nobody else has, for which money can be counted at once."""
    counters = ValkeyCounters(address_for(server), space=f"test-{next(_spaces)}", lease_s=lease_s, clock=clock)
    if clock is not None:
        clock.now -= 100
        await counters.read(["spend"])
        clock.now += 100
    return counters


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_every_engine_answers_the_same(valkey: Server, tmp_path: Path, steps: list[tuple[object, ...]]) -> None:
    async def run() -> None:
        clocks = [Clock(START) for _ in range(3)]
        path = tmp_path / f"{next(_spaces)}"
        engines = [MemoryCounters(clocks[0]), FileCounters(path, clocks[1]), await a_valkey(valkey, clocks[2], 1e9)]
        try:
            memory, file, shared = [
                await answers(engine, clock, steps) for engine, clock in zip(engines, clocks, strict=True)
            ]
        finally:
            for engine in engines:
                await engine.aclose()
        assert memory == file
        assert memory == shared

    asyncio.run(run())


@pytest.fixture(params=["file", pytest.param("valkey", marks=pytest.mark.live)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Counters]:
    """Makes counters of the same place, each as another process would have them."""
    if request.param == "file":
        return lambda: FileCounters(tmp_path / "counters")
    server: Server = request.getfixturevalue("valkey")
    space = f"test-{next(_spaces)}"
    return lambda: ValkeyCounters(address_for(server), space=space)


async def begin(*all_counters: Counters) -> None:
    for counters in all_counters:
        if isinstance(counters, ValkeyCounters):
            await counters.open()


async def test_exactly_as_many_pass_as_a_limit_lets_through(engine: Callable[[], Counters]) -> None:
    replicas = engine(), engine()
    rate, money = hold("rpd", 1, 40), hold("spend/a", 25 * CENT, 30 * 25 * CENT + 24 * CENT)
    try:
        await begin(*replicas)
        await replicas[0].seed(money.counter, 0, UNTIL)

        async def call(replica: Counters, name: str, wanted: Hold) -> bool:
            return isinstance(await replica.reserve(name, [wanted]), Granted)

        asked = [call(replica, f"{at}-{number}", rate) for number in range(300) for at, replica in enumerate(replicas)]
        assert sum(await asyncio.gather(*asked)) == 40
        asked = [call(replica, f"m{at}-{number}", money) for number in range(50) for at, replica in enumerate(replicas)]
        assert sum(await asyncio.gather(*asked)) == 30
        assert await replicas[1].read([money.counter]) == {money.counter: (0, 750 * CENT)}
    finally:
        for replica in replicas:
            await replica.aclose()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                if await condition():
                    return
            except CountersError:
                pass
            await asyncio.sleep(0.05)


async def test_a_settle_that_is_sent_again_counts_once(valkey: Server) -> None:
    counters = await a_valkey(valkey, Clock(START))
    holds = [hold("rpm", 1, 5), hold("parallel", 1, 5), hold("spend/a", 10 * CENT, 100 * CENT)]
    try:
        await counters.seed("spend/a", 7 * CENT, UNTIL)
        answer = await counters.reserve("call", holds)
        assert isinstance(answer, Granted)
        for _ in range(3):
            await counters.settle("call", holds, [1, 0, 4 * CENT], answer.at)
        assert await counters.read(["parallel", "spend/a"]) == {"parallel": (0, 0), "spend/a": (11 * CENT, 0)}
        again = await counters.reserve("other", [hold("rpm", 1, 5)])
        assert isinstance(again, Granted)
        assert list(again.left) == [3]
    finally:
        await counters.aclose()


async def test_a_call_that_costs_nothing_is_settled_as_any_other(valkey: Server) -> None:
    counters = await a_valkey(valkey, Clock(START))
    holds = [hold("spend/a", 0, 100 * CENT), hold("tpm", 0, 100)]
    try:
        await counters.seed("spend/a", 0, UNTIL)
        for call, took in (("free", 0), ("dearer", CENT)):
            assert isinstance(await counters.reserve(call, holds), Granted)
            await counters.settle(call, holds, [took, 0], START)
        assert await counters.read(["spend/a"]) == {"spend/a": (CENT, 0)}
    finally:
        await counters.aclose()


async def test_what_a_dead_replica_holds_is_spent_until_somebody_knows_better(valkey: Server) -> None:
    clock = Clock(START)
    dead = await a_valkey(valkey, clock)
    other = ValkeyCounters(address_for(valkey), space=dead._space[1:-2], clock=clock)
    holds = [hold("parallel", 1, 1), hold("spend/a", 10 * CENT, 100 * CENT)]
    try:
        await dead.seed("spend/a", 0, UNTIL)
        assert isinstance(await dead.reserve("lost", holds), Granted)
        dead._open.clear()  # it is no more: nobody renews what it holds
        clock.now += 59
        assert isinstance(await other.reserve("early", holds), Refused)
        clock.now += 2
        assert isinstance(await other.reserve("later", [hold("rpm", 1, 5)]), Granted)
        assert await other.read(["parallel", "spend/a"]) == {"parallel": (0, 0), "spend/a": (10 * CENT, 0)}
        await other.settle("lost", holds, [0, 3 * CENT], START)  # its journal was found
        assert await other.read(["parallel", "spend/a"]) == {"parallel": (0, 0), "spend/a": (3 * CENT, 0)}
    finally:
        await dead.aclose()
        await other.aclose()


@pytest.mark.parametrize("passed_s", [1, 62])
async def test_what_a_dead_process_left_is_settled_by_what_the_ledger_has_of_it(valkey: Server, passed_s: int) -> None:
    """Also once it was taken to be spent."""
    clock = Clock(START)
    dead = await a_valkey(valkey, clock)
    other = ValkeyCounters(address_for(valkey), space=dead._space[1:-2], clock=clock)
    recovery = Recovery(other)
    holds = [hold("parallel", 1, 9), hold("spend/a", 10 * CENT, 100 * CENT), hold("rpm", 1, 9)]
    try:
        await dead.seed("spend/a", 0, UNTIL)
        for call in ("0-gone-1", "0-gone-2", "0-gone-2.1", "0-gone-3", "0-lives-1", "0-gone-4"):
            assert isinstance(await dead.reserve(call, holds), Granted)
        await dead.settle("0-gone-4", holds, [0, CENT, 1], START)
        dead._open.clear()  # it is no more: nobody renews what it holds
        clock.now += passed_s
        await other.reserve("later", [hold("rpd", 1, 5)])

        async def find(call: str) -> StoredCall | None:
            costs = {"0-gone-2": 3 * CENT, "0-gone-3": None}  # which ended while the counters were away
            return StoredCall({"cost": costs[call]}) if call in costs else None

        await recovery.settle_rest("gone", find)
        await recovery.settle_rest("gone", find)
        of_the_living = (0, 1) if passed_s == 1 else (0, 0)
        money_of_the_living = (0, 10 * CENT) if passed_s == 1 else (10 * CENT, 0)
        used = CENT + 2 * 3 * CENT + 10 * CENT + money_of_the_living[0]
        assert await other.read(["parallel", "spend/a"]) == {
            "parallel": of_the_living,
            "spend/a": (used, money_of_the_living[1]),
        }
    finally:
        await dead.aclose()
        await other.aclose()


async def test_open_calls_are_renewed(valkey: Server) -> None:
    counters = await a_valkey(valkey, None, lease_s=3)
    other = ValkeyCounters(address_for(valkey), space=counters._space[1:-2])
    try:
        assert isinstance(await counters.reserve("long", [hold("parallel", 1, 1)]), Granted)
        await asyncio.sleep(4)
        assert isinstance(await other.reserve("next", [hold("parallel", 1, 1)]), Refused)
    finally:
        await counters.aclose()
        await other.aclose()


async def test_a_frozen_server_is_known_at_once_and_a_reserve_that_it_gets_late_holds_nothing() -> None:
    loop = asyncio.get_running_loop()
    with running_valkey() as server:
        counters = ValkeyCounters(address_for(server))
        try:
            await counters.open()
            await counters.seed("spend/a", 0, UNTIL)
            with server.frozen():
                began = loop.time()
                with pytest.raises(CountersError, match=r"no answer within 0\.2 s"):
                    await counters.reserve("call", [hold("spend/a", CENT, 9 * CENT)])
                for number in range(20):
                    with pytest.raises(CountersError):
                        await counters.reserve(f"call-{number}", [hold("spend/a", CENT, 9 * CENT)])
                assert loop.time() - began < 21  # the moment that each is given, and not the patience of a connection
            await until(lambda: reads(counters, "spend/a", (0, 0)))
            assert isinstance(await counters.reserve("after", [hold("spend/a", CENT, 9 * CENT)]), Granted)
        finally:
            await counters.aclose()


async def reads(counters: Counters, name: str, wanted: tuple[int, int]) -> bool:
    return (await counters.read([name])).get(name) == wanted


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["emptied", "killed"])
async def test_lost_counters_begin_anew_with_the_ledger_and_with_all_open_calls(loss: str) -> None:
    with running_valkey() as server:
        replicas = ValkeyCounters(address_for(server)), ValkeyCounters(address_for(server))
        money = hold("spend/a", 10 * CENT, 100 * CENT)
        try:
            await begin(*replicas)
            await replicas[0].seed("spend/a", 20 * CENT, UNTIL)
            for number in range(4):
                assert isinstance(await replicas[number % 2].reserve(f"open-{number}", [money]), Granted)
            if loss == "emptied":
                flush(server)
            else:
                server.kill()
                server.start()

            async def is_unknown() -> bool:
                answer = await replicas[0].reserve(f"new-{next(_spaces)}", [money])
                assert isinstance(answer, Unknown), "money was counted before all was known"
                return True

            settled = asyncio.create_task(until(lambda: settle_one(replicas[1], money)))
            await until(is_unknown)
            await settled
            await replicas[0].seed("spend/a", 27 * CENT, UNTIL)  # what the ledger has by now
            assert await replicas[1].read(["spend/a"]) == {"spend/a": (27 * CENT, 30 * CENT)}
            fit = [isinstance(await replicas[0].reserve(f"then-{number}", [money]), Granted) for number in range(6)]
            assert fit == [True] * 4 + [False] * 2
        finally:
            for replica in replicas:
                await replica.aclose()


async def settle_one(counters: Counters, money: Hold) -> bool:
    """A call ends while its counter has not begun again: the ledger will have its cost."""
    await counters.settle("open-3", [money], [7 * CENT], 0)
    return True


async def test_a_counter_never_has_used_less_than_the_ledger_says(valkey: Server) -> None:
    counters = await a_valkey(valkey, Clock(START))
    wanted = Hold("spend", 10**10, 10**15, money=True)
    for said, used in ((10**11, 10**11), (9 * 10**10, 10**11), (2 * 10**14 + 1, 2 * 10**14 + 1)):
        await counters.seed("spend", said, 0)
        assert await counters.read(["spend"]) == {"spend": (used, 0)}
    assert isinstance(await counters.reserve("a", [wanted]), Granted)
    await counters.settle("a", [wanted], [7], 0.0)
    assert await counters.read(["spend"]) == {"spend": (2 * 10**14 + 8, 0)}
    await counters.aclose()


# What the documentation says a user needs, for the keys of the counters alone; others may only ask if it is there.
RIGHTS = (
    "~{ai-gateway}:* -@all +evalsha +eval +script|load +info +select +@string +@hash +@sortedset +del +exists +expire"
)
ACL = f"--user default on nopass -@all +ping --user gateway on >p@ss/w:rd {RIGHTS} +time".split()
PASSWORD = "p%40ss%2Fw%3Ard"


async def counts(counters: ValkeyCounters, call: str = "one") -> int:
    """What a counter says, after a call that was let through."""
    money = hold("spend/a", CENT, 10 * CENT)
    await counters.open()
    answer = await counters.reserve(call, [money])
    if isinstance(answer, Unknown):
        await counters.seed(money.counter, 0, UNTIL)
        answer = await counters.reserve(call, [money])
    assert isinstance(answer, Granted)
    await counters.settle(call, [money], [CENT], answer.at)
    return (await counters.read(["spend/a"]))["spend/a"][0]


@pytest.fixture
def secure(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Server, int]]:
    """A server, and the port where it speaks TLS with a certificate that is trusted here."""
    with TemporaryDirectory(prefix="certificate-") as name:
        certificate = self_signed(Path(name))
        trusted = certificate.with_suffix(".crt")
        for path in (Path(name), certificate, trusted):
            path.chmod(0o755)  # the server is somebody else
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        port = free_port()
        files = f"--tls-cert-file {certificate} --tls-key-file {certificate} --tls-ca-cert-file {trusted}".split()
        with running_valkey("--tls-port", str(port), *files, "--tls-auth-clients", "no", *ACL) as server:
            yield server, port


async def test_a_server_with_tls_and_users_of_few_rights(secure: tuple[Server, int]) -> None:
    server, port = secure
    both = [
        ValkeyCounters(address_of(f"rediss://gateway:{PASSWORD}@{HOST}:{port}/0")),
        ValkeyCounters(address_of(f"redis://gateway:{PASSWORD}@{HOST}:{server.port}")),
    ]
    assert [await counts(counters, f"call-{number}") for number, counters in enumerate(both)] == [CENT, 2 * CENT]
    for counters in both:
        await counters.aclose()
    for wrong, reported in {
        f"redis://gateway:wrong@{HOST}:{server.port}": "WRONGPASS",
        f"redis://{HOST}:{server.port}": "NOPERM",
        f"rediss://gateway:{PASSWORD}@localhost:{port}": "certificate",
    }.items():
        counters = ValkeyCounters(address_of(wrong))
        with pytest.raises(CountersError, match=reported) as refused:
            await counters.open()
        assert "w:rd" not in str(refused.value)
        await counters.aclose()


async def test_a_cluster_is_asked_where_the_counters_are_whichever_node_is_named() -> None:
    with running_cluster() as nodes:
        replicas = [ValkeyCounters(address_for(node)) for node in nodes]
        assert [await counts(each, f"call-{number}") for number, each in enumerate(replicas)] == [
            CENT, 2 * CENT, 3 * CENT,
        ]  # fmt: skip
        for each in replicas:
            await each.aclose()

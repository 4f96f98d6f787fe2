"""Responses in the background on two replicas that share a PostgreSQL: read, cancelled and missed on the other one."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.administration import ADMIN_KEY
from tests.support.background import WORDS, Tap, begin, follow, id_of, is_whole, kinds, numbers
from tests.support.client import eventually, get, post
from tests.support.gateway import TEST_KEY, LiveGateway, run_cli, running_gateway
from tests.support.servers import Server, new_database
from tests.support.upstream import running_upstream

pytestmark = pytest.mark.slow

type Pair = tuple[LiveGateway, LiveGateway, Tap]


@pytest.fixture(scope="module")
def pair(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    url, tap = asyncio.run(new_database(postgres)), Tap()
    assert run_cli("store", "migrate", STORE_URL=url).returncode == 0
    with ExitStack() as stack:
        lab = stack.enter_context(running_upstream(tap.behave))
        settings = {"STORE_URL": url, "ADMIN_API_KEY": ADMIN_KEY, "ALLOWED_API_KEYS": TEST_KEY, "GRACE_PERIOD_S": "1"}
        settings["PROVIDER_LAB_BASE_URL"] = lab.url
        homes = [str(tmp_path_factory.mktemp(name)) for name in ("one", "other")]
        one, other = (stack.enter_context(running_gateway(**settings, GATEWAY_DATA_DIR=home)) for home in homes)
        yield one, other, tap


def test_it_is_read_and_cancelled_on_the_other_replica(pair: Pair) -> None:
    one, other, tap = pair
    tap.words["read"] = 6
    first = begin(one, "read")
    late = follow(other, id_of(first), after=2)
    late.has(8)
    tap.words["read"] = WORDS + 1
    whole = first.end()
    assert is_whole(whole)
    assert late.end() == whole[3:]
    assert get(other, f"/v1/responses/{id_of(first)}").json() == whole[-1]["response"]
    tap.words["cancel"] = 6
    running = begin(one, "cancel")
    running.has(8)
    cancelled = post(other, f"/v1/responses/{id_of(running)}/cancel", None).json()
    assert cancelled["status"] == "cancelled"
    events = running.end()
    assert (kinds(events)[-1], events[-1]["response"]) == ("failed", cancelled)


def test_a_store_that_is_away_holds_no_reader_up_where_it_is_made(pair: Pair, postgres: Server) -> None:
    one, other, tap = pair
    tap.words["away"] = 6
    first = begin(one, "away")
    first.has(8)
    late = follow(other, id_of(first))
    late.has(8)
    with postgres.frozen():
        tap.words["away"] = 20
        first.has(22)
    tap.words["away"] = WORDS + 1
    whole = first.end()
    assert is_whole(whole)
    eventually(lambda: get(other, f"/v1/responses/{id_of(first)}").json() == whole[-1]["response"])
    had = late.end()
    if kinds(had)[-1] == "error":  # it found the store away: from there it goes on
        last = had.pop()["sequence_number"]
        had += follow(other, id_of(first), after=last).end()
    assert had == whole


def test_one_whose_replica_is_lost_has_failed_for_those_who_follow_it(pair: Pair) -> None:
    one, other, tap = pair
    tap.words["lost"] = 6
    first = begin(one, "lost")
    late = follow(other, id_of(first))
    late.has(8)
    one.process.send_signal(signal.SIGKILL)
    events = late.end()  # once its lease has run out
    assert numbers(events) == list(range(len(events)))
    assert kinds(events)[-1] == "failed"
    assert events[-1]["response"]["error"]["code"] == "server_error"
    assert get(other, f"/v1/responses/{id_of(first)}").json() == events[-1]["response"]

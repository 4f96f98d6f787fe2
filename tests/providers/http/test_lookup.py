"""Look-ups of names that requests bring: those of one caller, however silent, leave places for others."""

import asyncio
import socket
import threading
from collections.abc import Iterator, Sequence

import pytest
from aiohappyeyeballs import AddrInfoType

from ai_gateway.contract.turns import NoPlace
from ai_gateway.providers.http.egress import NotLookedUp, resolved
from ai_gateway.providers.http.lookup import AddressLookups

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
MOST, MAX_OF_ONE = 5, 3
ADDRESS: AddrInfoType = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))


@pytest.fixture
def silence() -> Iterator[threading.Event]:
    """Once it is set, all names have been looked up."""
    over = threading.Event()
    yield over
    over.set()


def lookups_in(silence: threading.Event) -> AddressLookups:
    def resolve(host: str, port: int) -> Sequence[AddrInfoType]:
        if host.startswith("silent"):
            assert silence.wait(120)
        return [ADDRESS]

    return AddressLookups(MOST, resolve, MAX_OF_ONE)


def begin(lookups: AddressLookups, caller: str, count: int) -> list[asyncio.Task[Sequence[AddrInfoType]]]:
    """Look up so many names that are silent."""
    return [asyncio.create_task(lookups.addresses(f"silent{at}.test", 80, caller)) for at in range(count)]


async def test_silent_names_of_a_caller_leave_places_for_the_names_of_others(silence: threading.Event) -> None:
    lookups = lookups_in(silence)
    silent = begin(lookups, "one", 2 * MOST)
    async with asyncio.timeout(60):
        while sum(task.done() for task in silent) < len(silent) - MAX_OF_ONE:
            await asyncio.wait([task for task in silent if not task.done()], return_when=asyncio.FIRST_COMPLETED)
        assert await lookups.addresses("known.test", 80, "another") == [ADDRESS]
        silence.set()
        reported = await asyncio.gather(*silent, return_exceptions=True)
        assert sum(one == [ADDRESS] for one in reported) == MAX_OF_ONE
        assert sum(isinstance(one, NoPlace) for one in reported) == len(reported) - MAX_OF_ONE
        assert await lookups.addresses("known.test", 80, "one") == [ADDRESS], "they have given their places back"


async def test_a_place_is_taken_as_long_as_the_look_up_runs_although_nobody_awaits_it(silence: threading.Event) -> None:
    lookups = lookups_in(silence)
    silent = begin(lookups, "one", MAX_OF_ONE)
    async with asyncio.timeout(60):
        await asyncio.wait(silent, timeout=0.1)
        for task in silent:
            task.cancel()
        await asyncio.wait(silent)
        with pytest.raises(NotLookedUp):
            await resolved("known.test", 80, lookups, "one")
        joined = begin(lookups, "another", MAX_OF_ONE)  # the same names, which run already
        assert await lookups.addresses("known.test", 80, "another") == [ADDRESS]
        silence.set()
        assert await asyncio.gather(*joined) == [[ADDRESS]] * MAX_OF_ONE
        assert await lookups.addresses("known.test", 80, "one") == [ADDRESS]

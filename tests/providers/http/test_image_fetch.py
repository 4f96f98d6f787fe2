"""The images of one request: one refusal ends all, and neither time nor bytes run over."""

import asyncio
from collections.abc import Iterator, Sequence

import pytest

from ai_gateway.errors import InvalidRequest, Unavailable
from ai_gateway.providers.http.egress import Address, Egress, NotLookedUp
from ai_gateway.providers.http.image_fetch import MAX_BYTES, fetch_all
from tests.support.upstream import Exchange, Upstream, head, running_upstream

pytestmark = pytest.mark.anyio
PIECE = b"x" * 2**20
PIECES = 15


async def behave(exchange: Exchange) -> None:
    """The path says what is there."""
    path = exchange.seen.path
    png = {"content-type": "image/png"}
    if path.startswith("/slow"):
        await exchange.raw(head(200, {**png, "content-length": "10"}))
        await exchange.hang()
    elif path.startswith("/large"):
        await exchange.raw(head(200, {**png, "content-length": str(PIECES * len(PIECE))}))
        for _ in range(PIECES):
            await exchange.raw(PIECE)
    elif path == "/refused":
        await asyncio.sleep(0.3)  # the slow ones are under way
        await exchange.reply(b"no", status=404)
    else:
        await exchange.reply(b"\x89PNG", content_type="image/png")


@pytest.fixture(scope="module")
def server() -> Iterator[Upstream]:
    with running_upstream(behave) as running:
        yield running


async def fetched(server: Upstream, *paths: str, timeout_s: float = 120) -> dict[str, str]:
    places = {f"http://127.0.0.1:{server.port}{path}": f"messages[{at}]" for at, path in enumerate(paths)}
    return await fetch_all(Egress(lambda _: True), places, "lab", timeout_s)


async def test_every_image_is_there_by_its_address(server: Upstream) -> None:
    found = await fetched(server, "/a", "/b")
    assert found == {f"http://127.0.0.1:{server.port}{path}": "iVBORw==" for path in ("/a", "/b")}


async def test_one_that_is_refused_ends_the_others(server: Upstream) -> None:
    with pytest.raises(InvalidRequest, match="could not be fetched") as caught:
        await fetched(server, "/slow-1", "/refused", "/slow-2")
    assert (caught.value.status, caught.value.param) == (400, "messages[1]")
    for path in ("/slow-1", "/slow-2"):
        assert next(seen for seen in server.requests if seen.path == path).gone.wait(60)


async def test_time_runs_out_for_all_together_as_the_callers_own_fault(server: Upstream) -> None:
    with pytest.raises(InvalidRequest, match="in time"):
        await fetched(server, "/a", "/slow-3", timeout_s=0.4)


async def test_images_are_weighed_together(server: Upstream) -> None:
    large = PIECES * len(PIECE)
    assert 2 * large < MAX_BYTES < 3 * large
    assert len(await fetched(server, "/large-1", "/large-2")) == 2
    with pytest.raises(InvalidRequest, match="40 MB together"):
        await fetched(server, "/large-1", "/large-2", "/large-3")


async def test_a_gateway_that_looks_up_too_many_names_is_no_fault_of_the_request() -> None:
    async def resolve(_host: str, _port: int) -> Sequence[Address]:
        raise NotLookedUp("too many names are being looked up")

    with pytest.raises(Unavailable, match="again in a second") as caught:
        await fetch_all(Egress(lambda _: True, resolve), {"http://images.test/a": "messages[0]"}, "lab", 120)
    assert (caught.value.status, caught.value.param) == (503, "messages[0]")
    assert caught.value.headers["retry-after"] == "1"

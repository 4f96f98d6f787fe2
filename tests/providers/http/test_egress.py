"""The way out to addresses that a request names: who may be asked, and what may come back."""

from collections.abc import Iterator, Sequence
from ipaddress import ip_address

import pytest

from ai_gateway.providers.http import egress
from ai_gateway.providers.http.egress import Address, Egress, NotFetched, is_public
from tests.support.upstream import Exchange, Upstream, head, running_upstream

pytestmark = pytest.mark.anyio
PNG = b"\x89PNG\r\n\x1a\n"


async def behave(exchange: Exchange) -> None:
    """The path says what is there."""
    path = exchange.seen.path
    png = {"content-type": "image/png; x=1"}
    if path.startswith("/to/"):
        location = path.removeprefix("/to/").replace("!", "/")
        await exchange.reply(b"", status=302, headers={"location": location})
    elif path == "/slow":
        await exchange.raw(head(200, {**png, "content-length": "10"}))
        await exchange.hang()
    elif path == "/big":
        await exchange.raw(head(200, {**png, "content-length": str(30 * 2**20)}))
        for _ in range(480):
            await exchange.raw(b"x" * 2**16)
    elif path == "/html":
        await exchange.reply(b"<html>", content_type="text/html")
    elif path == "/gzip":
        await exchange.reply(PNG, content_type="image/png", headers={"content-encoding": "gzip"})
    elif path == "/404":
        await exchange.reply(PNG, status=404, content_type="image/png")
    else:
        await exchange.reply(PNG, content_type="image/png; x=1")


@pytest.fixture(scope="module")
def server() -> Iterator[Upstream]:
    with running_upstream(behave) as running:
        yield running


def anywhere(address: Address) -> bool:
    return True


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1",  # noqa: S104 - refused, never listened on
        "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "192.0.2.1", "198.18.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1", "::", "::1", "fe80::1", "fc00::1",
        "fec0::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001:0:0:0:0:0:80ff:fffe", "2001:db8::1", "fd00:ec2::254",
        "192.0.0.1", "192.0.0.9", "192.88.99.1", "::ffff:192.88.99.1", "168.63.129.16", "3fff::1", "3fff:fff::1",
    ],
)  # fmt: skip
def test_an_address_inside_some_network_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_an_address_on_the_internet_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "0.0.0.0", "[::1]",  # noqa: S104 - as above
        "[::]",
        "[::ffff:127.0.0.1]", "169.254.169.254", "[fe80::1]",
    ],
)  # fmt: skip
async def test_no_spelling_of_a_private_address_is_asked(server: Upstream, host: str) -> None:
    before = len(server.requests)
    with pytest.raises(NotFetched, match=r"not a public address|not resolved"):
        await Egress().image(f"http://{host}:{server.port}/a.png")
    assert len(server.requests) == before


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://h/a", "http://", "http://u:p@127.0.0.1/a", "http://[::1"])
async def test_what_is_no_plain_web_address_is_not_asked(url: str) -> None:
    with pytest.raises(NotFetched):
        await Egress(anywhere).image(url)


async def test_an_image_is_fetched_from_the_address_that_was_checked(server: Upstream) -> None:
    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[Address]:
        asked.append(host)
        return [ip_address("127.0.0.1")]

    found = await Egress(anywhere, resolve).image(f"http://images.example:{server.port}/pinned")
    assert (found.media_type, found.data) == ("image/png", PNG)
    assert asked == ["images.example"]
    seen = next(seen for seen in server.requests if seen.path == "/pinned")
    assert seen.header("host") == f"images.example:{server.port}"


@pytest.mark.parametrize(
    "host", ["127.0.0.\U0001fbf1", "\u2460\u2461\u2466.0.0.1", "127\u30020\u30020\u30021", "[::1]", "127.0.0.1"]
)
async def test_what_the_client_connects_to_is_what_is_checked(server: Upstream, host: str) -> None:
    """Digits of other kinds become plain ones in the client alone, and it asks no resolver about an address."""

    async def resolve(host: str, port: int) -> Sequence[Address]:
        return [ip_address("8.8.8.8")]

    before = len(server.requests)
    with pytest.raises(NotFetched, match="not a public address"):
        await Egress(resolve=resolve).image(f"http://{host}:{server.port}/a.png")
    assert len(server.requests) == before


async def test_one_private_address_among_several_is_enough_to_refuse() -> None:
    async def resolve(host: str, port: int) -> Sequence[Address]:
        return [ip_address("8.8.8.8"), ip_address("10.0.0.1")]

    with pytest.raises(NotFetched, match="not a public address"):
        await Egress(resolve=resolve).image("http://images.example/a.png")


async def test_each_redirect_is_checked_anew(server: Upstream) -> None:
    async def resolve(host: str, port: int) -> Sequence[Address]:
        return [ip_address("127.0.0.1" if host == "good.example" else "10.0.0.1")]

    guarded = Egress(lambda address: address == ip_address("127.0.0.1"), resolve)
    base = f"http://good.example:{server.port}"
    assert (await guarded.image(f"{base}/to/!plain")).data == PNG
    for target in ("http:!!evil.example!x", "http:!!169.254.169.254!latest", "file:!!!etc!passwd"):
        with pytest.raises(NotFetched):
            await guarded.image(f"{base}/to/{target}")
    with pytest.raises(NotFetched, match="too many redirects"):
        await guarded.image(f"{base}/to/!to!!to!!to!!x")


@pytest.mark.parametrize("path", ["html", "gzip", "404", "big"])
async def test_what_is_no_image_of_a_fair_size_is_not_taken(server: Upstream, path: str) -> None:
    with pytest.raises(NotFetched):
        await Egress(anywhere).image(f"http://127.0.0.1:{server.port}/{path}")


async def test_a_server_that_takes_its_time_is_left(server: Upstream) -> None:
    with pytest.raises(NotFetched):
        await Egress(anywhere, timeout_s=0.3).image(f"http://127.0.0.1:{server.port}/slow")
    assert egress.TIMEOUT_S <= 15

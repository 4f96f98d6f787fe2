"""Where webhooks may be, and the ways that lead to them."""

from collections.abc import Iterator
from functools import partial
from ipaddress import ip_address

import pytest

from ai_gateway.accounts.delivery import NotDelivered
from ai_gateway.accounts.webhook import WebhookNetwork, post
from ai_gateway.providers.config.network import proxy_for
from tests.support.forward_proxy import ForwardProxy, running_proxy
from tests.support.upstream import Exchange, Upstream, running_upstream

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MACHINE_ROOMS = (
    *("169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "0.0.0.0", "224.0.0.1"),  # noqa: S104 - nobody listens
    *("fe80::1", "fd00:ec2::254", "::", "ff02::1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::"),
)
PRIVATE = ("10.0.0.1", "172.16.3.4", "192.168.1.1", "127.0.0.1", "fd12::1", "::1", "::ffff:10.0.0.1")
PUBLIC = ("93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946")


async def taken(exchange: Exchange) -> None:
    await exchange.reply(b"", status=204)


@pytest.fixture(scope="module")
def receiver() -> Iterator[Upstream]:
    with running_upstream(taken) as running:
        yield running


@pytest.fixture(scope="module")
def proxy() -> Iterator[ForwardProxy]:
    with running_proxy() as running:
        yield running


@pytest.mark.parametrize("address", MACHINE_ROOMS)
async def test_machine_rooms_are_out_of_reach_in_every_form(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    for scheme in ("http", "https"):
        with pytest.raises(NotDelivered, match="WEBHOOK_ADDRESSES") as refused:
            await post(f"{scheme}://{host}/latest/meta-data", SECRET, "evt", b"{}")
        assert refused.value.is_final
    assert WebhookNetwork("any").permits(ip_address(address))


@pytest.mark.parametrize("url", ["http://2852039166/x", "http://0xa9fea9fe/x", "http://169.254.43518/x"])
async def test_an_address_that_is_written_as_a_number_is_looked_at_as_well(url: str) -> None:
    with pytest.raises(NotDelivered) as refused:
        await post(url, SECRET, "evt", b"{}")
    assert "WEBHOOK_ADDRESSES" in str(refused.value) or "not resolved" in str(refused.value)


def test_private_addresses_are_allowed_unless_only_public_ones_are() -> None:
    for address in (*PRIVATE, *PUBLIC):
        assert WebhookNetwork().permits(ip_address(address)), address
    for address in (*PRIVATE, *MACHINE_ROOMS):
        assert not WebhookNetwork("public").permits(ip_address(address)), address
    assert all(WebhookNetwork("public").permits(ip_address(address)) for address in PUBLIC)


async def test_a_name_is_called_at_an_address_that_was_looked_at(receiver: Upstream) -> None:
    """Of several, the next is tried where one does not answer: `localhost` may be `::1` first."""
    await post(f"http://localhost:{receiver.port}/hook", SECRET, "evt_name", b"{}")
    assert receiver.requests[-1].header("host") == f"localhost:{receiver.port}"
    with pytest.raises(NotDelivered, match="WEBHOOK_ADDRESSES"):
        await post(f"http://localhost:{receiver.port}/hook", SECRET, "evt_name", b"{}", WebhookNetwork("public"))


async def test_a_webhook_is_called_through_the_proxy_that_the_environment_names(
    receiver: Upstream, proxy: ForwardProxy
) -> None:
    env = {"http_proxy": f"http://user:pass-word-1@127.0.0.1:{proxy.port}", "NO_PROXY": "direct.test"}
    network = WebhookNetwork("public", partial(proxy_for, env))
    await post(f"http://hooks.test:{receiver.port}/a?b=1", SECRET, "evt_proxy", b"{}", network)
    assert proxy.asked[-1].target == f"http://hooks.test:{receiver.port}/a?b=1"
    assert receiver.requests[-1].header("webhook-id") == "evt_proxy"
    assert receiver.requests[-1].body == b"{}"
    asked = len(proxy.asked)
    for url in ("http://direct.test/x", "http://169.254.169.254/x"):
        with pytest.raises(NotDelivered):
            await post(url, SECRET, "evt", b"{}", network)
    assert len(proxy.asked) == asked
    wrong = partial(proxy_for, {"http_proxy": "socks5://x"})
    with pytest.raises(NotDelivered, match="http_proxy: must look like"):
        await post("http://hooks.test/", SECRET, "evt", b"{}", WebhookNetwork(proxy_for=wrong))

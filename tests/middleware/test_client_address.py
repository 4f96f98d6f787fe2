"""Who is taken for the client: only a proxy that is trusted may say that it is somebody else."""

import socket
from ipaddress import ip_network
from typing import Any

import pytest

from ai_gateway.api.access import is_loopback
from ai_gateway.app.own_address import is_own_address
from ai_gateway.middleware.client_address import ClientAddress
from tests.support.client import client_of, eventually
from tests.support.gateway import TEST_KEY, LiveGateway, running_gateway

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


def scope(peer: str | None, *forwarded: str) -> dict[str, Any]:
    headers = [(b"x-forwarded-for", each.encode("latin-1")) for each in forwarded]
    return {"client": (peer, 1) if peer is not None else None, "headers": [(b"host", b"x"), *headers]}


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", ["198.51.100.7"], "192.0.2.1"),  # anybody can write that
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.5, 198.51.100.7"], "198.51.100.7"),  # what stands on the left the client wrote
        ("10.0.0.1", ["203.0.113.5, 198.51.100.7, 10.1.1.1"], "198.51.100.7"),  # two proxies
        ("10.0.0.1", ["203.0.113.5", "198.51.100.7"], "198.51.100.7"),  # in two lines
        ("10.0.0.1", ["10.2.2.2, 10.3.3.3"], "10.2.2.2"),
        ("10.0.0.1", ["198.51.100.7:4711"], "198.51.100.7"),
        ("fd00::1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("fd00::1", ["2001:db8::1"], "2001:db8::1"),
        ("10.0.0.1", ["198.51.100.7, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["<script>"], "10.0.0.1"),
        ("10.0.0.1", ["fe80::1%sk-written-by-anybody"], "10.0.0.1"),
        ("10.0.0.1", ["[fe80::1%eth0]:4711"], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", [",".join(["10.9.9.9"] * 10_000)], "10.9.9.9"),
        # A socket of both families calls IPv4 addresses so, and some proxies hand that on.
        ("::ffff:10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("::ffff:10.0.0.1", ["::ffff:198.51.100.7, ::ffff:10.1.1.1"], "198.51.100.7"),
        ("::ffff:10.0.0.1", ["[::ffff:198.51.100.7]:4711"], "198.51.100.7"),
        ("::ffff:192.0.2.1", ["198.51.100.7"], "192.0.2.1"),
        (None, ["198.51.100.7"], "198.51.100.7"),  # a Unix socket: whoever may open it is a proxy of ours
    ],
)
def test_the_last_one_that_is_no_proxy_of_ours_is_the_client(
    peer: str | None, forwarded: list[str], client: str
) -> None:
    assert ClientAddress(TRUSTED).of(scope(peer, *forwarded)) == client


def test_a_network_may_be_written_so_as_well() -> None:
    trusting = ClientAddress([ip_network("::ffff:10.0.0.0/104")])
    assert trusting.of(scope("10.0.0.1", "198.51.100.7")) == "198.51.100.7"
    assert trusting.of(scope("11.0.0.1", "198.51.100.7")) == "11.0.0.1"


def test_a_gateway_that_listens_on_both_families_knows_its_proxies() -> None:
    try:
        socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True).close()
    except OSError:
        return  # a machine without IPv6 has no such addresses
    with running_gateway(SERVICE_HOST="::", TRUSTED_PROXIES="127.0.0.1", ALLOWED_API_KEYS=TEST_KEY) as live:
        with client_of(live) as http:
            http.get("/custom/v1/models", headers={"x-request-id": "direct"})
            http.get("/custom/v1/models", headers={"x-request-id": "behind", "x-forwarded-for": "198.51.100.7"})
        eventually(lambda: len(clients(live)) == 2)
        assert clients(live) == {("direct", "127.0.0.1"), ("behind", "198.51.100.7")}


def clients(live: LiveGateway) -> set[tuple[str, str]]:
    return {(record["request_id"], record["client"]) for record in live.records("request")}


def test_without_trusted_proxies_nothing_is_believed() -> None:
    assert ClientAddress().of(scope("10.0.0.1", "198.51.100.7")) == "10.0.0.1"


def test_this_machine_is_known_however_its_address_is_written() -> None:
    assert is_loopback("::ffff:127.0.0.1")
    assert not is_loopback("::ffff:10.0.0.1")
    assert is_own_address("http://[::ffff:127.0.0.1]:9000/v1", "127.0.0.1", 9000)

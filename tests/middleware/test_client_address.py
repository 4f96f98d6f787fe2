"""Who is taken for the client: only a proxy that is trusted may say that it is somebody else."""

from ipaddress import ip_network
from typing import Any

import pytest

from ai_gateway.middleware.client_address import ClientAddress

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
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", [",".join(["10.9.9.9"] * 10_000)], "10.9.9.9"),
        (None, ["198.51.100.7"], "198.51.100.7"),  # a Unix socket: whoever may open it is a proxy of ours
    ],
)
def test_the_last_one_that_is_no_proxy_of_ours_is_the_client(
    peer: str | None, forwarded: list[str], client: str
) -> None:
    assert ClientAddress(TRUSTED).of(scope(peer, *forwarded)) == client


def test_without_trusted_proxies_nothing_is_believed() -> None:
    assert ClientAddress().of(scope("10.0.0.1", "198.51.100.7")) == "10.0.0.1"

"""The client's address: of the connection, or as reported by a trusted proxy."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.types import Scope

type Network = IPv4Network | IPv6Network

_FORWARDED = b"x-forwarded-for"
_MAX_HOPS = 32
_MAPPED = 96  # prefix length of the network of IPv4-mapped addresses (RFC 4291, section 2.5.5.2)


def unmapped(host: str) -> str:
    """The address; an IPv4-mapped one such as `::ffff:10.0.0.1`, which sockets of both families report, as IPv4."""
    if not host.startswith("::ffff:"):
        return host
    return str(_parsed(host) or host)


def _parsed(host: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def _unmapped_network(network: Network) -> Network:
    inner = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    return network if inner is None or network.prefixlen < _MAPPED else ip_network((inner, network.prefixlen - _MAPPED))


class ClientAddress:
    """Reads X-Forwarded-For from proxies in `trusted` only: any other client could forge it."""

    def __init__(self, trusted: Sequence[Network] = ()) -> None:
        self._trusted = tuple(_unmapped_network(network) for network in trusted)

    def of(self, scope: Scope) -> str:
        """The address of the client; empty if there is none, as on a Unix socket."""
        client = scope.get("client")
        peer = client[0] if client else ""
        if peer.startswith("::ffff:"):
            peer = unmapped(peer)
        return self._from_forwarded(peer, scope) if self._trusted else peer

    def _from_forwarded(self, peer: str, scope: Scope) -> str:
        """Walk X-Forwarded-For from the right; the first hop that is not a trusted proxy is the client."""
        if peer and not self._is_trusted(peer):
            return peer
        lines = [value.decode("latin-1") for name, value in scope["headers"] if name == _FORWARDED]
        for hop in reversed(",".join(lines).split(",")[-_MAX_HOPS:]):
            address = _address(hop.strip())
            if address is None:
                break
            peer = address
            if not self._is_trusted(address):
                break
        return peer

    def _is_trusted(self, address: str) -> bool:
        parsed = _parsed(address)
        return parsed is not None and any(parsed in network for network in self._trusted)


def _address(text: str) -> str | None:
    """An address without a port, which some proxies add (RFC 7239, section 6, for IPv6 in brackets).

    None for one with a zone, which may be any text and is only valid on its own machine (RFC 4007, section 11.2).
    """
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    parsed = _parsed(text) if "%" not in text else None
    return str(parsed) if parsed is not None else None

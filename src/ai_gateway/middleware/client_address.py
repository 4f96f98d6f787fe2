"""Where a request comes from: its connection, or what a proxy that is trusted says of it."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

from starlette.types import Scope

type Network = IPv4Network | IPv6Network

_FORWARDED = b"x-forwarded-for"
_MOST = 32


class ClientAddress:
    """Reads X-Forwarded-For of the proxies in `trusted`, and of nobody else: anybody can write there what they like."""

    def __init__(self, trusted: Sequence[Network] = ()) -> None:
        self._trusted = tuple(trusted)

    def of(self, scope: Scope) -> str:
        """The address of the client; empty where there is none, as on a Unix socket."""
        client = scope.get("client")
        peer: str = client[0] if client else ""
        return self._behind(peer, scope) if self._trusted else peer

    def _behind(self, peer: str, scope: Scope) -> str:
        """Each proxy adds on the right whom it saw: the last one that is no proxy of ours is the client."""
        if peer and not self._is_trusted(peer):
            return peer
        lines = [value.decode("latin-1") for name, value in scope["headers"] if name == _FORWARDED]
        for hop in reversed(",".join(lines).split(",")[-_MOST:]):
            address = _address(hop.strip())
            if address is None:
                break
            peer = address
            if not self._is_trusted(address):
                break
        return peer

    def _is_trusted(self, address: str) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._trusted)


def _address(text: str) -> str | None:
    """An address without a port, which some proxies add (RFC 7239, section 6, for IPv6 in brackets)."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        return None

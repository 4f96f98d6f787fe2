"""Detects upstreams whose address is the gateway's own, which would call itself."""

import socket
from ipaddress import ip_address
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}


def is_own_address(url: str, host: str, port: int) -> bool:
    """Whether the URL leads to a gateway that listens on this host and port. Resolves no names."""
    try:
        parts = urlsplit(url)
        theirs, their_port = (parts.hostname or "").rstrip("."), parts.port or _PORTS.get(parts.scheme)
    except ValueError:  # an invalid URL is reported elsewhere
        return False
    if not port or their_port != port:
        return False
    if theirs == host.lower() or (_is_loopback(theirs) and _is_loopback(host)):
        return True
    return _is_any(host) and (_is_loopback(theirs) or _is_of_this_machine(theirs))


def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host)
        return (
            address.is_loopback
            or address.is_unspecified
            or bool(address.version == 6 and address.ipv4_mapped and address.ipv4_mapped.is_loopback)
        )
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _is_any(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


def _is_of_this_machine(host: str) -> bool:
    """Whether one of the machine's interfaces has this address, or the machine this name."""
    try:
        family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET
    except ValueError:
        return host == socket.gethostname().lower()
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True

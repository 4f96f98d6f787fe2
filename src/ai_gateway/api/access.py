"""Who calls, and whether it may: from the request's headers and the socket it came through."""

from collections.abc import Mapping
from ipaddress import ip_address

from starlette.types import Scope

from ai_gateway.accounts.keys import KeyRing, presented
from ai_gateway.contract.call import ANONYMOUS, Caller
from ai_gateway.contract.route import Security
from ai_gateway.errors import MissingApiKey

_PROXY_HEADERS = frozenset({"forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip"})


def is_loopback(host: str) -> bool:
    """Whether a listening address can only be reached from this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


LOCAL = Caller(name="local", trusted=True)
"""A program on the gateway's own machine, without a key."""


class Access:
    """Lets a caller in by key. Without keys the gateway is open, but only to its own machine."""

    def __init__(self, keys: KeyRing, *, allow_anonymous: bool) -> None:
        self.keys = keys
        self.allow_anonymous = allow_anonymous

    def authorize(self, scope: Scope, headers: Mapping[str, str], security: Security) -> Caller:
        """Who calls. Raises Unauthorized or InvalidRequest."""
        if security == "none":
            return ANONYMOUS
        if not self.keys:
            if security == "required":
                self._require_private(scope, headers)
        elif security == "required" or presented(headers) is not None:
            return self.keys.authenticate(headers)
        return LOCAL if _is_local(scope, headers) else ANONYMOUS

    def _require_private(self, scope: Scope, headers: Mapping[str, str]) -> None:
        """Without keys, refuse what came through an address that others can reach, whoever started the server how.

        A foreign name in the Host header means that a web page has pointed its own name at this machine. What a proxy
        on this machine passes on may come from anywhere.
        """
        if self.allow_anonymous:
            return
        if not (_listens_privately(scope) and _names_this_machine(headers)) or _came_through_proxy(headers):
            raise MissingApiKey(
                "This gateway has no API keys, so it answers its own machine only, and nothing that a proxy passes on. "
                "Its operator has to set ALLOWED_API_KEYS, or ALLOW_ANONYMOUS=true."
            )


def _listens_privately(scope: Scope) -> bool:
    server = scope.get("server")
    if not server or server[1] is None:  # a Unix socket, or no socket at all
        return True
    try:
        return ip_address(server[0]).is_loopback
    except ValueError:  # a name and no address: called in process, not through a socket
        return True


def _names_this_machine(headers: Mapping[str, str]) -> bool:
    host = headers.get("host", "localhost").strip().lower()
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return "." not in name or is_loopback(name)


def _is_local(scope: Scope, headers: Mapping[str, str]) -> bool:
    client = scope.get("client")
    return client is not None and is_loopback(client[0]) and not _came_through_proxy(headers)


def _came_through_proxy(headers: Mapping[str, str]) -> bool:
    """Whether a proxy says so: RFC 7239 (Forwarded), RFC 9110 section 7.6.3 (Via), and what was there before."""
    return not _PROXY_HEADERS.isdisjoint(headers) or any(name.startswith("x-forwarded-") for name in headers)

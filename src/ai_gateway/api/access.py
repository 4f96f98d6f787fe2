"""Authorisation: the caller, by the request's headers and the socket it came through."""

import math
import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv6Address, IPv6Network, ip_address
from zlib import crc32

from starlette.types import Scope

from ai_gateway.accounts.counters.base import Counters, CountersError, Granted, Hold, Refused
from ai_gateway.accounts.keys import KeyRing, presented
from ai_gateway.contract.call import ANONYMOUS, Caller
from ai_gateway.contract.disconnect import Connection
from ai_gateway.contract.route import Security
from ai_gateway.errors import Forbidden, InvalidRequest, MissingApiKey, RateLimited
from ai_gateway.observability.metrics import Event, count

_PROXY_HEADERS = frozenset({"forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip"})


def is_loopback(host: str) -> bool:
    """Whether a listening address can only be reached from this machine."""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost"
    return ((address.version == 6 and address.ipv4_mapped) or address).is_loopback


LOCAL = Caller(name="local", trusted=True)
"""A program on the gateway's own machine, without a key."""


_MINUTE_S = 60.0
_MAX_ADDRESSES = 10_000
_COUNTERS = 1024
_CREDENTIALS = {b"authorization", b"x-api-key", b"api-key"}
_PORT = re.compile(r"(?::[0-9]{0,5})?")
_THIS_MACHINE_ONLY = (
    "This gateway has no API keys, so it answers on its own machine only. "
    "Its operator has to set ALLOWED_API_KEYS, or ALLOW_ANONYMOUS=true."
)
_NO_PAGES = (
    "This gateway has no API keys, so it does not answer web pages of other sites. "
    "Its operator has to set ALLOWED_API_KEYS, or name the page's origin in CORS_ORIGINS."
)


class Access:
    """Authorises callers by key. Without keys the gateway is open, but only to its own machine.

    `allows` says whether web pages of an origin may call.
    """

    def __init__(
        self, keys: KeyRing, *, allow_anonymous: bool, allows: Callable[[bytes | None], bool] = lambda _: False
    ) -> None:
        self.keys = keys
        self.allow_anonymous = allow_anonymous
        self._allows = allows
        self.wrong_keys = WrongKeys()

    def authorize(self, scope: Scope, headers: Mapping[str, str], security: Security) -> Caller:
        """The caller. Raises Unauthorized, RateLimited for too many wrong keys, or InvalidRequest."""
        if security == "none":
            return ANONYMOUS
        connection: Connection | None = scope.get("connection")
        known = connection.let_in if connection is not None and security == "required" else None
        if known is not None and self._is_again(known, scope, headers):
            return known[2]
        if self.keys:
            if len(headers) != len(scope["headers"]):
                _refuse_repeated(scope["headers"])
            if security == "required" or presented(headers) is not None:
                caller = self.keys.authenticate(headers)
                if connection is not None and _has_one_credential(scope, headers):
                    connection.let_in = headers["authorization"], self.keys.state, caller
                return caller
            return ANONYMOUS
        if security == "required":
            self._require_private(scope, headers)
        return self.keys.anonymous(LOCAL if _is_local(scope, headers) else ANONYMOUS)

    def _is_again(self, known: tuple[str, int, Caller], scope: Scope, headers: Mapping[str, str]) -> bool:
        """Whether the request is of the caller who was let in before it on its connection, and still would be.

        The key is not compared, which would take the longer, the more of it is right: it is the same object if the
        server has recognised the head.
        """
        header, state, caller = known
        return (
            header is headers.get("authorization")
            and state == self.keys.state
            and len(headers) == len(scope["headers"])
            and "x-api-key" not in headers
            and "api-key" not in headers
            and (not caller.is_stored or self.keys.still_knows(caller))
        )

    def authorize_administrator(self, scope: Scope, headers: Mapping[str, str]) -> Caller:
        """The administrator, who always needs a key. Raises as `authorize`, or Forbidden."""
        if len(headers) != len(scope["headers"]):
            _refuse_repeated(scope["headers"])
        caller = self.keys.authenticate(headers)
        if not caller.administers:
            raise Forbidden("You have insufficient permissions for this operation: it takes an administrator's key.")
        return caller

    async def refresh(self, scope: Scope) -> bool:
        """Refresh the keys after one was refused; returns whether there are new ones.

        Raises RateLimited for an address with too many wrong keys, or Unavailable if the store cannot be read.
        """
        address = address_of(scope)
        self.wrong_keys.check(address)
        if await self.keys.refresh():
            return True
        await self.wrong_keys.add(address)
        return False

    def may_cause_calls(self, caller: Caller, headers: Mapping[str, str]) -> bool:
        """Whether a request without a key may cause upstream calls: one from a web page may not."""
        is_page = "origin" in headers or headers.get("sec-fetch-site", "none") != "none"
        return caller.trusted or (bool(self.keys) and not is_page)

    def _require_private(self, scope: Scope, headers: Mapping[str, str]) -> None:
        """Without keys, refuse requests through an address that other machines can reach, under any server.

        A foreign name in the Host header means DNS rebinding: a web page has pointed its own name at this machine.
        Requests with a foreign origin are refused as well: a web page would make upstream calls with the operator's
        keys.
        """
        if not (self.allow_anonymous or (_listens_privately(scope) and _is_direct(headers))):
            raise MissingApiKey(_THIS_MACHINE_ONLY)
        if self._is_foreign_page(headers):
            raise MissingApiKey(_NO_PAGES)

    def _is_foreign_page(self, headers: Mapping[str, str]) -> bool:
        """Whether a browser sent the request for a page of another site (https://www.w3.org/TR/fetch-metadata/)."""
        origin = headers.get("origin")
        if origin is not None:
            return not (_is_own(origin, headers) or self._allows(origin.encode("latin-1", "replace")))
        return headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}


class WrongKeys:
    """Counts wrong keys by client address, and refuses further ones beyond a limit. A right key is never refused.

    `most` are allowed in a minute, 0 for no limit. They are counted here and, if given, in `counters`, which workers or
    replicas share.
    """

    def __init__(self, most: int = 30, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self.counters: Callable[[], Counters | None] = lambda: None
        self._clock = clock
        self._tried: dict[str, deque[float]] = {}

    def check(self, address: str) -> None:
        """Raise RateLimited if this address has tried too many."""
        tried = self._tried.get(address)
        now = self._clock()
        while tried and tried[0] <= now - _MINUTE_S:
            tried.popleft()
        if tried and 0 < self.most <= len(tried):
            raise _too_many(tried[0] + _MINUTE_S - now)

    async def add(self, address: str) -> None:
        """Count one more. Raises RateLimited if all workers together have had too many."""
        count(Event.WRONG_KEY)
        tried = self._tried.pop(address, None) or deque[float]()
        tried.append(self._clock())
        while len(tried) > self.most:
            tried.popleft()
        self._tried[address] = tried  # moved to the end: the first is evicted
        if len(self._tried) > _MAX_ADDRESSES:
            del self._tried[next(iter(self._tried))]
        counters = self.counters()
        if counters is not None and self.most > 0:
            await self._count(counters, address)

    async def _count(self, counters: Counters, address: str) -> None:
        """Count in the shared counters. Addresses share a bounded number of them."""
        holds = [Hold(f"wrong-keys/{crc32(address.encode()) % _COUNTERS}", 1, self.most, unit_s=1)]
        identifier = f"wrong-{secrets.token_hex(8)}"
        try:
            answer = await counters.reserve(identifier, holds)
            if isinstance(answer, Granted):
                await counters.settle(identifier, holds, [1], answer.at)
        except CountersError:  # then only this worker's count is used
            return
        if isinstance(answer, Refused):
            raise _too_many(answer.fits_in or 1.0)


def _too_many(wait_s: float) -> RateLimited:
    wait = max(1, math.ceil(wait_s))
    return RateLimited(
        f"Too many incorrect API keys were sent from this address: wait {wait} s, and check the key.",
        headers={"retry-after": str(wait)},
    )


def client_of(scope: Scope) -> str:
    """The address of a request's client; behind a trusted proxy, as reported by the proxy."""
    outcome = scope.get("outcome")
    if outcome is not None:
        return str(outcome.client)
    client = scope.get("client")
    return str(client[0]) if client else ""


def address_of(scope: Scope) -> str:
    """The client's address; for IPv6 its /64 network, since one client has 2**64 addresses (RFC 6177)."""
    host = client_of(scope)
    if ":" not in host:
        return host
    try:
        address = IPv6Address(host.partition("%")[0])
    except ValueError:
        return host
    return str(address.ipv4_mapped or IPv6Network((address, 64), strict=False))


def _is_own(origin: str, headers: Mapping[str, str]) -> bool:
    """Whether the page is one of the gateway's own."""
    return origin.partition("://")[2].lower() == headers.get("host", "").lower()


def _refuse_repeated(fields: Iterable[tuple[bytes, bytes]]) -> None:
    """Refuse two credentials: a proxy in between may have checked the other one."""
    seen = set[bytes]()
    for name, _ in fields:
        if name in _CREDENTIALS and name in seen:
            raise InvalidRequest(f"The header {name.decode().title()} was sent more than once: send one.")
        seen.add(name)


def _has_one_credential(scope: Scope, headers: Mapping[str, str]) -> bool:
    """Whether the header Authorization is there, and no other that could have a key."""
    if len(headers) != len(scope["headers"]):  # one of them comes twice
        return False
    return "authorization" in headers and "x-api-key" not in headers and "api-key" not in headers


def _listens_privately(scope: Scope) -> bool:
    server = scope.get("server")
    if not server or server[1] is None:  # a Unix socket, or no socket
        return True
    try:
        ip_address(server[0])
    except ValueError:  # a name: called in process, not through a socket
        return True
    return is_loopback(server[0])


def _names_this_machine(headers: Mapping[str, str]) -> bool:
    """Whether the Host header is a loopback address or `localhost`."""
    host = headers.get("host", "localhost").strip().lower()
    if host.startswith("["):
        name, _, port = host[1:].partition("]")
    else:
        name, colon, port = host.partition(":")
        port = colon + port
    return bool(_PORT.fullmatch(port)) and is_loopback(name)


def _is_direct(headers: Mapping[str, str]) -> bool:
    """Whether no header says that the request was for another host, or passed a proxy."""
    return _names_this_machine(headers) and not _came_through_proxy(headers)


def _came_through_proxy(headers: Mapping[str, str]) -> bool:
    """Whether there is a header of a proxy: Forwarded (RFC 7239), Via (RFC 9110, section 7.6.3), X-Forwarded-*."""
    # One search in all joined names costs a third of one in each; this runs for every request without a key.
    return not _PROXY_HEADERS.isdisjoint(headers) or "x-forwarded-" in "\n".join(headers)


def _is_local(scope: Scope, headers: Mapping[str, str]) -> bool:
    client = scope.get("client")
    return client is not None and is_loopback(client[0]) and _is_direct(headers)

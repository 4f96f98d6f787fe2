"""Egress: fetches from URLs that requests name, with checked and pinned addresses and narrow limits.

A name is resolved once, all its addresses must be public, and the connection goes to a checked address: a second
look-up could give another one (DNS rebinding). Each redirect is checked anew. Callers do not get the reason of a
failure, which would let them explore internal networks (SSRF).
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from yarl import URL

from ai_gateway.config.constants import VERSION
from ai_gateway.contract.budget import BudgetExceeded, ByteBudget, Loan
from ai_gateway.contract.turns import NoPlace
from ai_gateway.observability.metrics import Event, count
from ai_gateway.providers.http.errors import CLIENT_FAILURES
from ai_gateway.providers.http.http1 import Connection
from ai_gateway.providers.http.lookup import AddressLookups, parsed_address
from ai_gateway.providers.http.single import single_request

MAX_IMAGE = 20 * 1024 * 1024
TIMEOUT_S = 10.0
_MAX_HOPS = 3
_IMAGES = ("image/",)
_HEADERS = {"accept-encoding": "identity", "user-agent": f"ai-gateway/{VERSION}"}
_REDIRECTS = {301, 302, 303, 307, 308}
_TRANSLATED = IPv6Network("64:ff9b::/96")  # NAT64, RFC 6052
# Networks that are not public, although `ipaddress.is_global` says so in some version of Python. The last one is
# Azure's metadata service.
_NOT_THE_INTERNET = (
    *(IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"), IPv6Network("3fff::/20")),
    IPv4Network("168.63.129.16/32"),
)

# Metadata services of clouds beside the usual link-local address: Amazon's and Google's IPv6 (docs.aws.amazon.com,
# cloud.google.com), Alibaba's (alibabacloud.com), Azure's (learn.microsoft.com "What is IP address 168.63.129.16?").
_METADATA = frozenset(map(ip_address, ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16")))

type Address = IPv4Address | IPv6Address
type Network = IPv4Network | IPv6Network
type Share = ByteBudget | Loan
type Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]


class NotFetched(Exception):
    """The address is not allowed, or its content has the wrong type or size. The message is for logs only."""


class NotLookedUp(NotFetched):
    """Too many names are being looked up, by this caller or by all: another time it may be fetched."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A fetched body, and its media type without parameters."""

    media_type: str
    data: bytes


def embedded(address: Address) -> IPv4Address | None:
    """The IPv4 address embedded in an IPv6 address, if any."""
    if isinstance(address, IPv4Address):
        return None
    if address in _TRANSLATED:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


def is_public(address: Address) -> bool:
    """Whether the address, in any notation, is reachable on the public internet."""
    if (inner := embedded(address)) is not None:
        return is_public(inner)
    if isinstance(address, IPv6Address) and address.is_site_local:
        return False
    if any(address in network for network in _NOT_THE_INTERNET):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def is_metadata_address(address: Address) -> bool:
    """Whether it is an address of cloud metadata services: link-local, or listed above."""
    if (inner := embedded(address)) is not None:
        return is_metadata_address(inner)
    return address.is_link_local or address.is_unspecified or address.is_multicast or address in _METADATA


def public_or_in(networks: Sequence[Network]) -> Callable[[Address], bool]:
    """Whether an address is public, or in one of these networks, which are the operator's own."""

    def permits(address: Address) -> bool:
        if is_public(address):
            return True
        inner = embedded(address) or address
        return not is_metadata_address(address) and any(inner in network for network in networks)

    return permits


_lookups = AddressLookups()


async def resolved(
    host: str, port: int, lookups: AddressLookups = _lookups, caller: Hashable = None
) -> Sequence[Address]:
    """Every address of the name. Addresses in odd notations (one decimal, octal parts) are resolved like names.

    Raises NotFetched. The look-up takes one of the caller's places.
    """
    try:
        found = await lookups.addresses(host, port, caller)
    except NoPlace:
        count(Event.OVERLOAD, "look-ups")
        raise NotLookedUp("too many names are being looked up") from None
    except (OSError, UnicodeError) as error:
        raise NotFetched(f"not resolved: {error}") from None
    return [ip_address(entry[4][0]) for entry in found]


class Egress:
    """Fetches images and pages. `permits` and `resolve` are replaced by tests with a local server."""

    def __init__(
        self,
        permits: Callable[[Address], bool] = is_public,
        resolve: Resolve | None = None,
        timeout_s: float = TIMEOUT_S,
        caller: Hashable = None,
    ) -> None:
        self._permits = permits
        self._resolve = resolve
        self._timeout_s = timeout_s
        self._caller = caller

    def for_caller(self, caller: Hashable) -> "Egress":
        """The same on behalf of a caller, whose names leave places for the look-ups of others."""
        return Egress(self._permits, self._resolve, self._timeout_s, caller)

    async def image(self, url: str, shared: ByteBudget | None = None) -> Fetched:
        """The image. Raises NotFetched, in any case within the time limit.

        `shared` is the byte budget of several images.
        """
        budgets: list[Share] = [ByteBudget(MAX_IMAGE), *([shared] if shared else [])]
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._follow(URL(url), budgets)
        except (*CLIENT_FAILURES, ValueError) as error:
            raise NotFetched(f"{type(error).__name__}: {error}") from error

    async def page(
        self, url: str, kinds: Sequence[str], most: int, shared: Share, allows: Callable[[str], bool]
    ) -> Fetched:
        """A page of one of these media types, of so many bytes at the most. Raises NotFetched, as above.

        `allows` is called for the URL of every redirect.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._follow(URL(url), [ByteBudget(most), shared], tuple(kinds), allows)
        except (*CLIENT_FAILURES, ValueError) as error:
            raise NotFetched(f"{type(error).__name__}: {error}") from error

    async def _follow(
        self,
        url: URL,
        budgets: Sequence[Share],
        kinds: tuple[str, ...] = _IMAGES,
        allows: Callable[[str], bool] = lambda _: True,
    ) -> Fetched:
        for _ in range(_MAX_HOPS):
            if not allows(str(url)):
                raise NotFetched("not an address that is wanted")
            found = await self._hop(url, budgets, kinds)
            if isinstance(found, Fetched):
                return found
            url = url.join(found)
        raise NotFetched("too many redirects")

    async def _checked(self, url: URL) -> Address:
        """The address to connect to. It comes from the same parsed URL as the request: two parsers could disagree."""
        if url.scheme not in {"http", "https"} or not url.raw_host or url.user or url.password:
            raise NotFetched("not a plain address")
        written = parsed_address(url.raw_host)  # an address literal needs no resolver
        addresses = [written] if written else await self._resolved(url.raw_host, url.port or 0)
        if not addresses or not all(map(self._permits, addresses)):
            raise NotFetched("not a public address")
        return addresses[0]

    async def _resolved(self, host: str, port: int) -> Sequence[Address]:
        if self._resolve is not None:
            return await self._resolve(host, port)
        return await resolved(host, port, caller=self._caller)

    async def _hop(self, url: URL, budgets: Sequence[Share], kinds: tuple[str, ...]) -> Fetched | URL:
        """One request: the body, or the URL of a redirect."""
        address = await self._checked(url)
        headers = {**_HEADERS, "accept": ", ".join(f"{kind}*" if kind.endswith("/") else kind for kind in kinds)}
        async with single_request(url, headers, self._timeout_s, address) as reply:
            if reply.status in _REDIRECTS and "location" in reply.headers:
                return URL(reply.headers["location"])
            return await _read(reply, budgets, kinds)


async def _read(reply: Connection, budgets: Sequence[Share], kinds: tuple[str, ...]) -> Fetched:
    media = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    if reply.status != 200 or not media.startswith(kinds) or "content-encoding" in reply.headers:
        raise NotFetched(f"not what was to be fetched: status {reply.status}, {media or 'no type'}")
    data = bytearray()
    while (part := reply.take()) or not reply.is_whole:
        if not part:
            await reply.more()
            continue
        data += part
        try:
            for budget in budgets:
                budget.charge(len(part))
        except BudgetExceeded:
            raise NotFetched("too large") from None
    return Fetched(media, bytes(data))

"""Webhooks by Standard Webhooks, which OpenAI's SDKs verify: https://www.standardwebhooks.com."""

import asyncio
import base64
import binascii
import hmac
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal

from yarl import URL

from ai_gateway.accounts.delivery import PATIENCE_S, NotDelivered
from ai_gateway.config.constants import VERSION
from ai_gateway.providers.http.egress import Address, NotFetched, is_metadata_address, is_public, resolved
from ai_gateway.providers.http.errors import CLIENT_FAILURES
from ai_gateway.providers.http.http1 import Connection
from ai_gateway.providers.http.lookup import AddressLookups
from ai_gateway.providers.http.single import single_request
from ai_gateway.providers.upstream import Proxy

type Addresses = Literal["public", "private", "any"]

SECRET_PREFIX = "whsec_"  # noqa: S105 - what secrets begin with
# Bytes of an error response that are read for the log; otherwise only the status is used.
_READ = 4 * 1024
_QUOTED = 200
_lookups = AddressLookups()  # their own: callers choose the names of images and pages, which may be slow


def signing_key(secret: str) -> bytes:
    """The signing key of a secret: base64 after the prefix or, without one, its characters. Raises ValueError."""
    if not secret.startswith(SECRET_PREFIX):
        return secret.encode()
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not key:
        raise ValueError(f"what comes after {SECRET_PREFIX} has to be base64")
    return key


def signature(secret: str, identifier: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`."""
    signed = b"%s.%d.%s" % (identifier.encode(), timestamp, body)
    return f"v1,{base64.b64encode(hmac.digest(signing_key(secret), signed, 'sha256')).decode()}"


@dataclass(frozen=True, slots=True)
class WebhookNetwork:
    """The allowed addresses of webhooks, and the proxy for each.

    `proxy_for` may raise ValueError. A proxy resolves names itself, and has its own rules: then only an address literal
    in the URL is checked.
    """

    addresses: Addresses = "private"
    proxy_for: Callable[[str], Proxy | None] = lambda _: None

    async def resolve(self, url: URL) -> tuple[Sequence[Address | None], Proxy | None]:
        """The checked addresses to connect to, or None and the proxy. Raises NotDelivered, ValueError."""
        host = url.raw_host or ""
        proxy = self.proxy_for(str(url))
        try:
            found: Sequence[Address] = [ip_address(host)]
        except ValueError:
            if proxy is not None:
                return [None], proxy
            found = await self._looked_up(host, url.port or 443)
        if not all(map(self.permits, found)):
            raise NotDelivered("has an address that WEBHOOK_ADDRESSES does not allow", is_final=True)
        return ([None] if proxy is not None else found), proxy

    def permits(self, address: Address) -> bool:
        """Whether a webhook may have this address, in any notation."""
        if self.addresses == "any":
            return True
        if self.addresses == "public":
            return is_public(address)
        return not is_metadata_address(address)

    def permits_literal(self, url: str) -> bool:
        """Whether a webhook may have this URL, as far as the address is in it: names are looked up later.

        Raises ValueError for one without a host that could be called.
        """
        host = URL(url).raw_host
        if not host:
            raise ValueError("there is no host in it")
        try:
            return self.permits(ip_address(host))
        except ValueError:
            pass
        try:
            return self.permits(ip_address(socket.inet_aton(host)))  # one number, or parts in hex: as resolvers read it
        except (OSError, ValueError):
            return True

    async def _looked_up(self, host: str, port: int) -> Sequence[Address]:
        try:
            found = await resolved(host, port, _lookups)
        except NotFetched as error:
            raise NotDelivered(f"cannot be called: {error}") from error
        if not found:
            raise NotDelivered("cannot be called: its name has no address")
        return found


async def post(url: str, secret: str, identifier: str, body: bytes, network: WebhookNetwork = WebhookNetwork()) -> None:
    """Deliver an event: any 2xx is a success, and redirects are not followed. Raises NotDelivered."""
    timestamp = int(time.time())
    headers = {
        "content-type": "application/json",
        "accept-encoding": "identity",
        "user-agent": f"ai-gateway/{VERSION}",
        "webhook-id": identifier,
        "webhook-timestamp": str(timestamp),
    }
    try:
        headers["webhook-signature"] = signature(secret, identifier, timestamp, body)
        async with asyncio.timeout(PATIENCE_S):
            addresses, proxy = await network.resolve(URL(url))
            for remaining, address in enumerate(addresses, 1 - len(addresses)):
                try:
                    async with single_request(URL(url), headers, PATIENCE_S, address, body=body, proxy=proxy) as reply:
                        await _check(reply)
                        return
                except OSError as error:
                    if remaining == 0 or isinstance(error, TimeoutError):
                        raise
    except TimeoutError as error:
        raise NotDelivered("did not answer in time") from error
    except (*CLIENT_FAILURES, ValueError) as error:
        raise NotDelivered(f"cannot be called: {type(error).__name__}: {error}") from error


async def _check(reply: Connection) -> None:
    if 200 <= reply.status < 300:
        return
    if 300 <= reply.status < 400:
        raise NotDelivered(f"answered with a redirect ({reply.status}), which is not followed")
    excerpt = (await reply.whole(_READ) or b"")[:_QUOTED].decode("utf-8", "replace")
    raise NotDelivered(f"answered with status {reply.status}{': ' if excerpt else ''}{excerpt}")

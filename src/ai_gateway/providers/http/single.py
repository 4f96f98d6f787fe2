"""One request on a connection of its own, for infrequent requests: images, the model list, webhooks."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv6Address

from yarl import URL

from ai_gateway.providers.http.http1 import Connection
from ai_gateway.providers.http.pool import Origin, Pool
from ai_gateway.providers.http.request_head import request_head, request_line
from ai_gateway.providers.http.tls import default_tls
from ai_gateway.providers.upstream import Proxy


@asynccontextmanager
async def single_request(  # noqa: PLR0913 - what a request is made of, and which way it goes
    url: URL,
    headers: Mapping[str, str],
    timeout_s: float,
    address: IPv4Address | IPv6Address | None = None,
    *,
    body: bytes | None = None,
    proxy: Proxy | None = None,
) -> AsyncIterator[Connection]:
    """The reply as an open stream; redirects are not followed.

    A GET or, with a `body`, a POST. The connection goes to `address` if given, whatever the name in the URL, and
    through the `proxy` if given, which resolves the name unless there is an `address`. Raises one of CLIENT_FAILURES,
    or ValueError for an invalid URL.
    """
    name = url.raw_host or ""
    tls = default_tls() if url.scheme == "https" else None
    origin = Origin(str(address or name), url.port or 80, tls, name, proxy)
    pool = Pool(origin, limit=1, connect_s=timeout_s)
    deadline = pool.time() + timeout_s
    method, length = ("GET", None) if body is None else ("POST", len(body))
    host, target = url.host_port_subcomponent or "", url.raw_path_qs
    if proxy is not None and tls is None:  # which reads the request (RFC 9112, section 3.2.2)
        target, headers = f"http://{host}{target}", {**headers, **proxy.headers}
    head = request_head(request_line(method, target), {"Host": host, **headers}, length)
    try:
        connection = await pool.connect(deadline)
        try:
            connection.send(head, body, deadline, _anything)
            await connection.head()
            yield connection
        finally:
            pool.put_back(connection)
    finally:
        pool.close()


def _anything(_: Mapping[str, str]) -> None:
    """Accept any head; the caller of `single_request` checks it."""

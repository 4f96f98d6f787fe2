"""The request target, path and query (RFC 9112, section 3.2), and the ASGI scope of a request."""

import re
from functools import lru_cache
from urllib.parse import unquote

import httptools
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ai_gateway.contract.disconnect import Connection

_PLAIN_PATH = re.compile(rb"/[\w.-][\w./-]*", re.ASCII)
_SHORT = 128

type Target = tuple[str, bytes, bytes]
"""The decoded path, the raw path, and the query."""


def read_target(target: bytes) -> Target:
    """The parts of a target. Raises httptools.HttpParserInvalidURLError for an invalid one."""
    return _remembered(target) if len(target) <= _SHORT else _read(target)


def _read(target: bytes) -> Target:
    raw_path, query = target, b""
    if not _PLAIN_PATH.fullmatch(target):
        url = httptools.parse_url(target)
        raw_path, query = url.path, url.query or b""
    path = raw_path.decode("ascii")
    return unquote(path) if "%" in path else path, raw_path, query


_remembered = lru_cache(512)(_read)  # few targets are used again and again


def request_scope(
    protocol: HttpToolsProtocol, method: bytes, version: str, connection: Connection, head_size: int
) -> Scope:
    """The scope of the request whose head the protocol has read."""
    path, raw_path, query = read_target(protocol.url)
    root = protocol.root_path
    return {
        "type": "http",
        "asgi": {"version": protocol.asgi_version, "spec_version": "2.3"},
        "http_version": version,
        "server": protocol.server,
        "client": protocol.client,
        "scheme": protocol.scheme,
        "method": method.decode("ascii"),
        "root_path": root,
        "path": root + path if root else path,
        "raw_path": root.encode("ascii") + raw_path if root else raw_path,
        "query_string": query,
        "headers": protocol.headers,
        "state": protocol.app_state.copy(),
        # Not part of ASGI: saves the application a task that waits for the disconnect, and the sum of header sizes.
        "connection": connection,
        "head_size": head_size,
    }

"""The request target: path and query (RFC 9112, section 3.2)."""

import re
from functools import lru_cache
from urllib.parse import unquote

import httptools

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

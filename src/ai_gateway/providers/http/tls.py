"""TLS towards upstreams: whom to trust, and who we say that we are."""

import ssl
from functools import cache, lru_cache
from pathlib import Path

from ai_gateway.providers.upstream import Tls


@cache
def default_tls() -> ssl.SSLContext:
    """What the system trusts, for HTTP/1.1; made once, because reading it takes as long as many requests."""
    return _for_http(ssl.create_default_context())


@lru_cache(256)
def tls_context(tls: Tls) -> ssl.SSLContext:
    """How to connect by these settings. Raises ValueError, which names the setting and what is wrong with its file."""
    if tls == Tls():
        return default_tls()
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except (OSError, ValueError) as error:
        raise ValueError(f"ca_file: {_read(tls.ca_file, error, 'certificate of an authority')}") from None
    if tls.certfile is not None:
        try:
            context.load_cert_chain(tls.certfile, tls.keyfile, password=_no_password)
        except (OSError, ValueError) as error:
            raise ValueError(f"client_certfile: {_read(tls.certfile, error, 'certificate with its key')}") from None
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return _for_http(context)


def _for_http(context: ssl.SSLContext) -> ssl.SSLContext:
    context.set_alpn_protocols(["http/1.1"])
    return context


def _read(path: Path | None, error: Exception, what: str) -> str:
    if isinstance(error, ssl.SSLError) or not isinstance(error, OSError):
        return f"'{path}' holds no {what} that can be used"
    return f"'{path}' cannot be read: {error.strerror}"


def _no_password() -> str:
    """Without this, the library would ask whoever sits at the terminal."""
    raise ValueError("the key is encrypted")

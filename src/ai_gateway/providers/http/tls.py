"""TLS towards upstreams: trusted certificate authorities, and client certificates."""

import os
import ssl
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from ai_gateway.providers.upstream import Tls


def default_tls() -> ssl.SSLContext:
    """The system's trust store, for HTTP/1.1; cached, and read again only when it has changed."""
    return _system_tls(system_trust())


@lru_cache(1)
def _system_tls(_trust: str) -> ssl.SSLContext:
    return _for_http(ssl.create_default_context())


def system_trust() -> str:
    """A fingerprint of the files that OpenSSL reads: SSL_CERT_FILE and SSL_CERT_DIR, or its defaults."""
    paths = ssl.get_default_verify_paths()
    file = os.environ.get(paths.openssl_cafile_env) or paths.openssl_cafile
    folder = os.environ.get(paths.openssl_capath_env) or paths.openssl_capath
    return f"{_state(file)} {_state(folder)}"


def _state(path: str) -> str:
    try:
        found = os.stat(path)
    except OSError:
        return path
    return f"{path} {found.st_ino} {found.st_size} {found.st_mtime_ns}"


@lru_cache(256)
def tls_context(tls: Tls) -> ssl.SSLContext:
    """The context for these settings. Raises ValueError that names the setting and the problem with its file."""
    if replace(tls, digest="") == Tls():
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
    """No password: without this callback, OpenSSL would prompt at the terminal."""
    raise ValueError("the key is encrypted")

"""The server's TLS certificate: a reload loads a renewed one, open connections keep theirs."""

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ai_gateway.config.problems import SettingsError
from ai_gateway.config.settings import Settings


class Certificate:
    """A certificate with its key, in two files or in one. `context` is what the server listens with.

    `shown` is the content of the two files when they were last loaded.
    """

    def __init__(self, certfile: Path, keyfile: Path | None) -> None:
        self._files = certfile, keyfile
        self.context = _context()
        self.shown = self._load(self.context)

    def check(self) -> None:
        """Raise SettingsError if the present content of the files cannot be used."""
        self._load(_context())

    def renew(self) -> None:
        """Load the present content of the files. Raises SettingsError, and changes nothing, if it cannot be used."""
        self.check()  # a context that refuses a key has already taken the certificate
        self.shown = self._load(self.context)

    def show(self, shown: tuple[bytes, bytes]) -> None:
        """Load the content that another process has `shown`, whatever is in the files now."""
        with _as_file(shown[0]) as certfile, _as_file(shown[1]) as keyfile:
            self.context.load_cert_chain(certfile, keyfile, password=_no_password)
        self.shown = shown

    def _load(self, context: ssl.SSLContext) -> tuple[bytes, bytes]:
        certfile, keyfile = self._files
        try:
            # OpenSSL does not say which of the two it cannot read.
            shown = certfile.read_bytes(), (keyfile or certfile).read_bytes()
            context.load_cert_chain(certfile, keyfile, password=_no_password)
        except ssl.SSLError:
            key = f"the key in '{keyfile}'" if keyfile is not None else "its key"
            raise SettingsError([f"SSL_CERTFILE: '{certfile}' and {key} are no pair that can be used"]) from None
        except OSError as error:
            setting = "SSL_KEYFILE" if keyfile is not None and error.filename == str(keyfile) else "SSL_CERTFILE"
            raise SettingsError([f"{setting}: '{error.filename}' cannot be read: {error.strerror}"]) from None
        except ValueError:
            raise SettingsError([f"SSL_KEYFILE: '{keyfile or certfile}' holds a key that is encrypted"]) from None
        return shown


def _context() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A path to the content, since OpenSSL only reads files: in memory where the system allows it."""
    if not hasattr(os, "memfd_create"):
        with tempfile.NamedTemporaryFile() as file:  # readable by this user only
            file.write(content)
            file.flush()
            yield file.name
        return
    descriptor = os.memfd_create("ai-gateway-certificate")
    try:
        os.pwrite(descriptor, content, 0)
        yield f"/dev/fd/{descriptor}"
    finally:
        os.close(descriptor)


def certificate_of(settings: Settings) -> Certificate | None:
    """The certificate in the settings; None for a server without TLS. Raises SettingsError."""
    if settings.ssl_certfile is None:
        if settings.ssl_keyfile is not None:
            raise SettingsError(["SSL_KEYFILE is set, but SSL_CERTFILE is missing: set both"])
        return None
    return Certificate(settings.ssl_certfile, settings.ssl_keyfile)


def _no_password() -> str:
    """No password: without this callback, OpenSSL would prompt at the terminal."""
    raise ValueError("the key is encrypted")

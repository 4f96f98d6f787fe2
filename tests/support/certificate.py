"""Certificates for loopback, made by openssl when the tests start: one that has signed itself, or of an authority."""

import shutil
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.gateway import HOST

_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


def _openssl(*arguments: str | Path) -> None:
    openssl = shutil.which("openssl") or ""
    if not openssl:
        pytest.skip("openssl is not installed: certificates are made with it")
    subprocess.run([openssl, *arguments], check=True, capture_output=True, timeout=30)


def self_signed(folder: Path) -> Path:
    """A file with a key and its certificate."""
    path = folder / "self-signed.pem"
    subject = ["-subj", f"/CN={HOST}", "-addext", f"subjectAltName=IP:{HOST}"]
    _openssl("req", "-x509", *_KEY, "-days", "1", *subject, "-keyout", path, "-out", path.with_suffix(".crt"))
    path.write_bytes(path.read_bytes() + path.with_suffix(".crt").read_bytes())
    return path


class Authority:
    """An authority with files in this folder: `certificate` is its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.certificate = folder / "authority.crt"
        self._key = folder / "authority.key"
        extensions = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"]
        to = ["-keyout", str(self._key), "-out", str(self.certificate)]
        _openssl("req", "-x509", *_KEY, "-days", "1", "-subj", "/CN=Authority", *extensions, *to)

    def issue(self, name: str, alternatives: Sequence[str] = (f"IP:{HOST}",)) -> tuple[Path, Path]:
        """A certificate for this name and its key."""
        key, request, certificate = (self._folder / f"{name}.{kind}" for kind in ("key", "csr", "crt"))
        _openssl("req", "-new", *_KEY, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        extensions = self._folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={','.join(alternatives)}\nkeyUsage=digitalSignature\n", "utf-8")
        by = ["-CA", str(self.certificate), "-CAkey", str(self._key), "-CAcreateserial", "-extfile", str(extensions)]
        _openssl("x509", "-req", "-in", request, *by, "-days", "1", "-out", certificate)
        return certificate, key

    def server(self, name: str, alternatives: Sequence[str], *, asks_for_certificates: bool = False) -> ssl.SSLContext:
        """TLS of a server with a certificate of this authority, which may demand one of its clients."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.certificate)
        context.load_cert_chain(*self.issue(name, alternatives))
        if asks_for_certificates:
            context.verify_mode = ssl.CERT_REQUIRED
        return context

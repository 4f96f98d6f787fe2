"""A certificate for loopback that has signed itself, made by openssl when the tests start."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.gateway import HOST


def self_signed(folder: Path) -> Path:
    """A file with a key and its certificate."""
    openssl = shutil.which("openssl") or ""
    if not openssl:
        pytest.skip("openssl is not installed: certificates are made with it")
    path = folder / "self-signed.pem"
    subject = ["-subj", f"/CN={HOST}", "-addext", f"subjectAltName=IP:{HOST}"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
    command = [openssl, "req", "-x509", *kind, *subject, "-keyout", str(path), "-out", str(path.with_suffix(".crt"))]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    path.write_bytes(path.read_bytes() + path.with_suffix(".crt").read_bytes())
    return path

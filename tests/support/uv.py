"""uv as the Makefile finds it: the project's own, or one of the machine that works."""

import shutil
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


@cache
def find_uv() -> str:
    """A name on PATH is not enough: it may be a version manager's, with no uv behind it."""
    for candidate in (shutil.which("uv", path=str(ROOT / ".uv" / "bin")), shutil.which("uv")):
        if candidate and subprocess.run([candidate, "--version"], capture_output=True, check=False).returncode == 0:
            return candidate
    raise AssertionError("uv is missing: run make install")

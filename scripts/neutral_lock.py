"""Remove every index and file address from `uv.lock`, so that it installs from any mirror.

Names, versions, hashes and file names stay, which is what pins an install. `uv export --frozen` of such a lock
gives hash-pinned requirements, which `uv pip` installs from whatever index is configured.
"""

import re
import sys
from pathlib import Path

_REGISTRY = re.compile(r'source = \{ registry = "[^"]*" \}')
_FILE_URL = re.compile(r'\{ url = "[^"]*/([^"/]+)",')
_NOISE = re.compile(r', (?:size = \d+|upload-time = "[^"]*")')


def neutralise(lock: str) -> str:
    """The same lock without addresses; idempotent."""
    lock = _REGISTRY.sub('source = { registry = "index" }', lock)
    lock = _FILE_URL.sub(r'{ filename = "\1",', lock)
    return _NOISE.sub("", lock)


def main() -> int:
    """Rewrite the lock file named on the command line; exit code 1 if an address is left."""
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "uv.lock")
    lock = neutralise(path.read_text(encoding="utf-8"))
    if "://" in lock:
        sys.stderr.write(f"{path}: an address is left in the lock file\n")
        return 1
    path.write_text(lock, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

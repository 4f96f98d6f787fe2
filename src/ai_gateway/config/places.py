"""Where the gateway keeps files of its own between runs."""

import os
from pathlib import Path


def cache_dir() -> Path | None:
    """The directory, which may not exist yet; None for a user without a home."""
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    except RuntimeError:
        return None
    return base / "ai-gateway"

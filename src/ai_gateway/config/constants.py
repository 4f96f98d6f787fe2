"""Constants that are not settings: numbers, names and paths."""

import os
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

try:
    VERSION = version("universal-ai-gateway")
except PackageNotFoundError:  # run from a source tree that is not installed
    VERSION = "0.0.0"

# The files of the configuration in the working directory, and the variables that name others.
CONFIG_FILE = "gateway.toml"
CONFIG_VARIABLE = "GATEWAY_CONFIG"
DOTENV_FILE = ".env"
DOTENV_VARIABLE = "GATEWAY_ENV_FILE"

# The header `openai-version` of OpenAI's API; clients log it.
OPENAI_VERSION = "2020-10-01"

# The version of Ollama whose API is served; clients refuse older servers than they need.
OLLAMA_VERSION = "0.13.5"

# A provider's name must not be the first segment of one of our own paths.
RESERVED_NAMES = frozenset(
    {"v1", "api", "docs", "redoc", "health", "healthz", "ready", "metrics", "openapi.json", "openapi.yaml"}
)

# One connection a stream: the default pools of HTTP clients (100) starve the next thousand callers.
UPSTREAM_CONNECTIONS = 2_048

MAX_HEADER_BYTES = 64 * 1024
MAX_HEADER_COUNT = 100


@dataclass(frozen=True, slots=True)
class Build:
    """The commit and date that the container build recorded; None when this runs from a working tree."""

    commit: str | None
    date: str | None


BUILD = Build(commit=os.environ.get("BUILD_COMMIT") or None, date=os.environ.get("BUILD_DATE") or None)


def cache_dir() -> Path | None:
    """The directory for cached files; may not exist yet. None for a user without a home."""
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    except RuntimeError:
        return None
    return base / "ai-gateway"


def data_dir() -> Path | None:
    """The directory for persistent data; may not exist yet. None for a user without a home."""
    try:
        home = Path("~").expanduser()
    except RuntimeError:
        home = None
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "ai-gateway"
    if given := os.environ.get("XDG_DATA_HOME"):
        return Path(given) / "ai-gateway"
    if home is None:
        return None
    return home / ("Library/Application Support" if sys.platform == "darwin" else ".local/share") / "ai-gateway"

"""OLLAMA_HOST, in all forms that Ollama's own programs accept, as a base URL (ollama/ollama, envconfig/config.go)."""

from urllib.parse import urlsplit

DEFAULT = "http://127.0.0.1:11434"
_PORTS = {"http": 80, "https": 443}
# Wildcard addresses that a server listens on; a client connects to the loopback address.
_ANYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - never listened on


def ollama_url(host: str) -> str:
    """The base URL, with the scheme's port, or Ollama's without a scheme. An invalid address is returned unchanged."""
    given = host.strip().strip("\"'")
    bare = "://" not in given
    try:
        parts = urlsplit(f"http://{given}" if bare else given)
        name, port = parts.hostname or "", parts.port
    except ValueError:  # reported with all other problems of the configuration
        return host
    if parts.scheme not in _PORTS or parts.username or parts.password or parts.query or parts.fragment:
        return given
    shown = _ANYWHERE.get(name, f"[{name}]" if ":" in name else name)
    port = port or (11434 if bare else _PORTS[parts.scheme])
    return f"{parts.scheme}://{shown}:{port}{parts.path.rstrip('/')}"

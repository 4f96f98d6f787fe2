"""OLLAMA_HOST in all the forms that Ollama's own programs take, as a base URL."""

from urllib.parse import urlsplit

DEFAULT = "http://127.0.0.1:11434"
_PORTS = {"http": 80, "https": 443}
# A server listens there; a client finds it on the loopback address.
_ANYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - never listened on


def ollama_url(host: str) -> str:
    """The base URL: a scheme brings its own port, no scheme means Ollama's. What is no address stays as it is."""
    given = host.strip().strip("\"'")
    bare = "://" not in given
    try:
        parts = urlsplit(f"http://{given}" if bare else given)
        name, port = parts.hostname or "", parts.port
    except ValueError:  # it is told with all other problems of the configuration
        return host
    if parts.scheme not in _PORTS or parts.username or parts.password or parts.query or parts.fragment:
        return given
    shown = _ANYWHERE.get(name, f"[{name}]" if ":" in name else name)
    port = port or (11434 if bare else _PORTS[parts.scheme])
    return f"{parts.scheme}://{shown}:{port}{parts.path.rstrip('/')}"

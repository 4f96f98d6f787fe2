"""What `serve` prints once it listens: where, what and how."""

from ai_gateway.accounts.entities import ApiKey
from ai_gateway.api.access import is_loopback
from ai_gateway.app.application import Application
from ai_gateway.config.constants import VERSION
from ai_gateway.config.settings import Settings
from ai_gateway.observability.output import Output
from ai_gateway.routing.registry import BUILT_IN


def print_banner(application: Application, port: int) -> None:
    """Print the addresses, providers and keys of a gateway that listens on this port."""
    settings = application.settings
    url, where, options = _address(settings, port)
    registry = application.gateway.registry
    names = [f"{name} ({'built in' if name == BUILT_IN else 'configured'})" for name in registry.names]
    auth = ["-H 'Authorization: Bearer <key>'"] if application.parts.access.keys else []
    body = '{"model": "custom-chat", "messages": [{"role": "user", "content": "Hello"}]}'
    curl = " ".join(
        [
            "curl",
            *options,
            f"{url}/custom/v1/chat/completions",
            *auth,
            "-H 'Content-Type: application/json'",
            f"-d '{body}'",
        ]
    )
    lines = [
        f"Universal AI Gateway {VERSION}",
        f"  listening  {url} (on {where})",
        f"  docs       {url}/docs" if settings.enable_docs else "  docs       off",
        f"  providers  {', '.join(names) or 'none: set a key or a base URL'}",
        *([f"  workers    {settings.workers}"] if settings.workers > 1 else []),
        f"  keys       {_keys(application)}",
        *_data(application),
        *([f"  try        {curl}"] if BUILT_IN in registry else []),
    ]
    Output(1).add("".join([f"{line}\n" for line in lines]).encode())  # printing must neither fail nor block


def _address(settings: Settings, port: int) -> tuple[str, str, list[str]]:
    """The URL of this gateway, its listening address, and further options for curl."""
    scheme = "http" if settings.ssl_certfile is None else "https"
    insecure = ["--insecure"] if settings.ssl_certfile is not None else []
    if settings.service_socket is not None:
        return (
            f"{scheme}://localhost",
            str(settings.service_socket),
            [*insecure, f"--unix-socket {settings.service_socket}"],
        )
    host = settings.service_host if ":" not in settings.service_host else f"[{settings.service_host}]"
    reached = "127.0.0.1" if host in {"0.0.0.0", "[::]"} else host  # noqa: S104 - shown, not bound
    return f"{scheme}://{reached}:{port}", settings.service_host, insecure


def _keys(application: Application) -> str:
    settings, directory = application.settings, application.parts.accounts.directory
    if application.parts.access.keys:
        configured = len(application.parts.configured_keys)
        stored = sum(key.deleted_at is None for key in directory.all(ApiKey)) if directory is not None else 0
        counts = [f"{configured} configured"] * bool(configured) + [f"{stored} stored"] * bool(stored or not configured)
        return f"required ({', '.join(counts)})"
    is_private = settings.service_socket is not None or is_loopback(settings.service_host)
    where = "this machine only" if is_private else "everyone who can reach this address"
    place = application.parts.accounts.place
    advice = " (make one: ai-gateway keys create NAME)" if place is not None and place.is_kept else ""
    return f"not required: open to {where}{advice}"


def _data(application: Application) -> list[str]:
    """The place of stored data, and how it is administered."""
    accounts = application.parts.accounts
    directory = accounts.directory
    if directory is None or accounts.place is None:
        return ["  data       none is kept (STORE_URL=off)"]
    if accounts.place.is_kept:
        return [
            f"  data       {directory.store.name}",
            "  administer ai-gateway keys, projects, limits, budget: on this machine, or with --url",
        ]
    return [
        "  data       in memory only: lost when the gateway stops",
        "  administer ai-gateway keys ... --url, with the key in ADMIN_API_KEY",
    ]

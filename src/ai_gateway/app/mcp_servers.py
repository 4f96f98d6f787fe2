"""The `[mcp.NAME]` tables: servers of the Model Context Protocol, with their keys."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from ai_gateway.config.problems import SettingsError, shown
from ai_gateway.config.secrets import read_secret, secret_in
from ai_gateway.config.settings import Settings
from ai_gateway.config.tables import McpSettings
from ai_gateway.redaction import remember
from ai_gateway.tools.mcp.server import McpServer


def mcp_servers(settings: Settings, environment: Mapping[str, str]) -> Sequence[McpServer]:
    """The servers of the configuration. Raises SettingsError with all problems."""
    if not settings.mcp:
        return ()
    problems: list[str] = []
    if find_spec("mcp") is None:
        problems.append("[mcp.NAME] takes an extra: pip install 'universal-ai-gateway[mcp]'")
    servers = [_server(name, table, environment, problems) for name, table in settings.mcp.items()]
    if problems:
        raise SettingsError(problems)
    return servers


def _server(name: str, table: McpSettings, environment: Mapping[str, str], problems: list[str]) -> McpServer:
    token = _token(f"mcp.{name}", table, environment, problems)
    if token:
        remember(token)
    return McpServer(
        name,
        table.url,
        token,
        frozenset(table.allowed_tools) if table.allowed_tools is not None else None,
        frozenset(table.projects) if table.projects is not None else None,
        table.timeout_s,
        table.reply_max_size,
    )


def _token(place: str, table: McpSettings, environment: Mapping[str, str], problems: list[str]) -> str | None:
    given = [each for each in ("api_key", "api_key_env", "api_key_file") if getattr(table, each) is not None]
    if len(given) > 1:
        problems.append(f"{place}: {' and '.join(given)} are both set: set one of them")
    if table.api_key is not None:
        return table.api_key.get_secret_value()
    if table.api_key_file is not None:
        return _in_file(f"{place}.api_key_file", table.api_key_file, problems)
    if table.api_key_env is None:
        return None
    token = (read_secret(environment, table.api_key_env, problems) or "").strip()
    if not token:
        problems.append(f"{place}.api_key_env: {shown(table.api_key_env)} is not set")
    return token


def _in_file(place: str, path: Path, problems: list[str]) -> str | None:
    try:
        return secret_in(path)
    except ValueError as error:
        problems.append(f"{place}: {shown(str(path))} {error}")
        return None

"""Certificates and proxy for each upstream."""

import hashlib
import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from ai_gateway.config.settings import PerProvider, ProviderSettings
from ai_gateway.providers.http.lookup import parsed_address
from ai_gateway.providers.http.tls import system_trust, tls_context
from ai_gateway.providers.upstream import Network, Proxy, Tls
from ai_gateway.redaction import remember

PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
"""The conventional proxy variables, which are read in upper and lower case."""
# An entry of NO_PROXY: a name, an address or a network, with or without a port; IPv6 with a port in brackets.
_ENTRY = re.compile(
    r"(?:\[(?P<address>[0-9a-f:./]+)\]|(?P<name>[^\[\]:]+))(?::(?P<port>[0-9]{1,5}))?|(?P<bare>[0-9a-f:./]+)"
)
_MAX_FILE_BYTES = 4 * 2**20


def network_of(  # noqa: PLR0913, PLR0917 - what a network is made of
    name: str,
    url: str,
    table: ProviderSettings | None,
    effective: PerProvider,
    env: Mapping[str, str],
    problems: list[str],
) -> Network:
    """The network settings of a provider at this base URL; invalid ones are reported in `problems`."""
    tls = Tls(verify=not effective.disable_ssl_verification, digest=system_trust())
    if table is not None:
        tls = _own_tls(name, table, effective, problems)
    return Network(tls, _proxy(name, url, table, env, problems))


def _proxy(
    name: str, url: str, table: ProviderSettings | None, env: Mapping[str, str], problems: list[str]
) -> Proxy | None:
    if table is not None and table.proxy is not None:
        setting, given = f"providers.{name}.proxy", table.proxy.get_secret_value()
    elif (found := proxy_variable(url, env)) is not None:
        setting, given = f"{found} (for provider '{name}'; to call it directly, name its host in NO_PROXY)", env[found]
    else:
        return None
    try:
        return None if given == "none" else read_proxy(given)
    except ValueError as error:
        problems.append(f"{setting}: {error}")
        return None


def _own_tls(name: str, table: ProviderSettings, effective: PerProvider, problems: list[str]) -> Tls:
    files = [path for path in (table.ca_file, table.client_certfile, table.client_keyfile) if path is not None]
    verify = not effective.disable_ssl_verification
    digest = _digest(files) if table.ca_file is not None else f"{_digest(files)} {system_trust()}"
    tls = Tls(table.ca_file, table.client_certfile, table.client_keyfile, verify, digest)
    if table.client_keyfile is not None and table.client_certfile is None:
        problems.append(f"providers.{name}.client_keyfile: client_certfile is missing: set both")
        return tls
    try:
        tls_context(tls)
    except ValueError as error:
        problems.append(f"providers.{name}.{error}")
    return tls


def _digest(files: list[Path]) -> str:
    """A digest of the files' content; unreadable files are reported where they are used."""
    digest = hashlib.sha256()
    for path in files:
        try:
            with path.open("rb") as file:
                digest.update(file.read(_MAX_FILE_BYTES))
        except OSError:
            continue
    return digest.hexdigest() if files else ""


def read_proxy(text: str) -> Proxy:
    """The proxy at this address. Raises ValueError that does not quote it: it may contain a password."""
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme != "http" or not host or port == 0 or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("must look like http://user:password@host:3128, and no other kind of proxy can be used")
    credentials = None
    if parts.username is not None:
        credentials = SecretStr(f"{unquote(parts.username)}:{unquote(parts.password or '')}")
        if not credentials.get_secret_value().isprintable():
            raise ValueError("holds characters that no header can carry")
    return Proxy(host, port or 3128, credentials)


def proxy_for(env: Mapping[str, str], url: str) -> Proxy | None:
    """The proxy for a URL that is not a provider's. Raises ValueError for an invalid proxy address."""
    variable = proxy_variable(url, env)
    if variable is None:
        return None
    try:
        proxy = read_proxy(env[variable])
    except ValueError as error:
        raise ValueError(f"{variable}: {error}") from None
    if proxy.credentials is not None:
        remember(proxy.credentials.get_secret_value().partition(":")[2])
    return proxy


def proxy_variable(url: str, env: Mapping[str, str]) -> str | None:
    """The variable that names the proxy for this URL; None if it is called directly, as this machine is."""
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme, parts.hostname or "", parts.port
    except ValueError:
        return None
    excepted = env.get("no_proxy") or env.get("NO_PROXY") or ""
    if not host or _is_excepted(host, port or (443 if scheme == "https" else 80), excepted):
        return None
    names = (f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY")
    return next((name for name in names if env.get(name)), None)


def _is_excepted(host: str, port: int, no_proxy: str) -> bool:
    """Whether NO_PROXY, a list of hosts, domains, addresses and networks with optional ports, matches this host."""
    address = parsed_address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    return any(_names(entry, host, address, port) for entry in no_proxy.replace(",", " ").lower().split())


def _names(entry: str, host: str, address: IPv4Address | IPv6Address | None, port: int) -> bool:
    match = _ENTRY.fullmatch(entry)
    if entry == "*" or match is None or (match["port"] and int(match["port"]) != port):
        return entry == "*"
    name = match["address"] or match["bare"] or match["name"].lstrip(".*")
    if address is None:
        return bool(name) and (host == name or host.endswith(f".{name}"))
    try:
        return address in ip_network(name, strict=False)
    except ValueError:
        return False

"""Types of settings: how a value is read from text, which values are valid, and marks of fields."""

import re
from decimal import Decimal, InvalidOperation
from email.utils import parseaddr
from enum import Enum, auto
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

# Scheme, host and port: the form of the Origin header (RFC 6454, section 6.2).
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", re.IGNORECASE)
# A host name in mail addresses and SMTP greetings (RFC 5321, section 4.1.2), or on a private network.
_DOMAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")

_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")
# A header name (RFC 9110, section 5.6.2).
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SERVER_NAME = re.compile(r"[a-z0-9-]{1,32}")
_MAX_PRICE = 1_000_000
_PLACES = 18

_TOOLS = ("web_search", "code_execution", "memory", "mcp")


class Mark(Enum):
    """Marks of a field, with facts about its setting beside its type."""

    RESTART = auto()
    """Built into the server or the application at startup: a reload does not apply a change, and reports it."""
    FILE_ONLY = auto()
    """A table, which has no readable form in the environment."""
    SECRET = auto()
    """Never shown; `<NAME>_FILE` may name a file that contains it."""


RESTART, FILE_ONLY, SECRET = Mark.RESTART, Mark.FILE_ONLY, Mark.SECRET


def is_web_address(url: str) -> bool:
    """Whether a text is an http or https address with a host."""
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0 and " " not in url
    except ValueError:  # a port out of range, or half an IPv6 address
        return False


def is_header_value(text: str) -> bool:
    """Whether a key can be sent in a header: printable ASCII without blanks."""
    return text.isascii() and text.isprintable() and " " not in text


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _split(value: object) -> object:
    """The comma-separated parts of a string; of a list, the items that are not blank."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        return items
    return [item.strip() for item in items if item.strip()]


def _split_keys(value: object) -> object:
    """Keys separated by commas or line ends. A string without any key, such as `,,`, is invalid."""
    keys = _split(value.replace("\n", ",") if isinstance(value, str) else value)
    if value and not keys:
        raise ValueError("it names no key: name one, or leave the setting out to have none")
    return keys


def _split_statuses(value: object) -> object:
    if not isinstance(value, str):
        return value
    parts = [part.strip() for part in value.split(",") if part.strip()]
    return [int(part) if part.isdecimal() else part for part in parts]


def _origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    for origin in origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise ValueError("an origin is * or such as https://app.example.com, without a path or a slash at its end")
    return tuple(origin.lower() for origin in origins)


def _list_address(value: str) -> str:
    if not is_web_address(value) or "@" in urlsplit(value).netloc or "#" in value:
        raise ValueError("must look like https://host/models.json, without credentials or a fragment")
    return value


def _level(value: object) -> object:
    """A log level; `warn` is an alias."""
    return "warning" if isinstance(value, str) and value.lower() == "warn" else _lower(value)


def _metrics_path(value: str) -> str:
    if not _PATH.fullmatch(value):
        raise ValueError("must be a path such as /v1/metrics: letters, digits and -._~ between slashes")
    return value


def _header_key(value: SecretStr) -> SecretStr:
    if not is_header_value(value.get_secret_value()):
        raise ValueError("holds characters that no header can carry")
    return value


def _usd(value: object) -> object:
    """A number of TOML as written there: the shortest decimal that gives the same float."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("has to be a number of USD for a million tokens")  # noqa: TRY004 - pydantic's way to say no
    try:
        price = Decimal(str(value).strip())
    except InvalidOperation:
        price = Decimal("NaN")
    if not price.is_finite() or not 0 <= price <= _MAX_PRICE:
        raise ValueError(f"has to be a number of USD for a million tokens, from 0 to {_MAX_PRICE}")
    if int(price.normalize().as_tuple().exponent) < -_PLACES:
        raise ValueError(f"has more than {_PLACES} decimal places")
    return price


def _decimal(value: object) -> object:
    """A number of TOML as written there."""
    return Decimal(str(value)) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _priced_model(key: str) -> str:
    provider, _, model = key.partition("/")
    if provider.startswith("gateway:"):
        if provider.removeprefix("gateway:") not in _TOOLS or model:
            raise ValueError(f"is no tool of the gateway: {', '.join(f'gateway:{name}' for name in _TOOLS)}")
        return key
    if not provider or not model:
        raise ValueError('has to name a provider and a model, as in [prices."openai/gpt-5"]')
    return key


def _server_name(name: str) -> str:
    if not _SERVER_NAME.fullmatch(name):
        raise ValueError("has to have 1 to 32 small letters, digits and dashes")
    return name


def _digest(text: str) -> str:
    if not _DIGEST.fullmatch(text):
        raise ValueError("has to be the SHA-256 of a key in hex, 64 digits in lower case")
    return text


# Files that are not zones: the machine's own zone, which differs between replicas, and other formats.
_NO_ZONES = ("localtime", "posixrules", "Factory", "posix/", "right/")


def is_time_zone(name: str) -> bool:
    """Whether it is the name of an IANA time zone, such as Europe/Berlin."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return not name.startswith(_NO_ZONES)


def _time_zone(name: str) -> str:
    if not is_time_zone(name):
        raise ValueError("has to be a time zone of the IANA's, such as Europe/Berlin")
    return name


def _is_mail_server(url: str) -> bool:
    try:
        parts = urlsplit(url)
        if parts.scheme not in {"smtp", "smtps"} or not parts.hostname or parts.port == 0:
            return False
    except ValueError:  # a port out of range, or half an IPv6 address
        return False
    return parts.path in {"", "/"} and not parts.query and not parts.fragment and url.isprintable() and " " not in url


def _smtp_url(value: SecretStr) -> SecretStr:
    if not _is_mail_server(value.get_secret_value()):
        raise ValueError("must look like smtp://user:password@host:587 or smtps://host")
    return value


def _mailbox(value: str) -> str:
    address = parseaddr(value)[1]
    name, _, domain = address.rpartition("@")
    is_plain = value.isprintable() and address.isascii() and address in value  # the parser silently drops invalid parts
    if not name or not _DOMAIN.fullmatch(domain) or not is_plain:
        raise ValueError("has to be an address of e-mail, such as gateway@example.com or Gateway <gateway@example.com>")
    return value


def _collector_url(value: str) -> str:
    if not is_web_address(value) or "@" in urlsplit(value).netloc or "#" in value or "?" in value:
        raise ValueError("must look like http://collector:4318, without credentials: they go into headers")
    return value.rstrip("/")


def _collector_headers(value: SecretStr) -> SecretStr:
    try:
        read = header_pairs(value.get_secret_value())
    except ValueError:
        read = {}
    if not read or not all(
        _TOKEN.fullmatch(name) and each.isascii() and each.isprintable() for name, each in read.items()
    ):
        raise ValueError("must look like authorization=Bearer%20abc,x-tenant=a: names and values, percent-encoded")
    return value


def header_pairs(text: str) -> dict[str, str]:
    """Headers in OpenTelemetry's notation: https://opentelemetry.io/docs/specs/otel/protocol/exporter/."""
    pairs = [part.split("=", 1) for part in text.split(",") if part.strip()]
    return {name.strip().lower(): unquote(value.strip()) for name, value in pairs}


Level = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_level)]
LOWER_CASE = BeforeValidator(_lower)
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Keys = Annotated[tuple[SecretStr, ...], BeforeValidator(_split_keys)]
Origins = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_origins)]
Refusals = Annotated[tuple[Literal[408, 409, 429], ...], BeforeValidator(_split_statuses)]
ListAddress = Annotated[str, AfterValidator(_list_address)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_split)]
CollectorUrl = Annotated[str, AfterValidator(_collector_url)]
CollectorHeaders = Annotated[SecretStr, AfterValidator(_collector_headers)]
MetricsPath = Annotated[str, AfterValidator(_metrics_path)]
HeaderKey = Annotated[SecretStr, AfterValidator(_header_key)]
SmtpUrl = Annotated[SecretStr, AfterValidator(_smtp_url)]
Mailbox = Annotated[str, AfterValidator(_mailbox)]
ToolPrice = Annotated[Decimal, BeforeValidator(_decimal), Field(ge=0, le=1_000, decimal_places=12)]
UsdPrice = Annotated[Decimal, BeforeValidator(_usd)]
PricedModel = Annotated[str, AfterValidator(_priced_model)]
Limit = Annotated[int, Field(ge=1, le=2**53)] | None
ServerName = Annotated[str, AfterValidator(_server_name)]
Digest = Annotated[str, AfterValidator(_digest)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]

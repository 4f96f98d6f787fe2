"""The configuration of a provider: facts of its upstream, and the operator's settings."""

import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from ai_gateway.config.constants import RESERVED_NAMES
from ai_gateway.config.settings import Conformance, PerProvider, UnknownParams
from ai_gateway.providers.openai.policies import SAME_WIRE
from ai_gateway.providers.openai.quirks import Quirks
from ai_gateway.redaction import remember
from gateway_contract.openai.parameters import Policies

OPENAI_COMPATIBLE = "ai_gateway.providers.openai.provider:OpenAICompatible"
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """A kind of upstream, as data.

    The key is read from `key_env`, another base URL from `<NAME>_BASE_URL`, or from `url_env`, the field's own variable
    for it. `url_variables` are variables in braces in `base_url`, for URLs that differ between accounts, with their
    defaults, empty for none. An upstream with `needs_key` is configured when either is set, and then lacks a key if
    only the URL is; one without is configured by either; one that is `always` configured needs neither. `policies` are
    those of its wire, changed by `quirks` where the upstream differs. `unknown_params` is the default of that setting.
    `adapter` names the class that speaks the upstream's wire, as `module:name`, so that nothing is imported for
    providers that are not configured. `read_url` completes the URL that operators enter. The key is sent as a bearer
    token, or as is in another `key_header`; one that `key_rotates` can be read from `<key_env>_COMMAND`, and from its
    file for each call. `wires` are those that the upstream speaks: requests of their callers are relayed to it
    unchanged. `messages_url` is the base URL of its Messages API, if that is not `base_url`.
    """

    name: str
    base_url: str
    key_env: str
    needs_key: bool = True
    url_env: str = ""
    url_variables: Mapping[str, str] = field(default_factory=dict)
    policies: Policies = field(default_factory=lambda: SAME_WIRE)
    unknown_params: UnknownParams = "forward"
    adapter: str = OPENAI_COMPATIBLE
    always: bool = False
    key_header: str = "authorization"
    key_rotates: bool = False
    quirks: Quirks = field(default_factory=Quirks)
    read_url: Callable[[str], str] = str.strip
    wires: frozenset[str] = frozenset({"openai"})
    messages_url: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "policies", self.quirks.policies(self.policies))

    @property
    def base_url_env(self) -> str:
        """The variable that names another base URL."""
        return f"{self.name.upper().replace('-', '_')}_BASE_URL"

    @property
    def base_url_envs(self) -> tuple[str, ...]:
        """Every variable for a base URL, in order of precedence."""
        return (self.base_url_env, self.url_env) if self.url_env else (self.base_url_env,)


def is_usable_name(name: str) -> bool:
    """Whether a provider can have this name: a plain path segment that is not reserved."""
    return bool(_NAME.fullmatch(name)) and name not in RESERVED_NAMES and name != "custom"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds for each phase of an upstream call. `request` bounds a whole reply, or the wait for a stream to start."""

    connect: float
    request: float
    stream_idle: float
    stream: float


@dataclass(frozen=True, slots=True)
class KeySource:
    """The source of a rotating key: a file, or a command that prints it."""

    setting: str
    file: Path | None = None
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sizes:
    """The most bytes of a whole reply, and of one event or line of a stream."""

    reply: int = PerProvider.model_fields["reply_max_size"].default
    event: int = PerProvider.model_fields["event_max_size"].default


@dataclass(frozen=True, slots=True)
class Tls:
    """Trusted authorities for an upstream's certificate, and the client certificate.

    `ca_file` replaces the system's trust store. `digest` is that of all files used, so that a reload notices changed
    ones.
    """

    ca_file: Path | None = None
    certfile: Path | None = None
    keyfile: Path | None = None
    verify: bool = True
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy on the way to an upstream. `credentials` are user and password, with a colon between."""

    host: str
    port: int
    credentials: SecretStr | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The Proxy-Authorization header, if there are credentials."""
        if self.credentials is None:
            return {}
        coded = b64encode(self.credentials.get_secret_value().encode()).decode()
        return {"proxy-authorization": f"Basic {coded}"}


@dataclass(frozen=True, slots=True)
class Network:
    """How an upstream is reached."""

    tls: Tls = Tls()
    proxy: Proxy | None = None


@dataclass(frozen=True, slots=True)
class Upstream:
    """One configured upstream. `name` is its path segment; `row` says what kind it is.

    `headers` are sent with every request: those of the row's quirks, overridden by the operator's. `setting` is the
    setting that an operator changes if the base URL is wrong. With a `key_source` the key is read from there for each
    call.
    """

    name: str
    base_url: str
    api_key: SecretStr | None
    timeouts: Timeouts
    row: ProviderRow
    conformance: Conformance = "repair"
    unknown_params: UnknownParams = "forward"
    headers: Mapping[str, SecretStr] = field(default_factory=dict)
    fetch_images: bool = False
    sizes: Sizes = field(default_factory=Sizes)
    setting: str = "the base URL"
    key_source: KeySource | None = None
    network: Network = Network()

    def __post_init__(self) -> None:
        remember(*self.secrets)

    @property
    def secret(self) -> str:
        """The key's plain text, empty without one."""
        return self.api_key.get_secret_value() if self.api_key else ""

    @property
    def sent_headers(self) -> dict[str, str]:
        """The headers of every request: the operator's, and the key."""
        headers = {name: value.get_secret_value() for name, value in self.headers.items()}
        return {**headers, **(self.key_headers(self.secret) if self.secret else {})}

    def key_headers(self, key: str) -> dict[str, str]:
        """The header with a key: a bearer token, or the plain key in the upstream's own header."""
        header = self.row.key_header
        return {header: f"Bearer {key}" if header == "authorization" else key}

    @property
    def secrets(self) -> list[str]:
        """Texts to redact in all output: the key, the operator's headers, and the proxy's password."""
        known = set(self.row.quirks.headers.values())
        own = [value.get_secret_value() for value in self.headers.values()]
        proxy = self.network.proxy
        given = proxy.credentials.get_secret_value() if proxy is not None and proxy.credentials else ""
        return [self.secret, *(value for value in own if value not in known), given.partition(":")[2]]


def versioned(base_url: str) -> str:
    """The base URL with its version, which settings of a vendor's own SDK omit and those of others include."""
    root = base_url.rstrip("/")
    return root if root.rpartition("/")[2] == "v1" else "/".join((root, "v1"))

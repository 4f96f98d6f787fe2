"""What a provider is made from: the facts of an upstream, and what the operator has set for it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pydantic import SecretStr

from ai_gateway.config.constants import RESERVED_NAMES
from ai_gateway.config.settings import Conformance, UnknownParams
from ai_gateway.providers.openai.policies import SAME_WIRE
from ai_gateway.providers.openai.quirks import Quirks
from ai_gateway.redaction import remember
from gateway_contract.openai.parameters import Policies

OPENAI_COMPATIBLE = "ai_gateway.providers.openai.provider:OpenAICompatible"
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """A kind of upstream, as data.

    The key is read from `key_env`, another base URL from `<NAME>_BASE_URL`, or from `url_env` where the field has
    another name for it. An upstream with `needs_key` is configured when either is set, and then lacks a key if only
    the URL is; one without is configured by either; one that is `always` there needs neither. `policies` are those of
    its wire, and `quirks` change them where the upstream differs from it: what a row then declares is both.
    `unknown_params` holds where the operator has not decided. `adapter` names the class that speaks the upstream's
    wire, as `module:name`, so that nothing is imported for providers that nobody has configured. `read_url` makes a
    base URL of what operators write.
    """

    name: str
    base_url: str
    key_env: str
    needs_key: bool = True
    url_env: str = ""
    policies: Policies = field(default_factory=lambda: SAME_WIRE)
    unknown_params: UnknownParams = "forward"
    adapter: str = OPENAI_COMPATIBLE
    always: bool = False
    quirks: Quirks = field(default_factory=Quirks)
    read_url: Callable[[str], str] = str.strip

    def __post_init__(self) -> None:
        object.__setattr__(self, "policies", self.quirks.policies(self.policies))

    @property
    def base_url_env(self) -> str:
        """The variable that names another base URL."""
        return self.url_env or f"{self.name.upper().replace('-', '_')}_BASE_URL"


def is_usable_name(name: str) -> bool:
    """Whether a provider can have this name: a plain path segment, and none of our own or of the built-in one."""
    return bool(_NAME.fullmatch(name)) and name not in RESERVED_NAMES and name != "custom"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds for each phase of an upstream call. `request` bounds a whole reply, or the wait for a stream to start."""

    connect: float
    request: float
    stream_idle: float
    stream: float


@dataclass(frozen=True, slots=True)
class Upstream:
    """One configured upstream. `name` is its path segment; `row` says what kind it is.

    `headers` are sent with every request: those of the row's quirks, and the operator's own over them.
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

    def __post_init__(self) -> None:
        remember(*self.secrets)

    @property
    def secret(self) -> str:
        """The key itself, empty without one: for headers."""
        return self.api_key.get_secret_value() if self.api_key else ""

    @property
    def sent_headers(self) -> dict[str, str]:
        """What goes with every request: the operator's headers, and the key."""
        headers = {name: value.get_secret_value() for name, value in self.headers.items()}
        return {**headers, **({"authorization": f"Bearer {self.secret}"} if self.secret else {})}

    @property
    def secrets(self) -> list[str]:
        """What must not come back out: the key, and headers of the operator's own."""
        known = set(self.row.quirks.headers.values())
        own = [value.get_secret_value() for value in self.headers.values()]
        return [self.secret, *(value for value in own if value not in known)]

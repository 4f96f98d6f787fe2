"""What a provider is made from: the facts of an upstream, and what the operator has set for it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from pydantic import SecretStr

from ai_gateway.config.settings import Conformance, UnknownParams
from ai_gateway.providers.same_wire import SAME_WIRE
from gateway_contract.openai.parameters import Policies


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """A kind of upstream, as data.

    The key is read from `key_env`, another base URL from `<NAME>_BASE_URL`, or from `url_env` where the field has
    another name for it. An upstream with `needs_key` is configured when either is set, and then lacks a key if only
    the URL is; one without is configured by either. `policies` differ from the wire's own only where the upstream's
    documentation is certain and lasting: what an upstream does not take it refuses by itself, and says so.
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
    adapter: str = "ai_gateway.providers.openai_compatible:OpenAICompatible"
    read_url: Callable[[str], str] = str.strip

    @property
    def base_url_env(self) -> str:
        """The variable that names another base URL."""
        return self.url_env or f"{self.name.upper()}_BASE_URL"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds for each phase of an upstream call. `request` bounds a whole reply, or the wait for a stream to start."""

    connect: float
    request: float
    stream_idle: float
    stream: float


@dataclass(frozen=True, slots=True)
class Upstream:
    """One configured upstream. `name` is its path segment; `row` says what kind it is."""

    name: str
    base_url: str
    api_key: SecretStr | None
    timeouts: Timeouts
    row: ProviderRow
    conformance: Conformance = "repair"
    unknown_params: UnknownParams = "forward"
    fetch_images: bool = False

    @property
    def secret(self) -> str:
        """The key itself, empty without one: for headers, and to be struck out of whatever comes back."""
        return self.api_key.get_secret_value() if self.api_key else ""

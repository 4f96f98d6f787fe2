"""OpenAI-compatible upstreams as data: adding one means adding one row."""

from dataclasses import dataclass, field

from ai_gateway.providers.same_wire import SAME_WIRE
from gateway_contract.openai.parameters import Policies


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """An upstream that speaks OpenAI's wire.

    The key is read from `key_env`, another base URL from `<NAME>_BASE_URL`. An upstream with `needs_key` is
    configured when either is set, and then lacks a key if only the URL is; one without is configured by its URL.
    `policies` differ from the wire's own only where the upstream's documentation is certain and lasting: what an
    upstream does not take it refuses by itself, and says so.
    """

    name: str
    base_url: str
    key_env: str
    needs_key: bool = True
    policies: Policies = field(default_factory=lambda: SAME_WIRE)

    @property
    def base_url_env(self) -> str:
        """The variable that names another base URL."""
        return f"{self.name.upper()}_BASE_URL"


ROWS = (
    ProviderRow("openai", "https://api.openai.com/v1", "OPENAI_API_KEY"),
    ProviderRow("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    ProviderRow("fireworks", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
    ProviderRow("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    ProviderRow("together", "https://api.together.xyz/v1", "TOGETHER_API_KEY"),
    ProviderRow("mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    ProviderRow("deepseek", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
    ProviderRow("vllm", "http://127.0.0.1:8000/v1", "VLLM_API_KEY", needs_key=False),
    ProviderRow("llamacpp", "http://127.0.0.1:8080/v1", "LLAMACPP_API_KEY", needs_key=False),
    ProviderRow("lmstudio", "http://127.0.0.1:1234/v1", "LMSTUDIO_API_KEY", needs_key=False),
)

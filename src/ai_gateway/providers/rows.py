"""The upstreams that the gateway knows, as data: adding one that speaks OpenAI's wire means adding one row."""

from ai_gateway.providers.anthropic_parameters import POLICIES as ANTHROPIC
from ai_gateway.providers.upstream import ProviderRow

ROWS = (
    ProviderRow("openai", "https://api.openai.com/v1", "OPENAI_API_KEY"),
    ProviderRow(
        "anthropic",
        "https://api.anthropic.com/v1",
        "ANTHROPIC_API_KEY",
        policies=ANTHROPIC,
        unknown_params="drop",
        adapter="ai_gateway.providers.anthropic:Anthropic",
    ),
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
OPENAI_WIRE = ProviderRow("openai", "", "")  # an upstream of the operator's own, of which nothing else is known

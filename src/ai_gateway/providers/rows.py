"""The upstreams that the gateway knows, as data: adding one that speaks OpenAI's wire means adding one row."""

from typing import Final

from ai_gateway.providers.ollama_host import DEFAULT, ollama_url
from ai_gateway.providers.ollama_policies import OLLAMA
from ai_gateway.providers.same_wire import SAME_WIRE
from ai_gateway.providers.upstream import ProviderRow
from gateway_contract.openai.parameters import Policies

# Its own client knows none of these, it refuses what it does not know, and none of them changes an answer.
CEREBRAS: Final[Policies] = {
    **SAME_WIRE,
    "createChatCompletion": {
        **SAME_WIRE["createChatCompletion"],
        "metadata": "dropped",
        "store": "dropped",
        "safety_identifier": "dropped",
        "prompt_cache_retention": "dropped",
        "prompt_cache_options": "dropped",
    },
}

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
    ProviderRow(
        "cerebras",
        "https://api.cerebras.ai",
        "CEREBRAS_API_KEY",
        policies=CEREBRAS,
        adapter="ai_gateway.providers.cerebras:Cerebras",
    ),
    ProviderRow(
        "ollama",
        DEFAULT,
        "OLLAMA_API_KEY",
        needs_key=False,
        url_env="OLLAMA_HOST",
        policies=OLLAMA,
        unknown_params="drop",
        adapter="ai_gateway.providers.ollama:Ollama",
        read_url=ollama_url,
    ),
    ProviderRow("lmstudio", "http://127.0.0.1:1234/v1", "LMSTUDIO_API_KEY", needs_key=False),
)
OPENAI_WIRE = ProviderRow("openai", "", "")  # an upstream of the operator's own, of which nothing else is known

"""The known upstreams, as data: an OpenAI-compatible one is one row. Quirks name the page that documents them."""

from ai_gateway.providers.anthropic.policies import POLICIES as ANTHROPIC
from ai_gateway.providers.ollama.host import DEFAULT, ollama_url
from ai_gateway.providers.ollama.policies import OLLAMA
from ai_gateway.providers.openai.quirks import Quirks
from ai_gateway.providers.upstream import ProviderRow

# platform.openai.com "Create chat completion": `max_tokens` is deprecated, and o-series models reject it.
_OPENAI = Quirks(max_completion_tokens_only=True)
# openrouter.ai/docs "App Attribution": public rankings use these headers; operators may set another name, or none.
_OPENROUTER = Quirks(
    headers={"X-Title": "Universal AI Gateway"},
    header_variables={"HTTP-Referer": "OPENROUTER_HTTP_REFERER", "X-Title": "OPENROUTER_X_TITLE"},
    accepts_effort_none=True,
)
# console.groq.com/docs/openai: these fields are a 400 if supplied.
_GROQ = Quirks(omit_when_default={"logprobs": False, "top_logprobs": 0, "logit_bias": {}})
# docs.together.ai, API reference: models are a bare array; there is no `max_completion_tokens`, it would be ignored.
_TOGETHER = Quirks(renamed={"max_completion_tokens": "max_tokens"}, token_arrays=False, bare_model_list=True)
# docs.mistral.ai, API "Chat": unknown fields are rejected; streams always include the usage.
_MISTRAL = Quirks(
    renamed={"max_completion_tokens": "max_tokens", "seed": "random_seed", "dimensions": "output_dimension"},
    omit_when_default={"logprobs": False, "logit_bias": {}},
    handled_here=frozenset({"stream_options"}),
    dropped=frozenset({"store", "user", "safety_identifier", "prompt_cache_retention", "prompt_cache_options"}),
    token_arrays=False,
)
# api-docs.deepseek.com "Create Chat Completion": `max_tokens` only; the newer name is silently ignored.
_DEEPSEEK = Quirks(renamed={"max_completion_tokens": "max_tokens"})
# llama.cpp's own server and that of llama-cpp-python, which has the stricter validation. Roles are those of the model's
# chat template: "developer" is none of them, and is refused by either.
_LLAMA_CPP = Quirks(
    renamed={"max_completion_tokens": "max_tokens"}, nulls=False, uuid_request_ids=True, no_developer_role=True
)
_LM_STUDIO = Quirks(renamed={"max_completion_tokens": "max_tokens"}, token_arrays=False)
# Unknown fields are rejected, its SDK has none of these, and none of them changes an answer.
_CEREBRAS = Quirks(
    dropped=frozenset({"metadata", "store", "safety_identifier", "prompt_cache_retention", "prompt_cache_options"})
)

ROWS = (
    ProviderRow("openai", "https://api.openai.com/v1", "OPENAI_API_KEY", quirks=_OPENAI),
    ProviderRow(
        "anthropic",
        "https://api.anthropic.com/v1",
        "ANTHROPIC_API_KEY",
        policies=ANTHROPIC,
        unknown_params="drop",
        adapter="ai_gateway.providers.anthropic.provider:Anthropic",
    ),
    ProviderRow("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", quirks=_OPENROUTER),
    ProviderRow("fireworks", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
    ProviderRow("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY", quirks=_GROQ),
    ProviderRow("together", "https://api.together.xyz/v1", "TOGETHER_API_KEY", quirks=_TOGETHER),
    ProviderRow("mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY", quirks=_MISTRAL),
    ProviderRow("deepseek", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY", quirks=_DEEPSEEK),
    ProviderRow("vllm", "http://127.0.0.1:8000/v1", "VLLM_API_KEY", needs_key=False),
    ProviderRow("llamacpp", "http://127.0.0.1:8080/v1", "LLAMACPP_API_KEY", needs_key=False, quirks=_LLAMA_CPP),
    ProviderRow("lmstudio", "http://127.0.0.1:1234/v1", "LMSTUDIO_API_KEY", needs_key=False, quirks=_LM_STUDIO),
    ProviderRow(
        "cerebras",
        "https://api.cerebras.ai",
        "CEREBRAS_API_KEY",
        adapter="ai_gateway.providers.openai.cerebras:Cerebras",
        quirks=_CEREBRAS,
    ),
    ProviderRow(
        "ollama",
        DEFAULT,
        "OLLAMA_API_KEY",
        needs_key=False,
        url_env="OLLAMA_HOST",
        policies=OLLAMA,
        unknown_params="drop",
        adapter="ai_gateway.providers.ollama.provider:Ollama",
        read_url=ollama_url,
    ),
)
OPENAI_WIRE = ProviderRow("openai", "", "")  # an upstream of the operator's own, of which nothing else is known

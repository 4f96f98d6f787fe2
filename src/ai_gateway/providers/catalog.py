"""The known upstreams, as data: an OpenAI-compatible one is one row. Quirks name the page that documents them.

Key variables are those of the vendor's documentation, unless other programs set that variable as well: a token of
GitHub or Hugging Face in a developer's shell is not meant for the gateway.
"""

from urllib.parse import urlsplit

from ai_gateway.contract.native import ANTHROPIC as MESSAGES, RESPONSES
from ai_gateway.providers.anthropic.policies import POLICIES as ANTHROPIC
from ai_gateway.providers.ollama.host import DEFAULT, ollama_url
from ai_gateway.providers.ollama.policies import OLLAMA
from ai_gateway.providers.openai.quirks import Quirks
from ai_gateway.providers.upstream import ProviderRow

# Which wires an upstream speaks beside chat completions, so that their callers' requests are relayed to it.
_RESPONSES = frozenset({"openai", RESPONSES})
_MESSAGES = frozenset({"openai", MESSAGES})
# platform.openai.com "Create chat completion": `max_tokens` is deprecated, and o-series models reject it.
# developers.openai.com/api/docs/models: each model's page lists the endpoints that it answers at. From GPT-5.4 on, chat
# completions refuse function tools beside reasoning (openai/openai-openapi#541). A message with a field that OpenAI's
# document does not name is a 400 there.
_OPENAI = Quirks(
    max_completion_tokens_only=True,
    takes_reasoning=False,
    responses_only=r"(o1|o3|gpt-5(\.\d+)?)-pro(-.*)?|gpt-5(\.\d+)?-codex(-.*)?|codex-mini.*"
    r"|o[34](-mini)?-deep-research(-.*)?|computer-use-preview(-.*)?",
    responses_for_tools=r"gpt-(5\.([4-9]|\d{2,})|[6-9]|\d{2,})(?!.*-chat).*",
)
# openrouter.ai/docs "App Attribution": public rankings use these headers; operators may set another name, or none.
_OPENROUTER = Quirks(
    headers={"X-Title": "Universal AI Gateway"},
    header_variables={"HTTP-Referer": "OPENROUTER_HTTP_REFERER", "X-Title": "OPENROUTER_X_TITLE"},
    accepts_effort_none=True,
    takes_cache_control=True,  # openrouter.ai/docs "Prompt caching": in parts, for Anthropic's and Gemini's models
)
# console.groq.com/docs/openai: these fields are a 400 if supplied.
_GROQ = Quirks(
    omit_when_default={"logprobs": False, "top_logprobs": 0, "logit_bias": {}},
    takes_reasoning=False,  # messages with it are refused: "property 'reasoning_content' is unsupported"
)
# docs.together.ai, API reference: models are a bare array; `max_completion_tokens` is unknown and would be ignored.
_TOGETHER = Quirks(renamed={"max_completion_tokens": "max_tokens"}, token_arrays=False, bare_model_list=True)
# docs.mistral.ai, API "Chat": unknown fields are rejected; streams always include the usage.
_MISTRAL = Quirks(
    renamed={"max_completion_tokens": "max_tokens", "seed": "random_seed", "dimensions": "output_dimension"},
    omit_when_default={"logprobs": False, "logit_bias": {}},
    handled_here=frozenset({"stream_options"}),
    dropped=frozenset({"store", "user", "safety_identifier", "prompt_cache_retention", "prompt_cache_options"}),
    token_arrays=False,
    takes_reasoning=False,
)
# api-docs.deepseek.com "Create Chat Completion": `max_tokens` only; the newer name is silently ignored. A message's
# content is a string: an array is a 400, "invalid type: sequence, expected a string".
_DEEPSEEK = Quirks(renamed={"max_completion_tokens": "max_tokens"}, text_parts=False)
# llama.cpp's own server and that of llama-cpp-python, which has the stricter validation. Roles are those of the model's
# chat template: "developer" is none of them, and is refused by either.
_LLAMA_CPP = Quirks(
    renamed={"max_completion_tokens": "max_tokens"}, nulls=False, uuid_request_ids=True, no_developer_role=True
)
_JAN = Quirks(no_developer_role=True)
_LM_STUDIO = Quirks(renamed={"max_completion_tokens": "max_tokens"}, token_arrays=False)
# sgl-project/sglang, python/sglang/srt/entrypoints/openai/protocol.py: `n`, `logprobs`, `stream` and the penalties are
# plain numbers and booleans there, so that null is a 400.
_SGLANG = Quirks(nulls=False)
# Unknown fields are rejected. Its SDK has none of these, and none of them changes an answer.
_CEREBRAS = Quirks(
    dropped=frozenset({"metadata", "store", "safety_identifier", "prompt_cache_retention", "prompt_cache_options"}),
    takes_reasoning=False,
)


def _azure_url(url: str) -> str:
    """The base URL of an endpoint as Azure's portal shows it, which omits the API's path."""
    bare = url.strip().rstrip("/")
    return f"{bare}/openai/v1" if urlsplit(bare).path in {"", "/"} else bare


def _vertex_url(url: str) -> str:
    """The base URL for a location; the host for `global` contains no location."""
    return url.strip().replace("//global-aiplatform.", "//aiplatform.", 1)


def _databricks_url(url: str) -> str:
    bare = url.strip().rstrip("/")
    return f"{bare}/serving-endpoints" if urlsplit(bare).path in {"", "/"} else bare


# Looked up in 2026-11, in copies of the pages named above each row, without an account of the vendor to try it. A row
# without a model list is of a vendor whose pages document none, so that a working provider does not count as
# unreachable.
_UNLISTED = Quirks(lists_models=False)
_TEXTS_ONLY = Quirks(token_arrays=False)
_VENDORS = (
    # ai.google.dev/gemini-api/docs/openai
    ProviderRow("gemini", "https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY"),
    # learn.microsoft.com/azure/foundry/openai/api-version-lifecycle: the v1 API takes no api-version; keys go into the
    # header `api-key`. A model is a deployment's name.
    ProviderRow(
        "azure",
        "https://{AZURE_OPENAI_RESOURCE}.openai.azure.com/openai/v1",
        "AZURE_OPENAI_API_KEY",
        url_env="AZURE_OPENAI_ENDPOINT",
        url_variables={"AZURE_OPENAI_RESOURCE": ""},
        key_header="api-key",
        read_url=_azure_url,
        quirks=_OPENAI,
        wires=_RESPONSES,  # learn.microsoft.com/azure/foundry/openai/how-to/responses
    ),
    # docs.aws.amazon.com/bedrock/latest/userguide, inference-chat-completions and inference-responses-api: it is the
    # recommended one of two endpoints, and an API key of Bedrock is a bearer.
    ProviderRow(
        "bedrock",
        "https://bedrock-runtime.{AWS_REGION}.amazonaws.com/openai/v1",
        "AWS_BEARER_TOKEN_BEDROCK",
        url_variables={"AWS_REGION": ""},
        quirks=_UNLISTED,
    ),
    # docs.cloud.google.com/vertex-ai/generative-ai/docs/migrate/openai/examples: a model is google/gemini-... there,
    # and a token lasts an hour. docs/generative-ai/learn/locations there: `global` has no location in its host.
    ProviderRow(
        "vertex",
        "https://{VERTEX_LOCATION}-aiplatform.googleapis.com/v1/projects/{VERTEX_PROJECT}/locations/{VERTEX_LOCATION}"
        "/endpoints/openapi",
        "VERTEX_TOKEN",
        url_variables={"VERTEX_PROJECT": "", "VERTEX_LOCATION": "global"},
        key_rotates=True,
        read_url=_vertex_url,
        quirks=_UNLISTED,
    ),
    # docs.x.ai/developers/quickstart for the variable, docs.x.ai/api/integrations for the address.
    # docs.x.ai/docs/api-reference has responses beside chat completions.
    ProviderRow("xai", "https://api.x.ai/v1", "XAI_API_KEY", wires=_RESPONSES),
    # docs.cohere.com/docs/compatibility-api. `stream_options` is accepted since 2025-08-14, when it was removed from
    # the page's list of unsupported parameters (cohere-ai/cohere-developer-experience#606). Other sources still say
    # that it is refused; after such a refusal, streams are requested without it, as at any upstream of this wire.
    ProviderRow("cohere", "https://api.cohere.ai/compatibility/v1", "COHERE_API_KEY"),
    # docs.perplexity.ai/docs/sonar/openai-compatibility: no version in the path. Others say that chat completions
    # ended on 2026-09-27 (@ai-sdk/perplexity 3.1.0); docs.perplexity.ai/docs/agent-api/migrate-from-sonar, that they
    # remain supported.
    ProviderRow("perplexity", "https://api.perplexity.ai", "PERPLEXITY_API_KEY", quirks=_UNLISTED),
    # Address and variable stand in the sample code of each model at build.nvidia.com (2026-11-27); the list of models,
    # in NVIDIA's client: langchain-ai/langchain-nvidia, langchain_nvidia_ai_endpoints/_common.py.
    ProviderRow("nvidia", "https://integrate.api.nvidia.com/v1", "NVIDIA_API_KEY"),
    # docs.sambanova.ai/docs/en/get-started/api-keys-urls
    ProviderRow("sambanova", "https://api.sambanova.ai/v1", "SAMBANOVA_API_KEY"),
    # huggingface.co/docs/inference-providers/tasks/chat-completion and guides/responses-api
    ProviderRow("huggingface", "https://router.huggingface.co/v1", "HUGGINGFACE_API_KEY"),
    # docs.github.com/rest/models/inference: the list of models is at another path, in a form of its own.
    ProviderRow("github", "https://models.github.ai/inference", "GITHUB_MODELS_API_KEY", quirks=_UNLISTED),
    # developers.cloudflare.com/workers-ai/configuration/open-ai-compatibility
    ProviderRow(
        "cloudflare",
        "https://api.cloudflare.com/client/v4/accounts/{CLOUDFLARE_ACCOUNT_ID}/ai/v1",
        "CLOUDFLARE_API_KEY",
        url_variables={"CLOUDFLARE_ACCOUNT_ID": ""},
        quirks=_UNLISTED,
    ),
    # docs.databricks.com/machine-learning/model-serving/score-foundation-models: a model is a serving endpoint's name.
    ProviderRow(
        "databricks",
        "https://{DATABRICKS_HOST}/serving-endpoints",
        "DATABRICKS_API_KEY",
        url_variables={"DATABRICKS_HOST": ""},
        read_url=_databricks_url,
        quirks=_UNLISTED,
    ),
    # platform.moonshot.ai/docs/api/chat.en-US (2026-11-27); accounts of China have api.moonshot.cn and other keys:
    # platform.kimi.com/docs/api/overview.
    # platform.moonshot.ai/docs/guide/agent-support: Claude Code is configured with /anthropic.
    ProviderRow(
        "moonshot",
        "https://api.moonshot.ai/v1",
        "MOONSHOT_API_KEY",
        wires=_MESSAGES,
        messages_url="https://api.moonshot.ai/anthropic/v1",
    ),
    # docs.z.ai/api-reference/introduction; subscriptions for coding have another address.
    # docs.z.ai/scenario-example/develop-tools/claude for Anthropic's wire.
    ProviderRow(
        "zai",
        "https://api.z.ai/api/paas/v4",
        "ZAI_API_KEY",
        wires=_MESSAGES,
        messages_url="https://api.z.ai/api/anthropic/v1",
    ),
    # platform.minimax.io/docs/api-reference/text-openai-api
    # platform.minimax.io/docs/api-reference/text-anthropic-api for Anthropic's wire.
    ProviderRow(
        "minimax",
        "https://api.minimax.io/v1",
        "MINIMAX_API_KEY",
        wires=_MESSAGES,
        messages_url="https://api.minimax.io/anthropic/v1",
    ),
    # alibabacloud.com/help/model-studio/base-url, of 2026-10-11: the shared host of Singapore, which takes the keys of
    # all workspaces there. Other regions, and single workspaces, have hosts of their own: DASHSCOPE_BASE_URL.
    ProviderRow("dashscope", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "DASHSCOPE_API_KEY"),
    # docs.hyperbolic.ai/inference/text-apis for the address; the variable is that of its client for the AI SDK.
    ProviderRow("hyperbolic", "https://api.hyperbolic.xyz/v1", "HYPERBOLIC_API_KEY"),
    # docs.tokenfactory.nebius.com/api-reference/introduction
    ProviderRow("nebius", "https://api.tokenfactory.nebius.com/v1", "NEBIUS_API_KEY"),
    # scaleway.com/en/docs/generative-apis/api-cli/using-chat-api
    ProviderRow("scaleway", "https://api.scaleway.ai/v1", "SCW_SECRET_KEY"),
)
# Local servers, at the default ports of their documentation.
_SERVERS = (
    # docs.sglang.io/docs/get-started/quickstart; its key is an argument, `--api-key`, and has no variable of its own.
    ProviderRow("sglang", "http://127.0.0.1:30000/v1", "SGLANG_API_KEY", needs_key=False, quirks=_SGLANG),
    # localai.io/docs/basics/try; its key, if any, is in variables of its own.
    ProviderRow("localai", "http://127.0.0.1:8080/v1", "LOCALAI_API_KEY", needs_key=False),
    # jan.ai/docs/local-api: llama.cpp's server answers. The key is the one in Jan's settings, and has no variable of
    # its own.
    ProviderRow("jan", "http://127.0.0.1:1337/v1", "JAN_API_KEY", needs_key=False, quirks=_JAN),
    # huggingface.co/docs/text-generation-inference/reference/launcher: text-generation-launcher listens on port 3000,
    # and reads its key from a variable with an ambiguous name, `API_KEY`.
    ProviderRow("tgi", "http://127.0.0.1:3000/v1", "TGI_API_KEY", needs_key=False),
    # michaelfeil/infinity, README.md and libs/infinity_emb/infinity_emb/{env,infinity_server}.py: it embeds texts, and
    # has no version in its paths unless INFINITY_URL_PREFIX sets one.
    ProviderRow("infinity", "http://127.0.0.1:7997", "INFINITY_API_KEY", needs_key=False, quirks=_TEXTS_ONLY),
)

ROWS = (
    # platform.openai.com/docs/api-reference/responses
    ProviderRow("openai", "https://api.openai.com/v1", "OPENAI_API_KEY", quirks=_OPENAI, wires=_RESPONSES),
    ProviderRow(
        "anthropic",
        "https://api.anthropic.com/v1",
        "ANTHROPIC_API_KEY",
        policies=ANTHROPIC,
        unknown_params="drop",
        adapter="ai_gateway.providers.anthropic.provider:Anthropic",
    ),
    # openrouter.ai/docs, API reference "Responses" and "Anthropic Messages": both behind the same base URL.
    ProviderRow(
        "openrouter",
        "https://openrouter.ai/api/v1",
        "OPENROUTER_API_KEY",
        quirks=_OPENROUTER,
        wires=_RESPONSES | _MESSAGES,
    ),
    ProviderRow("fireworks", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
    ProviderRow("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY", quirks=_GROQ),
    ProviderRow("together", "https://api.together.xyz/v1", "TOGETHER_API_KEY", quirks=_TOGETHER),
    ProviderRow("mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY", quirks=_MISTRAL),
    # api-docs.deepseek.com/guides/anthropic_api
    ProviderRow(
        "deepseek",
        "https://api.deepseek.com/v1",
        "DEEPSEEK_API_KEY",
        quirks=_DEEPSEEK,
        wires=_MESSAGES,
        messages_url="https://api.deepseek.com/anthropic/v1",
    ),
    *_VENDORS,
    # Newer versions of these three answer /v1/messages: docs.vllm.ai "OpenAI-Compatible Server" (Anthropic Messages),
    # llama.cpp tools/server/README.md, lmstudio.ai/docs/developer/anthropic-compat. Older ones are recognised by their
    # 404. Their /v1/responses lack features that agents use, so responses are translated.
    ProviderRow("vllm", "http://127.0.0.1:8000/v1", "VLLM_API_KEY", needs_key=False, wires=_MESSAGES),
    ProviderRow(
        "llamacpp",
        "http://127.0.0.1:8080/v1",
        "LLAMACPP_API_KEY",
        needs_key=False,
        quirks=_LLAMA_CPP,
        wires=_MESSAGES,
    ),
    ProviderRow(
        "lmstudio",
        "http://127.0.0.1:1234/v1",
        "LMSTUDIO_API_KEY",
        needs_key=False,
        quirks=_LM_STUDIO,
        wires=_MESSAGES,
    ),
    *_SERVERS,
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

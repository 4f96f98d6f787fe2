"""Names of spans and attributes: the only module with OpenTelemetry's names, which still change.

GenAI semantic conventions: https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/, HTTP:
https://opentelemetry.io/docs/specs/semconv/http/http-spans/. Names that they lack begin with `gateway.`.
"""

from collections.abc import Mapping
from enum import StrEnum

type Value = str | bool | int | float | list[str]
type Attributes = Mapping["Name", Value]


class Step(StrEnum):
    """Names of spans for the steps of a request besides its attempts."""

    RESERVE = "reserve"
    """Reserving the call's maximum use of its caller's limits, and noting its start."""
    SETTLE = "settle"
    """Replacing the reserved amounts by the true ones."""
    JOURNAL = "journal"
    """Writing its start or end to the journal."""
    SHIP = "ship"
    """Storing a batch of usage records: a trace of its own."""
    TOOL = "execute_tool"
    """Running a gateway-run tool."""
    STORE = "store"
    """Reading or writing data that is stored for callers."""


class Name(StrEnum):
    """Attributes of spans."""

    METHOD = "http.request.method"
    PATH = "url.path"
    STATUS = "http.response.status_code"
    CLIENT = "client.address"
    ERROR = "error.type"

    OPERATION = "gen_ai.operation.name"
    PROVIDER = "gen_ai.provider.name"
    REQUEST_MODEL = "gen_ai.request.model"
    REQUEST_STREAM = "gen_ai.request.stream"
    CHOICES = "gen_ai.request.choice.count"
    MAX_TOKENS = "gen_ai.request.max_tokens"
    TEMPERATURE = "gen_ai.request.temperature"
    TOP_P = "gen_ai.request.top_p"
    TOP_K = "gen_ai.request.top_k"
    SEED = "gen_ai.request.seed"
    FREQUENCY_PENALTY = "gen_ai.request.frequency_penalty"
    PRESENCE_PENALTY = "gen_ai.request.presence_penalty"
    STOP = "gen_ai.request.stop_sequences"
    RESPONSE_MODEL = "gen_ai.response.model"
    FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
    INPUT_TOKENS = "gen_ai.usage.input_tokens"
    OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
    CACHE_READ = "gen_ai.usage.cache_read.input_tokens"
    CACHE_WRITE = "gen_ai.usage.cache_creation.input_tokens"
    REASONING = "gen_ai.usage.reasoning.output_tokens"
    INPUT_MESSAGES = "gen_ai.input.messages"
    OUTPUT_MESSAGES = "gen_ai.output.messages"
    TOOL_NAME = "gen_ai.tool.name"
    TOOL_CALL = "gen_ai.tool.call.id"
    TOOL_TYPE = "gen_ai.tool.type"

    REQUEST_ID = "gateway.request_id"
    CONTRACT_OPERATION = "gateway.operation"
    WIRE = "gateway.wire"
    KEY = "gateway.key_id"
    PROJECT = "gateway.project_id"
    END = "gateway.end"
    ATTEMPT = "gateway.attempt"
    ATTEMPTS = "gateway.attempts"
    REPAIRS = "gateway.repairs"
    DROPPED = "gateway.dropped_params"
    COST = "gateway.cost_usd"
    RECORDS = "gateway.records"


# -- values --

PROVIDERS = {
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "vertex": "gcp.vertex_ai",
    "xai": "x_ai",
}
"""Providers by the conventions' names, if those differ; all others keep theirs."""

BACKGROUND = "background"
"""The prefix of span names of background work, which has no HTTP method."""

CHAT, COMPLETION, EMBEDDINGS, EXECUTE_TOOL = "chat", "text_completion", "embeddings", "execute_tool"
OPERATIONS = {
    "createChatCompletion": CHAT,
    "createResponse": CHAT,
    "makeBackgroundResponse": CHAT,
    "createMessage": CHAT,
    "ollamaChat": CHAT,
    "createCompletion": COMPLETION,
    "ollamaGenerate": COMPLETION,
    "createEmbedding": EMBEDDINGS,
    "ollamaEmbed": EMBEDDINGS,
    "ollamaEmbeddings": EMBEDDINGS,
}
"""Operations by the conventions' names; all others keep theirs."""

PARAMETERS = {
    "n": Name.CHOICES,
    "max_completion_tokens": Name.MAX_TOKENS,
    "max_output_tokens": Name.MAX_TOKENS,
    "max_tokens": Name.MAX_TOKENS,
    "num_predict": Name.MAX_TOKENS,
    "temperature": Name.TEMPERATURE,
    "top_p": Name.TOP_P,
    "top_k": Name.TOP_K,
    "seed": Name.SEED,
    "frequency_penalty": Name.FREQUENCY_PENALTY,
    "presence_penalty": Name.PRESENCE_PENALTY,
}
"""Numeric request fields of any wire that become attributes; of two with one name, the first counts."""

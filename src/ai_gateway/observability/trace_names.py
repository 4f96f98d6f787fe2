"""What spans and their attributes are called: the one place that knows OpenTelemetry's names, which still change.

GenAI semantic conventions: https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/, HTTP:
https://opentelemetry.io/docs/specs/semconv/http/http-spans/. What they have no name for begins with `gateway.`.
"""

from collections.abc import Mapping
from enum import StrEnum

type Value = str | bool | int | float | list[str]
type Attributes = Mapping["Name", Value]


class Step(StrEnum):
    """What a request waits for beside its attempts, as the names of spans."""

    RESERVE = "reserve"
    """What the call may take is held of its caller's limits, and its start noted."""
    SETTLE = "settle"
    """What it took is counted in place of that."""
    JOURNAL = "journal"
    """Its start or its end is written to the journal."""
    SHIP = "ship"
    """A batch of ended calls goes to the store: a trace of its own."""
    TOOL = "execute_tool"
    """A tool of the gateway runs."""
    STORE = "store"
    """What is kept for callers is read or written."""


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
"""Providers that the conventions call otherwise than we do; all others have one name."""

BACKGROUND = "background"
"""What spans of work begin with that no HTTP request waits for, in place of its method."""

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
"""Operations of the contracts that the conventions have a name for; all others keep their own."""

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
"""Fields of requests, of any wire, whose numbers are attributes; of two with one name, the first."""

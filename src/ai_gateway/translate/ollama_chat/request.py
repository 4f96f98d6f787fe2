"""Ollama's requests in OpenAI's format: fields with a counterpart are mapped, the rest dropped and named, or refused.

An Ollama server gets the caller's original body as well (`native`), so for it nothing is dropped or refused here.
"""

from dataclasses import dataclass, field

from pydantic import BaseModel, JsonValue

from ai_gateway.errors import UnsupportedParameter
from ai_gateway.translate.chat_request import unchecked
from ai_gateway.translate.gateway_tools import typed
from ai_gateway.translate.ollama_chat.messages import conversation, user_message
from ai_gateway.translate.ollama_chat.policies import OPTIONS, apply_policies
from gateway_contract.ollama import models as ollama
from gateway_contract.openai import models as openai

# Bytes that a message, a tool, a call or an image takes: as a model of OpenAI's, and as JSON for an upstream.
_PART_BYTES = 2_500

type Fields = dict[str, object]
type ChatRequest = openai.CreateChatCompletionRequest
type CompletionRequest = openai.CreateCompletionRequest


@dataclass(frozen=True, slots=True)
class TranslatedRequest[Request: BaseModel]:
    """A request in OpenAI's format, and the fields of the original that it lacks, under Ollama's names."""

    request: Request
    dropped: list[str] = field(default_factory=list)


def chat(body: ollama.OllamaChatRequest, model: str, *, native: bool) -> TranslatedRequest[ChatRequest]:
    """For `/api/chat`. `model` is the gateway's id of the model."""
    messages, dropped = conversation(body.messages or [])
    fields: Fields = {"model": model, "messages": messages, **_stream_fields(stream=body.stream)}
    if body.tools:
        fields["tools"] = [_tool(tool, at) for at, tool in enumerate(body.tools)]
    if not native:
        dropped += apply_policies(body)
    fields |= _answer_fields(body, dropped)
    return TranslatedRequest(unchecked(openai.CreateChatCompletionRequest, fields), [] if native else dropped)


def generate(body: ollama.OllamaGenerateRequest, model: str) -> TranslatedRequest[ChatRequest]:
    """For `/api/generate`: the prompt as a chat of one message, or two with a system message."""
    dropped = apply_policies(body)
    system = [openai.ChatCompletionRequestSystemMessage(role="system", content=body.system)] if body.system else []
    messages = [*system, user_message(body.prompt or "", body.images or [])]
    fields: Fields = {"model": model, "messages": messages, **_stream_fields(stream=body.stream)}
    return TranslatedRequest(
        unchecked(openai.CreateChatCompletionRequest, fields | _answer_fields(body, dropped)), dropped
    )


def is_text_completion(body: ollama.OllamaGenerateRequest) -> bool:
    """Whether the prompt is to be completed as a text instead of answered as a user message."""
    return bool(body.raw or body.suffix)


def complete(body: ollama.OllamaGenerateRequest, model: str, *, native: bool) -> TranslatedRequest[CompletionRequest]:
    """For `/api/generate`: a legacy completion of the prompt, and every request to a native provider."""
    fields: Fields = {"model": model, "prompt": body.prompt or "", **_stream_fields(stream=body.stream)}
    fields |= {"suffix": body.suffix} if body.suffix else {}
    fields |= {"logprobs": body.top_logprobs or 0} if body.logprobs else {}
    request = unchecked(openai.CreateCompletionRequest, fields | _options(body.options))
    if native:
        return TranslatedRequest(request)
    _refuse_beside_raw(body)
    dropped = apply_policies(body)
    dropped += ["think"] if body.think is not None else []
    dropped += ["top_logprobs"] if body.top_logprobs and not body.logprobs else []
    return TranslatedRequest(request, dropped)


def embed(model: str, texts: str | list[str], dimensions: int | None = None) -> openai.CreateEmbeddingRequest:
    """For embeddings; 0 dimensions mean the model's default."""
    fields: Fields = {"model": model, "input": texts}
    return unchecked(openai.CreateEmbeddingRequest, fields | ({"dimensions": dimensions} if dimensions else {}))


def translated_size(body: ollama.OllamaChatRequest | ollama.OllamaGenerateRequest) -> int:
    """An estimate of the translation's bytes beside texts: small parts grow a thousandfold."""
    if isinstance(body, ollama.OllamaGenerateRequest):
        return len(body.images or ()) * _PART_BYTES
    messages = body.messages or []
    parts = sum(1 + len(message.images or ()) + len(message.tool_calls or ()) for message in messages)
    return (parts + len(body.tools or ())) * _PART_BYTES


def native_body(body: BaseModel) -> dict[str, JsonValue]:
    """The caller's body for an Ollama server, without `model` and `stream`, which the provider sets."""
    native = body.model_dump(exclude={"model", "stream"}, exclude_unset=True, exclude_none=True)
    if isinstance(body, ollama.OllamaGenerateRequest):
        native.setdefault("raw", False)
    if isinstance(body, ollama.OllamaEmbeddingsRequest):
        native["input"] = native.pop("prompt", "")
    if isinstance(body, ollama.OllamaShowRequest):
        native.pop("name", None)
    for part in [native, *native.get("messages", [])]:
        if "images" in part:  # base64 without data:, `ImageData` in Ollama's api/types.go
            part["images"] = [image.rpartition(",")[2] for image in part["images"]]
    return native


def unloads(keep_alive: str | float | None) -> bool:
    """Whether a model is to be unloaded at once: 0 as a number, or as a duration such as 0s."""
    if isinstance(keep_alive, str):
        return "0" in keep_alive and not keep_alive.strip("0.smhnuµ")
    return keep_alive == 0


def _stream_fields(*, stream: bool | None) -> Fields:
    """Streaming is the default, and Ollama's last line has the usage."""
    if stream is False:
        return {"stream": False}
    return {"stream": True, "stream_options": openai.ChatCompletionStreamOptionsObject(include_usage=True)}


def _answer_fields(body: ollama.OllamaChatRequest | ollama.OllamaGenerateRequest, dropped: list[str]) -> Fields:
    """The fields that shape the answer. Adds to `dropped` those without a counterpart."""
    fields = _options(body.options) | _chat_logprobs(body)
    if body.format == "json":
        fields["response_format"] = openai.ResponseFormatJsonObject(type="json_object")
    elif isinstance(body.format, dict):
        fields["response_format"] = _schema(body.format)
    if body.think is not None:
        fields["reasoning_effort"] = _effort(body.think)
    if body.top_logprobs and not body.logprobs:
        dropped.append("top_logprobs")
    return fields


def _effort(think: bool | str) -> str:
    if isinstance(think, str):
        return think
    return "medium" if think else "none"


def _options(options: ollama.OllamaModelOptions | None) -> Fields:
    if options is None:
        return {}
    mapped = {name: getattr(options, option) for option, name in OPTIONS.items()}
    if mapped["max_tokens"] is not None and mapped["max_tokens"] <= 0:  # -1 and -2 mean no limit
        mapped["max_tokens"] = None
    return {name: value for name, value in mapped.items() if value not in (None, "", [])}


def _chat_logprobs(body: ollama.OllamaChatRequest | ollama.OllamaGenerateRequest) -> Fields:
    if not body.logprobs:
        return {}
    return {"logprobs": True} | ({"top_logprobs": body.top_logprobs} if body.top_logprobs else {})


def _schema(schema: dict[str, JsonValue]) -> openai.ResponseFormatJsonSchema:
    wanted = openai.ResponseFormatJsonSchemaJsonSchema.model_validate({"name": "response", "schema": schema})
    return openai.ResponseFormatJsonSchema(type="json_schema", json_schema=wanted)


def has_gateway_tools(body: BaseModel) -> bool:
    """Whether it has gateway-run tools, which Ollama servers do not know."""
    tools = body.tools if isinstance(body, ollama.OllamaChatRequest) else None
    return any(isinstance(tool, ollama.OllamaGatewayTool) for tool in tools or ())


def _tool(tool: ollama.OllamaToolDefinition | ollama.OllamaGatewayTool, at: int) -> BaseModel:
    if isinstance(tool, ollama.OllamaGatewayTool):
        return typed(tool, at)
    fields = tool.model_dump(exclude_unset=True, exclude_none=True)
    return openai.ChatCompletionTool.model_validate({**fields, "type": "function"})


def _refuse_beside_raw(body: ollama.OllamaGenerateRequest) -> None:
    """Refuse the fields that a legacy completion does not have."""
    for name, value in (("system", body.system), ("images", body.images), ("format", body.format)):
        if value:
            raise UnsupportedParameter(
                f"With 'raw' or 'suffix' the prompt is continued as a bare text: leave '{name}' out.",
                param=name,
            )

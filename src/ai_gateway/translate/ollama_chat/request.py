"""Requests on Ollama's wire as requests on OpenAI's: what both can say is mapped, the rest named or refused.

A provider that speaks Ollama's wire itself gets what the caller said as well (`native`), so for it nothing is dropped
or refused here.
"""

from dataclasses import dataclass, field

from pydantic import BaseModel, JsonValue

from ai_gateway.errors import UnsupportedParameter
from ai_gateway.translate.ollama_chat.messages import conversation, user_message
from ai_gateway.translate.ollama_chat.policies import OPTIONS, settle
from gateway_contract.ollama import models as ollama
from gateway_contract.openai import models as openai

type Fields = dict[str, object]
type ChatRequest = openai.CreateChatCompletionRequest
type CompletionRequest = openai.CreateCompletionRequest


@dataclass(frozen=True, slots=True)
class Asked[Request: BaseModel]:
    """A request on OpenAI's wire, and the names of what it does not say of the original, in Ollama's words."""

    request: Request
    dropped: list[str] = field(default_factory=list)


def chat(body: ollama.OllamaChatRequest, model: str, *, native: bool) -> Asked[ChatRequest]:
    """A conversation. `model` is what the gateway calls the model."""
    messages, dropped = conversation(body.messages or [])
    fields: Fields = {"model": model, "messages": messages, **_streamed(stream=body.stream)}
    if body.tools:
        fields["tools"] = [_tool(tool) for tool in body.tools]
    if not native:
        dropped += settle(body)
    fields |= _terms(body, dropped)
    return Asked(_built(openai.CreateChatCompletionRequest, fields), [] if native else dropped)


def generate(body: ollama.OllamaGenerateRequest, model: str) -> Asked[ChatRequest]:
    """A question as a conversation of one message, or two with the system's."""
    dropped = settle(body)
    system = [openai.ChatCompletionRequestSystemMessage(role="system", content=body.system)] if body.system else []
    messages = [*system, user_message(body.prompt or "", body.images or [])]
    fields: Fields = {"model": model, "messages": messages, **_streamed(stream=body.stream)}
    return Asked(_built(openai.CreateChatCompletionRequest, fields | _terms(body, dropped)), dropped)


def completes(body: ollama.OllamaGenerateRequest) -> bool:
    """Whether the prompt is a text to go on with, and not a question."""
    return bool(body.raw or body.suffix)


def complete(body: ollama.OllamaGenerateRequest, model: str, *, native: bool) -> Asked[CompletionRequest]:
    """A text to go on with or, for a native provider, whatever was asked."""
    fields: Fields = {"model": model, "prompt": body.prompt or "", **_streamed(stream=body.stream)}
    fields |= {"suffix": body.suffix} if body.suffix else {}
    fields |= {"logprobs": body.top_logprobs or 0} if body.logprobs else {}
    request = _built(openai.CreateCompletionRequest, fields | _options(body.options))
    if native:
        return Asked(request)
    _refuse_beside_raw(body)
    dropped = settle(body)
    dropped += ["think"] if body.think is not None else []
    dropped += ["top_logprobs"] if body.top_logprobs and not body.logprobs else []
    return Asked(request, dropped)


def embed(model: str, texts: str | list[str], dimensions: int | None = None) -> openai.CreateEmbeddingRequest:
    """Texts to turn into vectors; 0 dimensions are none in particular."""
    fields: Fields = {"model": model, "input": texts}
    return _built(openai.CreateEmbeddingRequest, fields | ({"dimensions": dimensions} if dimensions else {}))


def native_body(body: BaseModel) -> dict[str, JsonValue]:
    """What the caller said, for a provider of the same wire: all but the model and how the answer is to come."""
    said = body.model_dump(exclude={"model", "stream"}, exclude_unset=True, exclude_none=True)
    if isinstance(body, ollama.OllamaGenerateRequest):
        said.setdefault("raw", False)
    if isinstance(body, ollama.OllamaEmbeddingsRequest):
        said["input"] = said.pop("prompt", "")
    if isinstance(body, ollama.OllamaShowRequest):
        said.pop("name", None)
    for holder in [said, *said.get("messages", [])]:
        if "images" in holder:
            holder["images"] = [image.rpartition(",")[2] for image in holder["images"]]  # without a data: URL's head
    return said


def unloads(keep_alive: str | float | None) -> bool:
    """Whether a model is to be unloaded at once: 0 as a number, or as a duration such as 0s."""
    if isinstance(keep_alive, str):
        return "0" in keep_alive and not keep_alive.strip("0.smhnuµ")
    return keep_alive == 0


def _streamed(*, stream: bool | None) -> Fields:
    """Streaming is on unless it is said to be off, and what it took is wanted in the end."""
    if stream is False:
        return {"stream": False}
    return {"stream": True, "stream_options": openai.ChatCompletionStreamOptionsObject(include_usage=True)}


def _terms(body: ollama.OllamaChatRequest | ollama.OllamaGenerateRequest, dropped: list[str]) -> Fields:
    """How to answer. Adds to `dropped` what cannot be said."""
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
    said = {name: getattr(options, option) for option, name in OPTIONS.items()}
    if said["max_tokens"] is not None and said["max_tokens"] <= 0:  # no limit, however it is said
        said["max_tokens"] = None
    return {name: value for name, value in said.items() if value not in (None, "", [])}


def _chat_logprobs(body: ollama.OllamaChatRequest | ollama.OllamaGenerateRequest) -> Fields:
    if not body.logprobs:
        return {}
    return {"logprobs": True} | ({"top_logprobs": body.top_logprobs} if body.top_logprobs else {})


def _schema(schema: dict[str, JsonValue]) -> openai.ResponseFormatJsonSchema:
    wanted = openai.ResponseFormatJsonSchemaJsonSchema.model_validate({"name": "response", "schema": schema})
    return openai.ResponseFormatJsonSchema(type="json_schema", json_schema=wanted)


def _tool(tool: ollama.OllamaToolDefinition) -> openai.ChatCompletionTool:
    said = tool.model_dump(exclude_unset=True, exclude_none=True)
    return openai.ChatCompletionTool.model_validate({**said, "type": "function"})


def _refuse_beside_raw(body: ollama.OllamaGenerateRequest) -> None:
    """What has no place beside a bare text."""
    for name, value in (("system", body.system), ("images", body.images), ("format", body.format)):
        if value:
            raise UnsupportedParameter(
                f"With 'raw' or 'suffix' the prompt is continued as a bare text: leave '{name}' out.",
                param=name,
            )


def _built[Request: BaseModel](model: type[Request], fields: Fields) -> Request:
    """The request. Its bounds are not checked: whoever answers may take more than OpenAI does, or will say so."""
    return model.model_construct(None, **fields)

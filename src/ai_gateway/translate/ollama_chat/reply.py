"""OpenAI's complete responses as pieces of an answer, and the parts that streams share with them."""

from collections.abc import Mapping, Sequence
from typing import cast

from pydantic import MISSING, JsonValue

from ai_gateway.contract.strict_json import read_json
from ai_gateway.errors import UpstreamInvalidResponse
from ai_gateway.translate.ollama_chat.piece import End, Piece
from ai_gateway.translate.wires.ollama import Timed
from gateway_contract.ollama import models as ollama
from gateway_contract.openai import models as openai

_NO_ANSWER = "The provider's reply holds no answer."
_CALLING = ("tool_calls", "function_call")


def chat(reply: openai.CreateChatCompletionResponse) -> tuple[Piece, End]:
    """The answer of a chat. Raises UpstreamInvalidResponse for one that Ollama's format cannot express."""
    if not reply.choices:
        raise UpstreamInvalidResponse(_NO_ANSWER)
    choice = reply.choices[0]
    message = choice.message
    piece = Piece(
        content=message.content or message.refusal or "",
        thinking=thinking(message.model_extra),
        calls=tool_calls(_functions(message), cut=choice.finish_reason == "length"),
        logprobs=chat_logprobs(choice.logprobs.content if choice.logprobs else None),
        images=images(message.model_extra),
    )
    if not (piece.content or piece.calls):
        require_answer(choice.finish_reason)
    usage = reply.usage if reply.usage is not MISSING else None
    return piece, End(reason(choice.finish_reason), usage, durations=durations(reply.model_extra))


def _functions(message: openai.ChatCompletionResponseMessage) -> list[tuple[str, str, str]]:
    """The called functions as id, name and arguments; `function_call` is that of older upstreams."""
    calls = [] if message.tool_calls is MISSING else message.tool_calls
    functions = [
        (call.id, call.function.name, call.function.arguments)
        for call in calls
        if isinstance(call, openai.ChatCompletionMessageToolCall)
    ]
    if message.function_call is not MISSING and not functions:  # if both are sent, they are the same call
        functions.append(("", message.function_call.name, message.function_call.arguments))
    return functions


def require_answer(finish: str) -> None:
    """Raise UpstreamInvalidResponse if an empty answer ends in a tool call, which would be lost silently."""
    if finish in _CALLING:
        raise UpstreamInvalidResponse("The provider called a tool in a way that Ollama's API cannot say.")


def completion(reply: openai.CreateCompletionResponse) -> tuple[Piece, End]:
    """The answer of a legacy completion."""
    if not reply.choices:
        raise UpstreamInvalidResponse(_NO_ANSWER)
    choice = reply.choices[0]
    piece = Piece(
        content=choice.text,
        thinking=thinking(choice.model_extra) or thinking(reply.model_extra),
        logprobs=text_logprobs(choice.logprobs),
    )
    usage = reply.usage if reply.usage is not MISSING else None
    return piece, End(reason(choice.finish_reason), usage, context(reply.model_extra), durations(reply.model_extra))


def embeddings(reply: openai.CreateEmbeddingResponse) -> list[list[float]]:
    """The vectors, in order."""
    vectors = [item.embedding for item in sorted(reply.data, key=lambda item: item.index)]
    if not all(isinstance(vector, list) for vector in vectors):
        raise UpstreamInvalidResponse("The provider's vectors are not lists of numbers.")
    return cast("list[list[float]]", vectors)


def reason(finish: str) -> str:
    """Ollama's `done_reason`, which is `stop` after tool calls too."""
    return "stop" if finish in _CALLING else finish


def thinking(fields: Mapping[str, object] | None) -> str:
    """The model's reasoning, from the two fields outside the contract that upstreams use."""
    for name in ("reasoning_content", "reasoning"):
        value = (fields or {}).get(name)
        if isinstance(value, str) and value:
            return value
    return ""


def images(fields: Mapping[str, object] | None) -> list[str]:
    """Generated images in base64; only Ollama servers send them in this field."""
    value = (fields or {}).get("images")
    if isinstance(value, list) and all(isinstance(image, str) for image in value):
        return cast("list[str]", value)
    return []


def context(fields: Mapping[str, object] | None) -> list[int] | None:
    """The conversation in tokens; only Ollama servers send it."""
    value = (fields or {}).get("context")
    if isinstance(value, list) and all(type(token) is int for token in value):
        return cast("list[int]", value) or None
    return None


def durations(fields: Mapping[str, object] | None) -> dict[str, int] | None:
    """The upstream's durations; only Ollama servers send them."""
    value = (fields or {}).get("durations")
    if not isinstance(value, dict):
        return None
    return Timed.model_validate(value).durations()


def tool_calls(calls: Sequence[tuple[str, str, str]], *, cut: bool) -> list[ollama.OllamaReplyToolCall]:
    """The calls, with their arguments as an object. Raises UpstreamInvalidResponse if they are not one.

    A `function_call` has no id, and none is invented: its result is matched by the tool's name. A call that the token
    limit truncated (`cut`) is left out: the finish reason shows it.
    """
    result = []
    for index, (call_id, name, text) in enumerate(calls):
        arguments = _arguments(text)
        if arguments is not None:
            function = ollama.OllamaReplyToolCallFunction(index=index, name=name, arguments=arguments)
            call = ollama.OllamaReplyToolCall(function=function)
            if call_id:
                call.id = call_id
            result.append(call)
        elif not cut:
            raise UpstreamInvalidResponse("The provider called a tool with arguments that are not a JSON object.")
    return result


def _arguments(text: str) -> dict[str, JsonValue] | None:
    try:
        value = read_json(text.encode("utf-8", "surrogatepass")) if text.strip() else {}
    except ValueError:
        return None
    return cast("dict[str, JsonValue]", value) if isinstance(value, dict) else None


def chat_logprobs(tokens: Sequence[openai.ChatCompletionTokenLogprob] | None) -> list[ollama.OllamaLogprob]:
    """Log probabilities of a chat; null bytes become absent."""
    return [_logprob(token) for token in tokens or []]


def _logprob(token: openai.ChatCompletionTokenLogprob) -> ollama.OllamaLogprob:
    result = ollama.OllamaLogprob(token=token.token, logprob=token.logprob)
    if token.bytes is not None:
        result.bytes = token.bytes
    if token.top_logprobs:
        result.top_logprobs = [_alternative(other.token, other.logprob, other.bytes) for other in token.top_logprobs]
    return result


def _alternative(token: str, logprob: float, octets: list[int] | None) -> ollama.OllamaTokenLogprob:
    result = ollama.OllamaTokenLogprob(token=token, logprob=logprob)
    if octets is not None:
        result.bytes = octets
    return result


def text_logprobs(logprobs: openai.CreateCompletionResponseChoiceLogprobs | None) -> list[ollama.OllamaLogprob]:
    """Log probabilities of a legacy completion, which has them in parallel lists."""
    if logprobs is None or logprobs.tokens is MISSING or logprobs.token_logprobs is MISSING:
        return []
    alternatives = [] if logprobs.top_logprobs is MISSING else logprobs.top_logprobs
    result = []
    for at, (token, logprob) in enumerate(zip(logprobs.tokens, logprobs.token_logprobs, strict=False)):
        if logprob is not None:
            translated = ollama.OllamaLogprob(token=token, logprob=logprob)
            best = alternatives[at] if at < len(alternatives) else None
            if best:
                translated.top_logprobs = [_alternative(other, value, None) for other, value in best.items()]
            result.append(translated)
    return result

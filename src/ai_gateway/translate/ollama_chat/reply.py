"""Whole replies on OpenAI's wire as what a model says, and the parts that streams have in common with them."""

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
    """The answer of a conversation. Raises UpstreamInvalidResponse for one that Ollama's wire cannot say."""
    if not reply.choices:
        raise UpstreamInvalidResponse(_NO_ANSWER)
    choice = reply.choices[0]
    message = choice.message
    piece = Piece(
        content=message.content or message.refusal or "",
        thinking=thought(message.model_extra),
        calls=tool_calls(_functions(message), cut=choice.finish_reason == "length"),
        logprobs=chat_logprobs(choice.logprobs.content if choice.logprobs else None),
        images=pictures(message.model_extra),
    )
    if not (piece.content or piece.calls):
        check_silence(choice.finish_reason)
    usage = reply.usage if reply.usage is not MISSING else None
    return piece, End(reason(choice.finish_reason), usage, durations=durations(reply.model_extra))


def _functions(message: openai.ChatCompletionResponseMessage) -> list[tuple[str, str, str]]:
    """The functions called, an older upstream's one among them, as id, name and arguments."""
    calls = [] if message.tool_calls is MISSING else message.tool_calls
    found = [
        (call.id, call.function.name, call.function.arguments)
        for call in calls
        if isinstance(call, openai.ChatCompletionMessageToolCall)
    ]
    if message.function_call is not MISSING and not found:  # who says both says one call twice
        found.append(("", message.function_call.name, message.function_call.arguments))
    return found


def check_silence(finish: str) -> None:
    """Raises UpstreamInvalidResponse if an answer without content or calls ends in a call: silence would hide it."""
    if finish in _CALLING:
        raise UpstreamInvalidResponse("The provider called a tool in a way that Ollama's API cannot say.")


def completion(reply: openai.CreateCompletionResponse) -> tuple[Piece, End]:
    """The continuation of a text."""
    if not reply.choices:
        raise UpstreamInvalidResponse(_NO_ANSWER)
    choice = reply.choices[0]
    piece = Piece(
        content=choice.text,
        thinking=thought(choice.model_extra) or thought(reply.model_extra),
        logprobs=text_logprobs(choice.logprobs),
    )
    usage = reply.usage if reply.usage is not MISSING else None
    return piece, End(reason(choice.finish_reason), usage, context(reply.model_extra), durations(reply.model_extra))


def embeddings(reply: openai.CreateEmbeddingResponse) -> list[list[float]]:
    """The vectors, in order."""
    found = [item.embedding for item in sorted(reply.data, key=lambda item: item.index)]
    if not all(isinstance(vector, list) for vector in found):
        raise UpstreamInvalidResponse("The provider's vectors are not lists of numbers.")
    return cast("list[list[float]]", found)


def reason(finish: str) -> str:
    """Why an answer ended, in Ollama's words, which know no other reason for calls than that the model stopped."""
    return "stop" if finish in _CALLING else finish


def thought(fields: Mapping[str, object] | None) -> str:
    """What the model thought first: outside the contract, under the two names that upstreams use."""
    for name in ("reasoning_content", "reasoning"):
        value = (fields or {}).get(name)
        if isinstance(value, str) and value:
            return value
    return ""


def pictures(fields: Mapping[str, object] | None) -> list[str]:
    """The images that the model made, in base64, which only Ollama says this way."""
    value = (fields or {}).get("images")
    if isinstance(value, list) and all(isinstance(image, str) for image in value):
        return cast("list[str]", value)
    return []


def context(fields: Mapping[str, object] | None) -> list[int] | None:
    """The conversation in tokens, which only Ollama itself says."""
    value = (fields or {}).get("context")
    if isinstance(value, list) and all(type(token) is int for token in value):
        return cast("list[int]", value) or None
    return None


def durations(fields: Mapping[str, object] | None) -> dict[str, int] | None:
    """How long it took, which only Ollama itself says."""
    value = (fields or {}).get("durations")
    if not isinstance(value, dict):
        return None
    return Timed.model_validate(value).durations()


def tool_calls(calls: Sequence[tuple[str, str, str]], *, cut: bool) -> list[ollama.OllamaReplyToolCall]:
    """Calls as id, name and arguments, these as an object. Raises UpstreamInvalidResponse if they are none.

    A `function_call` has no id, and none is made up: its result finds it by the tool's name. What the token limit `cut`
    in two is no call: the reason of the end tells of it.
    """
    said = []
    for place, (ident, name, text) in enumerate(calls):
        arguments = _arguments(text)
        if arguments is not None:
            function = ollama.OllamaReplyToolCallFunction(index=place, name=name, arguments=arguments)
            call = ollama.OllamaReplyToolCall(function=function)
            if ident:
                call.id = ident
            said.append(call)
        elif not cut:
            raise UpstreamInvalidResponse("The provider called a tool with arguments that are not a JSON object.")
    return said


def _arguments(text: str) -> dict[str, JsonValue] | None:
    try:
        value = read_json(text.encode("utf-8", "surrogatepass")) if text.strip() else {}
    except ValueError:
        return None
    return cast("dict[str, JsonValue]", value) if isinstance(value, dict) else None


def chat_logprobs(found: Sequence[openai.ChatCompletionTokenLogprob] | None) -> list[ollama.OllamaLogprob]:
    """Log probabilities of a chat; bytes that are null there are absent here."""
    return [_logprob(token) for token in found or []]


def _logprob(token: openai.ChatCompletionTokenLogprob) -> ollama.OllamaLogprob:
    said = ollama.OllamaLogprob(token=token.token, logprob=token.logprob)
    if token.bytes is not None:
        said.bytes = token.bytes
    if token.top_logprobs:
        said.top_logprobs = [_alternative(other.token, other.logprob, other.bytes) for other in token.top_logprobs]
    return said


def _alternative(token: str, logprob: float, octets: list[int] | None) -> ollama.OllamaTokenLogprob:
    said = ollama.OllamaTokenLogprob(token=token, logprob=logprob)
    if octets is not None:
        said.bytes = octets
    return said


def text_logprobs(found: openai.CreateCompletionResponseChoiceLogprobs | None) -> list[ollama.OllamaLogprob]:
    """Log probabilities of a continued text, which stand in lists side by side there."""
    if found is None or found.tokens is MISSING or found.token_logprobs is MISSING:
        return []
    others = [] if found.top_logprobs is MISSING else found.top_logprobs
    said = []
    for at, (token, logprob) in enumerate(zip(found.tokens, found.token_logprobs, strict=False)):
        if logprob is not None:
            one = ollama.OllamaLogprob(token=token, logprob=logprob)
            best = others[at] if at < len(others) else None
            if best:
                one.top_logprobs = [_alternative(other, value, None) for other, value in best.items()]
            said.append(one)
    return said

"""OpenAI's complete responses as pieces of an answer, and the parts that streams share with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from pydantic import MISSING, BaseModel, JsonValue, TypeAdapter, ValidationError

from ai_gateway.contract.reasoning import REASONING_NAMES, thought_in
from ai_gateway.contract.strict_json import read_json
from ai_gateway.contract.write import to_fields
from ai_gateway.errors import UpstreamInvalidResponse
from ai_gateway.translate.extra_fields import Fields, carry, extra_fields, place
from ai_gateway.translate.ollama_chat.piece import End, Extras, Piece
from ai_gateway.translate.wires.ollama import Timed
from gateway_contract.ollama import models as ollama
from gateway_contract.openai import models as openai

_NO_ANSWER = "The provider's reply holds no answer."
_CALLING = ("tool_calls", "function_call")
_TOKENS = TypeAdapter(list[openai.ChatCompletionTokenLogprob])
_DETAILS = ("prompt_tokens_details", "completion_tokens_details")


@dataclass(frozen=True, slots=True)
class Called:
    """A called function. `extras` are the call's extra fields, `named` those of its function."""

    call_id: str
    name: str
    arguments: str
    extras: Fields = field(default_factory=dict)
    named: Fields = field(default_factory=dict)


def chat(reply: openai.CreateChatCompletionResponse) -> tuple[Piece, End]:
    """The answer of a chat. Raises UpstreamInvalidResponse for one that Ollama's format cannot express."""
    if not reply.choices:
        raise UpstreamInvalidResponse(_NO_ANSWER)
    choice = reply.choices[0]
    message = choice.message
    piece = Piece(
        content=message.content or message.refusal or _spoken(message),
        thinking=thought_in(message.model_extra),
        calls=tool_calls(_functions(message), cut=choice.finish_reason == "length"),
        logprobs=chat_logprobs(choice.logprobs.content if choice.logprobs else None),
        images=images(message.model_extra),
        extras=chat_extras(reply, choice, message),
    )
    if not (piece.content or piece.calls):
        require_answer(choice.finish_reason)
    usage = reply.usage if reply.usage is not MISSING else None
    return piece, End(reason(choice.finish_reason), usage, durations=durations(reply.model_extra))


def chat_extras(
    reply: openai.CreateChatCompletionResponse | openai.CreateChatCompletionStreamResponse,
    choice: openai.CreateChatCompletionResponseChoice | openai.CreateChatCompletionStreamResponseChoice | None,
    message: openai.ChatCompletionResponseMessage | openai.ChatCompletionStreamResponseDelta | None,
) -> Extras | None:
    """The extra fields of a chat's reply or chunk, except thinking, images and durations; None if there are none."""
    counted = _counted(reply.usage if isinstance(reply.usage, openai.CompletionUsage) else None)
    tokens = choice.logprobs if choice is not None else None
    own = _own(message)
    if not counted and not own and not _any_extra(reply, choice, tokens, message):
        return None
    read = message.model_extra if message is not None else None
    native: Fields = {**dict.fromkeys(REASONING_NAMES, thought_in(read)), "images": images(read)}
    beside = {**_remaining_extras(reply, {"durations": durations(reply.model_extra)}), **counted}
    chosen = _remaining_extras(choice)
    place(_remaining_extras(tokens), chosen)
    return _extras(beside, chosen, {**_remaining_extras(message, native), **own})


def _own(message: openai.ChatCompletionResponseMessage | openai.ChatCompletionStreamResponseDelta | None) -> Fields:
    """What the contract of chats has a field for and Ollama's API none: calls that were run, sources, and sound."""
    if message is None:
        return {}
    ran = message.gateway_tool_calls
    own: Fields = {"gateway_tool_calls": [to_fields(call) for call in ran]} if ran is not MISSING else {}
    if isinstance(message, openai.ChatCompletionResponseMessage):
        if message.annotations is not MISSING and message.annotations:
            own["annotations"] = [to_fields(each) for each in message.annotations]
        if isinstance(message.audio, BaseModel):
            own["audio"] = to_fields(message.audio)
    return own


def _spoken(message: openai.ChatCompletionResponseMessage) -> str:
    """The text of an answer in sound."""
    return message.audio.transcript if isinstance(message.audio, openai.ChatCompletionResponseMessageAudio) else ""


def _detailed(logprobs: openai.CreateCompletionResponseChoiceLogprobs) -> list[openai.ChatCompletionTokenLogprob]:
    content = (logprobs.model_extra or {}).get("content")
    try:
        return _TOKENS.validate_python(content) if isinstance(content, list) else []
    except ValidationError:
        return []


def text_extras(
    reply: openai.CreateCompletionResponse | openai.CreateCompletionStreamResponse,
    choice: openai.CreateCompletionResponseChoice | openai.CreateCompletionStreamResponseChoice | None,
) -> Extras | None:
    """The same for a legacy completion, also without `context`."""
    counted = _counted(reply.usage if isinstance(reply.usage, openai.CompletionUsage) else None)
    tokens = choice.logprobs if choice is not None else None
    if not counted and not _any_extra(reply, choice, tokens):
        return None
    read = reply.model_extra
    thought = (thought_in(choice.model_extra) if choice is not None else "") or thought_in(read)
    translated: Fields = dict.fromkeys(REASONING_NAMES, thought)
    beside: Fields = {**translated, "durations": durations(read), "context": context(read)}
    chosen = _remaining_extras(choice, translated)
    if tokens is not None:
        place(extra_fields(tokens, *(("content",) if _detailed(tokens) else ())), chosen)
    return _extras({**_remaining_extras(reply, beside), **counted}, chosen, {})


def vector_extras(reply: openai.CreateEmbeddingResponse) -> Fields:
    """The extra fields of an embeddings reply, with those of its vectors and usage under `data` and `usage`."""
    vectors = [extra_fields(vector) for vector in reply.data] if _any_extra(*reply.data) else None
    return {
        **_remaining_extras(reply, {"durations": durations(reply.model_extra)}),
        **({"data": vectors} if vectors else {}),
        **_counted(reply.usage),
    }


def _any_extra(*holders: BaseModel | None) -> bool:
    return any(holder is not None and holder.__pydantic_extra__ for holder in holders)


def _extras(*places: Fields) -> Extras | None:
    return Extras(*places) if any(places) else None


def _remaining_extras(holder: BaseModel | None, translated: Mapping[str, object] | None = None) -> Fields:
    """Its extra fields, except those in `translated`, which have a field of Ollama's, and empty reasoning."""
    if holder is None:
        return {}
    held = holder.model_extra or {}
    read = [
        name
        for name, value in (translated or {}).items()
        if name in held and (held[name] == value if value else name in REASONING_NAMES and not held[name])
    ]
    return extra_fields(holder, *read)


def _counted(usage: BaseModel | None) -> Fields:
    """Further counts of the usage: Ollama's replies have no usage object."""
    if usage is None:
        return {}
    counted = extra_fields(usage)
    for name in _DETAILS:
        details = getattr(usage, name, None)
        if isinstance(details, BaseModel) and (inside := extra_fields(details)):
            counted[name] = inside
    return {"usage": counted} if counted else {}


def _functions(message: openai.ChatCompletionResponseMessage) -> list[Called]:
    """The called functions; `function_call` is that of older upstreams."""
    calls = [] if message.tool_calls is MISSING else message.tool_calls
    functions = [
        Called(call.id, call.function.name, call.function.arguments, extra_fields(call), extra_fields(call.function))
        for call in calls
        if isinstance(call, openai.ChatCompletionMessageToolCall)
    ]
    if message.function_call is not MISSING and not functions:  # if both are sent, they are the same call
        old = message.function_call
        functions.append(Called("", old.name, old.arguments, named=extra_fields(old)))
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
        thinking=thought_in(choice.model_extra) or thought_in(reply.model_extra),
        logprobs=text_logprobs(choice.logprobs),
        extras=text_extras(reply, choice),
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


def tool_calls(calls: Sequence[Called], *, cut: bool) -> list[ollama.OllamaReplyToolCall]:
    """The calls, with their arguments as an object. Raises UpstreamInvalidResponse if they are not one.

    A `function_call` has no id, and none is invented: its result is matched by the tool's name. A call that the token
    limit truncated (`cut`) is left out: the finish reason shows it.
    """
    result = []
    for index, called in enumerate(calls):
        arguments = _arguments(called.arguments)
        if arguments is not None:
            function = ollama.OllamaReplyToolCallFunction(index=index, name=called.name, arguments=arguments)
            call = ollama.OllamaReplyToolCall(function=carry(called.named, function))
            if called.call_id:
                call.id = called.call_id
            result.append(carry(called.extras, call))
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
        result.top_logprobs = [
            carry(extra_fields(other), _alternative(other.token, other.logprob, other.bytes))
            for other in token.top_logprobs
        ]
    return carry(extra_fields(token), result)


def _alternative(token: str, logprob: float, octets: list[int] | None) -> ollama.OllamaTokenLogprob:
    result = ollama.OllamaTokenLogprob(token=token, logprob=logprob)
    if octets is not None:
        result.bytes = octets
    return result


def text_logprobs(logprobs: openai.CreateCompletionResponseChoiceLogprobs | None) -> list[ollama.OllamaLogprob]:
    """Log probabilities of a legacy completion, which has them in parallel lists, or as chats have them as well."""
    if logprobs is None or logprobs.tokens is MISSING or logprobs.token_logprobs is MISSING:
        return []
    if detailed := _detailed(logprobs):
        return chat_logprobs(detailed)
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

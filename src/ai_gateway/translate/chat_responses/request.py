"""OpenAI's chat request as one of the Responses API: platform.openai.com "Migrate to the Responses API".

Encrypted reasoning is sent back: `reasoning_items` of an assistant's message are those of its reply.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from ai_gateway.errors import UnsupportedValue
from ai_gateway.translate.chat_responses.lost_fields import CACHE_MARK, REASONING, lost_fields
from ai_gateway.translate.chat_responses.tools import choice, custom_calls, tool

type Fields = Mapping[str, Any]

ENCRYPTED: Final = "reasoning.encrypted_content"
_LOGPROBS = "message.output_text.logprobs"
# Fields with the same name and meaning.
_SAME = (
    *("model", "temperature", "top_p", "parallel_tool_calls", "metadata", "service_tier", "user", "safety_identifier"),
    *("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "top_logprobs", "moderation", "stream"),
)
_READ = {
    *_SAME,
    *("messages", "tools", "tool_choice", "functions", "function_call", "response_format", "verbosity", "store"),
    *("reasoning_effort", "max_tokens", "max_completion_tokens", "logprobs", "n", "modalities"),
    *("stream_options", "web_search_options"),
}
# Fields without a counterpart that do not change the answer's meaning.
_DROPPED = frozenset({"seed", "prediction", "frequency_penalty", "presence_penalty", "logit_bias", "audio"})
_IMAGE_DETAIL = "auto"


def to_response(chat: Fields) -> tuple[dict[str, Any], list[str]]:
    """The body to send, and the dropped fields of the chat. Raises UnsupportedValue.

    Fields beyond the contract stay unchanged: they only remain in the request if they have to be forwarded.
    """
    _refuse(chat)
    sent: dict[str, Any] = {name: chat[name] for name in _SAME if chat.get(name) is not None}
    custom = custom_calls(chat["messages"])
    sent["input"] = [item for message in chat["messages"] for item in _items(message, custom)]
    sent["store"] = chat.get("store") is True  # the default is true there, and false in chat completions
    include = [ENCRYPTED]
    limits = [chat[name] for name in ("max_completion_tokens", "max_tokens") if chat.get(name) is not None]
    if limits:
        sent["max_output_tokens"] = min(limits)
    effort = chat.get("reasoning_effort")
    if effort is not None and effort != "default":
        sent["reasoning"] = {"effort": effort}
    text = _text(chat)
    if text:
        sent["text"] = text
    if chat.get("logprobs"):
        include.append(_LOGPROBS)
    sent["include"] = include
    functions = [{"type": "function", "function": each} for each in chat.get("functions") or ()]
    tools = [tool(each) for each in [*(chat.get("tools") or ()), *functions]]
    if chat.get("web_search_options") is not None:
        tools.append({"type": "web_search", **_search(chat["web_search_options"])})
    if tools:
        sent["tools"] = tools
    chosen = chat.get("tool_choice", chat.get("function_call"))
    if chosen is not None:
        sent["tool_choice"] = choice(chosen)
    dropped = [name for name in _DROPPED if chat.get(name) not in (None, 0, {})]
    unknown = {name: value for name, value in chat.items() if name not in _READ | _DROPPED | {"stop"}}
    return sent | unknown, sorted({*dropped, *lost_fields(chat)})


def _refuse(chat: Fields) -> None:
    if (chat.get("n") or 1) > 1:
        raise UnsupportedValue("This model gives one choice: leave `n` out.", param="n")
    if "audio" in (chat.get("modalities") or ()):
        raise UnsupportedValue("This model answers in text only.", param="modalities")
    if chat.get("stop"):
        raise UnsupportedValue("This model takes no stop sequences: leave `stop` out.", param="stop")


def _search(options: Fields) -> dict[str, Any]:
    """The search tool; the user's location is nested differently in a chat."""
    where = options.get("user_location")
    if not isinstance(where, dict) or not isinstance(place := where.get(str(where.get("type"))), dict):
        return dict(options)
    return {**options, "user_location": {"type": where["type"], **place}}


def _text(chat: Fields) -> dict[str, Any]:
    text: dict[str, Any] = {}
    wanted = chat.get("response_format")
    if wanted is not None:
        schema = wanted.get("json_schema")
        more = {name: value for name, value in wanted.items() if name != "json_schema"}
        text["format"] = {**more, **(schema if isinstance(schema, dict) else {})}
    if chat.get("verbosity") is not None:
        text["verbosity"] = chat["verbosity"]
    return text


def _items(message: Fields, custom: Collection[str]) -> Iterator[dict[str, Any]]:
    """The items for a message. `custom` are ids of calls of custom tools, whose results have a type of their own."""
    role, content = message["role"], message.get("content")
    if role == "tool":
        kind = "custom_tool_call_output" if message["tool_call_id"] in custom else "function_call_output"
        yield {"type": kind, "call_id": message["tool_call_id"], "output": _output(content)}
    elif role == "function":
        yield {"type": "function_call_output", "call_id": message["name"], "output": content or ""}
    elif role == "assistant":
        yield from _assistant(message)
    else:
        yield {"type": "message", "role": role, "content": [_part(part) for part in _parts(content)]}


def _assistant(message: Fields) -> Iterator[dict[str, Any]]:
    thought = message.get(REASONING)
    for item in thought if isinstance(thought, list) else ():
        if isinstance(item, dict):
            yield {**item, "type": "reasoning"}
    content = [_assistant_part(part) for part in _parts(message.get("content"))]
    if message.get("refusal"):
        content.append({"type": "refusal", "refusal": message["refusal"]})
    if content:
        yield {"type": "message", "role": "assistant", "content": content}
    for call in message.get("tool_calls") or ():
        custom = call.get("custom") if call.get("type") == "custom" else None
        if custom is not None:
            yield {"type": "custom_tool_call", "call_id": call["id"], "name": custom["name"], "input": custom["input"]}
        else:
            yield _call(call["id"], call["function"])
    if (function := message.get("function_call")) is not None:
        yield _call(function["name"], function)  # the deprecated field, whose result refers to it by name


def _call(call_id: str, function: Fields) -> dict[str, Any]:
    return {
        "type": "function_call", "call_id": call_id, "name": function["name"], "arguments": function["arguments"],
    }  # fmt: skip


def _parts(content: object) -> list[Fields]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return content if isinstance(content, list) else []


def _assistant_part(part: Fields) -> dict[str, Any]:
    """A part of an assistant's message."""
    if part["type"] == "refusal":
        return {"type": "refusal", "refusal": part["refusal"]}
    if part["type"] == "text":
        return {"type": "output_text", "text": part["text"]}
    return dict(part)  # of a kind that is to be forwarded


def _part(part: Fields) -> dict[str, Any]:
    """A part of another message. Raises UnsupportedValue for audio."""
    mark = {CACHE_MARK: part[CACHE_MARK]} if part.get(CACHE_MARK) is not None else {}
    match part:
        case {"type": "text", "text": str(text)}:
            return {"type": "input_text", "text": text, **mark}
        case {"type": "image_url", "image_url": {"url": url, **more}}:
            return {"type": "input_image", "image_url": url, "detail": more.get("detail") or _IMAGE_DETAIL, **mark}
        case {"type": "file", "file": dict(file)}:
            return {"type": "input_file", **file, **mark}
        case {"type": "input_audio"}:
            raise UnsupportedValue("This model takes no sound: leave such parts out.", param="messages")
        case _:
            return dict(part)  # an unknown kind to be forwarded, or a part that is not validated for its role


def _output(content: object) -> str | list[dict[str, Any]]:
    """The output of a tool."""
    return content if isinstance(content, str) else [_part(part) for part in _parts(content)]

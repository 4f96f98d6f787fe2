"""Messages of OpenAI's wire as Ollama's: one text each, images beside it, results of tools by the tool's name."""

import base64
from collections.abc import Iterator, Mapping, Sequence

from pydantic import BaseModel

from ai_gateway.contract.strict_json import read_json
from ai_gateway.errors import InvalidRequest, UnsupportedValue
from ai_gateway.translate.chat_request import Message, drop_unread
from ai_gateway.translate.images import inline_image
from gateway_contract.openai import models

type Content = str | Sequence[BaseModel] | None
type Object = dict[str, object]

# What clients call the reasoning of an earlier answer when they send it back.
_REASONING = ("reasoning_content", "reasoning", "thinking")
_IMAGE_TYPES = ("image/", "application/octet-stream")


def image_urls(messages: Sequence[Message]) -> Iterator[tuple[str, str]]:
    """Every image that has to be fetched: where the request names it, and its URL."""
    for at, message in enumerate(messages):
        if isinstance(message.content, str) or message.content is None:
            continue
        for place, part in enumerate(message.content):
            if isinstance(part, models.ChatCompletionRequestMessageContentPartImage) and is_remote(part.image_url.url):
                yield f"messages[{at}].content[{place}].image_url.url", part.image_url.url


def is_remote(url: str) -> bool:
    """Whether the image lies elsewhere."""
    return url[:8].lower().startswith(("http://", "https://"))


def ollama_messages(messages: Sequence[Message], images: Mapping[str, str], dropped: set[str]) -> list[Object]:
    """Every message in order. `images` holds what was fetched, as base64 by URL; `dropped` gets what has no place."""
    names: dict[str, str] = {}  # of the tools that were called so far, by the call's id
    found: list[Object] = []
    for at, message in enumerate(messages):
        where = f"messages[{at}]"
        match message:
            case models.ChatCompletionRequestAssistantMessage():
                found.append(_assistant(message, where, names, dropped))
            case models.ChatCompletionRequestToolMessage():
                found.append(_result(message, where, names, dropped))
            case models.ChatCompletionRequestFunctionMessage():
                found.append({"role": "tool", "content": message.content or "", "tool_name": message.name})
            case models.ChatCompletionRequestUserMessage():
                found.append({"role": "user", **_said(message.content, where, images, dropped)})
            case _:
                found.append({"role": "system", **_said(message.content, where, images, dropped)})
        _note_rest(message, dropped)
    return found


def _note_rest(message: Message, dropped: set[str]) -> None:
    """Ollama's messages have no author's name, and what the contract does not name has no place there."""
    if not isinstance(message, models.ChatCompletionRequestFunctionMessage) and getattr(message, "name", None):
        dropped.add("messages.name")
    known = _REASONING if isinstance(message, models.ChatCompletionRequestAssistantMessage) else ()
    drop_unread(message, "messages", dropped, *known)


def _assistant(
    message: models.ChatCompletionRequestAssistantMessage, where: str, names: dict[str, str], dropped: set[str]
) -> Object:
    if message.audio is not None:
        raise UnsupportedValue(
            "This provider cannot look up earlier audio: send its transcript as content.", param=f"{where}.audio"
        )
    texts = [_said(message.content, where, {}, dropped)["content"], message.refusal]
    extra = message.model_extra or {}
    thoughts = [extra[name] for name in _REASONING if isinstance(extra.get(name), str) and extra[name]]
    calls = list(_calls(message, where, names, dropped))
    return {
        "role": "assistant",
        "content": "\n".join(str(text) for text in texts if text),
        **({"thinking": thoughts[0]} if thoughts else {}),
        **({"tool_calls": calls} if calls else {}),
    }


def _calls(
    message: models.ChatCompletionRequestAssistantMessage, where: str, names: dict[str, str], dropped: set[str]
) -> Iterator[Object]:
    for at, call in enumerate(message.tool_calls or ()):
        spot = f"{where}.tool_calls[{at}]"
        if not isinstance(call, models.ChatCompletionMessageToolCall):
            raise UnsupportedValue("This provider knows functions only, no custom tools.", param=f"{spot}.type")
        names[call.id] = call.function.name
        drop_unread(call, "messages.tool_calls", dropped, "index")  # of a stream, where the order says it now
        drop_unread(call.function, "messages.tool_calls.function", dropped)
        arguments = _arguments(call.function.arguments, f"{spot}.function.arguments")
        yield {"id": call.id, "function": {"index": at, "name": call.function.name, "arguments": arguments}}
    if message.function_call is not None:
        old = message.function_call
        drop_unread(old, "messages.function_call", dropped)
        arguments = _arguments(old.arguments, f"{where}.function_call.arguments")
        yield {"function": {"index": 0, "name": old.name, "arguments": arguments}}


def _arguments(text: str, param: str) -> object:
    """The object that the text holds; no text at all stands for no arguments."""
    try:
        value = read_json(text.encode()) if text.strip() else {}
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise InvalidRequest("The arguments of a tool call must be the JSON text of an object.", param=param)
    return value


def _result(
    message: models.ChatCompletionRequestToolMessage, where: str, names: Mapping[str, str], dropped: set[str]
) -> Object:
    name = names.get(message.tool_call_id)
    return {
        "role": "tool",
        "content": _said(message.content, where, {}, dropped)["content"],
        **({"tool_name": name} if name else {}),
        "tool_call_id": message.tool_call_id,
    }


def _said(content: Content, where: str, images: Mapping[str, str], dropped: set[str]) -> Object:
    """The text, parts joined by line feeds, and the images, which Ollama takes beside it."""
    if isinstance(content, str) or content is None:
        return {"content": content or ""}
    texts: list[str] = []
    seen: list[str] = []
    for at, part in enumerate(content):
        drop_unread(part, "messages.content", dropped)
        if getattr(part, "prompt_cache_breakpoint", None) is not None:
            dropped.add("messages.content.prompt_cache_breakpoint")
        match part:
            case models.ChatCompletionRequestMessageContentPartText():
                texts.append(part.text)
            case models.ChatCompletionRequestMessageContentPartRefusal():
                texts.append(part.refusal)
            case models.ChatCompletionRequestMessageContentPartImage():
                if part.image_url.detail not in {None, "auto"}:
                    dropped.add("messages.content.image_url.detail")
                drop_unread(part.image_url, "messages.content.image_url", dropped)
                seen.append(_image(part.image_url.url, images, f"{where}.content[{at}].image_url.url"))
            case _:
                raise UnsupportedValue(
                    "This provider takes text and images only, no audio and no files.",
                    param=f"{where}.content[{at}].type",
                )
    return {"content": "\n".join(texts), **({"images": seen} if seen else {})}


def _image(url: str, images: Mapping[str, str], param: str) -> str:
    """The image as base64, which is how Ollama takes it."""
    if is_remote(url):
        if url not in images:
            raise UnsupportedValue(
                "This provider does not fetch images: send the image in a data: URL, or let the gateway's operator "
                "switch FETCH_IMAGES on.",
                param=param,
            )
        return images[url]
    try:
        image = inline_image(url)
        if image is None:
            base64.b64decode(url, validate=True)
            return url
    except ValueError:
        raise InvalidRequest("The image is neither a data: URL of base64 nor base64 itself.", param=param) from None
    if not image.media_type.startswith(_IMAGE_TYPES):
        raise InvalidRequest("The data: URL must hold an image.", param=param)
    return image.data

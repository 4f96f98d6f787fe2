"""OpenAI's messages in Ollama's format: one text each, images in a field, tool results by the tool's name.

The format: ollama's docs/api.md, "Generate a chat completion".
"""

import base64
from collections.abc import Iterator, Mapping, Sequence

from pydantic import BaseModel

from ai_gateway.contract.reasoning import REASONING_NAMES
from ai_gateway.contract.strict_json import read_json
from ai_gateway.errors import InvalidRequest, UnsupportedValue
from ai_gateway.translate.chat_request import Message, drop_unknown
from ai_gateway.translate.extra_fields import send_back
from ai_gateway.translate.images import inline_image
from gateway_contract.openai import models

type Content = str | Sequence[BaseModel] | None
type Object = dict[str, object]

# Field names under which clients send back the reasoning of an earlier answer.
_IMAGE_TYPES = ("image/", "application/octet-stream")
# The fields of a message, a call and its function that Ollama's server reads: ollama's api/types.go.
_MESSAGE = frozenset({"role", "content", "thinking", "images", "tool_calls", "tool_name", "tool_call_id"})
_CALL = frozenset({"id", "function"})
_FUNCTION = frozenset({"index", "name", "arguments"})


def image_urls(messages: Sequence[Message]) -> Iterator[tuple[str, str]]:
    """Every image that has to be fetched: its parameter path in the request, and its URL."""
    for at, message in enumerate(messages):
        if isinstance(message.content, str) or message.content is None:
            continue
        for place, part in enumerate(message.content):
            if isinstance(part, models.ChatCompletionRequestMessageContentPartImage) and is_remote(part.image_url.url):
                yield f"messages[{at}].content[{place}].image_url.url", part.image_url.url


def is_remote(url: str) -> bool:
    """Whether the image has to be fetched."""
    return url[:8].lower().startswith(("http://", "https://"))


def ollama_messages(messages: Sequence[Message], images: Mapping[str, str], dropped: set[str]) -> list[Object]:
    """Every message in order. `images` has the fetched ones as base64, by URL; `dropped` collects dropped fields."""
    names: dict[str, str] = {}  # the names of the tools called so far, by the id of the call
    translated: list[Object] = []
    for at, message in enumerate(messages):
        path = f"messages[{at}]"
        match message:
            case models.ChatCompletionRequestAssistantMessage():
                translated.append(_assistant(message, path, names, dropped))
            case models.ChatCompletionRequestToolMessage():
                translated.append(_result(message, path, names, dropped))
            case models.ChatCompletionRequestFunctionMessage():
                translated.append({"role": "tool", "content": message.content or "", "tool_name": message.name})
            case models.ChatCompletionRequestUserMessage():
                translated.append({"role": "user", **_content(message.content, path, images, dropped)})
            case _:
                translated.append({"role": "system", **_content(message.content, path, images, dropped)})
        _drop_rest(message, dropped)
    return translated


def _drop_rest(message: Message, dropped: set[str]) -> None:
    """Report fields that Ollama's messages lack: an author's name, and fields that no reply can have contained."""
    if not isinstance(message, models.ChatCompletionRequestFunctionMessage) and getattr(message, "name", None):
        dropped.add("messages.name")
    if not isinstance(message, models.ChatCompletionRequestAssistantMessage):
        drop_unknown(message, "messages", dropped)


def _assistant(
    message: models.ChatCompletionRequestAssistantMessage, path: str, names: dict[str, str], dropped: set[str]
) -> Object:
    if message.audio is not None:
        raise UnsupportedValue(
            "This provider cannot look up earlier audio: send its transcript as content.", param=f"{path}.audio"
        )
    texts = [_content(message.content, path, {}, dropped)["content"], message.refusal]
    extra = message.model_extra or {}
    thinking = [extra[name] for name in REASONING_NAMES if isinstance(extra.get(name), str) and extra[name]]
    calls = list(_calls(message, path, names, dropped))
    translated: Object = {
        "role": "assistant",
        "content": "\n".join(str(text) for text in texts if text),
        **({"thinking": thinking[0]} if thinking else {}),
        **({"tool_calls": calls} if calls else {}),
    }
    lost = send_back(message, translated, *REASONING_NAMES, known=_MESSAGE)
    dropped.update(f"messages.{name}" for name in lost)
    return translated


def _calls(
    message: models.ChatCompletionRequestAssistantMessage, path: str, names: dict[str, str], dropped: set[str]
) -> Iterator[Object]:
    for at, call in enumerate(message.tool_calls or ()):
        call_path = f"{path}.tool_calls[{at}]"
        if not isinstance(call, models.ChatCompletionMessageToolCall):
            raise UnsupportedValue("This provider knows functions only, no custom tools.", param=f"{call_path}.type")
        names[call.id] = call.function.name
        arguments = _arguments(call.function.arguments, f"{call_path}.function.arguments")
        function: Object = {"index": at, "name": call.function.name, "arguments": arguments}
        lost = send_back(call.function, function, known=_FUNCTION)
        dropped.update(f"messages.tool_calls.function.{name}" for name in lost)
        translated: Object = {"id": call.id, "function": function}
        lost = send_back(call, translated, "index", known=_CALL)  # a remnant of a stream: calls are in order
        dropped.update(f"messages.tool_calls.{name}" for name in lost)
        yield translated
    if message.function_call is not None:
        function_call = message.function_call
        arguments = _arguments(function_call.arguments, f"{path}.function_call.arguments")
        called: Object = {"index": 0, "name": function_call.name, "arguments": arguments}
        lost = send_back(function_call, called, known=_FUNCTION)
        dropped.update(f"messages.function_call.{name}" for name in lost)
        yield {"function": called}


def _arguments(text: str, param: str) -> object:
    """The object in the text; an empty text means no arguments."""
    try:
        value = read_json(text.encode()) if text.strip() else {}
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise InvalidRequest("The arguments of a tool call must be the JSON text of an object.", param=param)
    return value


def _result(
    message: models.ChatCompletionRequestToolMessage, path: str, names: Mapping[str, str], dropped: set[str]
) -> Object:
    name = names.get(message.tool_call_id)
    return {
        "role": "tool",
        "content": _content(message.content, path, {}, dropped)["content"],
        **({"tool_name": name} if name else {}),
        "tool_call_id": message.tool_call_id,
    }


def _content(content: Content, path: str, images: Mapping[str, str], dropped: set[str]) -> Object:
    """The text, with parts joined by line feeds, and the images, which Ollama has in a field of their own."""
    if isinstance(content, str) or content is None:
        return {"content": content or ""}
    texts: list[str] = []
    image_data: list[str] = []
    for at, part in enumerate(content):
        drop_unknown(part, "messages.content", dropped)
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
                drop_unknown(part.image_url, "messages.content.image_url", dropped)
                image_data.append(_image(part.image_url.url, images, f"{path}.content[{at}].image_url.url"))
            case _:
                raise UnsupportedValue(
                    "This provider takes text and images only, no audio and no files.",
                    param=f"{path}.content[{at}].type",
                )
    return {"content": "\n".join(texts), **({"images": image_data} if image_data else {})}


def _image(url: str, images: Mapping[str, str], param: str) -> str:
    """The image as base64: see ollama's docs/api.md, "Chat request (with images)"."""
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

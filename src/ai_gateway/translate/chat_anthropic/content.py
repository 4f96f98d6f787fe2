"""A message's content as content blocks of the Messages API: text, images, documents."""

import base64
from collections.abc import Sequence

from ai_gateway.errors import InvalidRequest, UnsupportedValue
from ai_gateway.translate.chat_request import drop_unknown
from ai_gateway.translate.images import InlineImage, inline_image
from gateway_contract.openai import models

type Block = dict[str, object]
type Part = (
    models.ChatCompletionRequestMessageContentPartText
    | models.ChatCompletionRequestMessageContentPartImage
    | models.ChatCompletionRequestMessageContentPartAudio
    | models.ChatCompletionRequestMessageContentPartFile
    | models.ChatCompletionRequestMessageContentPartRefusal
)

_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_CACHED = {"type": "ephemeral"}


def blocks(content: str | Sequence[Part] | None, path: str, dropped: set[str]) -> list[Block]:
    """The content's blocks, in order. Blank text is left out, because the API rejects it.

    `path` is the parameter path for errors; `dropped` collects what a block cannot express.
    """
    if content is None:
        return []
    if isinstance(content, str):
        return text(content)
    result: list[Block] = []
    for at, part in enumerate(content):
        translated = _block(part, f"{path}[{at}]", dropped)
        cached = _cache_control(part, dropped)
        result += [block | cached for block in translated]
    return result


def text(content: str) -> list[Block]:
    """One text block, or none for a blank text."""
    return [{"type": "text", "text": content}] if content.strip() else []


def _block(part: Part, path: str, dropped: set[str]) -> list[Block]:
    match part:
        case models.ChatCompletionRequestMessageContentPartText():
            return text(part.text)
        case models.ChatCompletionRequestMessageContentPartRefusal():
            return text(part.refusal)
        case models.ChatCompletionRequestMessageContentPartImage():
            if part.image_url.detail not in {None, "auto"}:
                dropped.add("messages.content.image_url.detail")
            drop_unknown(part.image_url, "messages.content.image_url", dropped)
            return [{"type": "image", "source": _image(part.image_url.url, f"{path}.image_url.url")}]
        case models.ChatCompletionRequestMessageContentPartFile():
            drop_unknown(part.file, "messages.content.file", dropped)
            return [_document(part.file, f"{path}.file")]
        case models.ChatCompletionRequestMessageContentPartAudio():
            raise UnsupportedValue("This provider takes no audio: send its text instead.", param=path)


def _cache_control(part: Part, dropped: set[str]) -> Block:
    """A breakpoint of docs.anthropic.com "Prompt caching", from OpenAI's field or the API's own `cache_control`."""
    drop_unknown(part, "messages.content", dropped, "cache_control")
    own = (part.model_extra or {}).get("cache_control")
    if isinstance(own, dict):
        return {"cache_control": own}
    if isinstance(part, models.ChatCompletionRequestMessageContentPartRefusal) or part.prompt_cache_breakpoint is None:
        return {}
    return {"cache_control": dict(_CACHED)}


def _image(url: str, path: str) -> Block:
    inline = _inline(url, path)
    if inline is None:
        if url[:8].lower() != "https://" and url[:7].lower() != "http://":
            raise InvalidRequest("An image is a data: URL or an http(s) URL.", param=path, code="invalid_value")
        return {"type": "url", "url": url}
    if inline.media_type not in _IMAGES:
        raise UnsupportedValue(
            "This provider takes images as JPEG, PNG, GIF or WebP: convert it, or name its type in the data: URL.",
            param=path,
        )
    return {"type": "base64", "media_type": inline.media_type, "data": inline.data}


def _document(file: models.ChatCompletionRequestMessageContentPartFileFile, path: str) -> Block:
    if file.file_data is None:
        raise UnsupportedValue("This provider takes files as `file_data` only.", param=f"{path}.file_id")
    path = f"{path}.file_data"
    inline = _inline(file.file_data, path)
    if inline is None:
        raise InvalidRequest("A file's data is a data: URL of base64.", param=path, code="invalid_value")
    block: Block = {"type": "document", "source": _source(inline, path)}
    return block | ({"title": file.filename} if file.filename else {})


def _source(inline: InlineImage, path: str) -> Block:
    if inline.media_type == "application/pdf":
        return {"type": "base64", "media_type": inline.media_type, "data": inline.data}
    if inline.media_type != "text/plain":
        raise UnsupportedValue("This provider takes files as PDF or plain text.", param=path)
    try:
        return {"type": "text", "media_type": "text/plain", "data": base64.b64decode(inline.data).decode()}
    except UnicodeDecodeError:
        raise InvalidRequest("A text file is UTF-8.", param=path, code="invalid_value") from None


def _inline(url: str, path: str) -> InlineImage | None:
    try:
        return inline_image(url)
    except ValueError:
        raise InvalidRequest("This data: URL holds no base64.", param=path, code="invalid_value") from None

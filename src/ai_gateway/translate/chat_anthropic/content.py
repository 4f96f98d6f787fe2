"""What a message says, as the content blocks of the Messages API: text, images, documents."""

import base64
from collections.abc import Sequence

from ai_gateway.errors import InvalidRequest, UnsupportedValue
from ai_gateway.translate.chat_request import drop_unread
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


def blocks(content: str | Sequence[Part] | None, where: str, dropped: set[str]) -> list[Block]:
    """The content's blocks, in order. Text of white space alone is left out: the API refuses it, and it says nothing.

    `where` names the content for errors; what has no place in a block is named in `dropped`.
    """
    if content is None:
        return []
    if isinstance(content, str):
        return text(content)
    found: list[Block] = []
    for at, part in enumerate(content):
        made = _block(part, f"{where}[{at}]", dropped)
        cached = _cache_control(part, dropped)
        found += [block | cached for block in made]
    return found


def text(said: str) -> list[Block]:
    """One text block, or none if there is nothing in it."""
    return [{"type": "text", "text": said}] if said.strip() else []


def _block(part: Part, where: str, dropped: set[str]) -> list[Block]:
    match part:
        case models.ChatCompletionRequestMessageContentPartText():
            return text(part.text)
        case models.ChatCompletionRequestMessageContentPartRefusal():
            return text(part.refusal)
        case models.ChatCompletionRequestMessageContentPartImage():
            if part.image_url.detail not in {None, "auto"}:
                dropped.add("messages.content.image_url.detail")
            drop_unread(part.image_url, "messages.content.image_url", dropped)
            return [{"type": "image", "source": _image(part.image_url.url, f"{where}.image_url.url")}]
        case models.ChatCompletionRequestMessageContentPartFile():
            drop_unread(part.file, "messages.content.file", dropped)
            return [_document(part.file, f"{where}.file")]
        case models.ChatCompletionRequestMessageContentPartAudio():
            raise UnsupportedValue("This provider takes no audio: send its text instead.", param=where)


def _cache_control(part: Part, dropped: set[str]) -> Block:
    """Where the prompt's cache is to end: OpenAI's name for it, or the API's own as other gateways take it."""
    drop_unread(part, "messages.content", dropped, "cache_control")
    own = (part.model_extra or {}).get("cache_control")
    if isinstance(own, dict):
        return {"cache_control": own}
    if isinstance(part, models.ChatCompletionRequestMessageContentPartRefusal) or part.prompt_cache_breakpoint is None:
        return {}
    return {"cache_control": dict(_CACHED)}


def _image(url: str, where: str) -> Block:
    inline = _inline(url, where)
    if inline is None:
        if url[:8].lower() != "https://" and url[:7].lower() != "http://":
            raise InvalidRequest("An image is a data: URL or an http(s) URL.", param=where, code="invalid_value")
        return {"type": "url", "url": url}
    if inline.media_type not in _IMAGES:
        raise UnsupportedValue(
            "This provider takes images as JPEG, PNG, GIF or WebP: convert it, or name its type in the data: URL.",
            param=where,
        )
    return {"type": "base64", "media_type": inline.media_type, "data": inline.data}


def _document(file: models.ChatCompletionRequestMessageContentPartFileFile, where: str) -> Block:
    if file.file_data is None:
        raise UnsupportedValue("This provider takes files as `file_data` only.", param=f"{where}.file_id")
    where = f"{where}.file_data"
    inline = _inline(file.file_data, where)
    if inline is None:
        raise InvalidRequest("A file's data is a data: URL of base64.", param=where, code="invalid_value")
    block: Block = {"type": "document", "source": _source(inline, where)}
    return block | ({"title": file.filename} if file.filename else {})


def _source(inline: InlineImage, where: str) -> Block:
    if inline.media_type == "application/pdf":
        return {"type": "base64", "media_type": inline.media_type, "data": inline.data}
    if inline.media_type != "text/plain":
        raise UnsupportedValue("This provider takes files as PDF or plain text.", param=where)
    try:
        return {"type": "text", "media_type": "text/plain", "data": base64.b64decode(inline.data).decode()}
    except UnicodeDecodeError:
        raise InvalidRequest("A text file is UTF-8.", param=where, code="invalid_value") from None


def _inline(url: str, where: str) -> InlineImage | None:
    try:
        return inline_image(url)
    except ValueError:
        raise InvalidRequest("This data: URL holds no base64.", param=where, code="invalid_value") from None

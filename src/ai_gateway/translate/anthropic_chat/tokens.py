"""Token estimates: for upstreams that do not count, and for replies without usage.

Vocabularies differ between models, and take megabytes. So characters are counted by kind (letters, digits, marks,
scripts), each at its highest cost in OpenAI's o200k: a text in a language is estimated at 1 to 1.5 times its tokens
(tests/translate/anthropic_chat/test_tokens.py). Agents compact their history by the count, for which an overestimate is
safe and an underestimate is not.
"""

import asyncio
import base64
import re
import struct
from collections.abc import Iterator, Sequence
from math import ceil
from typing import Final

from pydantic import BaseModel
from pydantic_core import to_json

from gateway_contract.anthropic import models as anthropic
from gateway_contract.openai import models as openai

type Body = anthropic.AnthropicCountMessageTokensParams | anthropic.AnthropicCreateMessageParams

# Tokens for each character of a kind, by the bytes of the kind; scripts by the first byte of UTF-8.
_ASCII: Final = (
    (bytes(range(ord("a"), ord("z") + 1)), 0.275),
    (bytes(range(ord("A"), ord("Z") + 1)), 0.65),
    (bytes(range(ord("0"), ord("9") + 1)), 0.6),
    (b"\t\n\r", 1.0),
    (b" ", 0.07),
)
_MARK = 0.8
_SCRIPTS: Final = (
    (b"\xc3", 0.85),  # letters of western Europe
    (b"\xc2" + bytes(range(0xC4, 0xCE)), 1.2),  # other Latin letters, and marks
    (b"\xce\xcf", 0.5),  # Greek
    (bytes(range(0xD0, 0xD5)), 0.36),  # Cyrillic
    (bytes(range(0xD5, 0xDC)), 0.48),  # Hebrew, Arabic
    (b"\xe0", 0.42),  # Indic scripts, and Thai, which costs more
    (b"\xe3", 0.87),  # kana
    (bytes(range(0xE4, 0xEA)), 0.86),  # Chinese characters
    (bytes(range(0xEA, 0xEE)), 0.82),  # hangul
    (b"\xdc\xdd\xde\xdf\xe1\xe2\xee\xef", 1.2),
    (bytes(range(0xF0, 0xF8)), 2.2),  # emoji
)
_THAI, _THAI_MORE = (b"\xe0\xb8", b"\xe0\xb9"), 0.07
# Characters a token in hashes, base64 and other random strings.
_DENSE: Final = re.compile(rb"[A-Za-z0-9+/=_-]{16,}")
_DENSE_MORE, _DENSE_DIGITS = 0.3, 0.05
_MIN_DENSE: Final = b"x" * 16
_DIGITS: Final = b"0123456789"


def _kinds(*kinds: bytes) -> bytes:
    """A table for `bytes.translate`: the number of each byte's kind, and 0 for those of none."""
    table = bytearray(256)
    for number, kind in enumerate(kinds, 1):
        for byte in kind:
            table[byte] = number
    return bytes(table)


# To translate a text once and count its kinds is much faster than to delete each kind from it.
_ASCII_KINDS: Final = _kinds(*(kind for kind, _ in _ASCII), bytes(set(range(0x80)) - {*b"".join(k for k, _ in _ASCII)}))
_OTHER_ASCII: Final = len(_ASCII) + 1
_SCRIPT_KINDS: Final = _kinds(*(kind for kind, _ in _SCRIPTS))
_IS_DENSE: Final = bytes(ord("x") if _DENSE.match(bytes([byte]) * 16) else 0 for byte in range(256))

_PER_MESSAGE, _PER_TOOL, _FOR_TOOLS = 6, 12, 350
# docs.claude.com, "Vision": width times height by 750, after the image is scaled to fit.
_PIXELS_PER_TOKEN, _MAX_OF_IMAGE = 750, 1_600
_LEAST_OF_DOCUMENT, _BYTES_PER_DOCUMENT_TOKEN = 2_000, 30
_HEADER = 4_096  # characters of base64 that contain an image's size; in a JPEG it may come later
_AT_ONCE = 256 * 1024  # bytes that are counted on the event loop


async def estimate(body: Body, size: int) -> int:
    """The tokens of a request with a body of this size; large ones are counted in a thread."""
    return of_body(body) if size <= _AT_ONCE else await asyncio.to_thread(of_body, body)


def of_body(body: Body) -> int:
    """The tokens of a request, rather overestimated."""
    counter = _Counter()
    if body.system:
        counter.fixed += _PER_MESSAGE
        counter.content(body.system)
    for message in body.messages:
        counter.fixed += _PER_MESSAGE
        counter.content(message.content)
    if body.tools:
        counter.fixed += _FOR_TOOLS + _PER_TOOL * len(body.tools)
        counter.texts += [_json(tool) for tool in body.tools]
    if (wanted := output_format(body)) is not None:
        counter.texts.append(_json(wanted))
    return counter.fixed + of_text("\n".join(counter.texts))


def of_text(text: str) -> int:
    """The tokens of a text."""
    raw = text.encode("utf-8", "surrogatepass")
    tokens = 0.0
    kinds = raw.translate(_ASCII_KINDS)
    for number, (_, cost) in enumerate(_ASCII, 1):
        tokens += kinds.count(number) * cost
    tokens += kinds.count(_OTHER_ASCII) * _MARK
    if _MIN_DENSE in raw.translate(_IS_DENSE):
        for word in _DENSE.findall(raw):
            if len(word) - len(word.translate(None, _DIGITS)) > _DENSE_DIGITS * len(word):
                tokens += len(word) * _DENSE_MORE
    if not raw.isascii():
        scripts = raw.translate(_SCRIPT_KINDS)
        tokens += sum(scripts.count(number) * cost for number, (_, cost) in enumerate(_SCRIPTS, 1))
        tokens += sum(map(raw.count, _THAI)) * _THAI_MORE
    return ceil(tokens)


def counted(prompt: int, completion: int) -> openai.CompletionUsage:
    """Usage with these counts only."""
    return openai.CompletionUsage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)


class _Counter:
    """`texts` are still to be counted, `fixed` are tokens counted already."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.fixed = 0

    def content(self, content: str | Sequence[BaseModel] | None) -> None:
        if isinstance(content, str):
            self.texts.append(content)
            return
        for block in content or ():
            self._block(block)

    def _block(self, block: BaseModel) -> None:
        match block:
            case anthropic.AnthropicRequestTextBlock():
                self.texts.append(block.text)
            case anthropic.AnthropicRequestImageBlock():
                self.fixed += _image(block.source)
            case anthropic.AnthropicRequestDocumentBlock():
                self.texts += filter(None, (block.title, block.context))
                self._document(block.source)
            case anthropic.AnthropicRequestToolResultBlock():
                self.fixed += _PER_MESSAGE
                self.texts.append(block.tool_use_id)
                self.content(block.content)
            case anthropic.AnthropicRequestMidConvSystemBlock() | anthropic.AnthropicRequestSearchResultBlock():
                self.fixed += _PER_MESSAGE
                self.texts += [str(getattr(block, name, "")) for name in ("title", "source")]
                self.content(block.content)
            case _:  # calls, thinking, and results of server tools
                self.texts.append(_json(block))

    def _document(self, source: BaseModel) -> None:
        match source:
            case anthropic.AnthropicPlainTextSource():
                self.texts.append(source.data)
            case anthropic.AnthropicContentBlockSource():
                self.content(source.content)
            case anthropic.AnthropicBase64PDFSource():
                self.fixed += max(_LEAST_OF_DOCUMENT, len(source.data) * 3 // 4 // _BYTES_PER_DOCUMENT_TOKEN)
            case _:
                self.fixed += _LEAST_OF_DOCUMENT


def output_format(
    body: anthropic.AnthropicCreateMessageParams | anthropic.AnthropicCountMessageTokensParams,
) -> anthropic.AnthropicJsonOutputFormat | None:
    """The format of the answer, also from the older beta's field."""
    newer = body.output_config.format if body.output_config is not None else None
    return newer if newer is not None else body.output_format


def _json(model: BaseModel) -> str:
    return to_json(model.model_dump(by_alias=True, exclude_none=True)).decode()


def _image(source: BaseModel) -> int:
    size = _pixels(source.data[:_HEADER]) if isinstance(source, anthropic.AnthropicBase64ImageSource) else None
    if size is None:
        return _MAX_OF_IMAGE
    return max(1, min(ceil(size[0] * size[1] / _PIXELS_PER_TOKEN), _MAX_OF_IMAGE))


def _pixels(data: str) -> tuple[int, int] | None:
    """Width and height from an image's first bytes; None if unknown."""
    try:
        head = base64.b64decode(data[: len(data) // 4 * 4])
    except ValueError:
        return None
    try:
        if head.startswith(b"\x89PNG\r\n\x1a\n"):
            return struct.unpack(">II", head[16:24])
        if head.startswith(b"GIF8"):
            return struct.unpack("<HH", head[6:10])
        if head.startswith(b"\xff\xd8"):
            return next(_jpeg_sizes(head), None)
    except struct.error:
        pass
    return None


def _jpeg_sizes(head: bytes) -> Iterator[tuple[int, int]]:
    """The sizes in the frame headers of a JPEG: ITU T.81, B.2.2."""
    at = 2
    while at + 9 <= len(head) and head[at] == 0xFF:
        kind, length = head[at + 1], int.from_bytes(head[at + 2 : at + 4])
        if 0xC0 <= kind <= 0xCF and kind not in {0xC4, 0xC8, 0xCC}:
            height, width = struct.unpack(">HH", head[at + 5 : at + 9])
            yield width, height
        at += 2 + max(length, 2)

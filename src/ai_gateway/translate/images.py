"""Images in requests: reading and writing `data:` URLs (RFC 2397), and media types by file signature."""

import base64
import re
from dataclasses import dataclass

_DATA_URL = re.compile(r"data:(?P<media>[\w.+-]+/[\w.+-]+)?(?:;[\w-]+=[^;,]*)*;base64,(?P<data>.*)", re.I | re.S)


@dataclass(frozen=True, slots=True)
class InlineImage:
    """An image inside the request: `data` is valid base64."""

    media_type: str
    data: str


def inline_image(url: str) -> InlineImage | None:
    """The content of a `data:` URL; None for every other URL. Raises ValueError if it is not base64."""
    if url[:5].lower() != "data:":
        return None
    match = _DATA_URL.fullmatch(url)
    if match is None:
        raise ValueError("not a data: URL of base64")
    data = re.sub(r"\s+", "", match["data"])
    try:
        base64.b64decode(data, validate=True)
    except ValueError as error:  # a wrong character or a wrong length
        raise ValueError("not base64") from error
    return InlineImage((match["media"] or "application/octet-stream").lower(), data)


_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
)
_BOXES = {b"avif": "image/avif", b"avis": "image/avif", b"heic": "image/heic", b"mif1": "image/heif"}


def data_url(image: str) -> str:
    """The `data:` URL of an image in base64; a URL stays as it is. Line breaks are removed."""
    image = image.replace("\r", "").replace("\n", "")
    if image[:5].lower() == "data:":
        return image
    return f"data:{media_type(base64.b64decode(image[:32]))};base64,{image}"


def media_type(start: bytes) -> str:
    """The media type by the first bytes of a file; `application/octet-stream` for an unknown signature."""
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "image/webp"
    if start[4:8] == b"ftyp":
        return _BOXES.get(start[8:12], "application/octet-stream")
    return next((kind for sign, kind in _SIGNATURES if start.startswith(sign)), "application/octet-stream")

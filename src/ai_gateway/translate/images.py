"""Images in requests: what a `data:` URL holds."""

import base64
import re
from dataclasses import dataclass

_DATA_URL = re.compile(r"data:(?P<media>[\w.+-]+/[\w.+-]+)?(?:;[\w-]+=[^;,]*)*;base64,(?P<data>.*)", re.I | re.S)


@dataclass(frozen=True, slots=True)
class InlineImage:
    """An image that travels in the request: `data` is base64, checked."""

    media_type: str
    data: str


def inline_image(url: str) -> InlineImage | None:
    """The image that a `data:` URL holds; None for every other URL. Raises ValueError if it holds no base64."""
    if url[:5].lower() != "data:":
        return None
    match = _DATA_URL.fullmatch(url)
    if match is None:
        raise ValueError("not a data: URL of base64")
    data = re.sub(r"\s+", "", match["data"])
    try:
        base64.b64decode(data, validate=True)
    except ValueError as error:  # not the alphabet, or not its length
        raise ValueError("not base64") from error
    return InlineImage((match["media"] or "application/octet-stream").lower(), data)

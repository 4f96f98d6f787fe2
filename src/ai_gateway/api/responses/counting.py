"""Estimates of input tokens, without calling a provider."""

import math
from collections.abc import Mapping
from typing import Any, Final

from pydantic_core import to_json

from ai_gateway.api.responses.making import Maker
from ai_gateway.contract.call import Call
from ai_gateway.contract.write import to_fields
from ai_gateway.translate.responses_chat.request import TranslatedRequest
from gateway_contract.openai_responses import models

# Bytes a token: English prose has 4 or more, code and other scripts 3 or less. Overestimating is safer.
_BYTES_PER_TOKEN: Final = 3.5
_PER_MESSAGE: Final = 4
# Tokens of an image of about 1024 by 1024 pixels; they do not depend on its bytes.
_PER_IMAGE: Final = 1_400


async def counted_tokens(maker: Maker, call: Call, body: models.TokenCountsBody) -> tuple[int, set[str]]:
    """The tokens, and the dropped fields of the request."""
    request, _ = await maker.conversation(call, body)
    form = getattr(body.text, "format", None)
    shape = len(to_json(to_fields(form))) if isinstance(form, models.TextResponseFormatJsonSchema) else 0
    return estimated(request) + math.ceil(shape / _BYTES_PER_TOKEN), request.dropped | request.offered.dropped


def estimated(request: TranslatedRequest) -> int:
    """The estimated tokens of a chat request: texts, tools, images and files, and an overhead for each message."""
    counted = media = files = 0
    for message in request.request.messages:
        fields = to_fields(message)
        content = fields.get("content")
        if isinstance(content, list):
            texts = [part for part in content if part.get("type") in {"text", "refusal"}]
            media += len(content) - len(texts)
            files += sum(map(_size_of_file, content))
            fields["content"] = texts
        counted += len(to_json(fields))
    counted += sum(len(to_json(to_fields(tool))) for tool in request.offered.functions.values())
    each = _PER_MESSAGE * len(request.request.messages) + _PER_IMAGE * media
    return math.ceil((counted + files) / _BYTES_PER_TOKEN) + each


def _size_of_file(part: Mapping[str, Any]) -> int:
    """The approximate bytes of a file in the request, all of which may be text."""
    data = (part.get("file") or {}).get("file_data") if part.get("type") == "file" else None
    return len(data) * 3 // 4 if isinstance(data, str) else 0

"""About how many tokens an input takes, without asking a provider."""

import math
from collections.abc import Mapping
from typing import Any, Final

from pydantic_core import to_json

from ai_gateway.api.responses.making import Maker
from ai_gateway.contract.call import Call
from ai_gateway.contract.write import to_fields
from ai_gateway.translate.responses_chat.conversation import Item
from ai_gateway.translate.responses_chat.request import Asked, Whom, conversed
from gateway_contract.openai_responses import models

# Between English prose (4 or more) and code or other scripts (3 and less): too many is safer than too few.
_BYTES_PER_TOKEN: Final = 3.5
_PER_MESSAGE: Final = 4
# An image of about 1024 by 1024 pixels: what counts of its data is none of its bytes.
_PER_IMAGE: Final = 1_400


async def counted_tokens(maker: Maker, call: Call, body: models.TokenCountsBody) -> tuple[int, set[str]]:
    """The tokens, and what of the request was left out."""
    history: list[Item] = []
    if body.previous_response_id is not None:
        history = await maker.history(call, body.previous_response_id)
    body = await maker.with_stored_items(call, body)
    model, resolution = await maker.gateway.resolve(call, body.model)
    whom = Whom(model, resolution.targets[0].provider.name, maker.sealer(call))
    asked = conversed(body, whom, history)
    form = getattr(body.text, "format", None)
    shape = len(to_json(to_fields(form))) if isinstance(form, models.TextResponseFormatJsonSchema) else 0
    return estimated(asked) + math.ceil(shape / _BYTES_PER_TOKEN), asked.dropped | asked.offered.dropped


def estimated(asked: Asked) -> int:
    """About what a chat request takes: its texts, its tools, its images and files, and each message for itself."""
    counted = media = files = 0
    for message in asked.request.messages:
        fields = to_fields(message)
        content = fields.get("content")
        if isinstance(content, list):
            texts = [part for part in content if part.get("type") in {"text", "refusal"}]
            media += len(content) - len(texts)
            files += sum(map(_size_of_file, content))
            fields["content"] = texts
        counted += len(to_json(fields))
    counted += sum(len(to_json(to_fields(tool))) for tool in asked.offered.functions.values())
    each = _PER_MESSAGE * len(asked.request.messages) + _PER_IMAGE * media
    return math.ceil((counted + files) / _BYTES_PER_TOKEN) + each


def _size_of_file(part: Mapping[str, Any]) -> int:
    """About how many bytes a file has that comes with the request: all of them may be text."""
    data = (part.get("file") or {}).get("file_data") if part.get("type") == "file" else None
    return len(data) * 3 // 4 if isinstance(data, str) else 0

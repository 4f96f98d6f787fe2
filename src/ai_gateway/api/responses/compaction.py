"""A conversation summed up by its model, and sealed: what a client sends from then on in place of the items."""

import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from ai_gateway.api.responses.dropped import note_dropped
from ai_gateway.api.responses.making import Maker
from ai_gateway.contract.call import Call
from ai_gateway.errors import UpstreamInvalidResponse
from ai_gateway.operations import CHAT
from ai_gateway.translate.responses_chat import outline
from ai_gateway.translate.responses_chat.conversation import Item
from ai_gateway.translate.responses_chat.request import Whom, conversed
from ai_gateway.translate.responses_chat.tools import Fields
from gateway_contract.openai import models as openai
from gateway_contract.openai_responses import models

COMPACTION = replace(CHAT, name="compactResponse")
SUM_UP: Final = (
    "Sum up the conversation so far for whoever goes on with it and sees nothing but your summary: what is asked for, "
    "what has been decided and why, what has been done and what came of it, which files, names and values matter, and "
    "what is left to do. Write the summary alone."
)
_NO_USAGE: Final[Fields] = {
    "input_tokens": 0,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 0,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 0,
}


async def compacted(
    maker: Maker, call: Call, body: models.CompactResponseMethodPublicBody
) -> tuple[Sequence[Fields], Fields]:
    """The items to go on with, and what it took."""
    history: list[Item] = []
    if body.previous_response_id:
        history = await maker.state.history(call.caller, body.previous_response_id)
    model, resolution = await maker.gateway.resolve(call, body.model)
    sealer = maker.sealer(call)
    asked = conversed(body, Whom(model, resolution.targets[0].provider.name, sealer), history)
    asked.request.messages.append(openai.ChatCompletionRequestUserMessage(role="user", content=SUM_UP))
    reply = (await maker.gateway.run(call, COMPACTION, asked.request, resolution)).model
    note_dropped(call, asked.dropped)
    summary = reply.choices[0].message.content if reply.choices else None
    if not summary:
        raise UpstreamInvalidResponse("The provider's reply holds no summary.")
    sealed = sealer.seal(call.notes.provider, {"summary": summary})
    item: Fields = {"type": "compaction", "id": f"cmp_{secrets.token_hex(24)}", "encrypted_content": sealed}
    return [item], outline.usage(reply.usage) or _NO_USAGE

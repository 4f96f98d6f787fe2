"""Chat replies and streams as messages of Anthropic's wire."""

from collections.abc import AsyncGenerator
from typing import Any

from ai_gateway.api.chat_bridge import bridged
from ai_gateway.api.dropped import FieldNames
from ai_gateway.api.message_bridge import MessageBridge, MessageContext
from ai_gateway.contract.call import Call
from ai_gateway.contract.stream import Stream
from ai_gateway.translate.anthropic_chat.reply import blocks_text, message
from ai_gateway.translate.anthropic_chat.request import TranslatedRequest
from ai_gateway.translate.anthropic_chat.tokens import counted, estimate, of_body, of_text
from gateway_contract.anthropic import models
from gateway_contract.openai.models import CompletionUsage, CreateChatCompletionResponse


async def streamed(
    call: Call,
    body: models.AnthropicCreateMessageParams,
    request: TranslatedRequest,
    chunks: AsyncGenerator[Any],
    field_names: FieldNames,
) -> Stream[models.AnthropicMessageStreamEvent]:
    """The message as a stream of events."""
    tokens = await estimate(body, call.size)
    context = MessageContext(body.model, request.names, body.stop_sequences or (), tokens, request.mcp)
    call.bridge = bridge = MessageBridge(call, context)
    return bridged(chunks, bridge, lambda: field_names.note(call, request.dropped))


def whole(
    call: Call,
    body: models.AnthropicCreateMessageParams,
    request: TranslatedRequest,
    reply: CreateChatCompletionResponse,
    field_names: FieldNames,
) -> models.AnthropicMessage:
    """A whole reply as a message. Its model is the name in the request."""
    field_names.note(call, request.dropped)
    took = reply.usage if isinstance(reply.usage, CompletionUsage) else counted(0, 0)
    made = message(
        reply,
        took,
        request.names,
        provider=call.notes.provider,
        stop_sequences=body.stop_sequences or (),
        mcp=request.mcp,
    )
    if took is not reply.usage:  # no usage, which the contract requires
        made.usage.input_tokens = of_body(body)
        made.usage.output_tokens = of_text(blocks_text(made.content))
    made.model = body.model
    return made

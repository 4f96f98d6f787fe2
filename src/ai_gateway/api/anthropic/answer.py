"""From what the gateway answers to what goes out on Anthropic's wire, whole or event by event."""

from ai_gateway.api.chat_bridge import bridged
from ai_gateway.api.dropped import Words
from ai_gateway.api.message_bridge import AskedMessage, MessageBridge
from ai_gateway.contract.call import Call
from ai_gateway.contract.stream import Stream
from ai_gateway.gateway import Chat
from ai_gateway.translate.anthropic_chat.reply import blocks_text, message
from ai_gateway.translate.anthropic_chat.request import TranslatedRequest
from ai_gateway.translate.anthropic_chat.tokens import counted, estimate, of_body, of_text
from gateway_contract.anthropic import models
from gateway_contract.openai.models import CompletionUsage


async def answered(
    call: Call, body: models.AnthropicCreateMessageParams, asked: TranslatedRequest, answer: Chat, words: Words
) -> models.AnthropicMessage | Stream[models.AnthropicMessageStreamEvent]:
    """The answer on Anthropic's wire."""
    if isinstance(answer, Stream):
        tokens = await estimate(body, call.size)
        call.bridge = bridge = MessageBridge(
            call, AskedMessage(body.model, asked.names, body.stop_sequences or (), tokens)
        )
        return bridged(answer.items, bridge, lambda: words.note(call, asked.dropped))
    words.note(call, asked.dropped)
    reply = answer.model
    took = reply.usage if isinstance(reply.usage, CompletionUsage) else counted(0, 0)
    made = message(reply, took, asked.names, provider=call.notes.provider, stop_sequences=body.stop_sequences or ())
    if took is not reply.usage:  # nobody has counted, and the contract wants counts
        made.usage.input_tokens = of_body(body)
        made.usage.output_tokens = of_text(blocks_text(made.content))
    made.model = body.model
    return made

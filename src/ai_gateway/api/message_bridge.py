"""A chat's stream as the events of a message on Anthropic's wire: why it ended, and what it took."""

from collections.abc import Callable, Mapping
from typing import Final, override

from pydantic import JsonValue

from ai_gateway.api.chat_bridge import ChatBridge
from ai_gateway.conform.message_events import MessageEvents
from ai_gateway.contract.call import Call
from gateway_contract.openai import models

type Usage = Callable[[models.CompletionUsage | None], dict[str, JsonValue]]

STOP_REASONS: Final[Mapping[str, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


class MessageBridge(ChatBridge):
    """One chat on its way to a client of the Messages API. `usage` counts as `message_delta` does."""

    def __init__(self, call: Call, events: MessageEvents, usage: Usage) -> None:
        super().__init__(call, events)
        self._message = events
        self._usage = usage

    @override
    def _ended(self, finish: str) -> bytes:
        return self._message.stopped(STOP_REASONS[finish], self._usage(self.turn.usage))

"""A chat's stream as the events of a response: why it ended, and what is told of one that broke."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final, override

from ai_gateway.api.chat_bridge import ChatBridge
from ai_gateway.conform.response_events import ResponseEvents
from ai_gateway.conform.response_fields import Fields
from ai_gateway.contract.call import Call
from ai_gateway.contract.framing import EVENTS_DONE
from ai_gateway.translate.responses_chat.outline import served_tier, usage
from ai_gateway.translate.responses_chat.reply import INCOMPLETE
from gateway_contract.openai import models

# What agents act on, by waiting and by shortening what they ask (openai/codex, codex-rs, "sse/responses.rs"), and what
# upstreams call it.
_CODES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("rate_limit_exceeded", "rate_limit_error", "requests", "tokens", "429"), "rate_limit_exceeded"),
    **dict.fromkeys(("context_length_exceeded", "exceed_context_size_error"), "context_length_exceeded"),
}
_TOO_LONG: Final = re.compile(
    "prompt is too long|maximum context length|context (?:size|window|length) of|input is too long"
)


class ResponseBridge(ChatBridge):
    """One chat on its way to a client of the Responses API. `lists` tell what servers of tools have."""

    def __init__(self, call: Call, events: ResponseEvents, lists: Sequence[Fields] = ()) -> None:
        super().__init__(call, events)
        self._response = events
        self._lists = lists

    @override
    def _begun(self, chunk: models.CreateChatCompletionStreamResponse) -> bytes:
        return self._response.begin(chunk.model) + b"".join([self._response.listed(each) for each in self._lists])

    @override
    def _ended(self, finish: str) -> bytes:
        taken, served, reason = usage(self.turn.usage), served_tier(self.turn.tier), INCOMPLETE.get(finish)
        if reason is None:
            return self._response.completed(taken, **served)
        return self._response.incomplete(reason, taken, **served)

    @override
    def broken(self, error: bytes) -> bytes:
        told = json.loads(error)["error"]
        names = [told.get("code"), told.get("type")]
        code = next((_CODES[name] for name in names if isinstance(name, str) and name in _CODES), "server_error")
        if code == "server_error" and _TOO_LONG.search(told["message"]):
            code = "context_length_exceeded"
        return self._response.failed(code, told["message"]) + EVENTS_DONE.end

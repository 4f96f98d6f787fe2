"""Bridges a chat stream to the events of a response: final status and errors."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final, get_args, override

from ai_gateway.api.chat_bridge import ChatBridge
from ai_gateway.conform.response_events import ResponseEvents
from ai_gateway.contract.call import Call
from ai_gateway.contract.framing import EVENTS_DONE
from ai_gateway.translate.carriers import KEPT
from ai_gateway.translate.responses_chat.outline import served_tier, usage
from ai_gateway.translate.responses_chat.reply import INCOMPLETE, ITEM_FIELDS, Keep, carried
from ai_gateway.translate.responses_chat.tools import Fields
from gateway_contract.openai import models
from gateway_contract.openai_responses import models as responses

# Error codes of responses. Agents act on them: they wait, compact their history, or give up (openai/codex, codex-rs,
# "sse/responses.rs").
_KNOWN: Final = frozenset(get_args(responses.ResponseErrorObject.model_fields["code"].annotation))
# The same, by the codes of upstreams and of the gateway.
_CODES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("rate_limit_error", "requests", "tokens", "429"), "rate_limit_exceeded"),
    **dict.fromkeys(("exceed_context_size_error",), "context_length_exceeded"),
    **dict.fromkeys(("billing_hard_limit_reached", "billing_error", "402"), "insufficient_quota"),
    **dict.fromkeys(("content_policy_violation", "content_filter"), "invalid_prompt"),
}
_TOO_LONG: Final = re.compile(
    "prompt is too long|maximum context length|context (?:size|window|length) of|input is too long"
)
# By the error's status, if its code says no more: errors of the request are permanent.
_BY_STATUS: Final[Mapping[int, str]] = {
    402: "insufficient_quota",
    429: "rate_limit_exceeded",
    **dict.fromkeys((400, 403, 404, 413, 422), "invalid_prompt"),
}


# Random padding against length side channels: OpenAI's, and Mistral's (https://docs.mistral.ai/resources/changelogs).
_PADDING: Final = frozenset({"obfuscation", "p"})


def _joined(pieces: Sequence[object]) -> object:
    """A field from its pieces in deltas."""
    present = [piece for piece in pieces if piece is not None]
    if all(isinstance(piece, str) for piece in present):
        return "".join(map(str, present))
    if all(isinstance(piece, list) for piece in present):
        return [each for piece in present if isinstance(piece, list) for each in piece]
    if not all(isinstance(piece, dict) for piece in present):
        return present[-1]
    fields: dict[object, list[object]] = {}
    for piece in present:
        for name, each in piece.items() if isinstance(piece, dict) else ():
            fields.setdefault(name, []).append(each)
    return {name: _joined(each) for name, each in fields.items()}


class ResponseBridge(ChatBridge):
    """One chat stream to a client of the Responses API. `lists` are the items with tools of MCP servers."""

    def __init__(
        self,
        call: Call,
        events: ResponseEvents,
        keep: Keep = lambda _message, _calls: None,
        lists: Sequence[Fields] = (),
    ) -> None:
        super().__init__(call, events, KEPT)
        self.events = events
        self._keep = keep
        self._lists = lists
        self._carried: dict[str, object] = {}
        self._pieces: dict[str, list[object]] = {}

    @override
    def _read_extras(self, chunk: models.CreateChatCompletionStreamResponse) -> None:
        """Keep fields of a chunk beyond the contract for the last event: no other event has a place for them."""
        carried = self._carried
        if chunk.__pydantic_extra__:
            carried.update({name: each for name, each in chunk.__pydantic_extra__.items() if name not in _PADDING})
        for choice in chunk.choices:
            if choice.index == 0 and (choice.__pydantic_extra__ or choice.delta.__pydantic_extra__):
                carried.update(choice.__pydantic_extra__ or {})
                for name, each in (choice.delta.__pydantic_extra__ or {}).items():
                    if name not in ITEM_FIELDS:
                        self._pieces.setdefault(name, []).append(each)

    @override
    def _begun(self, chunk: models.CreateChatCompletionStreamResponse) -> bytes:
        return self.events.begin(chunk.model) + b"".join([self.events.listed(each) for each in self._lists])

    @override
    def _ended(self, finish: str) -> bytes:
        turn, reason = self.turn, INCOMPLETE.get(finish)
        if turn.kept or turn.kept_of_calls:
            self.events.kept = self._keep(turn.kept, turn.kept_of_calls)
        beyond = {**self._carried, **{name: _joined(pieces) for name, pieces in self._pieces.items()}}
        more: Fields = {**served_tier(turn.tier), **carried(beyond, turn.kept_of_calls, self.events.unread)}
        if reason is None:
            return self.events.completed(usage(turn.usage), **more)
        return self.events.incomplete(reason, usage(turn.usage), **more)

    @override
    def broken(self, error: bytes) -> bytes:
        failure = self.call.notes.failure
        return self.failed(error, failure.status if failure is not None else 500) + EVENTS_DONE.end

    def failed(self, error: bytes, status: int) -> bytes:
        """The events that end a failed response, given the JSON of the wire's error and its status."""
        return self.events.failed(**response_error(error, status))


def response_error(error: bytes, status: int) -> dict[str, str]:
    """The `error` field of a failed response, given the JSON of the wire's error and its status."""
    details = json.loads(error)["error"]
    names = [_CODES.get(name, name) for name in (details.get("code"), details.get("type")) if isinstance(name, str)]
    code = next((name for name in names if name in _KNOWN), "server_error")
    if code in {"server_error", "invalid_prompt"} and _TOO_LONG.search(details["message"]):
        code = "context_length_exceeded"
    if code == "server_error":
        code = _BY_STATUS.get(status, code)
    return {"code": code, "message": details["message"]}

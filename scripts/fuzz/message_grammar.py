"""The grammar of a streamed message, written from Anthropic's documents alone: what is wrong with its events."""

import json
from typing import Any

from scripts.fuzz.response_grammar import Illegal

_DELTAS = {
    "text": {"text_delta", "citations_delta"},
    "thinking": {"thinking_delta", "signature_delta"},
    "tool_use": {"input_json_delta"},
    "server_tool_use": {"input_json_delta"},
}


def events_of(data: bytes) -> list[dict[str, Any]]:
    """The events of a stream. Raises Illegal for wrong frames."""
    text = data.decode()
    if not text.endswith("\n\n"):
        raise Illegal("the last frame is not closed")
    events = []
    for frame in text.removesuffix("\n\n").split("\n\n"):
        name, _, rest = frame.partition("\n")
        if not name.startswith("event: ") or not rest.startswith("data: ") or "\n" in rest:
            raise Illegal(f"not one event with a name: {frame[:80]}")
        event = json.loads(rest.removeprefix("data: "))
        if event["type"] != name.removeprefix("event: "):
            raise Illegal(f"{name} has the type {event['type']}")
        events.append(event)
    return events


class Checker:
    """Feed it the events of one message in their order, then `end`. `message` is what a client makes of them."""

    def __init__(self) -> None:
        self.message: dict[str, Any] | None = None
        self.error: dict[str, Any] | None = None
        self._open: dict[str, Any] | None = None
        self._input = ""
        self._signed = False
        self._delta: dict[str, Any] | None = None
        self._over = False

    def feed(self, event: dict[str, Any]) -> None:  # noqa: C901 - a state's rules, one after the other
        """The next event. Raises Illegal."""
        kind = event["type"]
        if self._over:
            raise Illegal(f"{kind} after the end")
        if kind == "ping":
            return
        if kind == "error":
            self.error, self._over = event["error"], True
        elif kind == "message_start":
            if self.message is not None:
                raise Illegal("a message starts twice")
            self.message = event["message"]
            if self.message["content"] or self.message["stop_reason"] is not None:
                raise Illegal("a message starts with content, or is over at once")
        elif self.message is None:
            raise Illegal(f"{kind} before the message starts")
        elif self._delta is not None:
            if kind != "message_stop":
                raise Illegal(f"{kind} after message_delta")
            self._over = True
        else:
            self._within(kind, event, self.message)

    def end(self) -> dict[str, Any]:
        """The message. Raises Illegal for one without an end, which an error is as well."""
        if not self._over:
            raise Illegal("no terminal event")
        return self.message or {}

    def _within(  # noqa: C901, PLR0912 - a state's rules, one after the other
        self, kind: str, event: dict[str, Any], message: dict[str, Any]
    ) -> None:
        if kind == "content_block_start":
            if self._open is not None:
                raise Illegal("a block starts while another one is open")
            if event["index"] != len(message["content"]):
                raise Illegal(f"block {event['index']}, due is {len(message['content'])}")
            self._open, self._input, self._signed = event["content_block"], "", False
            has_input = self._open["type"] in {"tool_use", "server_tool_use"} and self._open["input"]
            if self._open.get("text") or self._open.get("thinking") or has_input:
                raise Illegal("a block starts with content")
        elif kind == "message_delta":
            if self._open is not None:
                raise Illegal("message_delta while a block is open")
            self._delta = event["delta"]
            message |= self._delta
            if not message["stop_reason"]:
                raise Illegal("no stop_reason")
            message["usage"] = message["usage"] | event["usage"]
        elif kind == "message_stop":
            raise Illegal("message_stop without message_delta")
        elif self._open is None:
            raise Illegal(f"{kind} while no block is open")
        elif event["index"] != len(message["content"]):
            raise Illegal(f"{kind} of block {event['index']}, due is {len(message['content'])}")
        elif kind == "content_block_delta":
            self._grow(event["delta"], self._open)
        elif kind == "content_block_stop":
            if self._open["type"] == "tool_use":
                self._open["input_json"] = self._input
            elif self._open["type"] == "server_tool_use":
                self._open["input"] = json.loads(self._input or "{}")
            message["content"].append(self._open)
            self._open = None
        else:
            raise Illegal(f"{kind} is no event of a message")

    def _grow(self, delta: dict[str, Any], block: dict[str, Any]) -> None:
        if delta["type"] not in _DELTAS.get(block["type"], ()):
            raise Illegal(f"{delta['type']} in a block of {block['type']}")
        if self._signed:
            raise Illegal("thinking goes on after its signature")
        match delta["type"]:
            case "text_delta":
                block["text"] += delta["text"]
            case "citations_delta":
                block["citations"] = [*(block.get("citations") or []), delta["citation"]]
            case "thinking_delta":
                block["thinking"] += delta["thinking"]
            case "signature_delta":
                block["signature"], self._signed = delta["signature"], True
            case _:
                self._input += delta["partial_json"]


def check(data: bytes) -> Checker:
    """The checker at the end of a stream. Raises Illegal."""
    checker = Checker()
    for event in events_of(data):
        checker.feed(event)
    checker.end()
    return checker

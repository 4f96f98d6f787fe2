"""Messages of the Messages API that are relayed."""

from operator import is_not
from typing import Any, override

from pydantic_core import to_json

from ai_gateway.conform.relayed_reply import Fields, Relayed, number_of
from ai_gateway.conform.relayed_tokens import count_of, message_tokens
from ai_gateway.conform.rules import FILL_CALL_ID, FILL_EVENT, FILL_FINISH_REASON, FILL_ID, FILL_USAGE
from ai_gateway.conform.source import Source
from ai_gateway.conform.tool_calls import made_call_id
from ai_gateway.contract.call import Notes
from ai_gateway.contract.framing import EVENTS
from ai_gateway.contract.native import CREATE_MESSAGE
from ai_gateway.errors import UpstreamInvalidResponse

_NO_USAGE = {"input_tokens": 0, "output_tokens": 0}
# What a block begins with, by the type of its deltas, where these have all that is in it.
_BEGUN: dict[str, dict[str, object]] = {
    "text_delta": {"type": "text", "text": ""},
    "thinking_delta": {"type": "thinking", "thinking": "", "signature": ""},
    "signature_delta": {"type": "thinking", "thinking": "", "signature": ""},
}


class RelayedMessage(Relayed):
    """A message of the Messages API, or its events. Counts in a stream are cumulative."""

    operation = CREATE_MESSAGE

    def __init__(self, notes: Notes, source: Source, request_id: str = "") -> None:
        super().__init__(notes, source, request_id)
        self._usage: dict[str, Any] = {}
        self._has_begun = self._has_reason = self._calls = False
        self._blocks: set[int] = set()  # those that have begun
        self._open: set[int] = set()  # those of them that have not ended

    @override
    def whole(self, value: object) -> bool:
        if not isinstance(value, dict) or value.get("type") != "message":
            return isinstance(value, dict) and isinstance(value.get("input_tokens"), int)
        change = self._read_head(value)
        if isinstance(blocks := value.get("content"), list):
            named = [self._with_id(at, block) for at, block in enumerate(blocks)]
            change |= {"content": named} if any(map(is_not, named, blocks)) else {}
        if change:
            self.repaired = to_json({**value, **change}, inf_nan_mode="null")
        return True

    def _read_head(self, message: Fields) -> dict[str, Any]:
        """Read a message's usage. Returns what is filled in."""
        change: dict[str, Any] = {}
        self._read(usage := message.get("usage"))
        if not isinstance(usage, dict) and self._mends(FILL_USAGE):
            change["usage"] = _NO_USAGE
        if message.get("id") == "" and self._mends(FILL_ID):
            change["id"] = f"msg_{self.request_id}"
        return change

    def _with_id(self, index: int, block: object) -> object:
        """The block itself, or a call with an id, by which its result is sent."""
        if not isinstance(block, dict) or not str(block.get("type")).endswith("tool_use"):
            return block
        if block.get("id") != "" or not self._mends(FILL_CALL_ID):
            return block
        return {**block, "id": made_call_id(self.request_id, 0, index).replace("call_", "toolu_")}

    @override
    def event(self, name: str, value: Fields) -> None:
        if not self._has_begun and name != "message_start" and name.startswith(("content_block", "message")):
            raise UpstreamInvalidResponse.out_of_order(name)
        if name == "message_start":
            self._begin(value)
        elif name.startswith("content_block"):
            self._block(name, number_of(value.get("index"), 0), value)
        elif name == "message_delta":
            self._update(value)
        elif name in CREATE_MESSAGE.last:
            self._end(name, value)

    def _block(self, name: str, index: int, value: Fields) -> None:
        if name == "content_block_delta":
            delta = value.get("delta")
            if index not in self._blocks:
                self._fill_start(index, delta)
            texts = [delta.get(name) for name in self.operation.texts] if isinstance(delta, dict) else []
            self._notes.text_bytes += sum(len(text.encode(errors="replace")) for text in texts if isinstance(text, str))
        elif name == "content_block_start":
            block = value.get("content_block")
            self._calls |= isinstance(block, dict) and block.get("type") == "tool_use"
            self._begin_block(index)
            if (named := self._with_id(index, block)) is not block:
                self._send({**value, "content_block": named})
        elif name == "content_block_stop":
            self._open.discard(index)
            self.may_continue = bool(self._open)

    def _update(self, value: Fields) -> None:
        delta, usage = value.get("delta"), value.get("usage")
        self._has_reason |= isinstance(delta, dict) and isinstance(delta.get("stop_reason"), str)
        if self._has_reason:
            self._end_blocks()
        self._read(usage)
        if not isinstance(usage, dict) and self._mends(FILL_USAGE):
            self._send({**value, "usage": self._made})

    def _begin_block(self, index: int) -> None:
        self._blocks.add(index)
        self._open.add(index)
        self.may_continue = True

    def _fill_start(self, index: int, delta: object) -> None:
        """Begin the block of a delta whose start is missing, if all of it is in its deltas."""
        self._begin_block(index)
        if not self._mends(FILL_EVENT):
            return
        block = _BEGUN.get(str(delta.get("type"))) if isinstance(delta, dict) else None
        if block is None:
            raise UpstreamInvalidResponse.out_of_order("content_block_delta")
        self._insert({"type": "content_block_start", "index": index, "content_block": block})

    def _end_blocks(self) -> None:
        """End the blocks that are open: agents such as Claude Code take each of them when it ends."""
        if self._open and self._mends(FILL_EVENT):
            for index in sorted(self._open):
                self._insert({"type": "content_block_stop", "index": index})
        self._open.clear()
        self.may_continue = False

    def _insert(self, event: Fields) -> None:
        """Send this event ahead of the one that is read."""
        self._ahead.append(EVENTS.framed(to_json(event, inf_nan_mode="null"), event["type"]))

    @override
    def ended(self, *, done: bool) -> bytes:
        # The stop reason comes when all content is there (docs.anthropic.com "Streaming messages").
        if not self._has_begun or not (self._has_reason or done) or not self._mends(FILL_EVENT):
            return b""
        name = "message_stop"
        self._end(name, {"type": name})
        self._insert({"type": name})
        ended, self._ahead, self.repaired = self._ahead, [], b""
        return b"".join(ended)

    def _begin(self, value: Fields) -> None:
        self._has_begun = True
        message = value.get("message")
        if not isinstance(message, dict):
            return
        if change := self._read_head(message):
            self._send({**value, "message": {**message, **change}})

    def _end(self, name: str, value: Fields) -> None:
        self.is_over = True
        if name == "error":
            self.failure = value
            return
        self._end_blocks()
        if not self._has_reason and self._mends(FILL_FINISH_REASON):
            delta = {"stop_reason": "tool_use" if self._calls else "end_turn", "stop_sequence": None}
            self._insert({"type": "message_delta", "delta": delta, "usage": self._made})

    @property
    def _made(self) -> Fields:
        """The usage of the message's end, as far as it is known."""
        return {"output_tokens": count_of(self._usage.get("output_tokens"))}

    def _send(self, event: Fields) -> None:
        """Send this event in place of the one that is read."""
        self.repaired = EVENTS.framed(to_json(event, inf_nan_mode="null"), event["type"])

    def _read(self, usage: object) -> None:
        if isinstance(usage, dict):
            self._usage |= {name: count for name, count in usage.items() if count is not None}
            self._note_usage(message_tokens(self._usage))
            self._note_tier(usage.get("service_tier"))

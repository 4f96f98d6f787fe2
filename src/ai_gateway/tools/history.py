"""Gateway-run calls as entries of `gateway_tool_calls`, and as messages of the history."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from ai_gateway.tools.tool import Result
from ai_gateway.translate.chat_request import Message
from gateway_contract.openai import models

type Fields = dict[str, Any]

_messages: TypeAdapter[list[Message]] = TypeAdapter(list[Message])
# Extra fields of a message that its upstream needs before the results of its calls: Anthropic's signed thinking
# ("Extended thinking with tool use"), DeepSeek's and Moonshot's ("Thinking mode, tool calls"), OpenRouter's
# ("Preserving reasoning").
CARRIED = ("thinking_blocks", "reasoning_content", "reasoning_details")


@dataclass(slots=True)
class Called:
    """One call of a function by a model. `tool` is the gateway's tool, empty for an unknown function.

    One that `is_over_limit` exceeds the request's limit for its function. `position` is the number of characters of the
    answer before it.
    """

    id: str
    name: str
    arguments: str
    tool: str = ""
    round: int = 1
    is_over_limit: bool = False
    position: int = 0

    def as_call(self) -> Fields:
        """The entry of `tool_calls`."""
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}

    def started(self, index: int) -> models.GatewayToolCallChunk:
        """The entry that a stream has at its start."""
        return models.GatewayToolCallChunk.model_validate({"index": index, **self._begun()})

    def ended(self, index: int, result: Result) -> models.GatewayToolCallChunk:
        """The entry that a stream has at its end; merged with the first one, it is that of a whole reply."""
        return models.GatewayToolCallChunk.model_validate({"index": index, **self._answer(result)})

    def entry(self, index: int, result: Result) -> models.GatewayToolCall:
        """The entry of `gateway_tool_calls`."""
        return models.GatewayToolCall.model_validate({"index": index, **self._begun(), **self._answer(result)})

    def _begun(self) -> Fields:
        beside = {"tool": f"gateway:{self.tool}", "round": self.round, "position": self.position}
        return {**self.as_call(), **beside}

    def _answer(self, result: Result) -> Fields:
        fields: Fields = {"status": "failed" if result.failed else "completed", "result": self.answer(result)}
        if result.failed:
            fields["error"] = result.error
        if result.citations:
            fields["sources"] = [
                {"number": number, "url": source.url, "title": source.title}
                for number, source in enumerate(result.citations, result.first)
            ]
        return fields

    def answer(self, result: Result) -> Fields:
        """The message with its result."""
        return {"role": "tool", "tool_call_id": self.id, "content": result.text}


def round_messages(reply: Fields, ran: Sequence[tuple[Called, Result]]) -> list[Fields]:
    """A round as history: the model's message with its calls, and a message with the result of each."""
    message: Fields = {"role": "assistant", "content": reply.get("content") or None}
    message |= {name: reply[name] for name in CARRIED if reply.get(name)}
    message["tool_calls"] = [called.as_call() for called, _ in ran]
    return [message, *(called.answer(result) for called, result in ran)]


def replayed(messages: Iterable[Any]) -> list[Any]:
    """The history with gateway-run calls, restored from `gateway_tool_calls`, before the message they led to.

    Messages are given as fields; others stay unchanged.
    """
    found: list[Any] = []
    for message in messages:
        entries = message.get("gateway_tool_calls") if isinstance(message, dict) else None
        if not entries:
            found.append(message)
            continue
        rounds: dict[Any, list[Any]] = {}
        for entry in entries:
            rounds.setdefault(entry.get("round"), []).append(entry)
        for together in rounds.values():
            calls = [{name: entry[name] for name in ("id", "type", "function")} for entry in together]
            found.append({"role": "assistant", "content": None, "tool_calls": calls})
            found += [entry["result"] for entry in together]
        rest = {name: value for name, value in message.items() if name != "gateway_tool_calls"}
        if any(value for name, value in rest.items() if name != "role"):
            found.append(rest)
    return found


def as_models(messages: Sequence[Any]) -> list[Message]:
    """Messages as models of the contract."""
    return _messages.validate_python(list(messages), strict=True)

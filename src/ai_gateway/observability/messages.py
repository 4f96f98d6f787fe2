"""Messages of requests and replies on any client wire, in the form of the GenAI conventions, for traces.

The schemas: https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/ (gen-ai-input-messages.json and its
sibling for output). Parts without a form there are given by their type only, and keys are redacted.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ai_gateway.redaction import redact

_ROLE, _PARTS, _TYPE, _CONTENT = "role", "parts", "type", "content"
_TEXTS = ("text", "input_text", "output_text")


def input_messages(request: Mapping[str, object], most: int) -> str | None:
    """The messages of a request, as JSON of at most so many characters; None if it has none."""
    messages: list[dict[str, object]] = []
    for name in ("system", "instructions"):
        messages += _message({_ROLE: "system", _CONTENT: request.get(name)})
    given = request.get("messages", request.get("input", request.get("prompt")))
    for each in given if isinstance(given, list) else [given]:
        messages += _message(each if isinstance(each, dict) else {_ROLE: "user", _CONTENT: each})
    return _shown(messages, most)


def output_messages(media: str, reply: bytes, most: int) -> str | None:
    """The messages of a reply, whole or streamed; a stream's choice is one message with joined text."""
    texts: dict[int, list[str]] = {}
    reasons: dict[int, str] = {}
    for event in events_of(media, reply):
        for at, text, reason in _message_of_choice(event):
            texts.setdefault(at, []).append(text)
            if reason:
                reasons[at] = reason
    messages: list[dict[str, object]] = [
        {_ROLE: "assistant", _PARTS: [_text("".join(parts))], "finish_reason": reasons.get(at, "")}
        for at, parts in sorted(texts.items())
    ]
    return _shown(messages, most)


def events_of(media: str, reply: bytes) -> Iterator[Any]:
    """The JSON values of a reply: one, or one for each event or line. Invalid JSON is left out."""
    kind = media.partition(";")[0].strip().lower()
    pieces: Iterable[bytes] = [reply]
    if kind == "text/event-stream":
        pieces = (line[5:] for line in reply.splitlines() if line.startswith(b"data:"))
    elif kind == "application/x-ndjson":
        pieces = reply.splitlines()
    for piece in pieces:
        try:
            yield json.loads(piece)
        except (ValueError, RecursionError):  # an incomplete event, at the end of a cut body
            continue


def _shown(messages: list[dict[str, object]], most: int) -> str | None:
    return redact(json.dumps(messages, ensure_ascii=False)[:most]) if messages else None


def _text(text: str) -> dict[str, object]:
    return {_TYPE: "text", _CONTENT: text}


def _message(message: Mapping[str, Any]) -> list[dict[str, object]]:
    """One message; empty without content."""
    parts = [*_parts(message.get(_CONTENT))]
    for call in message.get("tool_calls") or ():
        called = call.get("function") if isinstance(call, dict) else None
        if isinstance(called, dict):
            named = {"name": called.get("name"), "arguments": called.get("arguments")}
            parts.append({_TYPE: "tool_call", "id": call.get("id"), **named})
    role = message.get(_ROLE)
    if role == "tool":
        response = [part.get(_CONTENT) for part in parts]
        parts = [{_TYPE: "tool_call_response", "id": message.get("tool_call_id"), "response": response}]
    return [{_ROLE: role if isinstance(role, str) else "user", _PARTS: parts}] if parts else []


def _parts(content: object) -> Iterator[dict[str, object]]:
    if isinstance(content, str):
        yield _text(content)
        return
    for part in content if isinstance(content, list) else ():
        if isinstance(part, str):
            yield _text(part)
        elif isinstance(part, dict):
            kind, text = part.get(_TYPE), part.get("text")
            yield _text(text) if kind in _TEXTS and isinstance(text, str) else {_TYPE: str(kind)}


def _message_of_choice(event: object) -> Iterator[tuple[int, str, str]]:
    """For a choice in a reply or event: its index, text and finish reason."""
    if not isinstance(event, dict):
        return
    choices = event.get("choices")
    if not isinstance(choices, list):
        text, reason = _only_message(event)
        yield 0, text, reason
        return
    for choice in choices:  # OpenAI's chat and completions
        if isinstance(choice, dict):
            message = choice.get("delta") or choice.get("message") or {_CONTENT: choice.get("text")}
            at = choice.get("index")
            yield at if isinstance(at, int) else 0, _plain(message), str(choice.get("finish_reason") or "")


def _only_message(event: Mapping[str, Any]) -> tuple[str, str]:
    """The same for wires with a single choice."""
    delta, message = event.get("delta"), event.get("message")
    if isinstance(message, dict):  # Ollama's chat, the first event of Messages
        return _plain(message), str(event.get("done_reason") or "")
    if isinstance(event.get("response"), str):  # Ollama's generate
        return event["response"], str(event.get("done_reason") or "")
    if isinstance(delta, str):  # an event of Responses
        return delta if event.get(_TYPE) == "response.output_text.delta" else "", ""
    if isinstance(delta, dict):  # an event of Messages
        return delta["text"] if isinstance(delta.get("text"), str) else "", str(delta.get("stop_reason") or "")
    if isinstance(event.get("output"), list):  # Responses
        return "".join(_plain(each) for each in event["output"]), str(event.get("status") or "")
    return _plain(event), str(event.get("stop_reason") or "")  # Messages


def _plain(message: object) -> str:
    content = message.get(_CONTENT) if isinstance(message, dict) else None
    return "".join(str(part.get(_CONTENT) or "") for part in _parts(content))

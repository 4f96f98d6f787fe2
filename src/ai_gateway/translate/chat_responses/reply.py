"""Responses as chat completions.

Beside OpenAI's fields a message may have `reasoning_content`, the summaries as text; `reasoning_items`, to be sent
back; and `other_items` and `other_annotations`, of types without a counterpart in chat completions, such as an
upstream's own searches.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ai_gateway.translate import chat_details
from ai_gateway.translate.chat_responses.lost_fields import REASONING
from ai_gateway.translate.chat_responses.tools import call

type Fields = Mapping[str, Any]

OTHERS: Final = "other_annotations"
_COUNTS: Final = frozenset(
    {"input_tokens", "output_tokens", "total_tokens", "input_tokens_details", "output_tokens_details"}
)


def to_chat(response: Fields) -> dict[str, Any]:
    """The completion, not yet conformed: fields that the upstream omitted are missing."""
    message = _message(response.get("output") or ())
    ended: dict[str, Any] = {
        "index": 0,
        "message": message,
        "logprobs": logprobs(_texts(response.get("output") or ())),
        "finish_reason": finish(response, calls=bool(message.get("tool_calls"))),
    }
    chat: dict[str, Any] = {**head(response), "object": "chat.completion", "choices": [ended]}
    counts = usage(response.get("usage"))
    return chat if counts is None else chat | {"usage": counts}


def head(response: Fields) -> dict[str, Any]:
    """The common fields of a completion and its chunks."""
    made: dict[str, Any] = {"id": response.get("id"), "model": response.get("model")}
    if response.get("created_at"):
        made["created"] = int(response["created_at"])
    if response.get("service_tier") is not None:
        made["service_tier"] = response["service_tier"]
    return made


def finish(response: Fields, *, calls: bool) -> str | None:
    """The finish reason; for an incomplete response, by the reason that it gives."""
    if response.get("status") == "incomplete":
        reason = (response.get("incomplete_details") or {}).get("reason")
        return "length" if reason in (None, "", "max_output_tokens") else reason
    return "tool_calls" if calls else "stop"


def usage(counts: object) -> dict[str, Any] | None:
    """The usage; its details have the same meaning."""
    if not isinstance(counts, dict):
        return None
    given, made = counts.get("input_tokens"), counts.get("output_tokens")
    named: dict[str, Any] = {name: value for name, value in counts.items() if name not in _COUNTS}
    named |= {"prompt_tokens": given, "completion_tokens": made}
    total = counts.get("total_tokens")
    named["total_tokens"] = (given or 0) + (made or 0) if total is None else total
    for name, theirs, completed in (
        ("prompt_tokens_details", "input", chat_details.of_prompt),
        ("completion_tokens_details", "output", chat_details.of_completion),
    ):
        if isinstance(details := counts.get(f"{theirs}_tokens_details"), dict):
            named[name] = completed({part: count for part, count in details.items() if count is not None})
    return named


def annotation(fields: Fields) -> dict[str, Any]:
    """A citation in the form of chat messages."""
    if fields.get("type") != "url_citation":
        return dict(fields)
    return {"type": "url_citation", "url_citation": {name: value for name, value in fields.items() if name != "type"}}


def logprobs(texts: Iterable[Fields]) -> dict[str, Any] | None:
    """The log probabilities of all texts; None if there are none."""
    found = [each for text in texts for each in text.get("logprobs") or ()]
    return {"content": found, "refusal": None} if found else None


def _texts(output: Iterable[Any]) -> list[Fields]:
    return [
        part
        for item in output
        if isinstance(item, dict) and item.get("type") == "message"
        for part in parts_of(item)
        if part.get("type") == "output_text"
    ]


def parts_of(message: Fields) -> list[Fields]:
    """The parts of a message; a plain text is one part."""
    content = message.get("content")
    parts = [content] if isinstance(content, str) else content or ()
    return [{"type": "output_text", "text": part} if isinstance(part, str) else part for part in parts]


def _message(output: Iterable[Any]) -> dict[str, Any]:
    items = [item for item in output if isinstance(item, dict)]
    parts = [part for item in items if item.get("type") == "message" for part in parts_of(item)]
    texts = [str(part.get("text") or "") for part in parts if part.get("type") == "output_text"]
    refusals = [str(part.get("refusal") or "") for part in parts if part.get("type") == "refusal"]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(texts) if texts else None,
        "refusal": "".join(refusals) if refusals else None,
    }
    message |= apart(_cited(parts))
    if calls := [made for item in items if (made := call(item)) is not None]:
        message["tool_calls"] = calls
    thoughts = [item for item in items if item.get("type") == "reasoning"]
    if reasoning := "\n\n".join(text for item in thoughts if (text := summary(item))):
        message["reasoning_content"] = reasoning
    if thoughts:
        message[REASONING] = thoughts
    if others := [item for item in items if item.get("type") not in {"message", "reasoning"} and call(item) is None]:
        message["other_items"] = others
    return message


def summary(item: Fields) -> str:
    """The text of a reasoning item: its summary or, from open models, the reasoning itself."""
    for name in ("summary", "content"):
        texts = [str(part.get("text") or "") for part in item.get(name) or () if isinstance(part, dict)]
        if any(texts):
            return "\n\n".join(texts)
    return ""


def _cited(parts: Iterable[Fields]) -> list[dict[str, Any]]:
    """The annotations of all texts, with positions in the joined text."""
    found: list[dict[str, Any]] = []
    start = 0
    for part in parts:
        if part.get("type") == "output_text":
            found += [
                annotation(moved(each, start)) for each in part.get("annotations") or () if isinstance(each, dict)
            ]
            start += len(str(part.get("text") or ""))
    return found


def apart(cited: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Citations by the message's field: the contract only has those of pages."""
    found: dict[str, list[dict[str, Any]]] = {}
    for each in cited:
        found.setdefault("annotations" if each.get("type") == "url_citation" else OTHERS, []).append(each)
    return found


def moved(citation: Fields, start: int) -> dict[str, Any]:
    """A citation with its positions shifted by `start`."""
    places = {
        name: citation[name] + start
        for name in ("start_index", "end_index", "index")
        if isinstance(citation.get(name), int)
    }
    return {**citation, **places}

"""A check is a row that names the schema or rule it validates the upstream against."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from ai_gateway.probe.probe import Probe

type Judge = Callable[[Probe], Awaitable[object]]

RULES: Final = {
    "absent-not-null": "Fields that may be absent but not null are absent: `system_fingerprint`, `tool_calls` ...",
    "as-many-as-asked": "`n`, prompts or inputs: one choice or vector for each, numbered from 0 in order.",
    "clean-bounds": "An answer truncated by a limit has finish reason `length` and keeps the limit.",
    "encoding-as-asked": "Vectors are numbers unless base64 is requested, and then little-endian float32.",
    "error-keeps-status": "A failure before the first event keeps its HTTP status and is JSON, streamed or not.",
    "finish-once": "Each choice has exactly one finish reason, and nothing of it comes after.",
    "function-schema": "Arguments are JSON that the function's own schema accepts.",
    "http": "RFC 9110: methods, media types, authentication, content coding.",
    "key-stays-secret": "An error does not quote the rejected key in full.",
    "names-the-param": "400 in OpenAI's envelope, and `param` names the invalid field.",
    "one-done": "A stream ends with exactly one `[DONE]`, after everything else.",
    "output-schema": "The answer is JSON that the requested format or schema accepts.",
    "plain-answer": "A plain question is answered by one choice with text.",
    "request-id": "Every response has a unique `x-request-id`: clients log it.",
    "role-first": "The first delta of a choice has the role.",
    "sdk-requests": "Requests of OpenAI's own clients are accepted.",
    "seconds": "Times are whole seconds since 1970, not milliseconds and not zero.",
    "sse-frames": "`text/event-stream` in UTF-8: every event is `data:` with JSON, closed by an empty line.",
    "stable-stream": "One `id`, `created` and `model` for all chunks.",
    "stops-before": "A stop sequence ends the text and is not part of it.",
    "tool-call-deltas": "A streamed call starts with index, id, type and name; later deltas add arguments only.",
    "tool-choice": "`none`, `required` and a named function are obeyed.",
    "unknown-model": "A model that does not exist is 404 `model_not_found`.",
    "usable-list": "The list names models, each once, and each can be retrieved.",
    "usage-adds-up": "Token counts are positive and add up to the total.",
    "usage-if-asked": "Usage comes once, last, with empty choices, and only with `include_usage`.",
    "vectors-sound": "Vectors of one response have one length, finite numbers, and depend on the input.",
}
"""The rules that no schema can express. A check validates against one of these, or against a schema of the contract."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check. `judge` returns if it passes and raises Failed or Skipped if not."""

    id: str
    group: str
    title: str
    rule: str
    judge: Judge

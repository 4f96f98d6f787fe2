"""What a check is: a row that names the schema or rule it holds the upstream against."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from ai_gateway.probe.probe import Probe

type Judge = Callable[[Probe], Awaitable[None]]

RULES: Final = {
    "absent-not-null": "What may be left out but not be null is left out: `system_fingerprint`, `tool_calls` ...",
    "as-many-as-asked": "`n`, prompts or inputs: one choice or vector for each, numbered from 0 in order.",
    "clean-bounds": "What was cut off by a limit says `length` and keeps the limit.",
    "encoding-as-asked": "Vectors come as numbers unless base64 is asked for, and then as little-endian float32.",
    "error-keeps-status": "A failure before the first event keeps its HTTP status and is JSON, streamed or not.",
    "finish-once": "Each choice has exactly one finish reason, and nothing of it comes after.",
    "function-schema": "Arguments are JSON that the function's own schema accepts.",
    "http": "RFC 9110: methods, media types, authentication, content coding.",
    "key-stays-secret": "A refused key is not quoted in full.",
    "names-the-param": "400 in OpenAI's envelope, and `param` names the field to mend.",
    "one-done": "A stream ends with exactly one `[DONE]`, after everything else.",
    "output-schema": "The answer is JSON that the requested format or schema accepts.",
    "plain-answer": "A plain question is answered by one choice with text.",
    "request-id": "Every reply has an `x-request-id` of its own: clients log it.",
    "role-first": "The first delta of a choice says the role.",
    "sdk-requests": "What OpenAI's own clients send is taken.",
    "seconds": "Times are whole seconds since 1970, not milliseconds and not zero.",
    "sse-frames": "`text/event-stream` in UTF-8: every event is `data:` with JSON, closed by an empty line.",
    "stable-stream": "One `id`, `created` and `model` for all chunks.",
    "stops-before": "A stop sequence ends the text and is not part of it.",
    "tool-call-deltas": "A streamed call says index, id, type and name first; later deltas add arguments only.",
    "tool-choice": "`none`, `required` and a named function are obeyed.",
    "unknown-model": "A model that does not exist is 404 `model_not_found`.",
    "usable-list": "The list names models, each once, and each can be retrieved.",
    "usage-adds-up": "Token counts are positive and add up to the total.",
    "usage-if-asked": "Usage comes once, last, with empty choices, and only with `include_usage`.",
    "vectors-sound": "Vectors of one reply have one length, finite numbers, and depend on the input.",
}
"""The rules that no schema can state. A check holds against one of these, or against a schema of the contract."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to find out. `judge` returns if it holds and raises Failed or Skipped if not."""

    id: str
    group: str
    title: str
    rule: str
    judge: Judge

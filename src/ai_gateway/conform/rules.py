"""The registry of repair rules, used by the code, the docs page, the response header and the metrics.

A rule adds a fact that the gateway knows itself, corrects the form of a value, or removes what the contract forbids and
is not content. Content is kept, or the reply fails: no rule loses any.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Rule:
    """`repairs` describes the rule in docs/conformance.md.

    `advisory` rules repair what the contract allows but clients fail on: no reason to refuse a reply in `enforce`.
    """

    name: str
    repairs: str
    advisory: bool = False
    loses: Literal[False] = False


type Report = Callable[[Rule], None]

RULES: dict[str, Rule] = {}


def _rule(name: str, repairs: str, *, advisory: bool = False) -> Rule:
    return RULES.setdefault(name, Rule(name, repairs, advisory))


FILL_ID = _rule(
    "fill-id",
    "no id of a response, or of a relayed message or item, or an empty one: one derived from the request's id",
)
FIX_OBJECT = _rule("fix-object", "another `object` than the operation's")
FIX_MODEL_OBJECT = _rule("fix-model-object", "another `object` in a listed model")
FILL_CREATED = _rule(
    "fill-created", "no time in whole seconds: the time of arrival; for a listed model 0, which means unknown"
)
FILL_MODEL = _rule("fill-model", "no model: the requested one")
FILL_OWNER = _rule("fill-owner", "a listed model without owner: its organisation, or `unknown`")
FILL_INDEX = _rule("fill-index", "a choice or vector without index: its position")
FILL_ROLE = _rule("fill-role", "no role: `assistant`; in a stream, in the first delta of a choice")
FILL_NULL = _rule("fill-null", "a required field that may be null is missing: null")
DROP_NULL = _rule("drop-null", "null, or an empty text, where a field may only be absent: removed")
DROP_INVALID = _rule(
    "drop-invalid",
    "an optional value that the contract forbids, such as an unknown `service_tier`, or that holds something it "
    "forbids, such as an annotation of an unknown kind: removed, or null where it must not be absent",
)
SPELL_USAGE = _rule("spell-usage", "counts as `input_tokens` and `output_tokens`, or as strings of digits")
FILL_USAGE_TOTAL = _rule(
    "fill-usage-total", "no total: the sum of the two counts. `completion_tokens` of null: what the total leaves"
)
JOIN_CONTENT = _rule(
    "join-content",
    "content in parts where one string is required: their text; thinking becomes `reasoning_content`, and parts that "
    "are no text are kept in `other_blocks`",
)
MAP_FINISH_REASON = _rule(
    "map-finish-reason",
    "another name for a finish reason, such as `end_turn`, which is kept in `native_finish_reason`; an empty string "
    "becomes null. One that reports a failure, such as `error`, makes the response an error instead",
)
TELL_UNKNOWN_FINISH = _rule(
    "tell-unknown-finish-reason",
    "an unknown finish reason: `length`, which does not claim that the answer is whole, and the "
    "upstream's own in `native_finish_reason`",
)
FILL_FINISH_REASON = _rule(
    "fill-finish-reason",
    "a response without a finish reason that is complete: a stream is if it ends with `[DONE]`, and a relayed message "
    "with `message_stop`",
)
FILL_EVENT = _rule(
    "fill-event",
    "a relayed stream of another API without an event that clients put the reply together by, such as "
    "`content_block_stop`, `message_stop` after a stop reason, `response.created` or `response.output_item.done`: the "
    "event, made from what the others say; and the items in the last event of a response, where it has none",
)
FINISH_WITH_CALLS = _rule("finish-with-calls", "`stop` after tool calls: `tool_calls`", advisory=True)
FILL_TEXT = _rule(
    "fill-text", "a chunk of a legacy completion without text: that of its delta or message, or an empty one"
)
FILL_USAGE = _rule(
    "fill-usage", "no usage in a response that must have it, that of embeddings or a relayed message: counts of 0"
)
READ_NUMBER = _rule(
    "read-number", "a number that JSON does not have, such as NaN: -9999 for a log probability, else null"
)
READ_TEXT = _rule(
    "read-text",
    "half of a surrogate pair, or bytes that are not UTF-8: U+FFFD. Halves at the end of one chunk and the start of "
    "the next one are joined",
)
SKIP_EVENT = _rule(
    "skip-event", "an event of a stream that is neither a chunk nor an error, such as a ping: removed", advisory=True
)
JOIN_EVENTS = _rule("join-events", "a stream where a complete response was requested: joined")
FILL_LOGPROBS = _rule("fill-logprobs", "a token without its list of alternatives")
LIST_CALLS = _rule("list-tool-calls", "one tool call by itself where a list is required")
FILL_CALL_ID = _rule("fill-tool-call-id", "a tool call without id, or with an empty one")
FILL_CALL_TYPE = _rule(
    "fill-tool-call-type",
    "a tool call without type, or with another than that of what it holds; a streamed custom one has none",
)
FILL_CALL_INDEX = _rule("fill-tool-call-index", "a streamed tool call without index: its position")
FILL_ARGUMENTS = _rule(
    "fill-arguments",
    "a tool call without arguments: an empty object, or an empty string at the start of a streamed call",
)
SPELL_ARGUMENTS = _rule(
    "spell-arguments", "arguments as an object or a list: the JSON text; of an empty list an empty object's"
)
NUMBER_TOOL_CALLS = _rule(
    "number-tool-calls",
    "streamed calls that are not numbered from 0 in their order, or several under one index, distinguished by id, by "
    "name, or by complete arguments: an index for each",
)
NAME_CALL_FIRST = _rule(
    "name-tool-call-first", "a streamed call that begins without its name: buffered until it has one"
)
SAY_CALL_ONCE = _rule(
    "say-tool-call-once", "a streamed tool call that repeats its id, type or name, which clients would append: removed"
)
FILL_CHOICES = _rule("fill-choices", "a chunk with usage only, or with null, and no list of choices")
MESSAGE_AS_DELTA = _rule(
    "message-as-delta", "a chunk's delta under the name `message`, or as a text alone, also under the name `text`"
)
DROP_SUMMARY = _rule("drop-summary", "a complete message after its deltas: what they contained is removed")
FILL_DELTA = _rule("fill-delta", "a chunk's choice without delta")
NUMBER_CHOICES = _rule(
    "number-choices",
    "choices of a complete response with the same index, or with unexpected ones: their positions; the only choice of "
    "a stream: 0",
)
KEEP_HEAD = _rule("keep-head", "an id, model or time that changes within a stream: the first one")
FINISH_ONCE = _rule(
    "finish-once",
    "a choice that ends more than once, or goes on after its end: it ends where the stream does. Of several reasons "
    "the first one other than `stop` counts",
)
DROP_UNKNOWN_CHOICE = _rule(
    "drop-unknown-choice", "a choice that was not requested and is empty: removed. One with content is an error"
)
MOVE_USAGE = _rule(
    "move-usage",
    "usage beside choices, or only in `x_groq`, where it was requested: in a last chunk of its own",
    advisory=True,
)
FIX_ITEM_OBJECT = _rule("fix-item-object", "another `object` in a vector")
SORT_VECTORS = _rule("sort-vectors", "vectors out of order")
NUMBER_VECTORS = _rule("number-vectors", "vectors that are all numbered 0: their positions")
RECODE_VECTORS = _rule("recode-vectors", "vectors in another encoding than the requested one")
UNREPAIRABLE = _rule("unrepairable", "in `observe` only: a response that no rule can repair")

"""For every repair rule, what makes it apply so many times: whole replies, and the events of streams."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ai_gateway.conform import rules
from ai_gateway.conform.rules import Rule
from ai_gateway.contract.native import CREATE_MESSAGE, CREATE_RESPONSE, NativeOperation
from ai_gateway.operations import CHAT, CHAT_STREAM, COMPLETION_STREAM, EMBEDDING, Streaming
from gateway_contract.openai import models

type Object = dict[str, Any]

REQUEST = models.CreateEmbeddingRequest.model_construct
CALL = {"id": "c", "type": "function", "function": {"name": "n", "arguments": "{}"}}
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


@dataclass(frozen=True)
class Whole:
    """A whole reply that a rule is for, of the model that it is to be, to a request that matters to few."""

    raw: bytes
    model: Any = CHAT.reply
    request: Any = None
    observed: bool = False


@dataclass(frozen=True)
class Streamed:
    """The events that arrive of a stream of so many choices."""

    events: Sequence[bytes]
    operation: Streaming[Any, Any] = CHAT_STREAM
    choices: int = 1
    usage: bool = False
    observed: bool = False


@dataclass(frozen=True)
class Relays:
    """The events that arrive of a reply on the caller's own wire."""

    events: Sequence[bytes]
    operation: NativeOperation
    observed: bool = False


# -- whole replies --


def whole(choices: Sequence[Object], **head: Any) -> Whole:
    fields = {"id": "i", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, **head}
    return Whole(json.dumps({name: value for name, value in fields.items() if value != "absent"}).encode())


def choice(at: int, **change: Any) -> Object:
    message = {"role": "assistant", "content": f"text {at}", "refusal": None, **change.pop("message", {})}
    return {"index": at, "finish_reason": "stop", "logprobs": None, "message": message, **change}


def each(**change: Any) -> Callable[[int], Whole]:
    """So many choices, each changed so."""
    return lambda size: whole([choice(at, **change) for at in range(size)])


def headed(**change: Any) -> Callable[[int], Whole]:
    """So many good choices under such a head."""
    return lambda size: whole([choice(at) for at in range(size)], **change)


def alone(**change: Any) -> Callable[[int], Whole]:
    """One choice that is changed by what a function makes of the size."""
    return lambda size: whole([choice(0, **{name: make(size) for name, make in change.items()})])


def calls(**change: Any) -> Callable[[int], Whole]:
    """So many calls of one choice, each changed so; what is absent is left out."""
    return alone(
        message=lambda size: {"tool_calls": [call(at, **change) for at in range(size)]}, finish_reason=lambda _: "x"
    )


def call(at: int, **change: Any) -> Object:
    fields = {**CALL, "id": f"c{at}", **change}
    return {name: value for name, value in fields.items() if value != "absent"}


def vectors(index: Callable[[int, int], object] = lambda at, _: at, **change: Any) -> Callable[[int], Whole]:
    def make(size: int) -> Whole:
        encoding = change.get("encoding", "float")
        data = [
            {"object": change.get("object", "embedding"), "index": index(at, size), "embedding": [0.5, 1.5]}
            for at in range(size)
        ]
        usage = {} if change.get("usage") == "absent" else {"usage": {"prompt_tokens": 1, "total_tokens": 1}}
        request = REQUEST(model="m", input=["x"] * size, encoding_format=encoding)
        reply = {"object": "list", "model": "m", "data": data, **usage}
        return Whole(json.dumps(reply).encode(), EMBEDDING.reply, request)

    return make


def listed(**change: Any) -> Callable[[int], Whole]:
    entry = {"object": "model", "created": 1, "owned_by": "x", **change}
    entry = {name: value for name, value in entry.items() if value != "absent"}
    return lambda size: Whole(
        json.dumps({"object": "list", "data": [{"id": f"m{at}", **entry} for at in range(size)]}).encode(),
        models.ListModelsResponse,
    )


def spoilt(make: Callable[[int], Whole], old: bytes, new: bytes) -> Callable[[int], Whole]:
    return lambda size: Whole(make(size).raw.replace(old, new))


def observed(make: Callable[[int], Any]) -> Callable[[int], Any]:
    return lambda size: type(made := make(size))(**{**vars(made), "observed": True})


# -- streams --


def event(*choices: Object, **head: Any) -> bytes:
    fields = {
        "id": "i",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": list(choices),
        **head,
    }
    return json.dumps({name: value for name, value in fields.items() if value != "absent"}).encode()


def piece(index: object = 0, finish: Any = None, beside: Object | None = None, **delta: Any) -> Object:
    fields = {"index": index, "delta": delta, "finish_reason": finish, "logprobs": None, **(beside or {})}
    return {name: value for name, value in fields.items() if value != "absent"}


BEGIN = event(piece(role="assistant", content=""))
END = event(piece(finish="stop"))


def events(make: Callable[[int], bytes], **more: Any) -> Callable[[int], Streamed]:
    """So many events between a good start and a good end."""
    return lambda size: Streamed([BEGIN, *map(make, range(size)), END], **more)


def in_one(make: Callable[[int], bytes], **more: Any) -> Callable[[int], Streamed]:
    """One event with so much in it."""
    return lambda size: Streamed([BEGIN, make(size), END], **more)


def of_choices(*make: Callable[[int], Object], **head: Any) -> Callable[[int], Streamed]:
    """A stream of so many choices, each of which says in its turn what is made for its index."""
    return lambda size: Streamed([event(each(index), **head) for each in make for index in range(size)], choices=size)


def together(*make: Callable[[int], Object]) -> Callable[[int], Streamed]:
    """The same with all choices in one event."""
    return lambda size: Streamed([event(*(each(index) for index in range(size))) for each in make], choices=size)


def pieces_of_calls(make: Callable[[int], Object]) -> list[Callable[[int], Streamed]]:
    """So many calls, in events of their own and in one."""
    return [
        events(lambda at: event(piece(tool_calls=[make(at)]))),
        in_one(lambda size: event(piece(tool_calls=[make(at) for at in range(size)]))),
    ]


def named_at_last(made: Callable[[int], Streamed], *, one: bool = False) -> Callable[[int], Streamed]:
    """The same, with the names of its calls, or of its only one, in an event before the last."""

    def make(size: int) -> Streamed:
        names = [{"index": at, "function": {"name": "n"}} for at in range(1 if one else size)]
        *before, last = made(size).events
        return Streamed([*before, event(piece(tool_calls=names)), last])

    return make


def text(at: int = 0) -> Object:
    return piece(content=f"text {at}")


def joined(size: int) -> Whole:
    sent = [BEGIN, *(event(text(at)) for at in range(size)), END, b"[DONE]"]
    return Whole(b"".join(b"data: %b\n\n" % each for each in sent))


def completion(at: int) -> bytes:
    return event({"index": 0, "finish_reason": None, "logprobs": None, "text": f"text {at}"}, object="text_completion")


TOKENS = {"token": "a", "logprob": -1.0, "bytes": None}
PARTS = [{"type": "text", "text": "a"}, {"type": "thinking", "thinking": "b"}, {"type": "image_url", "image_url": {}}]
ODD = {"type": "file", "file": {}}
END_CALLS = piece(finish="tool_calls")

type Makers = Sequence[Callable[[int], Whole | Streamed | Relays]]
# -- relayed events --

STARTED: Object = {"type": "message_start", "message": {"id": "m", "type": "message", "usage": {}}}
STOPPED: list[Object] = [
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {}},
    {"type": "message_stop"},
]


def message(block: Object, *last: Object, start: Object = STARTED) -> Callable[[int], Relays]:
    """A message of so many blocks, none of which ends, and these last events."""

    def make(size: int) -> Relays:
        blocks = [{"type": "content_block_start", "index": at, "content_block": block} for at in range(size)]
        return Relays([json.dumps(each).encode() for each in (start, *blocks, *last)], CREATE_MESSAGE)

    return make


def response(change: Callable[[int], Object]) -> Callable[[int], Relays]:
    """A response of so many items, each changed so, none of which is done."""

    def make(size: int) -> Relays:
        items = [{"type": "message", "id": f"msg_{at}", "content": [], **change(at)} for at in range(size)]
        added: list[Object] = [
            {"type": "response.output_item.added", "output_index": at, "item": item} for at, item in enumerate(items)
        ]
        ends = {"type": "response.completed", "response": {"id": "resp_1", "output": items}}
        numbered = [{**each, "sequence_number": at} for at, each in enumerate([*added, ends])]
        return Relays([json.dumps(each).encode() for each in numbered], CREATE_RESPONSE)

    return make


INPUTS: dict[Rule, Makers] = {
    rules.FILL_ID: [
        headed(id="absent"),
        events(lambda at: event(text(at), id=None)),
        response(lambda _at: {"id": ""}),
    ],
    rules.FIX_OBJECT: [headed(object="x"), events(lambda at: event(text(at), object="x"))],
    rules.FIX_MODEL_OBJECT: [listed(object="x")],
    rules.FILL_CREATED: [
        headed(created="absent"),
        listed(created="absent"),
        events(lambda at: event(text(at), created=None)),
    ],
    rules.FILL_MODEL: [headed(model="absent"), events(lambda at: event(text(at), model=None))],
    rules.FILL_OWNER: [listed(owned_by="absent")],
    rules.FILL_INDEX: [
        each(index=None),
        vectors(lambda _at, _size: None),
        events(lambda _at: event(piece(None, content="a"))),
    ],
    rules.FILL_ROLE: [
        each(message={"role": None}),
        of_choices(lambda at: piece(at, content="a"), lambda at: piece(at, "stop")),
        together(lambda at: piece(at, content="a"), lambda at: piece(at, "stop")),
    ],
    rules.FILL_NULL: [
        lambda size: whole([{**choice(at), "message": {"role": "assistant", "content": "a"}} for at in range(size)]),
        events(lambda _at: event(piece(finish="absent", content="a"))),
        together(lambda at: piece(at, "absent", content="a"), lambda at: piece(at, "stop")),
    ],
    rules.DROP_NULL: [
        each(message={"tool_calls": None}),
        events(lambda _at: event(piece(content="a", tool_calls=None))),
        together(lambda at: piece(at, role="", content="a"), lambda at: piece(at, "stop")),
    ],
    rules.DROP_INVALID: [
        each(message={"annotations": 5}),
        alone(message=lambda size: {"annotations": [ODD] * size}),
        events(lambda at: event(text(at), service_tier="odd")),
        together(lambda at: piece(at, content="a", role="odd"), lambda at: piece(at, "stop")),
    ],
    rules.SPELL_USAGE: [
        headed(usage={"input_tokens": 1, "output_tokens": 1}),
        lambda size: whole([choice(0)], usage={**USAGE, "total_tokens": "3", **{f"c{at}": "1" for at in range(size)}}),
        events(lambda at: event(text(at), usage={"input_tokens": 1, "output_tokens": "1"})),
    ],
    rules.FILL_USAGE_TOTAL: [
        headed(usage={"prompt_tokens": 1, "completion_tokens": 1}),
        events(lambda at: event(text(at), usage={"prompt_tokens": 1, "completion_tokens": 1})),
    ],
    rules.JOIN_CONTENT: [
        each(message={"content": PARTS}),
        alone(message=lambda size: {"content": PARTS * size}),
        events(lambda _at: event(piece(content=PARTS))),
        in_one(lambda size: event(piece(content=PARTS * size))),
    ],
    rules.MAP_FINISH_REASON: [
        each(finish_reason="end_turn"),
        events(lambda _at: event(piece(finish="end_turn", content="a"))),
        of_choices(lambda at: piece(at, "MAX_TOKENS", content="a")),
        together(lambda at: piece(at, "MAX_TOKENS", content="a")),
    ],
    rules.TELL_UNKNOWN_FINISH: [
        each(finish_reason="nobody knows"),
        events(lambda _at: event(piece(finish="nobody knows", content="a"))),
        together(lambda at: piece(at, f"nobody knows {at}", content="a")),
    ],
    rules.FILL_FINISH_REASON: [
        each(finish_reason=None),
        of_choices(lambda at: piece(at, content="a")),
        together(lambda at: piece(at, content="a")),
        message({"type": "text", "text": ""}, {"type": "message_stop"}),
    ],
    rules.FILL_EVENT: [
        message({"type": "text", "text": ""}, *STOPPED),
        response(lambda _at: {}),
    ],
    rules.FINISH_WITH_CALLS: [
        lambda size: whole([choice(at, message={"tool_calls": [CALL]}) for at in range(size)]),
        of_choices(lambda at: piece(at, tool_calls=[{**CALL, "index": 0}]), lambda at: piece(at, "stop")),
        together(lambda at: piece(at, "stop", tool_calls=[{**CALL, "index": 0}])),
    ],
    rules.FILL_TEXT: [
        lambda size: Streamed(
            [event({"index": 0, "finish_reason": None, "logprobs": None}, object="text_completion")] * size,
            COMPLETION_STREAM,
        )
    ],
    rules.FILL_USAGE: [
        vectors(usage="absent"),
        message({"type": "text", "text": ""}, *STOPPED, start={"type": "message_start", "message": {"id": "m"}}),
    ],
    rules.READ_NUMBER: [
        spoilt(
            alone(logprobs=lambda size: {"content": [{**TOKENS, "top_logprobs": []}] * size}), b"-1.0", b"-Infinity"
        ),
        events(lambda at: event(text(at), x=float("nan"))),
        in_one(lambda size: event(text(), x=[float("inf")] * size)),
    ],
    rules.READ_TEXT: [
        each(message={"content": "\ud83d"}),
        alone(message=lambda size: {"content": "\ud83da" * size}),
        events(lambda at: event(piece(content="a\ud83d" if at % 2 else "\ude00b"))),
        in_one(lambda size: event(piece(content="\ud83da" * size))),
        together(lambda at: piece(at, content="\ud83d"), lambda at: piece(at, "stop", content="\ude00")),
    ],
    rules.SKIP_EVENT: [events(lambda _at: b'{"type": "ping"}')],
    rules.JOIN_EVENTS: [joined],
    rules.FILL_LOGPROBS: [
        each(logprobs={"content": [TOKENS], "refusal": None}),
        alone(logprobs=lambda size: {"content": [dict(TOKENS) for _ in range(size)], "refusal": None}),
        events(lambda _at: event(piece(content="a", beside={"logprobs": {"content": [TOKENS], "refusal": None}}))),
        in_one(lambda size: event(piece(beside={"logprobs": {"content": [TOKENS] * size, "refusal": None}}))),
    ],
    rules.LIST_CALLS: [
        each(message={"tool_calls": CALL}),
        events(lambda at: event(piece(tool_calls={**CALL, "index": at, "id": f"c{at}"}))),
        together(lambda at: piece(at, "tool_calls", tool_calls={**CALL, "index": 0})),
    ],
    rules.FILL_CALL_ID: [
        each(message={"tool_calls": [call(0, id=None)]}),
        calls(id="absent"),
        *pieces_of_calls(lambda at: call(at, index=at, id="absent")),
        message({"type": "tool_use", "id": "", "name": "look", "input": {}}, *STOPPED),
        response(lambda at: {"type": "function_call", "call_id": "", "name": f"look{at}", "arguments": ""}),
    ],
    rules.FILL_CALL_TYPE: [calls(type="absent"), *pieces_of_calls(lambda at: call(at, index=at, type="absent"))],
    rules.FILL_CALL_INDEX: [
        *pieces_of_calls(lambda at: call(at, index="absent")),
        *pieces_of_calls(lambda at: call(at, index=f"{at}")),
    ],
    rules.FILL_ARGUMENTS: [
        calls(function={"name": "n"}),
        *pieces_of_calls(lambda at: call(at, index=at, function={"name": "n"})),
    ],
    rules.SPELL_ARGUMENTS: [
        calls(function={"name": "n", "arguments": {"a": 1}}),
        *pieces_of_calls(lambda at: call(at, index=at, function={"name": "n", "arguments": {"a": 1}})),
    ],
    rules.NUMBER_TOOL_CALLS: [
        *pieces_of_calls(lambda at: call(at, index=0)),
        *pieces_of_calls(lambda at: call(at, index=0, id="absent")),
        *pieces_of_calls(lambda at: call(at, index=2 * at + 1)),
        *pieces_of_calls(lambda at: call(at % 7, index=0, function={"name": f"n{at % 7}", "arguments": "{"})),
    ],
    rules.NAME_CALL_FIRST: [
        named_at_last(
            events(
                lambda at: event(
                    piece(tool_calls=[{"index": 0, "id": "c", "function": {"name": ""}, f"field {at}": 1}])
                )
            ),
            one=True,
        ),
        *(
            named_at_last(made)
            for made in pieces_of_calls(
                lambda at: {"index": at, "id": f"c{at}", "function": {"name": "", "arguments": "{"}}
            )
        ),
        *(
            named_at_last(made, one=True)
            for made in pieces_of_calls(
                lambda _at: {"index": 0, "id": "c", "function": {"name": "", "arguments": '{"a":'}}
            )
        ),
    ],
    rules.SAY_CALL_ONCE: [
        *pieces_of_calls(lambda _at: {**CALL, "index": 0, "function": {"name": "n", "arguments": '{"a":'}}),
        *pieces_of_calls(lambda at: {"index": at, "id": "", "type": "function"}),
    ],
    rules.FILL_CHOICES: [events(lambda _at: event(choices=None, usage=USAGE))],
    rules.MESSAGE_AS_DELTA: [
        events(lambda _at: event({"index": 0, "finish_reason": None, "message": {"content": "a"}})),
        together(lambda at: {"index": at, "finish_reason": "stop", "message": {"content": "a"}}),
    ],
    rules.DROP_SUMMARY: [
        of_choices(
            lambda at: piece(at, content="a"),
            lambda at: {"index": at, "finish_reason": "stop", "message": {"content": "a"}},
        ),
        together(
            lambda at: piece(at, content="a"),
            lambda at: {"index": at, "finish_reason": "stop", "message": {"content": "a"}},
        ),
        lambda size: Streamed(
            [
                *(event(piece(0, None, None, **{f"field {at}": "a"})) for at in range(size)),
                event({"index": 0, "finish_reason": "stop", "message": {f"field {at}": "a" for at in range(size)}}),
            ]
        ),
    ],
    rules.FILL_DELTA: [
        events(lambda _at: event({"index": 0, "finish_reason": None})),
        together(lambda at: {"index": at, "finish_reason": "stop"}),
    ],
    rules.NUMBER_CHOICES: [
        each(index=0),
        lambda size: Streamed([event(piece(1, content="a"))] * size + [event(piece(1, "stop"))]),
    ],
    rules.KEEP_HEAD: [events(lambda at: event(text(at), id=f"i{at}", created=at, model=f"m{at}"))],
    rules.FINISH_ONCE: [
        events(lambda _at: event(piece(finish="stop", content="a"))),
        events(lambda at: event(piece(finish="stop"), **{f"field {at}": 1})),
        of_choices(
            lambda at: piece(at, "stop", content="a"),
            lambda at: piece(at, "length"),
            lambda at: piece(at, "stop", content="a"),
        ),
        together(
            lambda at: piece(at, "stop", content="a"),
            lambda at: piece(at, "length"),
            lambda at: piece(at, "stop", content="a"),
        ),
    ],
    rules.DROP_UNKNOWN_CHOICE: [
        events(lambda at: event(piece(at + 1))),
        in_one(lambda size: event(*(piece(at + 1) for at in range(size)))),
    ],
    rules.MOVE_USAGE: [events(lambda at: event(text(at), usage=USAGE), usage=True)],
    rules.FIX_ITEM_OBJECT: [vectors(object="x")],
    rules.SORT_VECTORS: [vectors(lambda at, size: size - 1 - at)],
    rules.NUMBER_VECTORS: [vectors(lambda _at, _size: 0)],
    rules.RECODE_VECTORS: [vectors(encoding="base64")],
    rules.UNREPAIRABLE: [
        observed(each(message={"content": 5})),
        observed(events(lambda _at: event(piece(content=5)))),
        observed(in_one(lambda size: event(*(piece(0, content=5) for _ in range(size))))),
    ],
}

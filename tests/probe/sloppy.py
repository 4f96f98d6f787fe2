"""Upstreams with one bad habit each: perfect replies of the built-in provider, spoilt in one way.

The first part of the path chooses the habit, so one upstream has them all: `http://host/no-created/v1`. Each habit
names the checks that must turn red; nothing else may, so a check that judges too much is found out as well.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.support.upstream import Exchange, Hangup, Upstream, head, running_upstream

DONE = "[DONE]"
PASSED_ON = ("content-type", "www-authenticate", "allow", "x-request-id")


@dataclass
class Reply:
    """A reply about to be spoilt. `value` is its JSON; a stream has `events` instead."""

    path: str
    asked: dict[str, Any]
    status: int
    headers: dict[str, str]
    value: Any = None
    events: list[Any] = field(default_factory=list)
    last: bytes = b"\n\n"

    @property
    def chat(self) -> bool:
        return self.path == "/chat/completions" and self.status == 200

    @property
    def choices(self) -> list[Any]:
        """Of the reply, or of all chunks in order."""
        if self.path.endswith("completions") and self.status == 200:
            return [one for part in self.parts for one in part["choices"]]
        return []

    @property
    def parts(self) -> list[Any]:
        """What carries an id, a time and so on: the reply, or each chunk."""
        if self.status != 200 or not self.path.endswith("completions"):
            return []
        return [event for event in self.events if event != DONE] or ([] if self.events else [self.value])


@dataclass(frozen=True)
class Habit:
    name: str
    does: str
    red: frozenset[str]
    """The checks that turn red; a group stands for all its checks."""
    spoil: Callable[[Reply], None] = lambda _: None
    ignores: frozenset[str] = frozenset()
    forces: Callable[[dict[str, Any]], None] = lambda _: None
    more: bool = False
    """Whether checks that are not named may turn red as well: the habit touches too much to list them."""


HABITS: dict[str, Habit] = {}
type Spoiler = Callable[[Reply], None]


def habit(name: str, does: str, *red: str, more: bool = False) -> Callable[[Spoiler], Spoiler]:
    def register(spoil: Spoiler) -> Spoiler:
        HABITS[name] = Habit(name, does, frozenset(red), spoil, more=more)
        return spoil

    return register


def ignoring(name: str, does: str, fields: str, *red: str) -> None:
    HABITS[name] = Habit(name, does, frozenset(red), ignores=frozenset(fields.split()))


def _delete(owners: list[Any], *names: str) -> None:
    for owner in owners:
        for name in names:
            owner.pop(name, None)


# -- whole replies and chunks --

EXACT_CHAT = (
    *("chat-reply", "chat-system", "chat-developer", "chat-parts", "chat-history", "chat-unicode"),
    *("chat-explicit-nulls", "chat-sampling", "chat-image", "chat-logprobs"),
    *("tools-auto", "tools-required", "tools-result", "structured-reply"),
)
EXACT_CHUNKS = ["stream-chunks", "stream-usage-chunks", "stream-logprobs", "tools-stream"]
EXACT_COMPLETIONS = ["completions-reply", "completions-logprobs", "completions-nulls"]


@habit(
    "no-created",
    "leaves out `created`",
    *EXACT_CHAT,
    *EXACT_CHUNKS,
    *EXACT_COMPLETIONS,
    "completions-chunks",
    "chat-created",
)
def no_created(reply: Reply) -> None:
    _delete(reply.parts, "created")


@habit("created-ms", "sends `created` in milliseconds", "chat-created")
def created_ms(reply: Reply) -> None:
    for part in reply.parts:
        part["created"] *= 1000


@habit(
    "null-fingerprint", "sends `system_fingerprint: null`",
    *EXACT_CHAT, *EXACT_CHUNKS, *EXACT_COMPLETIONS, "completions-chunks", "chat-no-nulls", "stream-no-nulls",
)  # fmt: skip
def null_fingerprint(reply: Reply) -> None:
    for part in reply.parts:
        part["system_fingerprint"] = None


@habit(
    "no-logprobs-key",
    "leaves out `logprobs` where it must be null",
    *(set(EXACT_CHAT) - {"chat-logprobs"}),
    "chat-logprobs-null",
)
def no_logprobs_key(reply: Reply) -> None:
    if reply.chat and not reply.events and not reply.asked.get("logprobs"):
        _delete(reply.choices, "logprobs")


@habit("no-refusal-key", "leaves out `refusal`", *EXACT_CHAT, "chat-refusal-null")
def no_refusal_key(reply: Reply) -> None:
    if reply.chat and not reply.events:
        _delete([choice["message"] for choice in reply.choices], "refusal")


@habit(
    "null-tool-calls",
    "sends `tool_calls: null` with every text",
    *(set(EXACT_CHAT) - {"tools-required"}),
    "chat-no-nulls",
    "tools-none",
)
def null_tool_calls(reply: Reply) -> None:
    if reply.chat and not reply.events:
        for choice in reply.choices:
            choice["message"].setdefault("tool_calls", None)


@habit(
    "no-usage",
    "sends no usage at all",
    "chat-usage",
    "chat-max-tokens",
    "chat-max-completion",
    "completions-usage",
    "completions-length",
    "stream-usage-last",
    "stream-usage-null",
    "stream-usage-adds-up",
)
def no_usage(reply: Reply) -> None:
    _delete(reply.parts, "usage")


@habit("odd-finish", "says `finish_reason: eos`", *(set(EXACT_CHAT) - {"tools-required"}), "chat-finish", "chat-stop")
def odd_finish(reply: Reply) -> None:
    if reply.chat and not reply.events:
        for choice in reply.choices:
            if choice["finish_reason"] == "stop":
                choice["finish_reason"] = "eos"


@habit("one-id", "gives every reply the same id", "chat-id")
def one_id(reply: Reply) -> None:
    for part in reply.parts:
        part["id"] = "chatcmpl-1"


@habit("other-model", "names another model than the one asked for", "chat-model")
def other_model(reply: Reply) -> None:
    for part in reply.parts:
        part["model"] = "default"


@habit("arguments-object", "sends a call's arguments as an object", "tools-required", "tools-arguments")
def arguments_object(reply: Reply) -> None:
    if not reply.events:
        for choice in reply.choices:
            for call in choice.get("message", {}).get("tool_calls", []):
                call["function"]["arguments"] = json.loads(call["function"]["arguments"])


@habit("no-call-id", "gives tool calls no id", "tools-required", "tools-ids", "tools-stream-deltas")
def no_call_id(reply: Reply) -> None:
    for choice in reply.choices:
        _delete((choice.get("message") or choice.get("delta") or {}).get("tool_calls", []), "id")


@habit("models-bare", "lists models without `created`", "models-list", "models-retrieve", "models-created")
def models_bare(reply: Reply) -> None:
    if reply.path.startswith("/models") and reply.status == 200:
        _delete(reply.value.get("data", [reply.value]), "created")


ignoring("ignores-n", "ignores `n`", "n", "chat-n", "stream-n", "bad-n")
ignoring(
    "ignores-max-tokens",
    "ignores `max_tokens`",
    "max_tokens",
    "chat-max-tokens",
    "stream-length",
    "completions-length",
    "completions-finish",
    "bad-max-tokens",
)
ignoring("ignores-stop", "ignores `stop`", "stop", "chat-stop", "stream-stop")
ignoring(
    "ignores-logprobs",
    "ignores `logprobs`",
    "logprobs top_logprobs",
    "chat-logprobs",
    "stream-logprobs",
    "completions-logprobs",
)
ignoring(
    "ignores-tool-choice",
    "ignores `tool_choice`",
    "tool_choice",
    "tools-required",
    "tools-finish",
    "tools-ids",
    "tools-arguments",
    "tools-named",
    "tools-single",
    "tools-stream-deltas",
    "tools-stream-arguments",
    "tools-stream-finish",
)
ignoring(
    "ignores-format",
    "ignores `response_format`",
    "response_format",
    "structured-object",
    "structured-schema",
    "structured-nested",
    "structured-stream",
    "structured-nameless",
    "bad-response-format",
)

# -- streams --


@habit("no-done", "never sends `[DONE]`", "stream-done", "stream-usage-done", "completions-done", "tools-stream")
def no_done(reply: Reply) -> None:
    reply.events = [event for event in reply.events if event != DONE]


@habit("two-dones", "sends `[DONE]` twice", "stream-done", "stream-usage-done", "completions-done", "tools-stream")
def two_dones(reply: Reply) -> None:
    reply.events += [DONE] if reply.events else []


@habit(
    "two-finishes",
    "sends the finish reason twice",
    "stream-finish",
    "stream-n",
    "stream-length",
    "completions-finish",
    "tools-stream-finish",
)
def two_finishes(reply: Reply) -> None:
    finishing = [
        one for one in reply.events if one != DONE and one["choices"] and one["choices"][0].get("finish_reason")
    ]
    if finishing:
        reply.events.insert(reply.events.index(finishing[-1]), finishing[-1])


@habit("no-role", "leaves the role out of the first delta", "stream-role")
def no_role(reply: Reply) -> None:
    if reply.events:
        _delete([choice.get("delta", {}) for choice in reply.choices], "role")


@habit("ids-change", "gives each chunk an id of its own", "stream-stable")
def ids_change(reply: Reply) -> None:
    if reply.events:
        for number, part in enumerate(reply.parts):
            part["id"] = f"chatcmpl-{number}"


@habit("usage-in-finish", "puts the usage into the finish chunk", "stream-usage-last")
def usage_in_finish(reply: Reply) -> None:
    if reply.events and reply.parts and reply.parts[-1].get("usage"):
        reply.parts[-2]["usage"] = reply.parts[-1]["usage"]
        reply.events.remove(reply.parts[-1])


@habit("plain-stream", "streams as text/plain", "stream-media-type")
def plain_stream(reply: Reply) -> None:
    if reply.events:
        reply.headers["content-type"] = "text/plain"


@habit("cut-frame", "leaves out the empty line after the last event", "stream-frames", more=True)
def cut_frame(reply: Reply) -> None:
    reply.last = b"\n"


@habit("broken-event", "sends an event that is no JSON", "stream-frames", more=True)
def broken_event(reply: Reply) -> None:
    if reply.events:
        reply.events.insert(1, '{"id":')


@habit("call-deltas-bare", "leaves the index out of tool call deltas", "tools-stream", "tools-stream-deltas")
def call_deltas_bare(reply: Reply) -> None:
    if reply.events:
        for choice in reply.choices:
            _delete(choice.get("delta", {}).get("tool_calls", []), "index")


@habit("errors-in-stream", "answers 200 and puts the error into the stream", "stream-unknown-model", "stream-bad-input")
def errors_in_stream(reply: Reply) -> None:
    if reply.status != 200 and reply.asked.get("stream") is True:
        reply.status, reply.events = 200, [reply.value, DONE]
        reply.headers["content-type"] = "text/event-stream"


def _always_usage(body: dict[str, Any]) -> None:
    if body.get("stream") is True:
        body["stream_options"] = {"include_usage": True}


HABITS["usage-unasked"] = Habit(
    "usage-unasked", "sends usage in streams that did not ask for it",
    frozenset({"stream-usage-unasked", "completions-usage-unasked"}), forces=_always_usage,
)  # fmt: skip

# -- embeddings --

ignoring("ignores-base64", "ignores `encoding_format`", "encoding_format", "embeddings-base64", "bad-encoding")
ignoring("ignores-dimensions", "ignores `dimensions`", "dimensions", "embeddings-dimensions")


def _vectors(reply: Reply) -> list[Any]:
    return list(reply.value["data"]) if reply.path == "/embeddings" and reply.status == 200 else []


@habit("vector-lost", "sends one vector too few", "embeddings-many", more=True)
def vector_lost(reply: Reply) -> None:
    if _vectors(reply):
        reply.value["data"].pop()


@habit("vectors-reversed", "mixes up the order of the vectors", "embeddings-order")
def vectors_reversed(reply: Reply) -> None:
    data = _vectors(reply)
    if len(data) > 1 and reply.asked["input"][0].startswith("The river"):
        for one, vector in zip(data, [one["embedding"] for one in reversed(data)], strict=True):
            one["embedding"] = vector


@habit("vectors-nested", "sends a vector for each token", "embeddings-reply", more=True)
def vectors_nested(reply: Reply) -> None:
    for one in _vectors(reply):
        if isinstance(one["embedding"], list):
            one["embedding"] = [one["embedding"]]


@habit("vectors-alike", "sends the same vector for every text", "embeddings-distinct", "embeddings-order")
def vectors_alike(reply: Reply) -> None:
    for one in _vectors(reply):
        one["embedding"] = reply.value["data"][0]["embedding"]


@habit("indexes-zero", "numbers every vector 0", "embeddings-many")
def indexes_zero(reply: Reply) -> None:
    for one in _vectors(reply):
        one["index"] = 0


# -- errors and headers --

ENVELOPES = (
    *("errors-model", "errors-model-embeddings", "errors-model-completions", "errors-path", "errors-path-post"),
    *("errors-method", "errors-no-key", "errors-wrong-key", "errors-key-first", "models-unknown"),
)


@habit("flat-errors", 'sends errors as `{"error": "text"}`', *ENVELOPES, "bad input", more=True)
def flat_errors(reply: Reply) -> None:
    if reply.status >= 400:
        reply.value = {"error": "something is wrong"}


@habit("detail-errors", 'sends errors as FastAPI\'s `{"detail": ...}`', *ENVELOPES, "bad input", more=True)
def detail_errors(reply: Reply) -> None:
    if reply.status >= 400:
        reply.value = {"detail": [{"loc": ["body"], "msg": "Field required"}]}


@habit("status-422", "answers 422 in place of 400", "bad input", "structured-nameless", "stream-bad-input")
def status_422(reply: Reply) -> None:
    reply.status = 422 if reply.status in {400, 415} else reply.status


@habit("status-500", "answers 500 to bad input", "bad input", "structured-nameless", "stream-bad-input")
def status_500(reply: Reply) -> None:
    reply.status = 500 if reply.status in {400, 415} else reply.status


@habit("no-param", "does not say which field is wrong", "bad-role", "bad-n", "structured-nameless", more=True)
def no_param(reply: Reply) -> None:
    if reply.status == 400:
        reply.value["error"]["param"] = None


@habit("html-errors", "sends errors as HTML", *ENVELOPES, "bad input", more=True)
def html_errors(reply: Reply) -> None:
    if reply.status >= 400:
        reply.headers["content-type"] = "text/html"


@habit("no-challenge", "leaves out `www-authenticate`", "errors-challenge")
def no_challenge(reply: Reply) -> None:
    reply.headers.pop("www-authenticate", None)


@habit(
    "no-request-id",
    "sends no `x-request-id`",
    "headers-id",
    "headers-id-list",
    "headers-id-stream",
    "headers-id-error",
    "headers-id-own",
)
def no_request_id(reply: Reply) -> None:
    reply.headers.pop("x-request-id", None)


@habit("plain-json", "sends JSON as text/plain", "headers-json")
def plain_json(reply: Reply) -> None:
    if reply.chat and not reply.events:
        reply.headers["content-type"] = "text/plain"


@habit("takes-anything", "answers any request at all", "bad input", more=True)
def takes_anything(reply: Reply) -> None:
    if reply.status in {400, 415}:
        reply.status, reply.value = 200, {}


ALL = (
    *("models-bare", "null-fingerprint", "no-logprobs-key", "no-refusal-key", "null-tool-calls", "odd-finish"),
    *("no-role", "usage-unasked", "usage-in-finish", "no-done"),
    *("ignores-base64", "detail-errors", "status-422", "no-request-id"),
)
"""What a careless server does all at once: under `/all/v1`."""
HABITS["all"] = Habit("all", "all of the above that go together", frozenset(ALL))


class Careless:
    """Asks the perfect upstream at `base`, and spoils what it says."""

    def __init__(self, base: str) -> None:
        self.base = base

    async def __call__(self, exchange: Exchange) -> None:
        seen = exchange.seen
        name, _, path = seen.path.lstrip("/").partition("/v1")
        if name == "hanging" and path != "/models":
            await exchange.hang()
        if name == "echo-key" and path != "/models":
            await exchange.json({"error": {"message": f"bad: {seen.header('authorization')}"}}, status=400)
            return
        if name == "cut":
            await exchange.raw(head(200, {"content-type": "application/json", "content-length": "500"}) + b'{"id":')
            raise Hangup
        kept = [HABITS[one] for one in (ALL if name == "all" else [name])] if name in HABITS else []
        reply = await self._ask(exchange, path, kept)
        for one in kept:
            one.spoil(reply)
        await _answer(exchange, reply)

    async def _ask(self, exchange: Exchange, path: str, kept: list[Habit]) -> Reply:
        seen = exchange.seen
        body, asked = _request(seen.body, kept)
        headers = {name: value for name, value in seen.headers if name in {"authorization", "content-type"}}
        async with (
            aiohttp.ClientSession() as session,
            session.request(seen.method, self.base + path, data=body or None, headers=headers) as got,
        ):
            passed = {name: got.headers[name] for name in PASSED_ON if name in got.headers}
            reply = Reply(path, asked, got.status, passed)
            raw = await got.read()
        if got.content_type == "text/event-stream":
            said = [event for event in raw.split(b"\n\n") if event and not event.startswith(b":")]  # no sign of life
            data = [event.removeprefix(b"data: ").decode() for event in said]
            reply.events = [one if one == DONE else json.loads(one) for one in data]
        else:
            reply.value = json.loads(raw)
        return reply


def _request(raw: bytes, kept: list[Habit]) -> tuple[bytes, dict[str, Any]]:
    """What is asked of the perfect upstream: without the fields that are ignored."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return raw, {}
    if not isinstance(body, dict) or "NaN" in str(raw):
        return raw, {}
    ignored = [name for one in kept for name in one.ignores if name in body]
    asked = {name: value for name, value in body.items() if name not in ignored}
    for one in kept:
        one.forces(asked)
    return json.dumps(asked).encode() if asked != body else raw, asked


async def _answer(exchange: Exchange, reply: Reply) -> None:
    if not reply.events:
        await exchange.reply(
            json.dumps(reply.value).encode(), status=reply.status,
            content_type=reply.headers.pop("content-type"), headers=reply.headers,
        )  # fmt: skip
        return
    frames = [b"data: " + (one if isinstance(one, str) else json.dumps(one)).encode() for one in reply.events]
    await exchange.reply(
        b"\n\n".join(frames) + reply.last, content_type=reply.headers.pop("content-type"), headers=reply.headers
    )


@contextmanager
def careless_upstream(base: str) -> Iterator[Upstream]:
    with running_upstream(Careless(base)) as upstream:
        yield upstream


def url(upstream: Upstream, name: str) -> str:
    return f"http://127.0.0.1:{upstream.port}/{name}/v1"

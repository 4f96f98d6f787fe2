"""One request: who calls and what for, and what each attempt to answer it has noted."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from operator import add
from typing import NamedTuple, Protocol
from urllib.parse import quote

from pydantic import JsonValue

from ai_gateway.contract.budget import Allocation, unbounded
from ai_gateway.contract.open_lists import UnknownKinds
from ai_gateway.contract.rounds import Round, ToolRun
from ai_gateway.contract.stream import Continued
from ai_gateway.contract.wire import OPENAI, Wire
from ai_gateway.errors import GatewayError
from ai_gateway.observability.trace_names import Attributes, Step

DROPPED_HEADER = "x-gateway-dropped-params"
OWN_ID = re.compile("req_([0-9a-f]{8})([0-9a-f]{4})(4[0-9a-f]{3})([89ab][0-9a-f]{3})([0-9a-f]{12})")
"""An id of a request that the gateway has made."""
_MOST_NAMES = 50
_HARMLESS = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_LONGEST_NAME = 256
_LIMITS = "x-ratelimit-"
UPSTREAMS_LIMITS = "x-gateway-upstream-"
"""Before the names of an upstream's own headers: what they say is not the gateway's own."""
_UNTRACED: AbstractContextManager[Mapping[str, str]] = nullcontext({})  # which may be entered any number of times
_PLAIN = "/:@!$&'()*+,;=?#[]~"


quickly = tuple.__new__
"""Makes a named tuple of all of its values, in their order, in a third of the instructions that its own call takes.

For those alone that are made for every request.
"""


class OwnText(str):
    """What a header of a reply says if the gateway has worked it out: no key can be in it, so nobody looks for one.

    That look, and keeping its result, would take longer than the number that changes with every call.
    """

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. `key_id` names the key without giving it away; None where no key was needed.

    `trusted` callers may see operational details: they named a valid key, or call from this machine. `administers` is
    for keys that make other keys and call no model. `may` names what a key is restricted to; empty for no restriction.
    `expires_at` is in seconds since the epoch. `is_stored` says that the key was made by an administrator, and may be
    revoked by one. `scopes` are what limits its calls, for `accounts` alone to read, and `limits_state` the number of
    the state of all limits that they are of.
    """

    key_id: str | None = None
    name: str = "anonymous"
    trusted: bool = False
    project_id: str = "default"
    administers: bool = False
    may: tuple[str, ...] = ()
    expires_at: int | None = None
    is_stored: bool = False
    scopes: tuple[object, ...] = ()
    limits_state: int = 0


ANONYMOUS = Caller()


@dataclass(frozen=True, slots=True)
class Native:
    """What a caller said in the terms of a wire of its own, without model and stream.

    A provider that speaks this wire itself (`Provider.wires`) sends it as it is: it counts for more than its
    translation.
    """

    wire: str
    body: Mapping[str, JsonValue]


class Tokens(NamedTuple):
    """Tokens by class. None is in two of them.

    `input` is what was neither read from the upstream's cache nor written to it: `cache_write` for five minutes, or
    for as long as the upstream has it without being asked, `cache_write_1h` for an hour. `output` is text without
    `reasoning`. `searches` are no tokens: how often the upstream has searched the web, where it says so.
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    input_audio: int = 0
    input_image: int = 0
    reasoning: int = 0
    output_audio: int = 0
    output_image: int = 0
    searches: int = 0

    @property
    def whole_input(self) -> int:
        """What the prompt had of every class."""
        return (
            self.input + self.cache_read + self.cache_write + self.cache_write_1h + self.input_audio + self.input_image
        )

    @property
    def whole_output(self) -> int:
        """What the reply had of every class."""
        return self.output + self.reasoning + self.output_audio + self.output_image

    def plus(self, other: "Tokens") -> "Tokens":
        """Both together."""
        return Tokens(*map(add, self, other))


@dataclass(slots=True)
class Notes:
    """What one attempt has noted of itself. `attempts` counts it and those before it that reached an upstream.

    `upstream_model` is what the model is called where it runs, if the caller calls it otherwise. `limits` are the
    upstream's headers that tell when to come back (lower-case names). `missing` names providers that a list of models
    lacks. `dropped` names request fields, or paths inside them, that the provider did not get. `tokens` is what the
    upstream has counted, `service_tier` the tier that it says it has served.

    `model` is the one that was called, and `failure` is there if no reply came of it. `started`, `answered` (the
    whole reply, or the first item of a stream, is there) and `ended` are seconds since the epoch. `chunks` and
    `text_bytes` count what a stream has brought, for when nobody says what it took. `trace` is what the upstream is to
    get in place of the caller's own headers about its trace, where the gateway makes spans of it.
    """

    provider: str = ""
    upstream_model: str | None = None
    attempts: int = 0
    repairs: set[str] = field(default_factory=set)
    dropped: set[str] = field(default_factory=set)
    limits: dict[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    tokens: Tokens | None = None
    service_tier: str | None = None
    model: str = ""
    started: float = 0.0
    answered: float = 0.0
    ended: float = 0.0
    failure: GatewayError | None = None
    chunks: int = 0
    text_bytes: int = 0
    trace: Mapping[str, str] | None = None

    def headers(self) -> dict[str, str]:
        """The reply's headers that tell of it, errors included."""
        headers: dict[str, str] = {}
        if self.attempts:
            headers["x-gateway-attempts"] = str(self.attempts)
        if self.provider:
            headers["x-gateway-provider"] = self.provider
        if self.upstream_model is not None:  # the name may hold anything; a header may not
            headers["x-gateway-model"] = quote(self.upstream_model[:_LONGEST_NAME], safe=_PLAIN)[:_LONGEST_NAME]
        if self.dropped:
            headers[DROPPED_HEADER] = header_list(self.dropped)
        if self.limits:
            headers.update(self.limits)
        if self.repairs:
            headers["x-gateway-repaired"] = ",".join(sorted(self.repairs))
        if self.missing:
            headers["x-gateway-models-missing"] = ",".join(self.missing)
        return headers


def header_list(names: Iterable[str]) -> str:
    """Names as a header may carry them: sorted; `+2` at the end for two more that are too odd or too many."""
    names = list(names)
    harmless = sorted(filter(_HARMLESS.fullmatch, names))[:_MOST_NAMES]
    more = len(names) - len(harmless)
    return ",".join([*harmless, *([f"+{more}"] if more else [])])


class Bridge(Protocol):
    """Writes texts that a stream goes on with as events of a caller's own wire."""

    def preview(self, run: Continued) -> bytes | None:
        """The events, without an effect until `commit`; None where they are not that simple."""

    def commit(self) -> None:
        """What was previewed last has been sent."""


class Reservation(Protocol):
    """What is held of its caller's limits while a call runs. `headers` tell the caller what is left of them."""

    headers: Mapping[str, str]

    def ran(self, call_id: str, run: ToolRun) -> None:
        """A tool is run for the call, under this id of the model's: as it began, and again when it is over."""

    def cost(self) -> int | None:
        """What the attempts of the call come to by now, in 1e-12 USD; None where that is not known."""

    async def settle(self) -> None:
        """Replace what was held by what the attempts of the call have noted. Has an effect once; never raises."""

    def abandon(self) -> None:
        """The same for a call whose client has left: must not wait."""


class Trace(Protocol):
    """The trace that a request is part of, where the gateway makes spans of it. Nothing of it waits or raises."""

    @property
    def trace_id(self) -> str:
        """In hex."""

    def attempted(self, notes: Notes) -> Mapping[str, str]:
        """An attempt begins, of which these are the notes. Returns the headers about the trace for its upstream."""

    def step(self, step: Step, attributes: Attributes) -> AbstractContextManager[Mapping[str, str]]:
        """A span for what is done in the block, which is given the headers for a request that it makes."""

    def afterwards(self) -> "Trace":
        """That of work which begins now and goes on when the request is over: a span inside of the request's."""


@dataclass(slots=True)  # one is made for every request, and `frozen` makes that four times as dear
class Call:
    """A request that has passed authorisation. Nothing of it changes once it is made.

    `operation` is the contract's operationId without its door suffix. `provider` is the path segment, or None when the
    model decides who answers. `parsed` is the body as JSON, which knows the order of keys and what models do not name;
    `unknown` is what of it the contract does not list.
    `attempts` has the notes of every attempt, the last one being that whose reply, or failure, goes out. `sink`, where
    the server has one, sends more of a stream that has begun at once, or says that it cannot. `leaving` is what to do
    when the request has ended, and `room` what it uses of the memory that all requests share. `size` is that of the
    body in bytes, `recalled` that of what is kept here and goes on with it. `reservation` is there from when the call
    may go on to an upstream. `bridge` is there where the stream goes on to its caller on another wire than that of the
    operation that answers it. `round` says which call of a model this is where the gateway runs tools between them, and
    `rounds` are those before the last. `trace` is there where spans are made of it.
    """

    operation: str
    request_id: str
    caller: Caller = ANONYMOUS
    headers: Mapping[str, str] = field(default_factory=dict)
    provider: str | None = None
    wire: Wire = OPENAI
    parsed: Mapping[str, object] | None = None
    native: Native | None = None
    unknown: UnknownKinds | None = None
    attempts: list[Notes] = field(default_factory=list)
    sink: Callable[[bytes], bool] | None = None
    leaving: list[Callable[[], None]] = field(default_factory=list)
    room: Allocation = field(default_factory=unbounded, repr=False)
    size: int = 0
    recalled: int = 0
    reservation: Reservation | None = None
    round: Round | None = None
    rounds: Sequence["Call"] = ()
    bridge: Bridge | None = None
    trace: Trace | None = None

    def step(self, step: Step, attributes: Attributes) -> AbstractContextManager[Mapping[str, str]]:
        """Do something for the call as a span of its trace. The block is given the headers for a request it makes."""
        return self.trace.step(step, attributes) if self.trace is not None else _UNTRACED

    def afterwards(self) -> "Call":
        """The same for work that goes on when the request is over. Who does it calls `leave` at its end.

        What the request uses of the memory that all share is from now on used by that.
        """
        return replace(
            self,
            attempts=[],
            sink=None,
            leaving=[],
            room=self.room.handed_over(),
            reservation=None,
            bridge=None,
            trace=self.trace.afterwards() if self.trace is not None else None,
        )

    def leave(self) -> None:
        """Give back what it holds."""
        self.room.release()
        if self.reservation is not None:
            self.reservation.abandon()
        for leave in self.leaving:
            leave()
        self.leaving.clear()

    def begin_attempt(self, notes: Notes) -> Notes:
        """Add the notes of another attempt."""
        self.attempts.append(notes)
        if self.trace is not None:
            notes.trace = self.trace.attempted(notes)
        return notes

    @property
    def asks_for_stream(self) -> bool:
        """Whether the reply should be a stream: because the body says so, or where its wire has that by default."""
        asked = self.parsed.get("stream") if self.parsed is not None else None
        return bool(asked) if asked is not None else self.operation in self.wire.streams

    async def settle(self) -> None:
        """Settle what is held for it, if anything is."""
        if self.reservation is not None:
            await self.reservation.settle()

    def reply_headers(self) -> dict[str, str]:
        """The reply's headers that tell of the call, errors included."""
        headers = self.notes.headers()
        if self.notes.limits:
            self.tell_limits_apart(headers)
        if self.reservation is not None:
            headers.update(self.reservation.headers)
        if self.wire.own_headers is not None:
            headers.update(self.wire.own_headers(headers, self.request_id))
        return headers

    def tell_limits_apart(self, headers: dict[str, str]) -> None:
        """Put an upstream's own limits, which are the gateway's and not the caller's, under names that say so.

        They keep their own name as well where the caller has no limits that could be meant by it.
        """
        own = self.reservation is not None and any(name.startswith(_LIMITS) for name in self.reservation.headers)
        for name in [name for name in headers if name.startswith(_LIMITS)]:
            headers[UPSTREAMS_LIMITS + name.removeprefix("x-")] = headers[name]
            if own:
                del headers[name]

    @property
    def notes(self) -> Notes:
        """Those of the last attempt; empty ones where there was none."""
        if not self.attempts:
            self.attempts.append(Notes())
        return self.attempts[-1]


def _ignore(_rule: str) -> None:
    """Where nothing is held to the contract."""


@dataclass(slots=True)
class Attempt:
    """A call on its way to one provider: what `Provider` methods get.

    `deadline` is when the reply must be whole, or its stream have begun (`time.monotonic`). `repaired` reports a rule
    that the provider itself applied; it raises UpstreamInvalidResponse where replies may not be repaired. `divert` may
    be offered packets of whole events while nothing else of the stream is under way; what it takes has been sent.
    """

    call: Call
    notes: Notes = field(default_factory=Notes)
    deadline: float = math.inf
    repaired: Callable[[str], None] = _ignore
    divert: Callable[[bytes], bool] | None = None

    @property
    def operation(self) -> str:
        return self.call.operation

    @property
    def request_id(self) -> str:
        return self.call.request_id

    @property
    def upstream_request_id(self) -> str:
        """The id as upstreams get it: a caller's as it came, one of our own as a bare UUID, which some insist on.

        asgi-correlation-id, for one, takes none but those of version 4.
        """
        own = OWN_ID.fullmatch(self.call.request_id)
        return "-".join(own.groups()) if own is not None else self.call.request_id

    @property
    def headers(self) -> Mapping[str, str]:
        return self.call.headers

    def native(self, wire: str) -> Mapping[str, JsonValue] | None:
        """What the caller said in the terms of this wire, if it did."""
        native = self.call.native
        return native.body if native is not None and native.wire == wire else None

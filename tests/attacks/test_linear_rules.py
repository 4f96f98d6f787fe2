"""Every repair rule by itself: twice as much that it applies to takes twice as long.

The rules are those of the registry, and in which forms each has to be measured is read from the code that applies it: a
new rule, or an old one in a new place, fails here until there is an input for it.
"""

import ast
import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel

from ai_gateway.conform import (
    embedding,
    joined,
    relayed_message,
    relayed_response,
    reply,
    response_ids,
    rules,
    stream,
    stream_state,
    tool_calls,
    whole,
)
from ai_gateway.conform.conformer import Conformer
from ai_gateway.conform.continuations import Continuations
from ai_gateway.conform.joined import joined_reply
from ai_gateway.conform.objects import REPAIRS
from ai_gateway.conform.relayed import relayed
from ai_gateway.conform.rules import RULES, Rule
from ai_gateway.conform.stream import conform_stream
from ai_gateway.conform.stream_state import StreamState
from ai_gateway.contract.call import Attempt, Call
from ai_gateway.contract.stream import DONE, Arrived, Packet
from ai_gateway.errors import UpstreamInvalidResponse
from ai_gateway.operations import CHAT, CHAT_STREAM, COMPLETION_STREAM, EMBEDDING, Operation
from ai_gateway.providers.base import Provider
from ai_gateway.providers.http.sse import events_in
from ai_gateway.providers.openai.policies import SAME_WIRE
from tests.attacks.doubling import Work, assert_linear
from tests.attacks.rule_inputs import INPUTS, Relays, Streamed, Whole

# Small enough for 130 measurements in seconds, and large enough for what grows with the square to show.
SIZES = [pytest.param(600, marks=pytest.mark.slow), pytest.param(4_000, marks=pytest.mark.soak)]
CHEAP_S = 0.01
CHUNKS = {CHAT_STREAM.chunk, COMPLETION_STREAM.chunk}
# Which replies the rules that a module names are applied to, beside those of the table for each model.
APPLIED_IN: dict[ModuleType, set[type]] = {
    whole: {Whole},
    embedding: {Whole},
    joined: {Whole},
    stream: {Streamed},
    stream_state: {Streamed},
    tool_calls: {Streamed},
    reply: {Whole, Streamed},
    relayed_message: {Relays},
    relayed_response: {Relays},
    response_ids: {Relays},
}


def attempted(observed: bool) -> tuple[Attempt, Conformer]:
    attempt = Attempt(Call("any", "r"))
    provider = Provider("lab", SAME_WIRE, conformance="observe" if observed else "repair")
    return attempt, Conformer(provider, attempt, "m")


def answered(given: Whole, conformer: Conformer) -> None:
    """What the gateway does to a whole reply."""
    try:
        item = conformer.item(given.model, given.raw)
    except UpstreamInvalidResponse:
        value = joined_reply(given.model, events_in(given.raw), 1, conformer)
        if value is None:
            raise
        item = conformer.item(given.model, value)
    operations: dict[type, Operation[Any, Any]] = {CHAT.reply: CHAT, EMBEDDING.reply: EMBEDDING}
    if given.model in operations and not given.observed:
        operations[given.model].conform(item, given.request, conformer.report)


async def streamed(given: Streamed, conformer: Conformer) -> None:
    """What the gateway does to a stream, of which some events arrive together."""

    async def arrived() -> AsyncGenerator[Arrived[Any]]:
        for at in range(0, len(given.events), 8):
            yield Packet(given.events[at : at + 8])
        yield DONE

    state: StreamState[Any] = StreamState(
        given.choices,
        include_usage=given.usage,
        report=conformer.report,
        request_id="r",
        content_fields=conformer.content_fields,
    )
    continuations = Continuations(conformer.content_fields)
    async for _ in conform_stream(arrived(), given.operation.chunk, state, conformer, continuations):
        pass


def relays(given: Relays, attempt: Attempt) -> None:
    """What the gateway does to the events of a reply that it relays."""
    for _ in relayed(given.operation, attempt.notes, Provider("lab", SAME_WIRE), "r").framed(given.events):
        pass


def work_on(given: Whole | Streamed | Relays, attempt: Attempt, conformer: Conformer) -> Work:
    if isinstance(given, Relays):
        return lambda: relays(given, attempt)
    if isinstance(given, Whole):
        return lambda: answered(given, conformer)
    return lambda: asyncio.run(streamed(given, conformer))


def named_in(module: ModuleType) -> set[Rule]:
    tree = ast.walk(ast.parse(inspect.getsource(module)))
    names = {node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "") for node in tree}
    return {value for name, value in vars(rules).items() if name in names and isinstance(value, Rule)}


def owed(tables: Mapping[type[BaseModel], Iterable[Rule]]) -> set[tuple[Rule, type]]:
    """Every rule with each form of reply that it can apply to."""
    in_tables = {(rule, Streamed if model in CHUNKS else Whole) for model, rules in tables.items() for rule in rules}
    return in_tables | {
        (rule, form) for module, forms in APPLIED_IN.items() for rule in named_in(module) for form in forms
    }


def missing(tables: Mapping[type[BaseModel], Iterable[Rule]]) -> set[tuple[Rule, type]]:
    return owed(tables) - {(rule, type(make(2))) for rule, makers in INPUTS.items() for make in makers}


MAKERS = [(rule, at) for rule in RULES for at in range(len(INPUTS.get(RULES[rule], ())))]


def test_every_rule_has_an_input_in_each_form_that_it_applies_to() -> None:
    assert set(RULES.values()) == {rule for rule, makers in INPUTS.items() if makers}
    assert missing(REPAIRS) == set(), "give an input for it in rule_inputs.py"


def test_a_new_rule_is_missed() -> None:
    new = Rule("new", "for this test")
    tables = {**REPAIRS, CHAT_STREAM.chunk: [*REPAIRS[CHAT_STREAM.chunk], new], CHAT.reply: [rules.SKIP_EVENT]}
    assert missing(tables) == {(new, Streamed), (rules.SKIP_EVENT, Whole)}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("rule", "at"), MAKERS)
def test_a_rule_takes_twice_as_long_for_twice_as_much(rule: str, at: int, size: int) -> None:
    make: Callable[[int], Whole | Streamed | Relays] = INPUTS[RULES[rule]][at]
    attempt, conformer = attempted(make(2).observed)
    work_on(make(2), attempt, conformer)()
    assert rule in attempt.notes.repairs, "the input is none that the rule applies to"

    def prepare(size: int) -> Work:
        given = make(size)
        return work_on(given, *attempted(given.observed))

    assert_linear(prepare, f"{rule}, input {at}", (size,), CHEAP_S)

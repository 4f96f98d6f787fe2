"""Twice as much takes twice as long: every translator, parser, conform rule and operation of the built-in provider.

What there is, is found in the packages themselves, and so are the places where its input can grow: a new translator is
measured from the day it is written. Measured is CPU time, at sizes where it is no noise; what costs next to nothing at
the largest size is left alone.
"""

import asyncio
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from functools import cache
from types import ModuleType
from typing import Any, get_type_hints, override

import pytest
from pydantic import BaseModel

import ai_gateway.providers.http
import ai_gateway.translate
from ai_gateway.conform.objects import REPAIRS, ReplyContext
from ai_gateway.conform.reply import repair
from ai_gateway.conform.tool_calls import ToolCalls
from ai_gateway.contract.body import parse_json
from ai_gateway.contract.call import Attempt, Call
from ai_gateway.providers.custom import CustomProvider
from ai_gateway.redaction import Redactor
from ai_gateway.translate.anthropic_chat.tools import OfferedTools
from ai_gateway.translate.chat_ollama.forced import ForcedCall
from ai_gateway.translate.chat_ollama.reply import RequestContext
from ai_gateway.translate.gateway_tools import Runs, ServerTool
from ai_gateway.translate.ollama_chat.messages import conversation
from ai_gateway.translate.responses_chat.envelope import Sealer
from ai_gateway.translate.responses_chat.reply import kept_by, sealed_by
from ai_gateway.translate.responses_chat.request import ChatTarget
from ai_gateway.translate.wires import anthropic, ollama
from gateway_contract.anthropic.models import AnthropicCreateMessageParams
from gateway_contract.ollama.models import OllamaChatMessage
from gateway_contract.openai import models
from tests.attacks.doubling import Work, assert_linear
from tests.attacks.growths import Growth, fitting, growths


class EveryTool(Runs):
    """Every tool runs here, and every server is listed."""

    @property
    @override
    def server_tools(self) -> dict[str, ServerTool]:
        return {f"f{at}": ServerTool("s", f"t{at}") for at in range(50)}

    @override
    def has(self, tool: str) -> bool:
        return True

    @override
    def require(self, tool: str, place: int) -> None:
        pass

    @override
    def server(self, label: str, url: str | None) -> str | None:
        return "s"


# How deep inside of a value the places are that grow: everywhere takes minutes.
DEPTHS = [pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.soak)]
# What the parameters behind the first are called, and a value for each.
FILLED: dict[str, Callable[[], Any]] = {
    "now": lambda: 1,
    "model": lambda: "m",
    "native": lambda: False,
    "images": dict,
    "called": list,
    "dropped": set,
    "calls": lambda: False,
    "at": lambda: 0,
    "details": lambda: None,
    "request": lambda: RequestContext("r", "m", 1),
    "took": lambda: models.CompletionUsage(prompt_tokens=1, completion_tokens=1, total_tokens=2),
    "provider": lambda: "p",
    "response_id": lambda: "resp_1",
    "created_at": lambda: 1,
    "echo": dict,
    "seal": lambda: sealed_by(lambda _: "sealed", wanted=True),
    "runs": EveryTool,
    "servers": dict,
    "offered": OfferedTools,
    "body": lambda: AnthropicCreateMessageParams.model_construct(model="m", messages=[], max_tokens=1),
    "keep": lambda: kept_by(lambda _: "sealed"),
    "target": lambda: ChatTarget("m", "p", Sealer(lambda _: b"k" * 32, "project")),
}
# Whose size is bounded where they are read, or that look at one fact only.
SMALL = {"ModelInfo", "Usage", "CompletionUsage", "StopDetails", "Timed", "Shown", "Model", "Delta"}


@cache
def modules_of(package: ModuleType) -> list[ModuleType]:
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    return [importlib.import_module(module.name) for module in found]


def own(package: ModuleType) -> Iterator[Any]:
    """Everything public that the package's modules define."""
    for module in modules_of(package):
        for name, thing in vars(module).items():
            if not name.startswith("_") and getattr(thing, "__module__", None) == module.__name__:
                yield thing


def translators() -> Iterator[tuple[str, Callable[..., Any], type[BaseModel], list[str]]]:
    """Every function that takes a request or reply first; and what else it takes."""
    for thing in own(ai_gateway.translate):
        if not (inspect.isfunction(thing) and inspect.signature(thing).parameters):
            continue
        hints = get_type_hints(thing)
        taken = inspect.signature(thing).parameters
        first, *others = (
            name for at, name in enumerate(taken) if not at or taken[name].default is inspect.Parameter.empty
        )
        model = hints.get(first) if first in hints else None
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            continue
        if model is not BaseModel and model.__name__ not in SMALL:
            yield f"{thing.__module__.removeprefix('ai_gateway.translate.')}.{thing.__name__}", thing, model, others


TRANSLATORS = {name: (function, model, others) for name, function, model, others in translators()}
STREAMED: dict[str, Callable[[Any, int], Iterator[Any]]] = {
    "MessagesStreamTranslator": lambda _, size: messages_events(size),
    "ChatStreamTranslator": lambda _, size: (ollama_line({"content": "a", f"x{at}": at}) for at in range(size)),
    "CompletionStreamTranslator": lambda _, size: (
        ollama.Reply.model_validate({"response": "ab ", "done": False}) for _ in range(size)
    ),
    "ForcedContent": lambda _, size: iter(['{"name": "n", ', *['"arguments": {'] * size]),
    "ResponseStreamTranslator": lambda _, size: response_events(size),
    "ChunkTranslator": lambda _, size: (chunk(at, at % 7, '{"a":') for at in range(size)),
}
PARSED: dict[str, Callable[[int], list[bytes]]] = {
    "many items in one piece": lambda size: [b"data: {}\n\n" * size],
    "many items in pieces": lambda size: [b"data: {}\n\n"] * size,
    "one item in small pieces": lambda size: [b"data: ", *[b"abcdefgh"] * size, b"\n\n"],
    "an item of many lines": lambda size: [b"data: a\n"] * size + [b"\n"],
    "comments": lambda size: [b": x\n"] * size,
    "line ends of another kind": lambda size: [b"data: {}\r", b"\r"] * size,
}


def growths_of(model: type[BaseModel], deepest: int) -> list[Growth]:
    return [growth for growth in growths(model, deepest) if fitting(model, growth, 3) is not None]


def messages_events(size: int) -> Iterator[Any]:
    usage = {"input_tokens": 1, "output_tokens": 1}
    message = {"id": "x", "model": "m", "role": "assistant", "type": "message", "content": [], "usage": usage}
    yield anthropic.Event.model_validate({"type": "message_start", "message": message})
    for at in range(size // 4):
        block = {"type": "tool_use", "id": f"t{at}", "name": "n", "input": {}}
        yield anthropic.Event.model_validate({"type": "content_block_start", "index": at, "content_block": block})
    for at in range(size):
        delta = {"type": "input_json_delta", "partial_json": '{"a":', f"x{at}": at, "same": at}
        yield anthropic.Event.model_validate({"type": "content_block_delta", "index": at % 2, "delta": delta})


def response_events(size: int) -> Iterator[dict[str, Any]]:
    yield {"type": "response.created", "response": {"id": "r", "created_at": 1, "model": "m"}}
    for at in range(size):
        call = {"type": "function_call", "call_id": f"c{at}", "name": "n", "arguments": ""}
        yield {"type": "response.output_item.added", "output_index": at, "item": call}
        yield {"type": "response.function_call_arguments.delta", "output_index": at, "delta": '{"a":'}
        yield {"type": "response.output_text.delta", "output_index": at, "content_index": at, "delta": "ab "}
        yield {"type": "response.reasoning_summary_text.delta", "output_index": at, "summary_index": at, "delta": "x"}
        yield {"type": "response.output_item.done", "output_index": at, "item": call}


def ollama_line(message: dict[str, Any]) -> ollama.Reply:
    fields = {"model": "m", "message": {"role": "assistant", **message}, "done": False}
    return ollama.Reply.model_validate(fields)


def chunk(at: int, call: int, arguments: str) -> models.CreateChatCompletionStreamResponse:
    piece = {"index": call, "function": {"arguments": arguments}}
    if at == call:
        piece |= {"id": f"c{call}", "type": "function", "function": {"name": "n", "arguments": arguments}}
    piece |= {f"x{at}": at, "same": at}
    delta = {"tool_calls": [piece], f"x{at}": at}
    choice = {"index": 0, "delta": delta, "finish_reason": None, "logprobs": None, "same": at // 100}
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return models.CreateChatCompletionStreamResponse.model_validate({**head, "choices": [choice]})


def test_every_translator_is_found() -> None:
    assert len(TRANSLATORS) > 12
    assert {"chat_anthropic.request.to_messages", "ollama_chat.request.chat"} <= TRANSLATORS.keys()
    unfilled = {name: set(others) - FILLED.keys() - {"names"} for name, (_, _, others) in TRANSLATORS.items()}
    assert {name: missing for name, missing in unfilled.items() if missing} == {}, "give a value for it in FILLED"
    fed = {thing.__name__ for thing in own(ai_gateway.translate) if inspect.isclass(thing) and hasattr(thing, "feed")}
    assert fed == STREAMED.keys(), "say in STREAMED what a new translator of streams is fed with"


@pytest.mark.parametrize("deepest", DEPTHS)
@pytest.mark.parametrize("name", TRANSLATORS)
def test_a_translator_takes_twice_as_long_for_twice_as_much(name: str, deepest: int) -> None:
    function, model, others = TRANSLATORS[name]
    hints = get_type_hints(function)
    found = growths_of(model, deepest)
    assert found, f"nothing of {model.__name__} grows"
    for growth in found:

        def prepare(size: int, growth: Growth = growth) -> Work:
            value = fitting(model, growth, size)
            keywords = {other: FILLED[other]() if other in FILLED else hints[other]() for other in others}
            return lambda: function(value, **keywords) if value is not None else None

        assert_linear(prepare, f"{name}, {growth.place}")


@pytest.mark.parametrize("kind", STREAMED)
def test_a_translator_of_streams_takes_twice_as_long_for_twice_as_much(kind: str) -> None:
    (cls,) = (thing for thing in own(ai_gateway.translate) if getattr(thing, "__name__", "") == kind)
    forced = ForcedCall(("n", "m"))
    request = RequestContext("m", "r", 1)
    arguments = {"now": 1, "forced": forced, "request": request, "include_usage": True, "whole_calls": False}
    taken = inspect.signature(cls).parameters

    def prepare(size: int) -> Work:
        events = list(STREAMED[kind](None, size))
        translator = cls(**{name: arguments[name] for name in taken})

        def work() -> None:
            for event in events:
                fed = translator.feed(event)
                _ = list(fed) if inspect.isgenerator(fed) else fed

        return work

    assert_linear(prepare, kind)


@pytest.mark.parametrize("pieces", PARSED)
def test_a_parser_takes_twice_as_long_for_twice_as_much(pieces: str) -> None:
    parsers = {
        thing
        for thing in own(ai_gateway.providers.http)
        if inspect.isclass(thing) and hasattr(thing, "feed") and not getattr(thing, "_is_protocol", False)
    }
    assert len(parsers) >= 2
    for parser in parsers:

        def prepare(size: int, parser: Any = parser) -> Work:
            made, sent = parser(10**9), PARSED[pieces](size)
            return lambda: [list(made.feed(piece)) for piece in sent]

        assert_linear(prepare, f"{parser.__name__}, {pieces}", (8_000,))


@pytest.mark.parametrize("deepest", DEPTHS)
@pytest.mark.parametrize("model", REPAIRS, ids=lambda model: model.__name__)
def test_the_rules_for_a_reply_take_twice_as_long_for_twice_as_much(model: type[BaseModel], deepest: int) -> None:
    context = ReplyContext("m", "r")
    for growth in growths(model, deepest):

        def prepare(size: int, growth: Growth = growth) -> Work:
            value = growth.make(size)
            return lambda: repair(model, value, context)

        assert_linear(prepare, f"{model.__name__}, {growth.place}", (1_000,))


OPERATIONS = [
    name
    for name, method in vars(CustomProvider).items()
    if name.startswith(("create_", "stream_")) and callable(method)
]


@pytest.mark.parametrize("deepest", DEPTHS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_built_in_provider_takes_twice_as_long_for_twice_as_much(operation: str, deepest: int) -> None:
    method = getattr(CustomProvider(), operation)
    body = get_type_hints(getattr(CustomProvider, operation))["body"]
    attempt = Attempt(Call(operation, "r"))
    for growth in growths_of(body, deepest):

        def prepare(size: int, growth: Growth = growth) -> Work:
            request: Any = fitting(body, growth, size)

            async def answer() -> None:
                if operation.startswith("create_"):
                    await method(attempt, request)
                else:
                    async for _ in method(attempt, request):
                        pass

            return lambda: asyncio.run(answer()) if request is not None else None

        assert_linear(prepare, f"{operation}, {growth.place}")


KEYS = Redactor()
KEYS.remember("sk-0123456789abcdefghij")


def take(sent: list[tuple[int, str]], *, named: bool = False) -> None:
    calls = ToolCalls(lambda _: None, "r", 0)
    begun: set[int] = set()
    for index, arguments in sent:
        name = {"name": "n"} if named else {}
        fields: dict[str, Any] = {"index": index, "function": {"arguments": arguments, **name}}
        if index not in begun:
            begun.add(index)
            fields |= {"id": f"c{index}", "type": "function", "function": {"name": "n", "arguments": arguments}}
        calls.take(models.ChatCompletionMessageToolCallChunk.model_validate(fields))


CALLS = 3


def calls_and_results(size: int) -> list[OllamaChatMessage]:
    calls = [{"id": f"c{at}", "function": {"name": f"t{at % CALLS}", "arguments": {}}} for at in range(size)]
    asked = {"role": "assistant", "content": "", "tool_calls": calls}
    results = [
        {"role": "tool", "content": "x", **by}
        for at in range(size)
        for by in ({"tool_call_id": f"c{size - at}"}, {"tool_name": f"t{at % 5}"}, {"tool_call_id": f"none{at}"})
    ]
    return [OllamaChatMessage.model_validate(each) for each in (asked, *results)]


OTHERS: dict[str, tuple[Callable[[int], Any], Callable[[Any], object]]] = {
    "results of calls": (lambda size: calls_and_results(size // 4), conversation),
    "JSON of small values": (lambda size: b"[" + b"{}," * size + b"1]", parse_json),
    "JSON of texts": (lambda size: b'["' + b'\\"' * size + b'"]', parse_json),
    "striking keys": (lambda size: "%41\\u0041sk-0123 " * (size // 10), KEYS.redact),
    "calls under many indexes": (lambda size: [(at, '{"a"') for at in range(size)], take),
    "a name in each piece": (lambda size: [(0, '{"a":1, ')] * size, lambda sent: take(sent, named=True)),
    "arguments in many pieces": (lambda size: [(0, '{"a":1, ')] * size, take),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_what_else_reads_much_takes_twice_as_long_for_twice_as_much(name: str) -> None:
    make, read = OTHERS[name]

    def prepare(size: int) -> Work:
        value = make(size)
        return lambda: read(value)

    assert_linear(prepare, name, (8_000,))


@pytest.mark.slow  # what takes 2 ms may seem to take as long for twice as much, on a busy machine
def test_a_square_is_told() -> None:
    with pytest.raises(pytest.fail.Exception, match="a square: 2,000 take"):
        assert_linear(lambda size: lambda: [None for _ in range(size) for _ in range(size // 8)], "a square", cheap_s=0)

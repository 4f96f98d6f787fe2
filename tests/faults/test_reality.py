"""What real upstreams were reported to send: the whole answer arrives, by the contract, and what was mended is named.

Each row is one report's bytes, or a sibling of them. The upstream is a socket that sends exactly these.
"""

import json
import uuid
from typing import Any

import pytest

from tests.support.client import CHAT, EMBED, LEGACY, ask, events_of, post
from tests.support.gateway import LiveGateway, in_front_of
from tests.support.upstream import Upstream, head

pytestmark = pytest.mark.live

HEAD: dict[str, Any] = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
WHOLE: dict[str, Any] = {**HEAD, "object": "chat.completion"}
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
DONE = b"data: [DONE]\n\n"
EVENTS, JSON = "text/event-stream", "application/json"


def piece(finish: Any = None, index: int = 0, beside: dict[str, Any] | None = None, **delta: Any) -> dict[str, Any]:
    return {**HEAD, "choices": [{"index": index, "delta": delta, "finish_reason": finish, **(beside or {})}]}


def call(index: int | None = 0, **fields: Any) -> dict[str, Any]:
    return {**({} if index is None else {"index": index}), **fields}


def sse(*events: object) -> bytes:
    return b"".join(
        event if isinstance(event, bytes) else b"data: " + json.dumps(event).encode() + b"\n\n" for event in events
    )


def reply(body: bytes, media: str = EVENTS, status: int = 200) -> bytes:
    return head(status, {"content-type": media, "connection": "close"}) + body


def message(finish: Any = "stop", beside: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **fields}, "finish_reason": finish, **(beside or {})}
    return {**WHOLE, "choices": [choice]}


class Heard:
    """A stream as a client puts it together."""

    def __init__(
        self, relay: LiveGateway, upstream: Upstream, raw: bytes, operation: str = CHAT, **fields: Any
    ) -> None:
        model = f"reality#{id(self)}"
        upstream.program(model, raw)
        self.response = ask(relay, model, operation, provider="openai", stream=True, **fields)
        events = events_of(self.response)
        self.chunks, self.error, self.done = events.chunks, events.error, events.done
        self.text, self.choices = events.text, events.choices
        self.ends = [choice["finish_reason"] for choice in self.choices if choice["finish_reason"] is not None]
        self.calls: dict[int, dict[str, Any]] = {}
        for each in (one for choice in self.choices for one in choice.get("delta", {}).get("tool_calls", ())):
            known = self.calls.setdefault(each["index"], {"arguments": ""})
            function = each.get("function", {})
            known |= {name: value for name, value in {**each, **function}.items() if name != "arguments"}
            known["arguments"] += function.get("arguments", "")

    def said(self, name: str) -> str:
        return "".join(choice["delta"].get(name) or "" for choice in self.choices)


def whole(relay: LiveGateway, upstream: Upstream, raw: bytes, operation: str = CHAT, **fields: Any) -> Any:
    model = f"reality#{len(raw)}-{hash(raw)}"
    upstream.program(model, raw)
    return ask(relay, model, operation, provider="openai", **fields)


# -- content is not lost, doubled or mislabelled --

W = {"name": "w", "arguments": '{"c":1}'}
STREAMS: dict[str, tuple[list[object], str, list[str], list[tuple[str, str]]]] = {
    "every chunk says stop": (
        [piece("stop", role="assistant", content="Hel"), piece("stop", content="lo"), piece("stop", content="!"), DONE],
        "Hello!", ["stop"], [],
    ),
    "every chunk says stop, the last one length": (
        [piece("stop", content="Hel"), piece("stop", content="lo"), piece("length"), DONE], "Hello", ["length"], [],
    ),
    "it says stop once too early, and never again": (
        [piece("stop", content="Hel"), piece(content="lo"), DONE], "Hello", ["stop"], [],
    ),
    "it calls after it said stop": (
        [piece("stop", content="Hi"), piece(tool_calls=[call(id="a", type="function", function=W)]), DONE],
        "Hi", ["tool_calls"], [("w", '{"c":1}')],
    ),
    "a summary after the deltas": (
        [
            piece(role="assistant", content="Hel"), piece(content="lo"),
            piece(tool_calls=[call(id="a", type="function", function=W)]),
            {**message("tool_calls", content="Hello", tool_calls=[{"id": "a", "type": "function", "function": W}]),
             "usage": USAGE},
            DONE,
        ],
        "Hello", ["tool_calls"], [("w", '{"c":1}')],
    ),
    "a summary that brings the calls": (
        [
            piece(role="assistant", content="Hi"),
            message("tool_calls", content="Hi", tool_calls=[{"id": "a", "type": "function", "function": W}]), DONE,
        ],
        "Hi", ["tool_calls"], [("w", '{"c":1}')],
    ),
    "a whole message after the role alone": (
        [piece(role="assistant", content=""), message(content="Hello"), DONE], "Hello", ["stop"], [],
    ),
    "a delta that is the text alone": (
        [{**HEAD, "choices": [{**piece()["choices"][0], "delta": "Hello"}]}, piece("stop"), DONE],
        "Hello", ["stop"], [],
    ),
    "a delta under the name that legacy completions have": (
        [
            {**HEAD, "choices": [{"index": 0, "text": "Hel"}]},
            {**HEAD, "choices": [{"index": 0, "delta": None, "text": "lo", "finish_reason": "stop"}]}, DONE,
        ],
        "Hello", ["stop"], [],
    ),
    "chunks of null": (
        [piece(content="Hel"), {**HEAD, "choices": None}, piece(content="lo"), {"choices": None}, piece("stop"), DONE],
        "Hello", ["stop"], [],
    ),
    "an empty object that PHP has encoded": (
        [piece(tool_calls=[call(id="a", type="function", function={**W, "arguments": []})]), piece("stop"), DONE],
        "", ["tool_calls"], [("w", "{}")],
    ),
    "no reason, but usage and an end": (
        [piece(role="assistant", content="Hello"), {**HEAD, "choices": [], "usage": USAGE}, DONE],
        "Hello", ["stop"], [],
    ),
    "calls, no reason, and an end": (
        [piece(tool_calls=[call(id="a", type="function", function=W)]), DONE], "", ["tool_calls"], [("w", '{"c":1}')],
    ),
    "empty texts in pieces of a call": (
        [
            piece(tool_calls=[call(id="a", type="function", function={"name": "w", "arguments": ""})]),
            piece(tool_calls=[call(id="", type="", function={"name": "", "arguments": '{"c":'})]),
            piece(tool_calls=[call(id="", type="", function={"name": None, "arguments": "1}"})]),
            piece("tool_calls"), DONE,
        ],
        "", ["tool_calls"], [("w", '{"c":1}')],
    ),
    "an empty call in every chunk": (
        [piece(content="Hi", tool_calls=[call(id="", type="", function={"name": "", "arguments": ""})]),
         piece("stop"), DONE],
        "Hi", ["stop"], [],
    ),
    "a name that comes after an empty one": (
        [
            piece(tool_calls=[call(id="a", type="function", function={"name": "", "arguments": ""})]),
            piece(tool_calls=[call(function=W)]), piece("tool_calls"), DONE,
        ],
        "", ["tool_calls"], [("w", '{"c":1}')],
    ),
    "calls counted from 1": (
        [
            piece(tool_calls=[call(1, id="a", type="function", function={"name": "w", "arguments": '{"c":'})]),
            piece(tool_calls=[call(1, function={"arguments": "1}"})]),
            piece(tool_calls=[call(3, id="b", type="function", function={"name": "v", "arguments": "{}"})]),
            piece("tool_calls"), DONE,
        ],
        "", ["tool_calls"], [("w", '{"c":1}'), ("v", "{}")],
    ),
    "calls without an index, told apart by their ids": (
        [
            piece(tool_calls=[call(None, id="a", type="function", function={"name": "w", "arguments": '{"c":'})]),
            piece(tool_calls=[call(None, id="b", type="function", function={"name": "v", "arguments": "{"})]),
            piece(tool_calls=[call(None, id="a", function={"arguments": "1}"})]),
            piece(tool_calls=[call(None, id="b", function={"arguments": "}"})]),
            piece("tool_calls"), DONE,
        ],
        "", ["tool_calls"], [("w", '{"c":1}'), ("v", "{}")],
    ),
    "the only choice is number 1": (
        [piece(None, 1, content="Hel"), piece("stop", 1, content="lo"), DONE], "Hello", ["stop"], [],
    ),
    "events that are no chunks": (
        [
            b"event: ping\ndata: {\"type\": \"ping\"}\n\n", b"data: null\n\n", piece(content="Hi"),
            {"type": "status", "queue": 3}, b"data: \"text\"\n\n", piece("stop"), b"data:  [DONE] \n\n",
        ],
        "Hi", ["stop"], [],
    ),
    "blanks around the end": ([piece(content="Hi"), b"data: [DONE]  \n\n"], "Hi", ["stop"], []),
    "halves of a character in two deltas": (
        [b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"a\\ud83d"}}]}\n\n',
         b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"\\ude00b"}}]}\n\n', piece("stop"), DONE],
        "a\U0001f600b", ["stop"], [],
    ),
    "a mark of the byte order in front of an event": (
        [b"data: \xef\xbb\xbf" + json.dumps(piece("stop", content="Hi")).encode() + b"\n\n", DONE], "Hi", ["stop"], [],
    ),
    "a byte that is no text": (
        [json.dumps(piece(content="a-b")).encode().replace(b"a-b", b"a\xffb").join([b"data: ", b"\n\n"]),
         piece("stop"), DONE],
        "a\ufffdb", ["stop"], [],
    ),
    "usage that is null, and a role that is empty": (
        [{**piece(role="", content="Hi"), "usage": None}, {**piece("stop"), "usage": None}, DONE], "Hi", ["stop"], [],
    ),
}  # fmt: skip


@pytest.mark.parametrize("usage", [False, True], ids=["", "with usage"])
@pytest.mark.parametrize("case", STREAMS)
def test_a_stream_is_told_whole_and_once(relay: LiveGateway, upstream: Upstream, case: str, usage: bool) -> None:
    events, text, ends, calls = STREAMS[case]
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if usage else {}
    heard = Heard(relay, upstream, reply(sse(*events)), **options)
    assert (heard.text, heard.ends, heard.error, heard.done) == (text, ends, None, True), heard.response.text
    assert [(each["name"], each["arguments"]) for each in heard.calls.values()] == calls
    assert list(heard.calls) == list(range(len(calls)))
    assert heard.choices[-1]["finish_reason"] == ends[0], "nothing comes after the end"
    counted = any(isinstance(event, dict) and event.get("usage") for event in events)
    assert bool(heard.chunks[-1].get("usage")) is (usage and counted)


def test_content_before_a_failure_is_sent_and_its_reason_is_not(relay: LiveGateway, upstream: Upstream) -> None:
    broken = reply(sse(piece("stop", role="assistant", content="Hel"), piece("stop", content="lo"), b"data: {"))
    heard = Heard(relay, upstream, broken.replace(b"connection: close", b"content-length: 9999"))
    assert (heard.text, heard.ends, heard.done) == ("Hello", [], False)
    assert heard.error is not None
    assert heard.error["code"] == "upstream_stream_truncated"


OWN: dict[str, Any] = {"extra_content": {"google": {"thought_signature": "s1"}}}
EXTRA: dict[str, tuple[list[object], dict[str, Any]]] = {
    "in the first piece": (
        [piece(tool_calls=[call(id="a", function={"name": "w", "own": 1}, **OWN)])], {**OWN, "own": 1},
    ),
    "in a piece that waits for the name": (
        [piece(tool_calls=[call(id="a", **OWN)]), piece(tool_calls=[call(function={"name": "w", "own": 1})])],
        {**OWN, "own": 1},
    ),
    "in a piece that says the id again": (
        [
            piece(tool_calls=[call(id="a", type="function", function=W)]),
            piece(tool_calls=[call(id="a", type="function", function={"name": "w", "arguments": "", "own": 1}, **OWN)]),
        ],
        {**OWN, "own": 1},
    ),
    "in a piece under another index": (
        [
            piece(tool_calls=[call(2, id="a", type="function", function=W)]),
            piece(tool_calls=[call(2, function={"arguments": "", "own": 1}, **OWN)]),
        ],
        {**OWN, "own": 1},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", EXTRA)
def test_fields_of_a_call_that_the_contract_does_not_name_are_kept(
    relay: LiveGateway, upstream: Upstream, case: str
) -> None:
    events, extra = EXTRA[case]
    heard = Heard(relay, upstream, reply(sse(*events, piece("tool_calls"), DONE)))
    assert heard.error is None
    assert extra.items() <= heard.calls[0].items()


def test_fields_of_choices_and_chunks_that_the_contract_does_not_name_are_kept(
    relay: LiveGateway, upstream: Upstream
) -> None:
    last = {**piece("stop"), "citations": ["x"]}
    late = piece(beside={"content_filter_results": {"hate": {"filtered": False}}})
    counted = {**HEAD, "choices": [], "usage": USAGE, "timings": {"predicted_ms": 5}}
    heard = Heard(relay, upstream, reply(sse(piece(content="Hi", own=[1]), last, late, counted, DONE)))
    assert heard.ends == ["stop"]
    text = heard.response.text
    assert all(text.count(name) == 1 for name in ("content_filter_results", "citations", "timings", '"own"')), text
    asked = Heard(
        relay, upstream, reply(sse(piece(content="Hi"), last, counted, DONE)), stream_options={"include_usage": True}
    )
    assert asked.chunks[-1] == counted, "what the upstream says last goes out as it came"


REASONS = {
    "model_context_window_exceeded": "length", "max_output_tokens": "length", "MAX_TOKENS": "length",
    "sensitive": "content_filter", "guardrail_intervened": "content_filter", "SAFETY": "content_filter",
    "FinishReason.STOP": "stop", " stop ": "stop", "endTurn": "stop", "eos_token": "stop", "tool-calls": "tool_calls",
    "what_nobody_knows": "length",
}  # fmt: skip


@pytest.mark.parametrize(("reason", "meaning"), REASONS.items())
def test_a_reason_is_told_as_what_it_means(relay: LiveGateway, upstream: Upstream, reason: str, meaning: str) -> None:
    rule = "map-finish-reason" if reason != "what_nobody_knows" else "tell-unknown-finish-reason"
    heard = Heard(relay, upstream, reply(sse(piece(content="Hi"), piece(reason), DONE)))
    assert (heard.text, heard.ends, heard.choices[-1]["native_finish_reason"]) == ("Hi", [meaning], reason)
    got = whole(relay, upstream, reply(json.dumps(message(reason, content="Hi")).encode(), JSON))
    assert got.headers["x-gateway-repaired"].split(",").count(rule) == 1
    (choice,) = got.json()["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("Hi", meaning)
    assert choice["native_finish_reason"] == reason


@pytest.mark.parametrize("reason", ["error", "abort", "network_error", "MALFORMED_FUNCTION_CALL"])
def test_a_reason_that_tells_of_a_failure_is_one(relay: LiveGateway, upstream: Upstream, reason: str) -> None:
    heard = Heard(relay, upstream, reply(sse(piece(content="Hi"), piece(reason), DONE)))
    assert (heard.text, heard.ends, heard.done) == ("Hi", [], False)
    assert heard.error is not None
    assert whole(relay, upstream, reply(json.dumps(message(reason, content="Hi")).encode(), JSON)).status_code == 502


# -- a good answer does not become a failure --

THINKING = [
    {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}], "closed": True},
    {"type": "text", "text": "Hel"},
    {"type": "text", "text": "lo"},
]
REFERENCE = {"type": "reference", "reference_ids": [1, 2]}
FILE = {"type": "file", "file": {"hash": "h", "name": "a.pdf", "content": [{"type": "text", "text": "page"}]}}
LINK = {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 1}}


def test_thinking_in_parts_is_joined(relay: LiveGateway, upstream: Upstream) -> None:
    heard = Heard(relay, upstream, reply(sse(piece(role="assistant", content=THINKING), piece("stop"), DONE)))
    assert (heard.text, heard.said("reasoning_content"), heard.ends) == ("Hello", "hm", ["stop"])
    got = whole(relay, upstream, reply(json.dumps(message(content=[*THINKING, REFERENCE])).encode(), JSON)).json()
    said = got["choices"][0]["message"]
    assert (said["content"], said["reasoning_content"], said["other_blocks"]) == ("Hello", "hm", [REFERENCE])


WHOLES: dict[str, tuple[object, str, dict[str, Any]]] = {
    "an annotation of an unknown kind": (
        message(content="Hi", annotations=[FILE, LINK]), "drop-invalid", {"annotations": [LINK]},
    ),
    "only annotations of an unknown kind": (message(content="Hi", annotations=[FILE]), "drop-invalid", {}),
    "annotations that are no list": (message(content="Hi", annotations={"a": 1}), "drop-invalid", {}),
    "calls that are none": (message(content="Hi", tool_calls="", function_call={}), "drop-null", {}),
    "log probabilities that are none": (
        message(content="Hi", beside={"logprobs": {"content": [{"token": 5}]}}), "drop-invalid", {},
    ),
    "details of usage that are none": (
        {**message(content="Hi"), "usage": {**USAGE, "prompt_tokens_details": {"cached_tokens": "x"}}},
        "drop-invalid", {},
    ),
    "usage that is null": ({**message(content="Hi"), "usage": None}, "drop-null", {}),
    "no reason to end": (message(None, content="Hi"), "fill-finish-reason", {}),
}  # fmt: skip


@pytest.mark.parametrize("case", WHOLES)
def test_one_bad_optional_thing_does_not_cost_the_answer(relay: LiveGateway, upstream: Upstream, case: str) -> None:
    body, rule, kept = WHOLES[case]
    got = whole(relay, upstream, reply(json.dumps(body).encode(), JSON))
    assert got.status_code == 200, got.text
    said = got.json()["choices"][0]["message"]
    assert said["content"] == "Hi"
    assert kept.items() <= said.items()
    assert rule in got.headers["x-gateway-repaired"].split(",")


LENIENT: dict[str, tuple[bytes, str]] = {
    "a mark of the byte order": (b"\xef\xbb\xbf" + json.dumps(message(content="Hi")).encode(), "Hi"),
    "half a character": (json.dumps(message(content="H-")).encode().replace(b"H-", rb"H\ud83d"), "H\ufffd"),
    "minus infinity": (
        json.dumps(message(content="Hi", beside={"logprobs": {"refusal": None, "content": [
            {"token": "Hi", "logprob": float("-inf"), "bytes": None, "top_logprobs": []}]}})).encode(), "Hi",
    ),
    "a line end inside of a text": (json.dumps(message(content="a-b")).encode().replace(b"a-b", b"a\nb"), "a\nb"),
}  # fmt: skip


@pytest.mark.parametrize("case", LENIENT)
def test_json_is_read_as_its_upstream_meant_it(relay: LiveGateway, upstream: Upstream, case: str) -> None:
    body, text = LENIENT[case]
    got = whole(relay, upstream, reply(body, JSON))
    assert (got.status_code, got.json()["choices"][0]["message"]["content"]) == (200, text)
    if case == "minus infinity":
        assert got.json()["choices"][0]["logprobs"]["content"][0]["logprob"] == -9999.0


GOOD = sse(piece(role="assistant", content="Hel"), piece(content="lo"), piece("stop"), DONE)
BODIES = {
    "a stream as JSON": reply(GOOD, JSON), "a stream as text": reply(GOOD, "text/plain; charset=utf-8"),
    "a stream with 201": reply(GOOD, status=201), "a stream after blanks": reply(b"\r\n\r\n" + GOOD, "text/html"),
    "JSON": reply(json.dumps(message(content="Hello")).encode(), JSON),
    "JSON over many lines": reply(json.dumps(message(content="Hello"), indent=1).encode(), JSON),
    "JSON as a stream": reply(json.dumps(message(content="Hello")).encode()),
    "JSON with 202": reply(json.dumps(message(content="Hello")).encode(), JSON, 202),
}  # fmt: skip


@pytest.mark.parametrize("case", BODIES)
def test_a_body_is_what_it_holds(relay: LiveGateway, upstream: Upstream, case: str) -> None:
    heard = Heard(relay, upstream, BODIES[case])
    assert (heard.text, heard.ends, heard.done) == ("Hello", ["stop"], True), heard.response.text
    got = whole(relay, upstream, BODIES[case])
    assert got.status_code == 200, got.text
    (choice,) = got.json()["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("Hello", "stop")


def test_calls_of_a_stream_that_was_not_asked_for_are_whole(relay: LiveGateway, upstream: Upstream) -> None:
    events = [
        piece(role="assistant", reasoning_content="h"), piece(reasoning_content="m"),
        piece(tool_calls=[call(1, id="a", type="function", function={"name": "w", "arguments": '{"c":'}, **OWN)]),
        piece(tool_calls=[call(1, function={"arguments": "1}"})]),
        piece("stop"), {**HEAD, "choices": [], "usage": USAGE}, DONE,
    ]  # fmt: skip
    got = whole(relay, upstream, reply(sse(*events)))
    assert "join-events" in got.headers["x-gateway-repaired"]
    made = got.json()
    (choice,) = made["choices"]
    assert (choice["finish_reason"], made["usage"]["total_tokens"]) == ("tool_calls", 3)
    assert choice["message"]["reasoning_content"] == "hm"
    assert choice["message"]["tool_calls"] == [{"id": "a", "type": "function", "function": W, **OWN}]


def test_legacy_completions_are_read_the_same(relay: LiveGateway, upstream: Upstream) -> None:
    def text(text: str | None, finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "text": text, "finish_reason": finish}
        return {**HEAD, "object": "text_completion", "choices": [choice]}

    heard = Heard(relay, upstream, reply(sse(text("Hel", "stop"), text("lo", "stop"), text(None), DONE), JSON), LEGACY)
    assert (heard.text, heard.ends, heard.done) == ("Hello", ["stop"], True)
    got = whole(relay, upstream, reply(sse(text("Hel"), text("lo"), text("", "sensitive"), DONE)), LEGACY)
    assert got.json()["choices"][0]["text"] == "Hello"
    assert got.json()["choices"][0]["finish_reason"] == "content_filter"


def test_a_stream_of_chat_chunks_for_a_legacy_completion_has_its_text(relay: LiveGateway, upstream: Upstream) -> None:
    ended = {"message": {"content": "o"}, "finish_reason": "stop"}
    choices: list[dict[str, Any]] = [{"delta": {"content": "Hel"}}, {"delta": "l"}, ended]
    events = [{**HEAD, "object": "text_completion", "choices": [{"index": 0, **choice}]} for choice in choices]
    heard = Heard(relay, upstream, reply(sse(*events, DONE)), LEGACY)
    assert (heard.text, heard.ends, heard.done) == ("Hello", ["stop"], True)


@pytest.mark.parametrize("usage", [{}, {"usage": None}, {"usage": {"input_tokens": 4}}])
def test_vectors_without_usage_are_vectors(relay: LiveGateway, upstream: Upstream, usage: dict[str, Any]) -> None:
    body = {"object": "list", "model": "m", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}], **usage}
    got = whole(relay, upstream, reply(json.dumps(body).encode(), JSON), EMBED, input="a")
    assert (got.status_code, got.json()["data"][0]["embedding"]) == (200, [0.5]), got.text
    assert ("fill-usage" in got.headers["x-gateway-repaired"].split(",")) is not bool(usage.get("usage"))


def test_an_event_may_hold_an_image(relay: LiveGateway, upstream: Upstream) -> None:
    image = "A" * 1_500_000
    raw = reply(sse(piece(content="Hi", images=[{"image_url": {"url": image}}]), piece("stop"), DONE))
    assert Heard(relay, upstream, raw).chunks[0]["choices"][0]["delta"]["images"][0]["image_url"]["url"] == image


def test_the_largest_event_and_reply_are_settings(gateway_for: Any, upstream: Upstream) -> None:
    small = gateway_for(**in_front_of(upstream), EVENT_MAX_SIZE="2000", REPLY_MAX_SIZE="3000")
    heard = Heard(small, upstream, reply(sse(piece(content="Hi"), piece(content="x" * 2500), piece("stop"), DONE)))
    assert heard.error is not None
    assert "2000 bytes of EVENT_MAX_SIZE" in heard.error["message"]
    got = whole(small, upstream, reply(json.dumps(message(content="x" * 4000)).encode(), JSON))
    assert "3000 bytes of REPLY_MAX_SIZE" in got.json()["error"]["message"]


# -- what the contract does not list reaches upstreams of its wire --

USER = {"role": "user", "content": "a"}
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {}}}
ASKED: dict[str, dict[str, Any]] = {
    "a tool of the upstream's own": {"tools": [FUNCTION, {"type": "openrouter:web_search", "max_results": 3}]},
    "only such a tool": {"tools": [{"type": "openrouter:web_search"}], "tool_choice": "auto"},
    "a tool without type": {"tools": [{"function": {"name": "f"}}]},
    "another choice of tools": {"tools": [FUNCTION], "tool_choice": "any"},
    "another format": {"response_format": {"type": "grammar", "value": "root ::= x"}},
    "another tier": {"service_tier": "spot"},
    "a part with a video": {
        "messages": [{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "data:x"}}]}]
    },
    "an answer in images": {"modalities": ["image", "text"]},
    "another detail of an image": {
        "messages": [
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x", "detail": "original"}}]}
        ]
    },
    "sound in another format": {
        "messages": [
            {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "flac"}}]}
        ]
    },
    "another size of a search": {"web_search_options": {"search_context_size": "maximum"}},
    "thinking in the history": {"messages": [USER, {"role": "assistant", "content": THINKING}, USER]},
    "an empty list beside calls, and an image from a tool": {
        "messages": [
            USER,
            {"role": "assistant", "content": [], "tool_calls": [{"id": "a", "type": "function", "function": W}]},
            {"role": "tool", "tool_call_id": "a", "content": [{"type": "image_url", "image_url": {"url": "data:x"}}]},
        ]
    },
}


@pytest.mark.parametrize("case", ASKED)
def test_what_the_contract_does_not_list_is_forwarded_as_it_came(
    relay: LiveGateway, upstream: Upstream, case: str
) -> None:
    model = f"good#{case}"
    got = ask(relay, model, provider="openai", **ASKED[case])
    assert got.status_code == 200, got.text
    sent = upstream.last(model).json
    assert {name: sent[name] for name in ASKED[case]} == ASKED[case]


@pytest.mark.parametrize("case", ASKED)
def test_the_built_in_provider_takes_only_what_the_contract_lists(relay: LiveGateway, case: str) -> None:
    got = ask(relay, "custom", provider="custom", **ASKED[case])
    assert got.status_code == 400, got.text


def test_further_fields_of_embeddings_are_forwarded(relay: LiveGateway, upstream: Upstream) -> None:
    got = ask(relay, "good#input-type", EMBED, provider="openai", input="a", input_type="query")
    assert got.status_code == 200, got.text
    assert upstream.last("good#input-type").json["input_type"] == "query"


def test_what_is_not_listed_is_dropped_or_rejected_as_unknown_params_says(gateway_for: Any, upstream: Upstream) -> None:
    tools = ASKED["a tool of the upstream's own"]
    fields: dict[str, Any] = {"input": "a", "input_type": "query"}
    dropping = gateway_for(**in_front_of(upstream), UNKNOWN_PARAMS="drop")
    got = ask(dropping, "good#dropped-tool", provider="openai", **tools)
    assert (got.status_code, got.headers["x-gateway-dropped-params"]) == (200, "tools.1")
    assert upstream.last("good#dropped-tool").json["tools"] == [FUNCTION]
    got = ask(dropping, "good#dropped-field", EMBED, provider="openai", **fields)
    assert (got.status_code, got.headers["x-gateway-dropped-params"]) == (200, "input_type")
    assert "input_type" not in upstream.last("good#dropped-field").json
    assert ask(dropping, "good", provider="openai", **ASKED["a part with a video"]).status_code == 400
    strict = gateway_for(**in_front_of(upstream), UNKNOWN_PARAMS="reject")
    for operation, more in ((CHAT, tools), (EMBED, fields)):
        assert ask(strict, "good", operation, provider="openai", **more).status_code == 400


def test_what_is_wrong_stays_wrong_beside_what_is_not_listed(relay: LiveGateway) -> None:
    got = ask(relay, "good", provider="openai", temperature="hot", tools=[{"type": "openrouter:web_search"}])
    assert got.status_code == 400
    got = ask(relay, "good", provider="openai", tools=[{"type": "function"}])
    assert (got.status_code, got.json()["error"]["param"]) == (400, "tools[0].function")


def test_an_image_in_a_message_of_a_tool_is_what_is_blamed(relay: LiveGateway) -> None:
    messages = ASKED["an empty list beside calls, and an image from a tool"]["messages"]
    messages = [messages[0], {**messages[1], "content": None}, messages[2]]
    error = ask(relay, "custom", provider="custom", messages=messages).json()["error"]
    assert error["param"] == "messages[2].content[0].type"
    assert error["message"].endswith("expected one of 'text'.")


def test_an_upstream_gets_the_gateways_own_id_as_a_uuid(relay: LiveGateway, upstream: Upstream) -> None:
    got = ask(relay, "good#own-id", provider="openai")
    seen = str(upstream.last("good#own-id").header("x-request-id"))
    assert got.headers["x-request-id"] == f"req_{uuid.UUID(seen).hex}"
    assert (uuid.UUID(seen).version, str(uuid.UUID(seen))) == (4, seen)
    ask(relay, "good#callers-id", provider="openai", headers={"x-request-id": "my-own.id"})
    assert upstream.last("good#callers-id").header("x-request-id") == "my-own.id"


# -- other wires --


def lines(*values: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


PART = {"model": "m", "created_at": "2026-01-01T00:00:00Z", "message": {"role": "assistant", "content": "Hel"}}
LAST = {**PART, "message": {"role": "assistant", "content": "lo"}, "done": True, "done_reason": "stop"}
STARTED = {"id": "i", "type": "message", "role": "assistant", "model": "m", "content": []}
MESSAGES = [
    {"type": "message_start", "message": {**STARTED, "usage": {"input_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lo"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
]
SAID = {**STARTED, "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn"}
OTHER_WIRES = {
    "ollama-lines": ("ollama", reply(lines({**PART, "done": False}, LAST), JSON)),
    "ollama-whole": ("ollama", reply(lines({**LAST, "message": {"role": "assistant", "content": "Hello"}}), JSON)),
    "anthropic-events": (
        "anthropic", reply(b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in MESSAGES), JSON),
    ),
    "anthropic-whole": ("anthropic", reply(json.dumps(SAID).encode())),
    "anthropic-201": ("anthropic", reply(b"\xef\xbb\xbf" + json.dumps(SAID).encode(), JSON, 201)),
}  # fmt: skip


@pytest.fixture(scope="module")
def wires(gateway_for: Any, shared_upstream: Upstream) -> LiveGateway:
    address = shared_upstream.url.removesuffix("/v1")
    env = {"OLLAMA_BASE_URL": address, "ANTHROPIC_BASE_URL": address, "ANTHROPIC_API_KEY": "k-anthropic"}
    live: LiveGateway = gateway_for(**in_front_of(shared_upstream), **env)
    return live


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("case", OTHER_WIRES)
def test_a_body_of_another_wire_is_what_it_holds(
    wires: LiveGateway, upstream: Upstream, case: str, stream: bool
) -> None:
    provider, raw = OTHER_WIRES[case]
    upstream.program(case, raw)
    got = ask(wires, case, provider=provider, stream=stream, max_tokens=9)
    assert got.status_code == 200, got.text
    if stream:
        events = events_of(got)
        assert (events.text, events.error, events.done) == ("Hello", None, True)
        assert [choice["finish_reason"] for choice in events.choices if choice["finish_reason"]] == ["stop"]
        return
    (choice,) = got.json()["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("Hello", "stop")


DOOR: dict[str, tuple[bytes, str, str]] = {
    "every chunk says stop": (
        sse(piece("stop", content="Hel"), piece("stop", content="lo"), piece("length"), DONE), "Hello", "length",
    ),
    "a reason that nobody knows": (sse(piece(content="Hello"), piece("what_nobody_knows"), DONE), "Hello", "length"),
    "no reason": (sse(piece(content="Hello"), DONE), "Hello", "stop"),
    "a summary": (sse(piece(content="Hello"), message(content="Hello"), DONE), "Hello", "stop"),
    "parts": (sse(piece(content=THINKING), piece("stop"), DONE), "Hello", "stop"),
    "JSON": (json.dumps(message(content="Hello")).encode(), "Hello", "stop"),
}  # fmt: skip


@pytest.mark.parametrize("case", DOOR)
def test_callers_of_ollamas_wire_are_told_the_same(relay: LiveGateway, upstream: Upstream, case: str) -> None:
    body, text, reason = DOOR[case]
    upstream.program(f"door#{case}", reply(body))
    asked = {"model": f"openai/door#{case}", "messages": [USER]}
    for stream in (True, False):
        got = post(relay, "/api/chat", {**asked, "stream": stream})
        reported = [json.loads(line) for line in got.text.splitlines()]
        assert got.status_code == 200, got.text
        assert "".join(line["message"]["content"] for line in reported) == text
        assert (reported[-1]["done"], reported[-1]["done_reason"]) == (True, reason)


LINES = [piece(role="assistant", content="Hel"), piece(content="lo"), piece("stop")]


@pytest.mark.parametrize("media", ["application/x-ndjson", JSON, "text/plain"])
def test_a_stream_of_lines_is_read_as_one(relay: LiveGateway, upstream: Upstream, media: str) -> None:
    heard = Heard(relay, upstream, reply(b"".join(json.dumps(one).encode() + b"\n" for one in LINES), media))
    assert (heard.text, heard.ends, heard.done, heard.error) == ("Hello", ["stop"], True, None)


def test_a_stream_of_lines_without_an_end_is_truncated(relay: LiveGateway, upstream: Upstream) -> None:
    raw = b"".join(json.dumps(one).encode() + b"\n" for one in LINES[:2])
    heard = Heard(relay, upstream, reply(raw, "application/x-ndjson"))
    assert (heard.text, heard.ends, heard.done) == ("Hello", [], False)
    assert heard.error is not None


ERRORS_IN_LISTS: list[object] = [
    [{"error": {"code": 503, "message": "in a list"}}],
    {"detail": "in a list"},
    {"errors": ["in a list"]},
]


@pytest.mark.parametrize("said", ERRORS_IN_LISTS)
def test_an_error_in_another_envelope_ends_a_stream(relay: LiveGateway, upstream: Upstream, said: object) -> None:
    heard = Heard(relay, upstream, reply(sse(LINES[0], said, DONE)))
    assert (heard.text, heard.ends, heard.done) == ("Hel", [], False)
    assert "in a list" in json.dumps(heard.error)


@pytest.mark.parametrize("said", ERRORS_IN_LISTS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_error_in_another_envelope_is_an_answer(
    relay: LiveGateway, upstream: Upstream, said: object, *, stream: bool
) -> None:
    model = f"envelope-{stream}-{ERRORS_IN_LISTS.index(said)}"
    upstream.program(model, reply(sse(said, DONE) if stream else json.dumps(said).encode(), EVENTS if stream else JSON))
    response = ask(relay, model, provider="openai", stream=stream)
    assert response.status_code == 502
    assert "in a list" in response.json()["error"]["message"]

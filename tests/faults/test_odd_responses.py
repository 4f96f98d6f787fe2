"""Upstreams of the Responses API whose answers are not what its documents say: nothing is lost, or it is an error."""

import json
from collections.abc import Iterator
from itertools import count
from typing import Any

import httpx2
import pytest

from tests.faults.test_relay import framed
from tests.support.client import frames_of, post
from tests.support.gateway import LiveGateway, SharedGateways, in_front_of
from tests.support.upstream import Exchange, Upstream, running_upstream

pytestmark = pytest.mark.live

type Fields = dict[str, Any]

HEAD: Fields = {"id": "resp_1", "object": "response", "created_at": 7, "model": "pro-1", "status": "completed"}
ANSWERS: dict[str, Any] = {}
_labels = count()


def text(said: str, **more: Any) -> Fields:
    return {"type": "output_text", "text": said, "annotations": [], **more}


def message(*parts: Any) -> Fields:
    return {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [*parts]}


def response(*items: Any, **more: Any) -> Fields:
    return {**HEAD, "output": [*items], **more}


def created(**more: Any) -> Fields:
    return {"type": "response.created", "response": {**response(), "status": "in_progress", **more}}


def added(item: Any, **more: Any) -> Fields:
    return {"type": "response.output_item.added", "output_index": 0, "item": item, **more}


def ended(*items: Any, status: str = "completed", **more: Any) -> Fields:
    return {"type": f"response.{status}", "response": response(*items, status=status, **more)}


def delta(said: str, **more: Any) -> Fields:
    return {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": said, **more}


def done(item: Any, **more: Any) -> Fields:
    return {"type": "response.output_item.done", "output_index": 0, "item": item, **more}


PAGE = {"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 1}
FILE = {"type": "file_citation", "file_id": "f", "filename": "x", "index": 0}
CITED = {"type": "url_citation", "url_citation": {name: value for name, value in PAGE.items() if name != "type"}}
CALL = {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}
THOUGHT = {
    "type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "e",
}  # fmt: skip
SAID = message(text("a"))
LARGE = {**THOUGHT, "odd": 10**30}
# What it is, the answer, and what comes of it: fields of the chat's message, with why it ended, or None for an error.
WHOLE: list[tuple[str, Any, Fields | None]] = [
    ("a text in place of a part", response(message("a", text("b"))), {"content": "ab"}),
    ("a text in place of parts", response({**message(), "content": "ab"}), {"content": "ab"}),
    ("no output", response(output=None), {"content": None}),
    ("no time", {**response(message(text("a"))), "created_at": None}, {"content": "a"}),
    ("a page and a file", response(message(text("a", annotations=[PAGE, FILE]))), {
        "annotations": [CITED], "other_annotations": [FILE],
    }),
    ("an unknown item", response({"type": "odd"}, message(text("a"))), {"other_items": [{"type": "odd"}]}),
    ("cut off for no reason", response(message(text("a")), status="incomplete"), {"finish": "length"}),
    ("arguments as an object", response({**CALL, "arguments": {"a": 1}}), {"finish": "tool_calls"}),
    ("no end yet", response(status="in_progress"), None),
    ("cancelled", response(status="cancelled"), None),
    ("failed", response(status="failed"), None),
    ("a number in place of items", response(output=5), None),
    ("a number in place of parts", response({**message(), "content": 5}), None),
    ("words in place of a time", response(message(text("a")), created_at="now"), None),
    ("words in place of details", response(status="incomplete", incomplete_details="odd"), None),
    ("words in place of counts", response(usage={"input_tokens": "odd"}), None),
    ("a list", [1], None),
    ("lists in place of words", response(status=["odd"]), {"content": None}),
    ("a number that is too large", response(LARGE), {"reasoning_items": [LARGE]}),
]  # fmt: skip
# The same of events: what the chunks say together.
STREAMED: list[tuple[str, list[Any], Fields | None]] = [
    ("only the end", [created(), ended(message(text("a")), CALL)], {"content": "a", "calls": 1}),
    ("no beginning", [delta("a"), ended(message(text("a")))], {"content": "a"}),
    (
        "arguments told twice",
        [created(), added(CALL), {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": "{}"},
         done(CALL), ended(CALL)],
        {"arguments": "{}"},
    ),
    ("arguments told at once", [created(), added(CALL), done(CALL), ended(CALL)], {"arguments": "{}"}),
    ("arguments told at the end", [created(), added({**CALL, "arguments": ""}), ended(CALL)], {"arguments": "{}"}),
    (
        "arguments told at the beginning",
        [created(), added(CALL), done({**CALL, "arguments": ""}), ended()],
        {"arguments": "{}"},
    ),
    ("no items", [created(), delta("a"), delta("b"), ended(message(text("ab")))], {"content": "ab"}),
    ("reasoning at the end", [created(), ended(THOUGHT)], {"reasoning_content": "hm", "reasoning_items": [THOUGHT]}),
    (
        "sources at the end",
        [created(), delta("a"), done(message(text("a", annotations=[PAGE]))), ended(message(text("a")))],
        {"content": "a", "annotations": [CITED]},
    ),
    (
        "sources of both kinds",
        [created(), done(message(text("a", annotations=[FILE]))), ended()],
        {"content": "a", "other_annotations": [FILE]},
    ),
    (
        "no place",
        [created(), {**delta("a"), "output_index": None}, {**done(SAID), "output_index": None}, ended(SAID)],
        {"content": "a"},
    ),
    ("unknown events", [created(), {"type": "odd"}, [1], delta("a"), ended()], {"content": "a"}),
    ("cut off for no reason", [created(), delta("a"), ended(status="incomplete")], {"finish": "length"}),
    ("a text in place of an item", [created(), done("odd"), ended()], None),
    ("a text in place of a response", [{"type": "response.created", "response": "odd"}, ended()], None),
    ("a list in place of an index", [created(), delta("a", output_index=[0]), ended()], None),
    ("no end", [created(), delta("a")], None),
]  # fmt: skip


async def answer(exchange: Exchange) -> None:
    reported = ANSWERS.get(exchange.seen.model, [])
    if not exchange.seen.path.endswith("/responses"):
        await exchange.json({"error": {"message": "no chat here"}}, status=404)
    elif exchange.seen.json.get("stream"):
        await exchange.open_stream()
        for event in reported:
            await exchange.chunk(framed(event) if isinstance(event, dict) else b"data: [1]\n\n")
        await exchange.end_stream()
    else:
        await exchange.json(reported)


@pytest.fixture(scope="module")
def odd() -> Iterator[Upstream]:
    with running_upstream(answer) as running:
        yield running


@pytest.fixture(scope="module")
def gate(gateway_for: SharedGateways, odd: Upstream, tmp_path_factory: pytest.TempPathFactory) -> LiveGateway:
    config = tmp_path_factory.mktemp("odd") / "gateway.toml"
    shared = f'base_url = "{odd.url}"\napi_key = "sk-lab"\n'
    by_chat, by_itself = '[providers.lab]\nresponses_only = "pro-.*"\n', '[providers.own]\nwires = ["responses"]\n'
    config.write_text(by_chat + shared + by_itself + shared)
    environment = {name: value for name, value in in_front_of(odd).items() if not name.startswith("PROVIDER_LAB")}
    return gateway_for(**environment, GATEWAY_CONFIG=str(config))


def ask(gate: LiveGateway, reported: Any, path: str = "/lab/v1/chat/completions", **body: Any) -> httpx2.Response:
    model = f"pro-{next(_labels)}"
    ANSWERS[model] = reported
    said = {"messages": [{"role": "user", "content": "hi"}]} if "chat" in path else {"input": "hi"}
    return post(gate, path, {"model": model, **said, **body})


def asked(odd: Upstream) -> Fields:
    """What the upstream was asked for last."""
    return [seen for seen in odd.requests if seen.path.endswith("/responses")][-1].json


@pytest.mark.parametrize(("reported", "expected"), [pytest.param(*row[1:], id=row[0]) for row in WHOLE])
def test_a_whole_answer_is_read_as_far_as_it_says_anything(
    gate: LiveGateway, reported: Any, expected: Fields | None
) -> None:
    reply = ask(gate, reported)
    if expected is None:
        assert reply.status_code == 502, reply.text
        return
    assert reply.status_code == 200, reply.text
    choice = reply.json()["choices"][0]
    found = {**choice["message"], "finish": choice["finish_reason"]}
    assert {name: found.get(name) for name in expected} == expected
    assert reply.json()["created"] > 0


@pytest.mark.parametrize(("reported", "expected"), [pytest.param(*row[1:], id=row[0]) for row in STREAMED])
def test_a_stream_tells_what_its_events_say_and_no_more(
    gate: LiveGateway, reported: list[Any], expected: Fields | None
) -> None:
    reply = ask(gate, reported, stream=True)
    data = [line.removeprefix("data: ") for line in reply.text.splitlines() if line.startswith("data: ")]
    if expected is None:
        assert reply.status_code == 502 or ("error" in json.loads(data[-1]) and "[DONE]" not in data)
        return
    assert data.pop() == "[DONE]"
    found: Fields = {"content": "", "calls": 0, "arguments": ""}
    for choice in [choice for chunk in data for choice in json.loads(chunk)["choices"]]:
        said = choice["delta"]
        found["content"] += said.get("content") or ""
        for call in said.get("tool_calls", ()):
            found["calls"] += "id" in call
            found["arguments"] += call["function"].get("arguments", "")
        found["finish"] = choice["finish_reason"]
        found |= {name: each for name, each in said.items() if name not in {"content", "role", "refusal"}}
    assert {name: found.get(name) for name in expected} == expected


def test_the_request_says_where_to_search_and_names_what_is_lost(gate: LiveGateway, odd: Upstream) -> None:
    place = {"type": "approximate", "approximate": {"country": "DE"}}
    mark = {"prompt_cache_breakpoint": {"mode": "explicit"}}
    parts = [{"type": "text", "text": "x", **mark}]
    said = {"role": "assistant", "content": "a", "reasoning_content": "hm"}
    body: Fields = {
        "messages": [{"role": "user", "name": "bob", "content": parts}, said, {"role": "user", "content": "y"}],
        "web_search_options": {"user_location": place},
    }
    reply = ask(gate, response(message(text("a"))), **body)
    sent = asked(odd)
    assert sent["tools"] == [{"type": "web_search", "user_location": {"type": "approximate", "country": "DE"}}]
    assert sent["input"][0]["content"] == [{"type": "input_text", "text": "x", **mark}]
    assert reply.headers["x-gateway-dropped-params"] == "messages.name,messages.reasoning_content"


# -- relayed --


def test_what_only_the_gateway_can_read_is_not_relayed(gate: LiveGateway, odd: Upstream) -> None:
    """An upstream refuses reasoning that it has not sealed; a client that has changed its model sends some along."""
    theirs = {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "theirs"}
    user = {"role": "user", "content": "hi", "odd": {"a": 1}}
    ours = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gw1.bGFi.eJw.x"}
    reply = ask(gate, response(message(text("a"))), "/own/v1/responses", input=[user, ours, theirs], odd=1)
    assert reply.status_code == 200, reply.text
    assert (asked(odd)["input"], asked(odd)["odd"]) == ([user, theirs], 1)


def test_a_compaction_of_the_gateways_is_relayed_as_its_summary(gate: LiveGateway, odd: Upstream) -> None:
    made = post(gate, "/custom/v1/responses/compact", {"model": "custom-chat", "input": "hello"})
    items = made.json()["output"]
    assert [item["type"] for item in items] == ["compaction"]
    ask(gate, response(message(text("a"))), "/own/v1/responses", input=[*items, {"role": "user", "content": "go on"}])
    summary, user = asked(odd)["input"]
    assert (summary["role"], user) == ("user", {"role": "user", "content": "go on"})
    assert summary["content"]


def test_a_stream_that_breaks_before_it_begins_ends_in_an_event_of_the_contract(gate: LiveGateway) -> None:
    reply = ask(gate, [{"type": "keepalive", "sequence_number": 0}], "/own/v1/responses", stream=True)
    *_, event, end, _ = frames_of(reply.text)
    assert end == "data: [DONE]"
    name, data = event.split("\n")
    reported = json.loads(data.removeprefix("data: "))
    assert (name, reported["type"], reported["sequence_number"]) == ("event: error", "error", 1)
    assert (reported["code"], reported["param"]) == ("upstream_stream_truncated", None)


def test_a_stream_that_begins_with_an_odd_event_has_begun_when_it_breaks(gate: LiveGateway) -> None:
    reply = ask(gate, [{"type": "response.odd", "sequence_number": 0}], "/own/v1/responses", stream=True)
    *events, end, _ = frames_of(reply.text)
    assert end == "data: [DONE]"
    sent = [json.loads(event.partition("data: ")[2]) for event in events]
    assert [event["type"] for event in sent] == ["response.created", "response.odd", "response.failed"]
    assert [event["sequence_number"] for event in sent] == [0, 1, 2]
    assert sent[0]["response"]["id"] == sent[2]["response"]["id"]


def test_a_response_without_id_goes_out_and_is_not_kept(gate: LiveGateway) -> None:
    reported = {"object": "response", "output": []}
    reply = ask(gate, reported, "/own/v1/responses")
    assert (reply.status_code, reply.json()) == (200, reported)


def test_a_conversation_goes_on_where_its_items_are_known(gate: LiveGateway, odd: Upstream) -> None:
    """Upstreams have kinds of items that no document has yet: they are theirs to read again, and nobody else's."""
    own = [{"type": "odd_call", "id": "odd_1", "code": None}, {**SAID, "phase": None, "odd": 1}]
    reported = response(*own, id=f"resp_odd{next(_labels)}")
    assert ask(gate, reported, "/own/v1/responses").json() == reported
    path, before = "/own/v1/responses", {"previous_response_id": reported["id"]}
    said = [{"role": "user", "content": "go on", "odd": None}]
    assert ask(gate, response(SAID, id="resp_next"), path, input=said, **before).status_code == 200
    first, *rest = asked(odd)["input"]
    assert (first["role"], rest) == ("user", [*own, *said])
    elsewhere = post(gate, "/custom/v1/responses", {"model": "custom-chat", "input": "go on", **before})
    error = elsewhere.json()["error"]
    assert (elsewhere.status_code, error["param"]) == (400, "previous_response_id")
    assert "odd_call" in error["message"]


@pytest.mark.parametrize("output", [None, "odd", ["odd"]])
def test_an_output_that_is_none_is_no_history(gate: LiveGateway, odd: Upstream, output: Any) -> None:
    reported = {**HEAD, "output": output, "id": f"resp_odd{next(_labels)}"}
    ask(gate, reported, "/own/v1/responses")
    after = ask(gate, response(SAID), "/own/v1/responses", previous_response_id=reported["id"])
    assert after.status_code == 200, after.text
    assert [item["role"] for item in asked(odd)["input"]] == ["user", "user"]


def test_a_refusal_of_what_was_said_before_names_the_field_that_its_caller_has_sent(gate: LiveGateway) -> None:
    call = {"type": "computer_call", "id": "c", "call_id": "c", "status": "completed", "pending_safety_checks": []}
    reported = response({**call, "actions": [{"type": "wait"}]}, id=f"resp_odd{next(_labels)}")
    ask(gate, reported, "/own/v1/responses")
    body = {"model": "custom-chat", "input": "go on", "previous_response_id": reported["id"]}
    assert post(gate, "/custom/v1/responses", body).json()["error"]["param"] == "previous_response_id"


def test_numbers_of_any_size_are_sealed_and_come_back(gate: LiveGateway, odd: Upstream) -> None:
    items = ask(gate, response(LARGE, CALL), "/lab/v1/responses").json()["output"]
    result = {"type": "function_call_output", "call_id": "c", "output": "r"}
    said = [{"role": "user", "content": "hi"}, *items, result]
    assert ask(gate, response(SAID), "/lab/v1/responses", input=said).status_code == 200
    assert LARGE in asked(odd)["input"]


@pytest.mark.parametrize("reported", [["odd"], "odd", {"a": []}])
def test_a_relayed_answer_of_an_odd_form_is_no_fault_of_the_gateways(gate: LiveGateway, reported: Any) -> None:
    assert ask(gate, {**response(), "object": reported}, "/own/v1/responses").status_code == 502
    failed = {"type": "response.failed", "response": reported}
    reply = ask(gate, [created(), failed], "/own/v1/responses", stream=True)
    assert "The gateway failed" not in reply.text

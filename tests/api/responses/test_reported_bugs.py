"""What other gateways and servers were reported to get wrong about the Responses API, by the number of its row here.

| Row | Reported of | Right |
|---|---|---|
| 1 | LiteLLM 22102 | any stream: an item is added before its first delta |
| 2 | LiteLLM 28899 | any stream: numbers from 0 without a gap, `text.format`, the details of the usage |
| 3 | LiteLLM 37852 | a mere call: no message is closed that was never opened |
| 4 | LiteLLM 41185 | reasoning, then a text: the text's item has an index of its own |
| 5 | LiteLLM 36375, 32777 | a text and a call: one id and one index from added to the final output |
| 6 | LiteLLM 27442 | the same in front of Messages: no content block has the index -1 |
| 7 | LiteLLM 20905 | `apply_patch_call` and its output in the input: kept |
| 8 | LiteLLM 21154, 22599 | two calls in the input: one assistant message with both |
| 9 | LiteLLM 40833, 37710, 34352; omlx 2817 | cut off by length: incomplete, with the reason |
| 10 | ogx 5309 | a text: `output_text.done` before `content_part.done` |
| 11 | ogx 4561, 4452 | tools of a server: a loop that ends, and one list of them |
| 12 | vLLM 39584 | two calls in one delta: two items |
| 13 | vLLM 46737, Ollama 15921, CLIProxyAPI 4106, omlx 3371 | a tool of a namespace: called back by its name in it |
| 14 | vLLM 36435, 29725 | a call that the model has written into its text: see below |
| 15 | llama.cpp 20156, 23465, 23553 | built-in tools are left out, outputs may be lists |
| 16 | Ollama 17618, CommandCode 885, coder 28656 | `web_search`, as Codex always sends it: 200 |
| 17 | Bifrost 3170, 2093, 5325 | `tool_search` gets no description; reasoning goes back as `reasoning_content` |
| 18 | openclaw 88499, vercel/ai 15308 | `previous_response_id` of nobody, or of another key: 400 |
| 19 | cc-switch 3442, 9router 1648, openclaw 108989 | the upstream breaks off: `response.failed`, then `[DONE]` |
| 20 | praxis 1267, Envoy 2239 | cached tokens: both details are there, nothing counts twice |
| 21 | Codex 43353, NeMo-Relay 994, coder 26565 | a request to change to a WebSocket: 426 at once |

Row 11 is in `tests/tools/test_responses_door.py`; what is the same of an upstream that speaks this API itself, in
`test_background_relayed.py` and `tests/faults/test_relay.py`. Rows 1 to 5, 10 and 12 are the grammar that every stream
of these tests is checked with (`check`, `events_of`); the property tests of `tests/api/test_response_bridge.py` put
every legal and illegal upstream through it.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from scripts.fuzz.response_grammar import check
from tests.support import fake_anthropic
from tests.support.administration import ADMINISTERED
from tests.support.client import client_of, get, post
from tests.support.gateway import TEST_KEY, in_front_of, running_gateway
from tests.support.responses import USAGE, Chatting, called, events_of, valid
from tests.support.upstream import Upstream, running_upstream

pytestmark = pytest.mark.live

type Fields = dict[str, Any]

OTHER = "sk-test-another-0123456789"
LOOK: Fields = {"type": "function", "name": "look", "parameters": {"type": "object"}}
PATCH: Fields = {"type": "custom", "name": "patch"}
SPACE: Fields = {"type": "namespace", "name": "files", "description": "", "tools": [LOOK, PATCH]}


@pytest.fixture(scope="module")
def chat(upstream: Upstream) -> Iterator[Chatting]:
    with running_upstream(fake_anthropic.behave) as claude:
        anthropic = {"ANTHROPIC_BASE_URL": claude.url, "ANTHROPIC_API_KEY": "sk-ant"}
        settings = {**ADMINISTERED, **in_front_of(upstream), **anthropic}
        with running_gateway(ALLOWED_API_KEYS=f"{TEST_KEY},{OTHER}", **settings) as live:
            yield Chatting(live, upstream)


def every_way(
    chat: Chatting, message: Fields, *deltas: Fields, finish: str = "stop", usage: Any = USAGE, **body: Any
) -> list[Fields]:
    """The response where the upstream says so: whole, streamed, and both in the background."""
    whole, _ = chat.ask(message, finish=finish, usage=usage, **body)
    *_, end = chat.stream(*deltas, {"finish": finish}, *([{"usage": usage}] if usage else []), **body)
    return [whole, end["response"], *chat.queue(message, *deltas, finish=finish, usage=usage, **body)]


def kinds(response: Fields) -> list[str]:
    return [item["type"] for item in response["output"]]


def calling(name: str = "look", *ids: str) -> Fields:
    """A delta, and a message, that calls a function once for each id."""
    calls = [called(name, "{}", each) for each in ids or ("c",)]
    return {"tool_calls": [{"index": at, **call} for at, call in enumerate(calls)]}


def message_of(delta: Fields) -> Fields:
    calls = [{name: value for name, value in call.items() if name != "index"} for call in delta["tool_calls"]]
    return {**delta, "tool_calls": calls}


def test_1_2_10_every_stream_is_announced_numbered_and_whole(chat: Chatting) -> None:
    """Rows 1, 2 and 10: for texts, refusals, reasoning and calls."""
    said: list[Fields] = [{"content": "a"}, {"refusal": "no"}, {"reasoning": "hm"}, calling()]
    for delta in said:
        events = chat.stream(delta, {"finish": "stop"}, {"usage": USAGE}, tools=[LOOK])
        added: set[str] = set()
        for event in events:
            if event["type"] == "response.output_item.added":
                added.add(event["item"]["id"])
            assert event.get("item_id") is None or event["item_id"] in added
        for item in added:
            ends = [event["type"] for event in events if event.get("item_id") == item and "done" in event["type"]]
            assert ends == sorted(ends, key=lambda name: "part" in name)
    for response in every_way(chat, {"content": "a"}, {"content": "a"}):
        assert response["text"] == {"format": {"type": "text"}}
        assert response["usage"]["input_tokens_details"] == {"cached_tokens": 3, "cache_write_tokens": 2}
        assert response["usage"]["output_tokens_details"] == {"reasoning_tokens": 1}
    bare = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    for response in every_way(chat, {"content": "a"}, {"content": "a"}, usage=bare):
        assert response["usage"]["input_tokens_details"] == {"cached_tokens": 0, "cache_write_tokens": 0}


@pytest.mark.parametrize("tool", [LOOK, {**PATCH, "name": "look"}, {"type": "tool_search", "execution": "client"}])
def test_3_a_mere_call_has_no_message(chat: Chatting, tool: Fields) -> None:
    """Row 3: for functions, custom tools, and tools that can only be told whole."""
    delta = calling("tool_search" if tool["type"] == "tool_search" else "look")
    for response in every_way(chat, message_of(delta), delta, finish="tool_calls", tools=[tool]):
        assert kinds(response) == [f"{tool['type']}_call".replace("custom_call", "custom_tool_call")]


def test_4_5_each_item_has_an_index_and_an_id_of_its_own(chat: Chatting) -> None:
    """Rows 4 and 5: reasoning, a text and calls after one another, in that order and back."""
    orders: list[list[Fields]] = [
        [{"reasoning": "hm"}, {"content": "ab"}, calling()],
        [{"content": "ab"}, calling("look", "c", "d")],
        [{"content": "ab"}, {"reasoning": "hm"}, calling()],
    ]
    for deltas in orders:
        events = chat.stream(*deltas, {"finish": "tool_calls"}, tools=[LOOK])
        places = {event["item"]["id"]: event["output_index"] for event in events if "item" in event}
        assert sorted(places.values()) == [*range(len(places))]
        assert all(places[event["item_id"]] == event["output_index"] for event in events if "item_id" in event)
        assert [item["id"] for item in events[-1]["response"]["output"]] == [*places]


@pytest.mark.parametrize("deltas", [[calling()], [{"content": "a"}, calling()], [{"reasoning": "hm"}, calling()], []])
def test_6_blocks_of_messages_count_from_0(chat: Chatting, deltas: list[Fields]) -> None:
    """Row 6: with a call first, after a text, after reasoning, and with nothing at all."""
    model = chat.streaming([*deltas, {"finish": "tool_calls" if deltas else "stop"}], done=True)
    tools = [{"name": "look", "input_schema": {"type": "object"}}]
    body = {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "x"}], "tools": tools}
    reply = post(chat.live, "/lab/v1/messages", {**body, "stream": True}, headers={"anthropic-version": "2023-06-01"})
    events = [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: ")]
    started = [event["index"] for event in events if event["type"] == "content_block_start"]
    assert started == [*range(len(started))]
    assert {event["index"] for event in events if "index" in event} == {*started}


PATCHED: Fields = {"type": "update_file", "path": "a.py", "diff": "@@\n-a\n+b"}
HISTORY: list[tuple[list[Fields], list[str], list[str]]] = [
    (
        [
            {"type": "apply_patch_call", "call_id": "p", "status": "completed", "operation": PATCHED},
            {"type": "apply_patch_call_output", "call_id": "p", "status": "completed", "output": "done"},
        ],
        ["p"],
        ["done"],
    ),
    (
        [
            {"type": "function_call", "call_id": "a", "name": "look", "arguments": "{}"},
            {"type": "function_call", "call_id": "b", "name": "look", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "b", "output": "2"},
            {"type": "function_call_output", "call_id": "a", "output": [{"type": "input_text", "text": "1"}]},
        ],
        ["a", "b"],
        ["1", "2"],
    ),
    (
        [
            {"type": "function_call", "call_id": "a", "name": "look", "arguments": "{}"},
            {"type": "custom_tool_call", "call_id": "b", "name": "patch", "input": "x"},
            {"type": "custom_tool_call_output", "call_id": "b", "output": "2"},
            {"type": "function_call_output", "call_id": "a", "output": "1"},
        ],
        ["a", "b"],
        ["1", "2"],
    ),
]


@pytest.mark.parametrize(("items", "calls", "results"), HISTORY, ids=["patch", "two", "kinds"])
@pytest.mark.parametrize("stream", [False, True])
def test_7_8_calls_of_the_input_stand_together_and_keep_their_outputs(
    chat: Chatting, items: list[Fields], calls: list[str], results: list[str], stream: bool
) -> None:
    """Rows 7 and 8 (and 15 for outputs that are lists)."""
    given = [{"role": "user", "content": "go"}, *items]
    tools = [LOOK, PATCH, {"type": "apply_patch"}]
    if stream:
        chat.stream({"content": "ok"}, {"finish": "stop"}, input=given, tools=tools)
        sent = [seen.json for seen in chat.upstream.requests if seen.json.get("stream")][-1]
    else:
        _, sent = chat.ask({"content": "ok"}, input=given, tools=tools)
    _, assistant, *reported = sent["messages"]
    assert [call["id"] for call in assistant["tool_calls"]] == calls
    texts = [each["content"] if isinstance(each["content"], str) else each["content"][0]["text"] for each in reported]
    assert ([each["tool_call_id"] for each in reported], texts) == (calls, results)


@pytest.mark.parametrize(("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
@pytest.mark.parametrize("delta", [{"content": "ab"}, {"reasoning": "hm"}, {}, calling()], ids=str)
def test_9_what_is_cut_off_is_incomplete(chat: Chatting, finish: str, reason: str, delta: Fields) -> None:
    """Row 9: a text, reasoning, nothing, and a call."""
    message = message_of(delta) if "tool_calls" in delta else delta
    for response in every_way(chat, message, *([delta] if delta else []), finish=finish, tools=[LOOK]):
        assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": reason})
        assert response["completed_at"] is None
        assert response["output"][-1].get("status") == "incomplete"


@pytest.mark.parametrize("stream", [False, True])
def test_9_the_same_of_another_wire(chat: Chatting, stream: bool) -> None:
    """Row 9, where the provider speaks Anthropic's Messages."""
    reply = post(chat.live, "/anthropic/v1/responses", {"model": "cut-length", "input": "x", "stream": stream})
    response = events_of(reply.text)[-1]["response"] if stream else reply.json()
    assert (response["status"], response["incomplete_details"]["reason"]) == ("incomplete", "max_output_tokens")


def test_12_two_calls_in_one_delta_are_two_items(chat: Chatting) -> None:
    """Row 12: also where they are of two kinds."""
    delta = calling("look", "a", "b")
    delta["tool_calls"].append({"index": 2, **called("patch", '{"input": "x"}', "c")})
    for response in every_way(chat, message_of(delta), delta, finish="tool_calls", tools=[LOOK, PATCH]):
        assert kinds(response) == ["function_call", "function_call", "custom_tool_call"]
        assert [item["call_id"] for item in response["output"]] == ["a", "b", "c"]


@pytest.mark.parametrize("called_as", ["files__look", "look"])
def test_13_a_tool_of_a_namespace_is_called_by_its_name_in_it(chat: Chatting, called_as: str) -> None:
    """Row 13: under the name that the model was offered, and under the bare one, which some models use."""
    delta = calling(called_as)
    for response in every_way(chat, message_of(delta), delta, finish="tool_calls", tools=[SPACE]):
        (item,) = response["output"]
        assert (item["type"], item["namespace"], item["name"]) == ("function_call", "files", "look")
    found = {"type": "additional_tools", "role": "developer", "tools": [SPACE]}
    given = [found, {"role": "user", "content": "go"}]
    for response in every_way(chat, message_of(delta), delta, finish="tool_calls", input=given):
        assert (response["output"][0]["namespace"], response["output"][0]["name"]) == ("files", "look")


WRITTEN = [
    '<tool_call>\n{"name": "look", "arguments": {}}\n</tool_call>',
    "I will look.\n<tool_call>\n<function=look>\n</function>\n</tool_call>",
    '[TOOL_CALLS][{"name": "look", "arguments": {}}]',
    "<|python_tag|>look()",
]


@pytest.mark.parametrize("text", WRITTEN)
def test_14_a_call_that_is_written_into_the_text_stays_the_text(chat: Chatting, text: str) -> None:
    """Row 14: whoever serves the model knows its template, and whether these words were meant as a call.

    Here nobody does: a text about such calls looks the same, and one taken for a call would be run. So no word of it is
    lost or run, and `ai-gateway probe` tells that such a server calls no tools.
    """
    pieces: list[Fields] = [{"content": text[at : at + 5]} for at in range(0, len(text), 5)]
    for response in every_way(chat, {"content": text}, *pieces, tools=[LOOK]):
        (message,) = response["output"]
        assert message["content"][0]["text"] == text
        assert response["status"] == "completed"


HOSTED = [
    {"type": "web_search", "external_web_access": False},
    {"type": "file_search", "vector_store_ids": ["vs_1"]},
    {"type": "code_interpreter", "container": {"type": "auto"}},
    {"type": "image_generation"},
    {"type": "computer_use_preview", "environment": "linux", "display_width": 1, "display_height": 1},
    {"type": "mcp", "server_label": "s", "server_url": "https://mcp.example"},
]


@pytest.mark.parametrize("tool", HOSTED, ids=lambda tool: str(tool["type"]))
@pytest.mark.parametrize("background", [False, True])
def test_15_16_tools_that_nobody_here_runs_are_left_out_and_named(
    chat: Chatting, tool: Fields, background: bool
) -> None:
    """Rows 15 and 16: beside a function and alone, at once and in the background."""
    for tools in ([tool, LOOK], [tool]):
        model = chat.saying({"content": "ok"}, "stop", USAGE)
        body = {"model": model, "input": "x", "tools": tools, "tool_choice": "auto", "background": background}
        reply = post(chat.live, "/lab/v1/responses", body)
        assert reply.status_code == 200, reply.text
        assert reply.headers["x-gateway-dropped-params"] == f"tools.{tool['type']}"
        sent = chat.upstream.last(model).json
        assert [each["function"]["name"] for each in sent.get("tools", [])] == ["look"] * (len(tools) - 1)


def test_17_a_search_for_tools_is_not_described_and_reasoning_goes_back(chat: Chatting) -> None:
    """Row 17: without a description, with null, and with one; reasoning with an id alone, and with content."""
    for reported in ({}, {"description": None}, {"description": "finds"}):
        _, sent = chat.ask({"content": "ok"}, tools=[{"type": "tool_search", "execution": "client", **reported}])
        assert sent["tools"][0]["function"].get("description") == reported.get("description")
    summary = {"summary": [{"type": "summary_text", "text": "hm"}]}
    for thought in (summary, {**summary, "content": None}, {"content": [{"type": "reasoning_text", "text": "hm"}]}):
        item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": None, **thought}
        answer = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]}
        call = {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}
        for after in ([answer], [call], [answer, call]):
            results = [{"type": "function_call_output", "call_id": "c", "output": "r"}] if call in after else []
            given = [{"role": "user", "content": "x"}, item, *after, *results]
            _, sent = chat.ask({"content": "ok"}, input=given, tools=[LOOK])
            assert sent["messages"][1]["reasoning_content"] == "hm"


@pytest.mark.parametrize("more", [{}, {"stream": True}, {"background": True}, {"background": True, "stream": True}])
def test_18_nobody_goes_on_from_what_is_anothers(chat: Chatting, more: Fields) -> None:
    """Row 18: at once, streamed, in the background, and for counting and compaction."""
    theirs = post(chat.live, "/v1/responses", {"model": "custom-chat", "input": "x"}, key=OTHER).json()["id"]
    for previous in ("resp_none", theirs):
        for path in ("", "/input_tokens", "/compact"):
            fields = {"model": "custom-chat", "input": "y", "previous_response_id": previous}
            refused = post(chat.live, f"/v1/responses{path}", {**fields, **({} if path else more)})
            error = refused.json()["error"]
            assert (refused.status_code, error["code"]) == (400, "previous_response_not_found")
            assert error["param"] == "previous_response_id"


@pytest.mark.parametrize("deltas", [[], [{"content": "a"}], [{"reasoning": "hm"}], [calling()]], ids=str)
@pytest.mark.parametrize("done", [False, True])
def test_19_a_stream_that_breaks_off_fails_and_is_closed(chat: Chatting, deltas: list[Fields], done: bool) -> None:
    """Row 19: before anything, in a text, in reasoning, in a call. With `[DONE]` the upstream has said that it ends."""
    model = chat.streaming([{"role": "assistant"}, *deltas], done=done)
    for background in (False, True):
        body = {"model": model, "input": "x", "stream": True, "tools": [LOOK], "background": background}
        reply = post(chat.live, "/lab/v1/responses", body)
        assert reply.text.endswith("data: [DONE]\n\n")
        final = check(reply.content)
        assert (final["status"], kinds(final)[:1] != []) == (("completed", True) if done else ("failed", bool(deltas)))


def test_20_no_token_counts_twice(chat: Chatting) -> None:
    """Row 20: read from a cache, written to one, both, and of a provider that counts them beside the rest."""
    for read, written in ((0, 0), (5, 0), (0, 5), (3, 2), (None, None)):
        details = {"cached_tokens": read, "cache_write_tokens": written}
        counted = {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11, "prompt_tokens_details": details}
        for response in every_way(chat, {"content": "a"}, {"content": "a"}, usage=counted):
            usage = response["usage"]
            assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (7, 4, 11)
            reported = {"cached_tokens": read or 0, "cache_write_tokens": written or 0}
            assert usage["input_tokens_details"] == reported
    claude = fake_anthropic.USAGE
    given = sum(claude[f"{each}input_tokens"] for each in ("", "cache_read_", "cache_creation_"))
    for stream in (False, True):
        reply = post(chat.live, "/anthropic/v1/responses", {"model": "claude", "input": "x", "stream": stream})
        usage = (events_of(reply.text)[-1]["response"] if stream else reply.json())["usage"]
        assert usage["input_tokens"] == given
        assert usage["input_tokens_details"] == {
            "cached_tokens": claude["cache_read_input_tokens"],
            "cache_write_tokens": claude["cache_creation_input_tokens"],
        }
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


@pytest.mark.parametrize("path", ["/v1/responses", "/lab/v1/responses"])
def test_21_a_websocket_is_refused_at_once(chat: Chatting, path: str) -> None:
    """Row 21: where Codex asks for it."""
    headers = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    headers |= {"sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==", "openai-beta": "responses_websockets=2026-02-06"}
    with client_of(chat.live) as client:
        assert client.get(path, headers=headers).status_code == 426


def test_the_answers_are_the_contracts(chat: Chatting) -> None:
    """Whatever way an answer came, it can be read again as it was told."""
    for response in every_way(chat, {"content": "a"}, {"content": "a"}, store=True):
        assert get(chat.live, f"/v1/responses/{response['id']}").json() == response
        valid("Response").validate(response)


def test_a_call_that_was_cut_off_is_no_part_of_what_follows(chat: Chatting) -> None:
    """Nobody can have answered it, and no provider of chat takes a call without its result."""
    half: Fields = {"tool_calls": [called("look", '{"a', "c")]}
    first, _ = chat.ask({"content": "ab", **half}, finish="length", tools=[LOOK])
    assert kinds(first) == ["message", "function_call"]
    _, sent = chat.ask({"content": "ok"}, previous_response_id=first["id"], input="go on")
    assert [each["content"] for each in sent["messages"]] == ["hello", "ab", "go on"]
    assert not any("tool_calls" in each for each in sent["messages"])

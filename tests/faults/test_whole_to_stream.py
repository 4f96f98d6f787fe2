"""Upstreams that are asked for a stream on the caller's own wire, and answer in one piece: the caller gets a stream."""

import json
from collections.abc import Iterator
from itertools import count
from typing import Any

import anthropic
import openai
import pytest

from tests.support.client import client_of, frames_of
from tests.support.gateway import ONE_ATTEMPT, TEST_KEY, LiveGateway, SharedGateways
from tests.support.responses import events_of, valid
from tests.support.upstream import Exchange, Upstream, running_upstream

pytestmark = pytest.mark.live

USAGE = {
    "input_tokens": 30, "input_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 0},
    "output_tokens": 7, "output_tokens_details": {"reasoning_tokens": 2}, "total_tokens": 37,
}  # fmt: skip
RESPONSE = {
    "id": "resp_1", "object": "response", "created_at": 1, "completed_at": 2, "status": "completed", "model": "m",
    "error": None, "incomplete_details": None, "instructions": None, "metadata": {}, "parallel_tool_calls": True,
    "temperature": 1.0, "tool_choice": "auto", "tools": [], "top_p": 1.0, "usage": USAGE,
}  # fmt: skip
ANNOTATION = {"type": "url_citation", "url": "https://a.example", "title": "A", "start_index": 0, "end_index": 2}
TEXT = {"type": "output_text", "text": "Hé\n\u2028!", "annotations": [], "logprobs": []}


def _message(*content: dict[str, Any], **more: Any) -> dict[str, Any]:
    said = {"type": "message", "id": "m1", "role": "assistant", "status": "completed", "content": [*content]}
    return said | more


ITEMS: dict[str, list[dict[str, Any]]] = {
    "nothing": [],
    "a text": [_message(TEXT)],
    "two texts, one cited": [_message(TEXT, {**TEXT, "annotations": [ANNOTATION, ANNOTATION]})],
    "no text": [_message({**TEXT, "text": ""}), _message(id="m2")],
    "a refusal": [_message({"type": "refusal", "refusal": "No."})],
    "a call": [
        {"type": "function_call", "id": "f1", "call_id": "c1", "name": "f", "arguments": '{"a": 1}',
         "status": "completed"},
        {"type": "function_call", "id": "f2", "call_id": "c2", "name": "f", "arguments": "", "status": "completed"},
    ],
    "a custom call": [{"type": "custom_tool_call", "id": "u1", "call_id": "c1", "name": "u", "input": "*** Begin"}],
    "thoughts": [
        {"type": "reasoning", "id": "r1", "summary": [{"type": "summary_text", "text": "I think."}] * 2,
         "encrypted_content": "sealed", "status": "completed"},
        {"type": "reasoning", "id": "r2", "summary": [],
         "content": [{"type": "reasoning_text", "text": "Hm."}], "status": "completed"},
        _message(TEXT),
    ],
    "a search": [
        {"type": "web_search_call", "id": "w1", "status": "completed",
         "action": {"type": "search", "query": "a", "queries": ["a"]}},
        _message(TEXT),
    ],
    "a call of a server's": [
        {"type": "mcp_call", "id": "p1", "server_label": "s", "name": "n", "arguments": "{}", "output": "out",
         "error": None, "status": "completed"},
    ],
}  # fmt: skip
MESSAGE: dict[str, Any] = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
    "stop_sequence": None, "stop_details": None, "content": [],
    "usage": {"input_tokens": 5, "output_tokens": 2, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 4},
}  # fmt: skip
CITATION = {
    "type": "char_location", "cited_text": "Hi", "document_index": 0, "document_title": None, "file_id": None,
    "start_char_index": 0, "end_char_index": 2,
}  # fmt: skip
BLOCKS: dict[str, list[dict[str, Any]]] = {
    "nothing": [],
    "a text": [{"type": "text", "text": "Hé\n\u2028!"}],
    "texts, one cited": [{"type": "text", "text": ""}, {"type": "text", "text": "Hi", "citations": [CITATION] * 2}],
    "thoughts": [
        {"type": "thinking", "thinking": "I think.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "c2VhbGVk"},
        {"type": "text", "text": "So."},
    ],
    "calls": [
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": [1, {"b": None}]}},
        {"type": "tool_use", "id": "toolu_2", "name": "f", "input": {}},
    ],
    "a search": [
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "a"}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1",
         "content": [{"type": "web_search_result", "url": "https://a.example", "title": "A", "page_age": None,
                      "encrypted_content": "sealed"}]},
    ],
}  # fmt: skip
_labels = count()


async def answer_whole(exchange: Exchange) -> None:
    """What the request says that it wants to have."""
    fields = exchange.seen.json
    assert fields["stream"] is True
    await exchange.json(json.loads(fields["instructions"] if "instructions" in fields else fields["system"]))


@pytest.fixture(scope="module")
def whole() -> Iterator[Upstream]:
    with running_upstream(answer_whole) as running:
        yield running


@pytest.fixture(scope="module")
def live(gateway_for: SharedGateways, whole: Upstream, tmp_path_factory: pytest.TempPathFactory) -> LiveGateway:
    config = tmp_path_factory.mktemp("whole") / "gateway.toml"
    config.write_text(
        f'[providers.lab]\nbase_url = "{whole.url}"\napi_key = "sk-lab"\nwires = ["responses", "anthropic"]\n'
    )
    return gateway_for(GATEWAY_CONFIG=str(config), STORE_URL="off", **ONE_ATTEMPT)


def of_response(live: LiveGateway, reply: object) -> openai.types.responses.Response:
    """What an SDK makes of the events."""
    with (
        openai.OpenAI(base_url=f"{live.base_url}/lab/v1", api_key=TEST_KEY, max_retries=0) as client,
        client.responses.stream(model=f"m{next(_labels)}", input="Hi", instructions=json.dumps(reply)) as stream,
    ):
        for _ in stream:
            pass
        return stream.get_final_response()


def of_message(live: LiveGateway, reply: object) -> anthropic.types.Message:
    asked: Any = {"max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]}
    with (
        anthropic.Anthropic(base_url=f"{live.base_url}/lab", api_key=TEST_KEY, max_retries=0) as client,
        client.messages.stream(model=f"m{next(_labels)}", system=json.dumps(reply), **asked) as stream,
    ):
        for _ in stream:
            pass
        return stream.get_final_message()


def text_of(live: LiveGateway, reply: object) -> str:
    body = {"model": "m", "input": "Hi", "stream": True, "instructions": json.dumps(reply)}
    with client_of(live) as client:
        response = client.post("/lab/v1/responses", json=body)
    assert response.status_code == 200, response.text
    return response.text


@pytest.mark.parametrize("kind", ITEMS)
def test_a_response_is_told_item_by_item(live: LiveGateway, kind: str) -> None:
    reply = {**RESPONSE, "output": ITEMS[kind], "own_field": {"kept": [1]}}
    valid("Response").validate(reply)
    events = events_of(text_of(live, reply))
    assert events[-1]["response"] == reply
    deltas = [event["delta"] for event in events if event["type"].endswith(".delta")]
    texts = [each for item in ITEMS[kind] for each in _texts(item)]
    assert deltas == texts
    final = of_response(live, reply).to_dict()
    assert [each["type"] for each in final["output"]] == [each["type"] for each in reply["output"]]  # type: ignore[attr-defined]


def _texts(item: dict[str, Any]) -> Iterator[str]:
    for part in [*item.get("summary", []), *item.get("content", [])]:
        yield part.get("text", part.get("refusal"))
    if (said := item.get("arguments", item.get("input"))) is not None:
        yield said


@pytest.mark.parametrize(
    ("status", "more"),
    [
        ("incomplete", {"incomplete_details": {"reason": "max_output_tokens"}}),
        ("failed", {"error": {"code": "server_error", "message": "It broke."}}),
    ],
)
def test_a_response_that_did_not_end_well_says_so(live: LiveGateway, status: str, more: dict[str, Any]) -> None:
    reply = {**RESPONSE, "status": status, "output": ITEMS["a text"], **more}
    events = events_of(text_of(live, reply))
    assert events[-1]["type"] == f"response.{status}"
    assert events[-1]["response"] == reply


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_message_is_told_block_by_block(live: LiveGateway, kind: str) -> None:
    reply = {**MESSAGE, "content": BLOCKS[kind], "own_field": 1}
    final = of_message(live, reply)
    assert final.to_dict() == reply


@pytest.mark.parametrize("ended", [{"stop_reason": "tool_use"}, {"stop_reason": "stop_sequence", "stop_sequence": "."}])
def test_the_end_of_a_message_is_told_at_its_end(live: LiveGateway, ended: dict[str, Any]) -> None:
    final = of_message(live, {**MESSAGE, **ended}).to_dict()
    assert {name: final[name] for name in ended} == ended
    assert final["usage"] == MESSAGE["usage"]


def test_what_was_used_is_in_the_record(live: LiveGateway, whole: Upstream) -> None:
    of_response(live, RESPONSE)
    of_message(live, MESSAGE)
    tokens = [(each["tokens_in"], each["tokens_out"]) for each in live.records("request")[-2:]]
    assert tokens == [(30, 7), (12, 2)]
    assert len(whole.requests) >= 2


NO_REPLY: list[tuple[object, str, int]] = [
    ({"error": {"message": "slow down", "type": "rate_limit_error", "code": "rate_limit_exceeded"}}, "slow down", 429),
    ({**RESPONSE, "status": "in_progress"}, "did not answer with a stream", 502),
    ({**RESPONSE, "status": ["completed"]}, "did not answer with a stream", 502),
    ({"object": "list", "data": []}, "did not answer with a stream", 502),
    ([1], "did not answer with a stream", 502),
]


@pytest.mark.parametrize(("reply", "words", "status"), NO_REPLY)
def test_what_is_no_reply_is_an_error_with_its_status(
    live: LiveGateway, reply: object, words: str, status: int
) -> None:
    body = {"model": f"m{next(_labels)}", "input": "Hi", "stream": True, "instructions": json.dumps(reply)}
    with client_of(live) as client:
        response = client.post("/lab/v1/responses", json=body)
    assert (response.status_code, words in response.text) == (status, True), response.text


@pytest.mark.parametrize(
    "odd",
    [
        {"output": [1, None, {"type": 5}, {}, {"type": "message", "content": "text"}, {"type": "message"}]},
        {"output": [{"type": "message", "content": [None, {"type": "output_text"}, {"type": ["x"]}, {"text": 5}]}]},
        {"output": [{"type": "function_call", "arguments": 5}, {"type": "reasoning", "summary": {"a": 1}}]},
        {"output": {"a": 1}},
        {"output": None},
    ],
)
def test_an_odd_reply_ends_as_what_it_is(live: LiveGateway, odd: dict[str, Any]) -> None:
    text = text_of(live, {**RESPONSE, **odd})
    last = frames_of(text)[-3]
    assert json.loads(last.partition("data: ")[2])["response"]["output"] == odd["output"]

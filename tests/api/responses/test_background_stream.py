"""Streams of responses in the background: read at once, again, from a number on, by many, and after what ends them."""

import json
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from openai import NotFoundError, OpenAI

from scripts.fuzz.response_grammar import Checker, check
from tests.support.administration import ADMIN_KEY, ADMINISTERED, Administrator
from tests.support.background import WORDS, Tap, begin, follow, id_of, is_whole, kinds, numbers
from tests.support.client import client_of, eventually, get, post
from tests.support.gateway import HOST, TEST_KEY, LiveGateway, running_gateway
from tests.support.responses import valid
from tests.support.upstream import Upstream, running_upstream

pytestmark = pytest.mark.live

OTHER = "sk-test-another-0123456789"
KEYS = {"ALLOWED_API_KEYS": f"{TEST_KEY},{OTHER}"}


@pytest.fixture(scope="module")
def tap() -> Tap:
    return Tap()


@pytest.fixture(scope="module")
def lab(tap: Tap) -> Iterator[Upstream]:
    with running_upstream(tap.behave) as running:
        yield running


@pytest.fixture(scope="module")
def live(lab: Upstream) -> Iterator[LiveGateway]:
    with running_gateway(**ADMINISTERED, **KEYS, PROVIDER_LAB_BASE_URL=lab.url) as running:
        yield running


@pytest.fixture(scope="module")
def two_workers(lab: Upstream) -> Iterator[LiveGateway]:
    settings = {"ADMIN_API_KEY": ADMIN_KEY, "WORKERS": "2", "PROVIDER_LAB_BASE_URL": lab.url}
    with running_gateway(**settings, **KEYS) as running:
        yield running


def events_in(text: str) -> list[dict[str, Any]]:
    frames = [frame for frame in text.split("\n\n") if frame and not frame.startswith(":") and "[DONE]" not in frame]
    events = [json.loads(frame.partition("data: ")[2]) for frame in frames]
    for event in events:
        valid("ResponseStreamEvent").validate(event)
    return events


def is_legal(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The final response of a stream that follows the grammar."""
    checker = Checker()
    for event in events:
        valid("ResponseStreamEvent").validate(event)
        checker.feed(event)
    return checker.end()


def test_events_are_told_as_they_come_and_again_from_any_number_on(live: LiveGateway, tap: Tap) -> None:
    first = begin(live, "again")
    response_id = id_of(first)
    assert get(live, f"/v1/responses/{response_id}").json()["status"] in {"queued", "in_progress"}
    tap.words["again"] = 10
    first.has(12)
    late = follow(live, response_id, after=5)
    late.has(12)
    assert "completed" not in kinds(first.events + late.events)
    tap.words["again"] = WORDS + 1
    whole = first.end()
    assert is_whole(whole)
    assert first.done
    assert late.end() == whole[6:]
    assert get(live, f"/v1/responses/{response_id}").json() == whole[-1]["response"]
    for after in (None, -1, 0, 7, len(whole) - 2, len(whole) - 1, len(whole) + 1000):
        again = follow(live, response_id, after)
        assert again.end() == (whole if after is None else whole[after + 1 :]), after
        assert again.done
    reply = get(live, f"/v1/responses/{response_id}?stream=true&starting_after=9&include_obfuscation=false")
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert events_in(reply.text) == whole[10:]


def test_a_client_that_leaves_does_not_end_it_and_goes_on_without_a_gap_or_double(live: LiveGateway, tap: Tap) -> None:
    tap.words["leaves"] = 4
    had = begin(live, "leaves", until=6).end()
    response_id = had[0]["response"]["id"]
    for words in (9, 20, 33):
        tap.words["leaves"] = words
        last = had[-1]["sequence_number"]
        had += follow(live, response_id, after=last, until=last + 3).end()
    tap.words["leaves"] = WORDS + 1
    had += follow(live, response_id, after=had[-1]["sequence_number"]).end()
    assert is_whole(had)


def test_it_is_billed_once_however_many_read_it(live: LiveGateway, tap: Tap) -> None:
    tap.words["billed"] = WORDS + 1
    response_id = id_of(begin(live, "billed"))
    assert all(follow(live, response_id).end() for _ in range(5))

    def records() -> list[Any]:
        found = Administrator(live, ADMIN_KEY).get("../gateway/requests")["data"]
        return [each for each in found if each["model"] == "lab/billed"]

    eventually(lambda: len(records()) > 0)
    (record,) = records()
    assert (record["operation"], record["stream"], record["status"]) == ("createResponse", True, 200)


def test_readers_on_either_worker_have_the_same(two_workers: LiveGateway, tap: Tap) -> None:
    tap.words["either"] = 5
    first = begin(two_workers, "either")
    response_id = id_of(first)
    others = [follow(two_workers, response_id, after=after) for after in (None, 0, 3, None, 1, 5, None, 2)]
    others[-1].has(6)
    tap.words["either"] = WORDS + 1
    whole = first.end()
    assert is_whole(whole)
    for reading, after in zip(others, (-1, 0, 3, -1, 1, 5, -1, 2), strict=True):
        assert reading.end() == whole[after + 1 :]
        assert reading.done


def test_cancel_from_either_worker_ends_every_stream(two_workers: LiveGateway, tap: Tap) -> None:
    for turn in range(3):
        model = f"cancelled-{turn}"
        tap.words[model] = 5
        first = begin(two_workers, model)
        first.has(6)
        others = [follow(two_workers, id_of(first)) for _ in range(3)]
        cancelled = post(two_workers, f"/v1/responses/{id_of(first)}/cancel", None).json()
        assert cancelled["status"] == "cancelled"
        for reading in (first, *others):
            events = reading.end()
            assert is_legal(events) == cancelled
        reported = follow(two_workers, id_of(first)).end()
        text = "".join(event["delta"] for event in reported if "delta" in event)
        (message,) = cancelled["output"]
        assert text == "word0 word1 word2 word3 word4 "
        assert (message["status"], message["content"][0]["text"]) == ("incomplete", text)
        assert get(two_workers, f"/v1/responses/{id_of(first)}").json() == cancelled
        assert kinds(follow(two_workers, id_of(first), after=6).end())[-1] == "failed"


def test_deleting_it_ends_its_streams_in_an_error_and_the_work(live: LiveGateway, lab: Upstream, tap: Tap) -> None:
    tap.words["deleted"] = 5
    first = begin(live, "deleted")
    first.has(6)
    with client_of(live) as client:
        assert client.delete(f"/v1/responses/{id_of(first)}").status_code == 200
    events = first.end()
    assert (events[-1]["type"], events[-1]["code"]) == ("error", "not_found")
    valid("ResponseStreamEvent").validate(events[-1])
    assert events[-1]["sequence_number"] == events[-2]["sequence_number"]
    assert not first.done
    assert lab.last("deleted").gone.wait(20)
    assert get(live, f"/v1/responses/{id_of(first)}?stream=true").status_code == 404


def test_only_its_key_reads_it_and_only_one_that_was_to_be_streamed(live: LiveGateway, tap: Tap) -> None:
    tap.words["own"] = WORDS + 1
    first = begin(live, "own")
    path = f"/v1/responses/{id_of(first)}?stream=true"
    assert is_whole(first.end())
    assert get(live, path, key=OTHER).status_code == 404
    assert get(live, "/v1/responses/resp_none?stream=true").status_code == 404
    for more in ({}, {"background": True}, {"stream": True}):
        reply = post(live, "/v1/responses", {"model": "custom-chat", "input": "x", **more})
        identifier = events_in(reply.text)[0]["response"]["id"] if "stream" in more else reply.json()["id"]
        refused = get(live, f"/v1/responses/{identifier}?stream=true")
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "stream")
    body = {"model": "custom-chat", "input": "x", "background": True, "stream": True, "store": False}
    refused = post(live, "/v1/responses", body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "background")


def test_what_fails_upstream_ends_in_a_failed_response(upstream: Upstream) -> None:
    with running_gateway(**ADMINISTERED, ALLOWED_API_KEYS=TEST_KEY, PROVIDER_LAB_BASE_URL=upstream.url) as live:
        for model, code in (("status-429", "rate_limit_exceeded"), ("stream-cut", "server_error")):
            events = begin(live, model).end()
            assert numbers(events) == list(range(len(events)))
            assert kinds(events)[-1] == "failed"
            assert events[-1]["response"]["error"]["code"] == code
            stored = get(live, f"/v1/responses/{events[0]['response']['id']}").json()
            assert stored == events[-1]["response"]
            assert follow(live, stored["id"]).end() == events


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("custom-chat", None),
        ("fault-truncate", "server_error"),
        ("fault-midstream-context", "context_length_exceeded"),
        ("fault-midstream-429", "rate_limit_exceeded"),
        ("fault-400", "invalid_prompt"),
        ("fault-quota", "insufficient_quota"),
    ],
)
def test_its_events_are_legal_and_its_failures_told_alike_whole_and_streamed(
    live: LiveGateway, model: str, code: str | None
) -> None:
    body = {"model": model, "input": "x", "background": True}
    final = check(post(live, "/custom/v1/responses", {**body, "stream": True}).content)
    assert (final["error"] or {}).get("code") == code
    response_id = post(live, "/custom/v1/responses", body).json()["id"]
    ended: list[dict[str, Any]] = []

    def is_over() -> bool:
        ended[:] = [get(live, f"/v1/responses/{response_id}").json()]
        return ended[0]["status"] not in {"queued", "in_progress"}

    eventually(is_over)
    assert "midstream" in model or (ended[0]["status"], ended[0]["error"]) == (final["status"], final["error"])


@contextmanager
def on_disk(place: Path, lab: Upstream, **more: str) -> Iterator[LiveGateway]:
    settings = {"ADMIN_API_KEY": ADMIN_KEY, "STORE_URL": f"sqlite:///{place}/s.db", "PROVIDER_LAB_BASE_URL": lab.url}
    with running_gateway(**settings, **KEYS, **more) as live:
        yield live


@pytest.mark.slow
def test_one_whose_gateway_is_gone_is_told_to_have_failed(lab: Upstream, tap: Tap, tmp_path: Path) -> None:
    """Its lease has to run out first: of both endings at once."""
    left: dict[signal.Signals, list[dict[str, Any]]] = {}
    for ending in (signal.SIGTERM, signal.SIGKILL):
        model = f"gone-{ending.name}"
        tap.words[model] = 8
        (tmp_path / ending.name).mkdir()
        with on_disk(tmp_path / ending.name, lab, GRACE_PERIOD_S="1") as live:
            left[ending] = begin(live, model, until=9).end()
            time.sleep(1)
            live.settle()  # what is due by now is stored
            live.process.send_signal(ending)
            live.process.wait(30)
    for ending, had in left.items():
        is_told_to_have_failed(tmp_path / ending.name, lab, had)


def is_told_to_have_failed(place: Path, lab: Upstream, had: list[dict[str, Any]]) -> None:
    with on_disk(place, lab) as live:
        rest = follow(live, had[0]["response"]["id"], after=had[-1]["sequence_number"]).end()
        events = had + rest
        assert numbers(events) == list(range(len(events)))
        assert kinds(events)[-1] == "failed"
        failed = events[-1]["response"]
        assert (failed["status"], failed["error"]["code"]) == ("failed", "server_error")
        assert get(live, f"/v1/responses/{failed['id']}").json() == failed
        valid("ResponseStreamEvent").validate(events[-1])
        assert is_legal(events)["output"][0]["content"][0]["text"] == "".join(f"word{at} " for at in range(8))


def test_a_gateway_that_is_stopped_lets_it_end(lab: Upstream, tap: Tap, tmp_path: Path) -> None:
    tap.words["stopping"] = 8
    with on_disk(tmp_path, lab, GRACE_PERIOD_S="20") as live:
        had = begin(live, "stopping", until=9).end()
        live.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        tap.words["stopping"] = WORDS + 1
        assert live.process.wait(60) == 0
    with on_disk(tmp_path, lab) as live:
        assert is_whole(had + follow(live, had[0]["response"]["id"], after=had[-1]["sequence_number"]).end())


def test_readers_that_do_not_read_take_little_memory(live: LiveGateway, tap: Tap) -> None:
    tap.words["long"] = WORDS + 1
    response_id = id_of(begin(live, "long"))
    whole = follow(live, response_id).end()
    size = sum(len(json.dumps(event)) for event in whole)
    lines = [f"GET /v1/responses/{response_id}?stream=true HTTP/1.1", f"host: {HOST}"]
    request = "\r\n".join([*lines, f"authorization: Bearer {TEST_KEY}", "", ""]).encode()
    before = live.rss()
    with ExitStack() as stack:
        for _ in range(100):
            idle = stack.enter_context(socket.socket())
            idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            idle.connect((HOST, live.port))
            idle.sendall(request)
        assert follow(live, response_id).end() == whole
        time.sleep(1)
        assert live.rss() - before < 100 * size / 4
    assert follow(live, response_id).end() == whole


def test_the_python_sdk_goes_on_where_it_was(live: LiveGateway, tap: Tap) -> None:
    with OpenAI(base_url=f"{live.base_url}/v1", api_key=TEST_KEY, max_retries=0) as client:
        tap.words["python"] = 6
        had = []
        with client.responses.create(model="lab/python", input="x", background=True, stream=True) as stream:
            for event in stream:
                had.append(event)
                if event.sequence_number == 7:
                    break
        response_id = had[0].response.id  # type: ignore[union-attr]
        assert client.responses.retrieve(response_id).status in {"queued", "in_progress"}
        tap.words["python"] = WORDS + 1
        had += client.responses.retrieve(response_id, stream=True, starting_after=7, include_obfuscation=False)
        assert is_whole([event.model_dump(mode="json", exclude_unset=True) for event in had])
        with client.responses.stream(response_id=response_id, starting_after=20) as helper:
            assert next(iter(helper)).sequence_number == 21
            assert helper.get_final_response().output_text == had[-1].response.output_text  # type: ignore[union-attr]
        with pytest.raises(NotFoundError):
            client.responses.retrieve("resp_none", stream=True)

"""LOG_BODIES: what is written of requests and replies, of whom, and what never is."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ai_gateway.observability.body_file import Body, BodyFile
from ai_gateway.redaction import remember
from tests.support.administration import ADMIN_KEY, Administrator
from tests.support.client import CHAT, ask, body_of, client_of, eventually, get, post
from tests.support.doors import PATHS, body_for
from tests.support.gateway import TEST_KEY, UPSTREAM_KEY, LiveGateway, in_front_of, running_gateway
from tests.support.upstream import Upstream

QUESTION = "a-question-to-keep"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bodies") / "bodies.jsonl"


@pytest.fixture(scope="module")
def keeping(shared_upstream: Upstream, path: Path) -> Iterator[LiveGateway]:
    env = in_front_of(shared_upstream) | {"LOG_BODIES": "all", "LOG_BODIES_FILE": str(path), "ADMIN_API_KEY": ADMIN_KEY}
    bounds = {"LOG_BODIES_MAX_SIZE": "20000", "STORE_URL": "memory", "WRONG_KEYS_PER_MINUTE": "0"}
    with running_gateway(ALLOWED_API_KEYS=TEST_KEY, **bounds, **env) as live:
        yield live


def written_to(path: Path, request_id: str, records: int = 1) -> list[dict[str, Any]]:
    """What was written of a request, once there are so many records of it."""

    def found() -> list[dict[str, Any]]:
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        return [record for line in lines if (record := json.loads(line))["request_id"] == request_id]

    eventually(lambda: len(found()) >= records)
    return found()


def asked(
    live: LiveGateway,
    door: str,
    request_id: str,
    model: str = "lab/good",
    content: Any = QUESTION,
    *,
    stream: bool = False,
) -> Any:
    body = body_for(door, model, content, stream=stream)
    return post(live, PATHS[door], body, headers={"x-request-id": request_id})


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("door", PATHS)
def test_what_was_sent_and_what_came_are_written_down(
    keeping: LiveGateway, path: Path, upstream: Upstream, door: str, *, stream: bool
) -> None:
    request_id = f"kept-{door}-{stream}"
    reply = asked(keeping, door, request_id, stream=stream)
    assert reply.status_code == 200
    (record,) = written_to(path, request_id)
    assert json.loads(record["request"]["body"]) == body_for(door, "lab/good", QUESTION, stream=stream)
    assert record["reply"]["body"] == reply.text
    assert record["reply"]["size"] == len(reply.content)
    assert record["reply"]["media"] == reply.headers["content-type"]
    expected = {"status_code": 200, "end": "whole", "path": PATHS[door], "project": "default", "provider": "lab"}
    assert {name: record[name] for name in expected} == expected
    assert path.stat().st_mode & 0o777 == 0o600


def test_failures_of_every_kind_are_written_down(keeping: LiveGateway, path: Path, upstream: Upstream) -> None:
    for door in PATHS:
        for model, fields, status in (
            ("lab/status-500", {}, 502),
            ("lab/stream-cut", {"stream": True}, 200),
            ("lab/good", {"content": 7}, 400),
            ("nowhere/none", {}, 404),
        ):
            request_id = f"failed-{door}-{status}-{model.replace('/', '-')}"
            reply = asked(keeping, door, request_id, model, **fields)
            assert reply.status_code == status
            (record,) = written_to(path, request_id)
            assert record["reply"]["body"] == reply.text
            assert record["code"]


def test_what_is_too_large_is_cut_and_what_is_no_text_told_by_its_size(
    keeping: LiveGateway, path: Path, upstream: Upstream
) -> None:
    content = "x" * 50_000
    asked(keeping, "openai", "large", content=content)
    (record,) = written_to(path, "large")
    assert record["request"]["cut"] is True
    assert record["request"]["size"] > 50_000
    assert len(record["request"]["body"]) == 20_000
    assert "cut" not in record["reply"]
    assert Body(b"\xff\xfb\x90", "audio/mpeg", 3, is_cut=False).fields() == {"media": "audio/mpeg", "size": 3}


def test_who_was_not_let_in_administers_or_only_looks_is_left_out(keeping: LiveGateway, path: Path) -> None:
    assert ask(keeping, "good", provider="lab", headers={"authorization": "Bearer wrong"}).status_code == 401
    administrator = Administrator(keeping)
    secret = administrator.account(administrator.project())["api_key"]["value"]
    assert get(keeping, "/v1/models").status_code == 200
    asked(keeping, "openai", "the-last")
    written_to(path, "the-last")
    records = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert {record["status_code"] for record in records}.isdisjoint({401})
    assert not any("/organization/" in path or "/models" in path for path in (str(each["path"]) for each in records))
    assert secret not in path.read_text("utf-8")


def test_data_retention_keeps_bodies_out_of_the_file(keeping: LiveGateway, path: Path, upstream: Upstream) -> None:
    administrator = Administrator(keeping)
    of_all, own = "data_retention", "projects/default/data_retention"
    kept = []
    for number, (where, kind, allowed) in enumerate(
        [
            (own, "zero_data_retention", False),
            (own, "modified_abuse_monitoring", False),
            (own, "enhanced_zero_data_retention", False),
            (own, "none", True),
            (of_all, "zero_data_retention", True),  # the project's own goes before it
            (own, "organization_default", False),
        ]
    ):
        administrator.post(where, {"retention_type": kind})
        for door in PATHS:
            asked(keeping, door, f"retention-{number}-{door}")
            kept += [f"retention-{number}-{door}"] * allowed
    administrator.post(own, {"retention_type": "none"})
    asked(keeping, "openai", "after-retention")
    written_to(path, "after-retention")
    records = [json.loads(line)["request_id"] for line in path.read_text("utf-8").splitlines()]
    assert [each for each in records if each.startswith("retention-")] == kept


def of_the_background(path: Path, request_id: str) -> dict[str, Any]:
    """The record of what went on when its request was answered."""
    made = [each for each in written_to(path, request_id, 2) if each["operation"] == "makeBackgroundResponse"]
    (record,) = made
    return record


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("model", "status"), [("good", "completed"), ("status-500", "failed"), ("paced", "cancelled")])
def test_what_a_response_in_the_background_has_become_is_written_down(
    keeping: LiveGateway, path: Path, upstream: Upstream, model: str, status: str, *, stream: bool
) -> None:
    request_id = f"background-{model}-{stream}"
    body = {"model": f"lab/{model}", "input": f"{QUESTION} {TEST_KEY}", "background": True, "stream": stream}
    with (
        client_of(keeping) as client,
        client.stream("POST", "/v1/responses", json=body, headers={"x-request-id": request_id}) as reply,
    ):
        response_id = next(reply.iter_text()).partition('"id":"')[2].partition('"')[0]
    if status == "cancelled":
        assert post(keeping, f"/v1/responses/{response_id}/cancel", None).json()["status"] == status
    record = of_the_background(path, request_id)
    assert json.loads(record["request"]["body"]) == {**body, "input": f"{QUESTION} [key]"}
    response = json.loads(record["reply"]["body"])
    assert response["status"] == status
    assert response == get(keeping, f"/v1/responses/{response_id}").json()
    assert [record[name] for name in ("path", "wire", "project")] == [None, "responses", "default"]
    assert (record["code"] is None) is (status != "failed")


def test_data_retention_keeps_answers_of_the_background_out_of_the_file(
    keeping: LiveGateway, path: Path, upstream: Upstream
) -> None:
    administrator, own = Administrator(keeping), "projects/default/data_retention"
    for kind in ("modified_abuse_monitoring", "none"):
        administrator.post(own, {"retention_type": kind})
        body = {"model": "lab/good", "input": QUESTION, "background": True}
        queued = post(keeping, "/v1/responses", body, headers={"x-request-id": f"background-{kind}"})
        path_of_it = f"/v1/responses/{queued.json()['id']}"
        eventually(lambda at=path_of_it: get(keeping, at).json()["status"] == "completed")  # type: ignore[misc] # its own
    of_the_background(path, "background-none")
    assert "background-modified_abuse_monitoring" not in path.read_text("utf-8")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_no_key_of_anybody_is_written_down(
    keeping: LiveGateway, path: Path, upstream: Upstream, *, stream: bool
) -> None:
    for door in PATHS:
        request_id = f"keys-{door}-{stream}"
        content = f"my key is {TEST_KEY}, yours is {UPSTREAM_KEY}, \u2028 and a line"
        asked(keeping, door, request_id, content=content, stream=stream)
        (record,) = written_to(path, request_id)
        assert "my key is [key], yours is [key]" in record["request"]["body"]
    text = path.read_text("utf-8")
    assert TEST_KEY not in text
    assert UPSTREAM_KEY not in text


@pytest.mark.parametrize("door", PATHS)
def test_a_key_is_redacted_even_if_a_stream_spells_it_out(
    keeping: LiveGateway, path: Path, upstream: Upstream, door: str
) -> None:
    def event(**delta: Any) -> bytes:
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "spells"}
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        return b"data: " + json.dumps({**chunk, "choices": [choice]}).encode() + b"\n\n"

    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    texts = [UPSTREAM_KEY[at : at + 3] for at in range(0, len(UPSTREAM_KEY), 3)]
    upstream.program("spells", head, event(role="assistant"), *(event(content=text) for text in texts))
    reply = asked(keeping, door, f"spells-{door}", "lab/spells", stream=True)
    assert all(text in reply.text for text in texts)
    (record,) = written_to(path, f"spells-{door}")
    assert record["reply"]["body"] == "[withheld: a key is spread over it]"


def test_only_errors_where_only_they_are_wanted_and_a_reload_changes_it(upstream: Upstream, tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text('log_bodies = "errors"\n', encoding="utf-8")
    env = {"GATEWAY_CONFIG": str(config), "GATEWAY_DATA_DIR": str(tmp_path / "data"), "WORKERS": "2"}
    path = tmp_path / "data" / "bodies.jsonl"
    with running_gateway(ALLOWED_API_KEYS=TEST_KEY, **in_front_of(upstream), **env) as live:
        asked(live, "openai", "good-one")
        asked(live, "openai", "bad-one", "lab/status-500")
        written_to(path, "bad-one")
        assert "good-one" not in path.read_text("utf-8")
        config.write_text('log_bodies = "off"\n', encoding="utf-8")
        before = len(live.records("configuration reloaded"))
        live.process.send_signal(signal.SIGHUP)
        eventually(lambda: len(live.records("configuration reloaded")) == before + 2)
        size = path.stat().st_size
        asked(live, "openai", "bad-later", "lab/status-500")
        asked(live, "openai", "more", "lab/status-500")
        assert path.stat().st_size == size


def test_without_the_setting_there_is_no_file(upstream: Upstream, tmp_path: Path) -> None:
    with running_gateway(ALLOWED_API_KEYS=TEST_KEY, GATEWAY_DATA_DIR=str(tmp_path), **in_front_of(upstream)) as live:
        assert asked(live, "openai", "unkept", "lab/status-500").status_code == 502
        assert QUESTION not in live.log()
    assert not (tmp_path / "bodies.jsonl").exists()


def test_a_client_that_leaves_is_written_down_with_what_it_got(
    keeping: LiveGateway, path: Path, upstream: Upstream
) -> None:
    with client_of(keeping) as client:
        body, headers = body_of(CHAT, "paced", stream=True), {"x-request-id": "left"}
        with client.stream("POST", "/lab/v1/chat/completions", json=body, headers=headers) as reply:
            next(reply.iter_raw())
    (record,) = written_to(path, "left")
    assert record["end"] == "left"
    assert record["reply"]["body"].startswith("data: ")


# -- the file --


def record(identifier: str) -> dict[str, object]:
    return {"request_id": identifier}


def test_a_file_that_grows_too_large_is_moved_aside_once_and_a_moved_one_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "bodies.jsonl"
    files = [BodyFile(path, max_size=2_000) for _ in range(2)]  # as two workers have them
    body = Body(b"x" * 300, "text/plain", 300, is_cut=False)
    for number in range(20):
        files[number % 2].add(record(f"r{number}"), body, body)
    for each in files:
        each.close(10)
    lines = [line for name in ("bodies.jsonl.1", "bodies.jsonl") for line in (tmp_path / name).read_text().splitlines()]
    assert all(json.loads(line)["request"]["body"] == "x" * 300 for line in lines)
    assert path.stat().st_size < 4_000
    assert sorted(each.name for each in tmp_path.iterdir()) == ["bodies.jsonl", "bodies.jsonl.1"]

    file = BodyFile(path)
    file.add(record("before"), body, body)
    written_to(path, "before")
    os.rename(path, tmp_path / "elsewhere")
    file.add(record("after"), body, body)
    written_to(path, "after")
    file.close(10)


def test_what_cannot_be_written_is_lost_and_nobody_waits_for_it(tmp_path: Path) -> None:
    (tmp_path / "no-directory").write_text("")
    file = BodyFile(tmp_path / "no-directory" / "bodies.jsonl")
    body = Body(b"x", "text/plain", 1, is_cut=False)
    file.add(record("lost"), body, body)
    full = BodyFile(tmp_path / "bodies.jsonl", max_pending=10)
    full.add(record("too-much"), body, body)
    file.close(10)
    full.close(10)
    assert not (tmp_path / "bodies.jsonl").exists()


def test_a_key_at_the_edge_of_what_is_kept_is_redacted_too(tmp_path: Path) -> None:
    remember("sk-at-the-edge-0123456789")
    body = Body(b"my key: sk-at-the-edge-01", "application/json", 1_000, is_cut=True)
    assert body.fields()["body"] == "my key: [key]"

"""From an invented document to its API over HTTP: one operation of each form, generated, type-checked and called.

The program in data/beacon_program.txt is what a person writes; it runs with the generated package in its own process.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from scripts.contract.documents import Json, schema_ref
from tests.scripts.contract.lantern import GATEWAY, OVERLAY, SOURCE, write

pytestmark = pytest.mark.live

REPOSITORY = Path(__file__).resolve().parents[3]
DATA = Path(__file__).parent / "data"
DOCUMENT, PROGRAM = DATA / "beacon.yaml", DATA / "beacon_program.txt"
OPERATIONS = (
    "delete /beams/{beam}", "get /beams", "post /beams", "get /beams/{beam}/photo", "put /beams/{beam}/photo",
    "post /recordings", "post /watches",
)  # fmt: skip
CONTENT = "$.paths['/watches'].post.responses['200'].content"
CORRECTIONS: Json = {
    **OVERLAY,
    "extends": "../beacon/facts.yaml",
    "actions": [
        *OVERLAY["actions"],
        {"target": CONTENT, "x-why": "It streams.", "update": {"text/event-stream": {"schema": {
            "type": "object",
            "required": ["event", "data"],
            "properties": {
                "event": {"type": "string"},
                "data": {"type": "string", "contentMediaType": "application/json",
                         "contentSchema": schema_ref("WatchEvent")},
            },
        }}}},
    ],
}  # fmt: skip
RULES: Json = {
    "rules": [
        {"rule": "camel-case-operations", "to": ["beacon"], "why": "They become functions."},
        {"rule": "any-of", "to": ["beacon"], "why": "Messages overlap."},
        {"rule": "nullable-optional-request-fields", "to": ["beacon"], "why": "Clients send null."},
    ]
}
KEY = {"authorization": "Bearer key"}
VERSION = {"beacon-version": "2024"}


def run(*arguments: str, root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "MYPYPATH": f"{REPOSITORY / 'src'}:{root / 'generated'}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `spec/` whose one source is the Beacon document, what is generated from it, and the program."""
    root = tmp_path_factory.mktemp("beacon")
    spec = root / "spec"
    listed = "".join(f'  "{operation}",\n' for operation in OPERATIONS)
    record = SOURCE.partition("[select]")[0] + f'[select]\noperations = [\n{listed}]\nschemas = ["WatchEvent"]\n'
    (spec / "beacon").mkdir(parents=True)
    (spec / "beacon" / "source.toml").write_text(record, encoding="utf-8")
    write(spec / "gateway.yaml", GATEWAY)
    write(spec / "info.yaml", {"title": "Beacon gateway", "version": "1"})
    write(spec / "overlay" / "corrections.yaml", CORRECTIONS)
    write(spec / "overlay" / "rules.yaml", RULES)
    for step in (("update", str(DOCUMENT), "--contract", "beacon"), ("gen",), ("check",)):
        done = run("-m", "scripts.contract", "--root", str(root), *step, root=root)
        assert done.returncode == 0, done.stderr
    (root / "program.py").write_text(PROGRAM.read_text(encoding="utf-8"), encoding="utf-8")
    return root


@dataclass(frozen=True)
class Served:
    """The running API, and which generated modules its start imported."""

    client: httpx.Client
    imported: str


@pytest.fixture(scope="module")
def served(tree: Path) -> Iterator[Served]:
    path = f"{tree / 'generated'}:{REPOSITORY / 'src'}"
    process = subprocess.Popen(
        [sys.executable, str(tree / "program.py")],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        port, imported = process.stdout.readline().strip(), process.stdout.readline()
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=KEY, timeout=60) as client:
            yield Served(client, imported)
    finally:
        process.terminate()
        process.wait(30)
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture
def client(served: Served) -> httpx.Client:
    return served.client


def error(response: httpx.Response) -> tuple[int, str | None]:
    """An error's status and the parameter to blame, once its form is what all errors have."""
    fields = response.json()["error"]
    assert fields.keys() == {"message", "type", "param", "code"}
    assert fields["type"] == "invalid_request_error"
    return response.status_code, fields["param"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_generated_package_and_what_is_written_against_it_are_strictly_typed(tree: Path) -> None:
    mypy = ("-m", "mypy", "--strict", "--explicit-package-bases", "--namespace-packages", "--cache-dir")
    checked = run(*mypy, str(tree / "mypy"), "-p", "gateway_contract.beacon", root=tree)
    assert checked.returncode == 0, checked.stdout
    checked = run(*mypy, str(tree / "mypy"), str(tree / "program.py"), root=tree)
    assert checked.returncode == 0, checked.stdout
    text = (tree / "program.py").read_text(encoding="utf-8")
    wrong = tree / "wrong.py"
    wrong.write_text(text.replace('Content("image/webp", b"RIFF")', 'Content("image/gif", b"RIFF")'), encoding="utf-8")
    checked = run(*mypy, str(tree / "mypy"), str(wrong), root=tree)
    assert checked.returncode == 1
    assert "image/gif" in checked.stdout


def test_a_start_imports_the_contract_it_serves_and_no_other(served: Served, tree: Path) -> None:
    assert (tree / "generated" / "gateway_contract" / "gateway" / "models.py").is_file()
    assert served.imported.strip() == str([f"gateway_contract.beacon{name}" for name in ("", ".models", ".routes")])


def test_a_query_and_headers_arrive_typed_with_their_defaults(client: httpx.Client) -> None:
    reply = client.get("/beams?harbour=Elbe", headers=VERSION)
    assert (reply.status_code, len(reply.json()["data"])) == (200, 20)
    assert reply.json()["asked"] == {
        "harbour": "Elbe", "order": "asc", "lit": None, "hues": [], "since": None, "version": "2024", "tide": None,
    }  # fmt: skip
    query = "limit=2&order=desc&lit=false&hues[]=red&hues=white&since[gt]=7&nobody=1&harbour=Elbe%20I%20%C3%A4"
    reply = client.get(f"/beams?{query}", headers={**VERSION, "X-Tide": "high"})
    assert len(reply.json()["data"]) == 2
    assert reply.json()["asked"] == {
        "harbour": "Elbe I ä", "order": "desc", "lit": False, "hues": ["red", "white"], "since": 7, "version": "2024",
        "tide": "high",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("query", "headers", "param"),
    [
        ("", VERSION, "harbour"),
        ("harbour=E", VERSION, "harbour"),
        ("harbour=Elbe&limit=0", VERSION, "limit"),
        ("harbour=Elbe&limit=ten", VERSION, "limit"),
        ("harbour=Elbe&limit=1&limit=2", VERSION, "limit"),
        ("harbour=Elbe&order=up", VERSION, "order"),
        ("harbour=Elbe&lit=1", VERSION, "lit"),
        ("harbour=Elbe&hues=red&hues=blue", VERSION, "hues[1]"),
        ("harbour=Elbe&since[gt]=x", VERSION, "since.gt"),
        ("harbour=%FF%FF", VERSION, "harbour"),
        ("harbour=Elbe", {}, "beacon-version"),
        ("harbour=Elbe", {"beacon-version": "24"}, "beacon-version"),
        ("harbour=Elbe", {**VERSION, "x-tide": "ebb"}, "x-tide"),
    ],
)
def test_a_parameter_that_is_wrong_is_named(
    client: httpx.Client, query: str, headers: dict[str, str], param: str
) -> None:
    assert error(client.get(f"/beams?{query}", headers=headers)) == (400, param)


def test_no_parameter_is_looked_at_before_the_key(client: httpx.Client) -> None:
    assert client.get("/beams", headers={"authorization": "Bearer wrong"}).status_code == 401


def test_what_is_made_is_201_and_what_is_gone_204(client: httpx.Client) -> None:
    signals: list[Json] = [{"type": "flash", "length": 2}, {"text": "hi"}, {"type": "message", "pages": ["a"]}]
    made = client.post("/beams", json={"signals": signals})
    assert (made.status_code, made.json()) == (201, {"id": "b1", "signals": 3, "bytes": 2})
    gone = client.delete("/beams/b1")
    assert (gone.status_code, gone.content) == (204, b"")
    assert not {"content-type", "content-length"} & gone.headers.keys()
    assert error(client.delete("/beams/lost")) == (404, None)


@pytest.mark.parametrize(
    ("signal", "param"),
    [
        ({"type": "lamp"}, "signals[1].type"),
        ({"type": "flash", "length": "long"}, "signals[1].length"),
        ({"type": "bell"}, "signals[1].strokes"),
        ({"type": "message", "pages": [1]}, "signals[1].pages[0]"),
        ({"text": 1}, "signals[1].text"),
        (5, "signals[1]"),
    ],
)
def test_a_wrong_item_of_a_union_is_named_with_its_field(client: httpx.Client, signal: object, param: str) -> None:
    assert error(client.post("/beams", json={"signals": [{"text": "hi"}, signal]})) == (400, param)


def test_a_reply_of_bytes_comes_whole_or_in_pieces_as_its_own_type(client: httpx.Client) -> None:
    whole = client.get("/beams/whole/photo")
    assert (whole.headers["content-type"], whole.headers["content-length"]) == ("image/webp", "4")
    assert whole.content == b"RIFF"
    streamed = client.get("/beams/some/photo")
    assert (streamed.headers["content-type"], streamed.content) == ("image/png", b"\x89PNG\r\n\r\n\r\n")


def test_a_reply_of_bytes_that_fails_keeps_its_status_or_is_cut(client: httpx.Client) -> None:
    assert error(client.get("/beams/dark/photo")) == (404, None)
    with pytest.raises(httpx.RemoteProtocolError):
        client.get("/beams/cut/photo")


def test_a_file_is_taken_as_a_body_of_its_own_type_only(client: httpx.Client) -> None:
    sent = client.put("/beams/b/photo", content=b"\x00\xff" * 5, headers={"content-type": "image/webp; q=1"})
    assert sent.json() == {"id": "b", "bytes": 10, "media": "image/webp; q=1"}
    for media in ("image/gif", "application/json", ""):
        refused = client.put("/beams/b/photo", content=b"x", headers={"content-type": media})
        assert error(refused) == (415, None)
        assert "image/png or image/webp" in refused.json()["error"]["message"]
    assert error(client.put("/beams/b/photo", content=b"x" * 200_001, headers={"content-type": "image/png"})) == (
        413,
        None,
    )


WAV = ("ä.wav", b"RIFF\r\n--\x00", "audio/wav")


def test_a_form_arrives_as_its_model_takes_it(client: httpx.Client) -> None:
    files: list[tuple[str, Any]] = [
        ("more", ("m", b"one")),
        ("more[]", ("n", b"two")),
        ("file", WAV),
    ]
    data = {
        "model": "ear", "form": "verbose", "temperature": "0.5", "marks[]": ["word", "line"], "cutting[seconds]": "30",
        "further": "kept",
    }  # fmt: skip
    reply = client.post("/recordings", data=data, files=files)
    assert reply.json() == {
        "text": "heard",
        "heard": {
            "media": "audio/wav", "name": "ä.wav", "more": ["one", "two"], "temperature": 0.5,
            "marks": ["word", "line"], "cutting": 30, "extra": {"further": "kept"},
        },
    }  # fmt: skip
    unnamed = client.post("/recordings", data={"model": "ear"}, files={"file": (None, b"12345")})
    assert unnamed.json() == {"text": "ear heard 5 bytes of None"}


def test_one_operation_answers_in_several_types(client: httpx.Client) -> None:
    def answered(form: str) -> tuple[str, str]:
        reply = client.post("/recordings", data={"model": "ear", "form": form}, files={"file": WAV})
        return reply.headers["content-type"], reply.text

    assert answered("json") == ("application/json", '{"text":"ear heard 9 bytes of ä.wav"}')
    assert answered("text") == ("text/plain; charset=utf-8", "9 bytes ä")
    assert answered("vtt") == ("text/vtt; charset=utf-8", "WEBVTT ä")


def test_the_same_operation_takes_json_where_the_body_says_so(client: httpx.Client) -> None:
    reply = client.post("/recordings", json={"model": "ear", "link": "file"})
    assert reply.json() == {"text": "linked file"}
    assert error(client.post("/recordings", json={"model": "ear"})) == (400, "link")
    assert error(client.post("/recordings", content=b"x", headers={"content-type": "text/plain"})) == (415, None)


@pytest.mark.parametrize(
    ("data", "files", "param"),
    [
        ({"model": "ear"}, {"other": WAV}, "file"),
        ({}, {"file": WAV}, "model"),
        ({"model": ["a", "b"]}, {"file": WAV}, "model"),
        ({"model": "ear", "temperature": "hot"}, {"file": WAV}, "temperature"),
        ({"model": "ear", "temperature": "2"}, {"file": WAV}, "temperature"),
        ({"model": "ear", "form": "srt"}, {"file": WAV}, "form"),
        ({"model": "ear", "marks[]": ["word", "page"]}, {"file": WAV}, "marks[1]"),
        ({"model": "ear", "cutting[seconds]": "0"}, {"file": WAV}, "cutting.seconds"),
        ({"model": "ear", "cutting": "never"}, {"file": WAV}, "cutting"),
        ({"model": b"\xff"}, {"file": WAV}, "model"),
    ],
)
def test_a_wrong_field_of_a_form_is_named(client: httpx.Client, data: Any, files: Any, param: str) -> None:
    assert error(client.post("/recordings", data=data, files=files)) == (400, param)


def test_a_form_that_is_cut_or_too_large_is_refused_and_the_connection_closed(client: httpx.Client) -> None:
    request = client.build_request("POST", "/recordings", data={"model": "ear"}, files={"file": WAV})
    whole, media = request.read(), request.headers["content-type"]
    for body, status in ((whole[:-10], 400), (b"x" + whole, 400), (whole.replace(b"RIFF", b"R" * 200_000), 413)):
        refused = client.post("/recordings", content=body, headers={"content-type": media})
        assert error(refused) == (status, None)
        assert refused.headers["connection"] == "close"


def test_events_tell_their_names_and_the_stream_just_ends(client: httpx.Client) -> None:
    whole = client.post("/watches", json={"hours": 1})
    assert whole.json() == {"id": "watch"}
    reply = client.post("/watches", json={"hours": 2, "stream": True})
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert reply.text == (
        'event: watch.begun\ndata: {"type":"watch.begun","at":"dusk"}\n\n'
        'event: watch.hour\ndata: {"type":"watch.hour","hour":0}\n\n'
        'event: watch.hour\ndata: {"type":"watch.hour","hour":1}\n\n'
    )


def test_a_failure_among_named_events_is_one_of_them(client: httpx.Client) -> None:
    reply = client.post("/watches", json={"hours": 1, "stream": True, "storm": True})
    begun, failed, nothing = reply.text.split("\n\n")
    assert begun.startswith("event: watch.begun\n")
    assert failed.startswith('event: error\ndata: {"error":{"message":"A storm."')
    assert nothing == ""

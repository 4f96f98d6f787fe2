"""What upstreams and callers say, where an operator reads it: it commands no terminal, and makes no line of its own."""

import asyncio
import csv
import io
import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from ai_gateway.accounts.ledger import Ledger
from ai_gateway.accounts.memories import Memories, Owner, Quota
from ai_gateway.accounts.store.sqlite import SqliteStore
from ai_gateway.cli import app
from tests.accounts.calls import ended, started
from tests.support.client import get
from tests.support.command import Ended, run_command
from tests.support.gateway import HOST, LiveGateway, SharedGateways, run_cli
from tests.support.raw_http import talk
from tests.support.upstream import Exchange, Upstream, running_upstream

ESCAPES = ["\x1b[2J\x1b[31mred", "\x9b31m", "a\u2028b", "a\u2029b", "\x85next", "\x7f\x08", "\u202eeslaf", "\x07",
           "\r\nforged", "\U000e0041", "\u200b", "\ufeff", "\x00"]  # fmt: skip
ALL = "|".join(ESCAPES)


async def behave(exchange: Exchange) -> None:
    models = [{"id": f"m-{text}", "object": "model", "created": 1, "owned_by": f"o-{text}"} for text in ESCAPES]
    if exchange.seen.method == "GET":
        await exchange.json({"object": "list", "data": models})
    else:
        await exchange.json({"error": {"message": f"why {ALL}", "type": ALL, "code": ALL}}, status=400)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream(behave) as running:
        yield running


def is_plain(text: str) -> bool:
    return all(line.isprintable() for line in text.replace("\r\n", "\n").split("\n"))


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_the_models_command_shows_escapes_as_text(upstream: Upstream, form: list[str]) -> None:
    done = run_cli("models", *form, PROVIDER_LAB_BASE_URL=upstream.url)
    assert "m-" in done.stdout
    assert is_plain(done.stdout)
    assert is_plain(done.stderr)
    if form:
        assert "lab/m-\x1b[2J\x1b[31mred" in {model["id"] for model in json.loads(done.stdout)["data"]}
    else:
        assert "\\u009b31m" in done.stdout
        assert len([line for line in done.stdout.splitlines() if line.startswith("lab/")]) == len(ESCAPES)


@pytest.mark.parametrize("form", [[], pytest.param(["--json"], marks=pytest.mark.soak)])
def test_the_probe_command_shows_escapes_as_text(upstream: Upstream, form: list[str]) -> None:
    done = run_cli("probe", upstream.url, "--timeout", "5", "--only", "models", *form)
    assert done.stdout
    assert is_plain(done.stdout)
    assert is_plain(done.stderr)
    if form:
        json.loads(done.stdout)


def test_problems_of_a_configuration_are_shown_as_text() -> None:
    done = run_cli("models", DEFAULT_MODEL=f"x{ESCAPES[0]}", LOG_LEVEL=ESCAPES[0])
    assert done.returncode == 2
    assert is_plain(done.stderr)


@pytest.mark.parametrize("text", ESCAPES, ids=ascii)
def test_the_log_has_escapes_as_text(gateway_for: SharedGateways, upstream: Upstream, text: str) -> None:
    live: LiveGateway = gateway_for(PROVIDER_LAB_BASE_URL=upstream.url)
    quoted = "".join(f"%{byte:02x}" for byte in text.encode())
    talk(live, f"GET /path-{quoted} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
    get(live, f"/lab/v1/models/{quoted}")
    get(live, f"/v1/models/{quoted}")
    log = live.log()
    assert "path-" in log
    assert is_plain(log)
    assert [json.loads(line) for line in log.splitlines() if line.startswith("{")]


# -- the administration's commands, with names that anybody may have chosen --

FORMULAS = ["=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1"]
MARKUP = ["[red]x[/red]", "[/]", "[link=https://example.com]x", ":smile:", "{x}", "%s", "`x`", "a; $(x)", "x" * 256]
# Neither a NUL nor a lone surrogate can be in a name: an argument cannot hold the one, and UTF-8 not the other.
NAMES = [*(text for text in ESCAPES if "\x00" not in text), *FORMULAS, *MARKUP]
SOME = [ESCAPES[0], "\u202eeslaf", "\r\nforged", "-1", "[red]x[/red]"]
READING = [
    ("keys", "list"), ("projects", "list"), ("budget", "show"), ("usage", "--by", "key"), ("usage", "--by", "project"),
    ("usage", "--by", "model"), ("usage", "--by", "provider"), ("costs", "--by", "model"), ("store", "export"),
    ("store", "check"), ("memories", "export"),
]  # fmt: skip
AT = 1_790_000_000_000
SINCE = ("--from", "2026-09-01")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which every key, model and provider has such a name, and so have some projects."""
    place = tmp_path_factory.mktemp("names") / "data"
    people = place.parent / "people.json"
    people.write_text(json.dumps([{"name": name, "budget": "5.00", "models": name} for name in NAMES]))
    assert commanded(place, "keys", "import", str(people)).returncode == 0
    for name in SOME:
        assert commanded(place, "projects", "create", "--", name).returncode == 0
    keys = json.loads(commanded(place, "keys", "list", "--json").stdout)["data"]

    async def fill() -> None:
        store = SqliteStore(place / "gateway.db")
        await store.open()
        records = [
            ended(started(f"r{at}", at=AT, key_id=keys[at]["id"]), upstream_model=name, provider=name, code=name)
            for at, name in enumerate(NAMES)
        ]
        await Ledger(store).append(records)
        memories = Memories(store, Quota())
        for name in NAMES:
            await memories.save(Owner(name, name, name), name)
        await store.aclose()

    asyncio.run(fill())
    return place


def commanded(place: Path, *arguments: str) -> Ended:
    return run_command(*arguments, GATEWAY_DATA_DIR=str(place))


def test_every_command_that_shows_names_is_among_these() -> None:
    """`keys show` and others that are given one name are below; the rest makes, changes or deletes."""
    acting = {"create", "rename", "archive", "rotate", "revoke", "import", "set", "clear", "migrate", "prune",
              "rebuild", "reconcile", "show", "delete"}  # fmt: skip
    commands = get_command(app).commands  # type: ignore[attr-defined] # a group
    # The document of `openapi` has no name but those of providers, which are the operator's own and plain.
    rooms = {name: getattr(room, "commands", {}) for name, room in commands.items() if name != "openapi"}
    shown = {(name, command) for name, commands in rooms.items() for command in commands if command not in acting}
    assert shown <= {row[:2] for row in READING}


@pytest.mark.parametrize("form", ["", "--json", "--csv"])
@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_what_an_administrator_reads_shows_escapes_as_text(data: Path, command: tuple[str, ...], form: str) -> None:
    is_usage = command[0] in {"usage", "costs"}
    if (form == "--csv" and not is_usage) or (form and command[0] in {"store", "memories"}):
        return
    done = commanded(data, *command, *([form] if form else []), *(SINCE if is_usage else ()))
    assert done.returncode == 0, done.stderr
    assert is_plain(done.stdout)
    assert is_plain(done.stderr)
    if form == "--json":
        json.loads(done.stdout)
    elif form == "--csv":
        rows = list(csv.DictReader(io.StringIO(done.stdout, newline="")))
        assert len(rows) == (len(NAMES) if command[-1] in {"model", "provider", "key"} else 1)
        assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@"))]
        assert len(done.stdout.splitlines()) == len(rows) + 1
    elif command == ("store", "export"):
        assert {json.loads(line)["upstream_model"] for line in done.stdout.splitlines()} == set(NAMES)
    elif command == ("memories", "export"):
        assert [json.loads(line)["content"] for line in done.stdout.splitlines()] == NAMES
    elif command == ("keys", "list"):
        assert len(done.stdout.splitlines()) == len(NAMES) + 1
        assert all(text in done.stdout for text in MARKUP)


@pytest.mark.parametrize("name", SOME, ids=ascii)
def test_one_of_such_a_name_is_shown_and_found(data: Path, name: str) -> None:
    for command in (
        ["keys", "show", "--", name],
        ["limits", "show", f"--key={name}"],
        ["budget", "show", f"--key={name}"],
    ):
        done = commanded(data, *command)
        assert done.returncode == 0, done.stderr
        assert is_plain(done.stdout)
    renamed = commanded(data, "projects", "rename", "--", name, name)
    assert renamed.returncode == 0, renamed.stderr
    assert len(renamed.stdout.splitlines()) == 1
    refused = commanded(data, "keys", "create", "--", name)
    assert refused.returncode == 1
    assert is_plain(refused.stderr)
    assert len(refused.stderr.splitlines()) == 1


def test_a_command_that_is_proposed_runs_as_it_is(data: Path) -> None:
    done = commanded(data, "projects", "create", "a b; $(x) 'c'")
    proposed = done.stdout.split("`")[1]
    assert shlex.split(proposed) == ["ai-gateway", "keys", "create", "NAME", "--project", "a b; $(x) 'c'"]


def test_new_keys_in_a_file_are_no_formulas(tmp_path: Path) -> None:
    people, out = tmp_path / "people.json", tmp_path / "keys.csv"
    people.write_text(json.dumps(FORMULAS))
    assert commanded(tmp_path / "data", "keys", "import", str(people), "--out", str(out)).returncode == 0
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["name"] for row in rows] == ["'=1+1", "'+1", "'-1", "'@SUM(1)", "\\t=1", "\\r=1"]


def test_names_that_are_no_text_are_refused_in_words(tmp_path: Path) -> None:
    for command in (["keys", "create"], ["projects", "create"]):
        done = commanded(tmp_path / "data", *command, "a\udcff")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "ai-gateway: What was given is not UTF-8 text.\n"


def test_a_name_forges_no_line_of_a_refusal(tmp_path: Path) -> None:
    assert commanded(tmp_path / "data", "keys", "create", "a\nai-gateway: all is well").returncode == 0
    done = commanded(tmp_path / "data", "keys", "show", "zzz")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1

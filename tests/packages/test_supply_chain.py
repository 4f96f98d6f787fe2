"""What the gateway is made of: listed for others, and looked up among the known vulnerabilities."""

import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import override

import pytest

from scripts.release_check import version

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def _make(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        ["make", *arguments],  # noqa: S607 - as developers call it
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _locked() -> dict[str, str]:
    """Every package of the lock file with its version."""
    text = (ROOT / "uv.lock").read_text("utf-8")
    return dict(re.findall(r'^name = "(.+)"\nversion = "(.+)"$', text, re.MULTILINE))


def test_the_list_of_parts_names_what_an_installation_has_and_nothing_that_only_tests_need(tmp_path: Path) -> None:
    done = _make("sbom", f"DIST={tmp_path}")
    assert done.returncode == 0, done.stderr
    parts = json.loads((tmp_path / "sbom.cdx.json").read_text("utf-8"))
    assert (parts["bomFormat"], parts["metadata"]["component"]["version"]) == ("CycloneDX", version())
    named = {part["name"]: part["version"] for part in parts["components"]}
    locked = _locked()
    assert {"aiohttp", "asyncpg", "fastapi", "hiredis", "pydantic-core", "uvloop"} <= set(named)
    assert named == {name: locked[name] for name in named}
    assert not {"pytest", "hypothesis", "ruff", "zizmor"} & set(named)
    assert all(part["purl"].startswith(f"pkg:pypi/{part['name']}@{part['version']}") for part in parts["components"])


# --- known vulnerabilities -------------------------------------------------------------------------------------------

FLAW = {
    "id": "OSV-2026-1",
    "modified": "2026-11-01T00:00:00Z",
    "published": "2026-11-01T00:00:00Z",
    "summary": "Everything can be read",
    "affected": [
        {
            "package": {"name": "fastapi", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}],
        }
    ],
}


@contextmanager
def _database(flawed: str | None) -> Iterator[tuple[str, list[str]]]:
    """A database of the wire that osv.dev has, which knows of a flaw in one package, and what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            names = [query["package"]["name"] for query in body["queries"]]
            asked.extend(names)
            found = {"vulns": [{"id": FLAW["id"], "modified": FLAW["modified"]}]}
            self._answer({"results": [found if name == flawed else {} for name in names]})

        def do_GET(self) -> None:
            self._answer(FLAW)

        def _answer(self, document: object) -> None:
            body = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        @override
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", asked
        finally:
            server.shutdown()
            thread.join(60)


def test_every_locked_package_is_looked_up() -> None:
    with _database(None) as (address, asked):
        done = _make("audit", f"ARGS=--service-url {address}")
    assert done.returncode == 0, done.stderr
    assert set(asked) >= set(_locked()) - {"universal-ai-gateway", "colorama", "tomli"}


def test_a_known_vulnerability_fails_the_audit_and_is_named() -> None:
    with _database("fastapi") as (address, _):
        done = _make("audit", f"ARGS=--service-url {address}")
    assert done.returncode != 0
    assert "OSV-2026-1" in done.stdout
    assert "fastapi" in done.stdout

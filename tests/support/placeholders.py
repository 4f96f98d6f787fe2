"""In front of a gateway, for tests of others that call everything by the name of its parameter.

OpenAI's own tests ask a mock for `/organization/projects/project_id`. Here each such name becomes the id of an object
that was just made, so that the same requests are answered by a gateway that knows what there is.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, override
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2

from tests.support.administration import Administrator
from tests.support.client import NO_CERTIFICATES, TIMEOUT_S
from tests.support.gateway import HOST, LiveGateway

_PREFIX = "/v1/organization/"
_MONTH: dict[str, Any] = {"threshold_amount": 5, "currency": "USD", "interval": "month"}
_ALERT = {**_MONTH, "notification_channel": {"type": "email", "recipients": ["a@b.example"]}}


class _Namer:
    """Makes what a path names, once for each request."""

    def __init__(self, admin: Administrator) -> None:
        self.admin = admin
        self._made: dict[str, str] = {}

    def path(self, method: str, path: str) -> str:
        """The path with ids."""
        steps = [self._named(step) for step in path.split("/")]
        if steps[-1] == "spend_limit" and method != "POST":
            self.admin.post("/".join(steps), _MONTH)
        return "/".join(steps)

    def query(self, path: str, query: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """The query with cursors that are ids of the list; without one of a page, which only a reply can name."""
        return [
            (name, self._cursor(path, name) if value == name and name in {"after", "before"} else value)
            for name, value in query
            if (name, value) != ("page", "page")
        ]

    def _cursor(self, path: str, name: str) -> str:
        if path == "audit_logs":
            return f"audit_log_{5:024x}"
        if not self.admin.get(path)["data"]:
            {"api_keys": self._account, "service_accounts": self._account}.get(
                path.rsplit("/", maxsplit=1)[-1], self._listed(path)
            )()
        page = self.admin.get(path)
        return str(page["first_id" if name == "after" else "last_id"])

    def _listed(self, path: str) -> Any:
        bodies = {"spend_alerts": _ALERT, "admin_api_keys": {"name": "a"}, "projects": {"name": "p"}}
        return lambda: self.admin.post(path, bodies[path.rsplit("/", maxsplit=1)[-1]])

    def _named(self, step: str) -> str:
        if step not in self._makers:
            return step
        if step not in self._made:
            self._made[step] = self._makers[step](self)
        return self._made[step]

    def _project(self) -> str:
        self._made["project_id"] = self._made.get("project_id") or self.admin.project()
        return self._made["project_id"]

    def _account(self) -> dict[str, Any]:
        account: dict[str, Any] = self.admin.account(self._project())
        return account

    def _alert(self) -> str:
        project = self._made.get("project_id")
        path = f"projects/{project}/spend_alerts" if project else "spend_alerts"
        return str(self.admin.post(path, _ALERT)["id"])

    _makers: ClassVar[dict[str, Any]] = {
        "project_id": _project,
        "proj_123": _project,
        "key_id": lambda self: self.admin.post("admin_api_keys", {"name": "a"})["id"],
        "service_account_id": lambda self: self._account()["id"],
        "api_key_id": lambda self: self._account()["api_key"]["id"],
        "rate_limit_id": lambda _: "rl-*",
        "alert_id": _alert,
    }


@dataclass
class Asked:
    """A request on its way: `path` begins behind the prefix that is asked for."""

    method: str
    path: str
    query: list[tuple[str, str]]
    body: bytes


@contextmanager
def named_objects(admin: Administrator) -> Iterator[str]:
    """The base_url of a server that does this."""

    def named(asked: Asked) -> None:
        namer = _Namer(admin)
        asked.path = namer.path(asked.method, asked.path)
        asked.query = namer.query(asked.path, asked.query)

    with renamed(admin.live, _PREFIX, named) as url:
        yield f"{url}/v1"


@contextmanager
def renamed(live: LiveGateway, prefix: str, change: Callable[[Asked], None]) -> Iterator[str]:
    """The address of a server in front of the gateway's paths with this prefix, which changes what it is asked."""
    client = httpx2.Client(timeout=TIMEOUT_S, trust_env=False, verify=NO_CERTIFICATES)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            url = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            query = parse_qsl(url.query, keep_blank_values=True)
            asked = Asked(self.command, url.path.removeprefix(prefix), query, body)
            change(asked)
            skipped = {"host", "content-length", "connection", "accept-encoding", "transfer-encoding"}
            headers = {name: value for name, value in self.headers.items() if name.lower() not in skipped}
            target = f"{live.base_url}{prefix}{asked.path}{'?' if asked.query else ''}{urlencode(asked.query)}"
            reply = client.request(self.command, target, content=asked.body, headers=headers)
            self.send_response(reply.status_code)
            self.send_header("content-type", reply.headers.get("content-type", "application/json"))
            self.send_header("content-length", str(len(reply.content)))
            self.end_headers()
            self.wfile.write(reply.content)

        @override
        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    for method in ("GET", "POST", "DELETE"):
        setattr(Handler, f"do_{method}", Handler._answer)
    server = ThreadingHTTPServer((HOST, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        client.close()

"""How tests administer a gateway: one client with an administrator's key."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2

from tests.support.client import NO_CERTIFICATES, TIMEOUT_S, body_of
from tests.support.gateway import LiveGateway

ADMIN_KEY = "sk-gw-test-administrator-0123456789"
ADMINISTERED = {"ADMIN_API_KEY": ADMIN_KEY, "STORE_URL": "memory"}
NO_LIMIT = 2**53 - 1


@dataclass(frozen=True)
class Administrator:
    """Asks for operations below `/v1/organization`."""

    live: LiveGateway
    key: str = ADMIN_KEY

    def send(self, method: str, path: str, body: object = None, **query: Any) -> httpx2.Response:
        url = f"{self.live.base_url}/v1/organization/{path}"
        headers = {"authorization": f"Bearer {self.key}"}
        with httpx2.Client(timeout=TIMEOUT_S, trust_env=False, verify=NO_CERTIFICATES) as client:
            return client.request(method, url, headers=headers, params=query, json=body)

    def get(self, path: str, **query: Any) -> Any:
        return self._good(self.send("GET", path, **query))

    def post(self, path: str, body: object = None) -> Any:
        return self._good(self.send("POST", path, {} if body is None else body))

    def delete(self, path: str) -> Any:
        return self._good(self.send("DELETE", path))

    def refused(self, status: int, method: str, path: str, body: object = None, **query: Any) -> Any:
        """The error of a request that has to be refused with this status."""
        reply = self.send(method, path, body, **query)
        assert reply.status_code == status, reply.text
        error = reply.json()["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        return error

    def pages(self, path: str, limit: int, **query: Any) -> Iterator[list[str]]:
        """The ids of each page, as a client goes from one to the next."""
        after: dict[str, str] = {}
        while True:
            page = self.get(path, limit=limit, **query, **after)
            ids = [each["id"] for each in page["data"]]
            assert (page["first_id"], page["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))
            yield ids
            if not page["has_more"]:
                return
            after = {"after": page["last_id"]}

    def project(self, name: str = "Team") -> str:
        """A new project's id."""
        return str(self.post("projects", {"name": name})["id"])

    def account(self, project: str, **fields: Any) -> Any:
        """A new service account of the project, with its first key."""
        return self.post(f"projects/{project}/service_accounts", {"name": "alice", **fields})

    def infers(self, key: str, model: str = "custom-chat") -> httpx2.Response:
        """What a key gets that asks a model."""
        headers = {"authorization": f"Bearer {key}"}
        with httpx2.Client(timeout=TIMEOUT_S, trust_env=False, verify=NO_CERTIFICATES) as client:
            url = f"{self.live.base_url}/v1/chat/completions"
            return client.post(url, headers=headers, json=body_of("chat/completions", model))

    @staticmethod
    def _good(reply: httpx2.Response) -> Any:
        assert reply.status_code == 200, reply.text
        return reply.json()

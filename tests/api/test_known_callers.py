"""A caller whose head comes again on its connection is let in without a look at the key, but only as long as it may."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import override

import httpx2
import pytest

from ai_gateway.accounts.directory import Actor, Directory
from ai_gateway.accounts.entities import ApiKey
from ai_gateway.accounts.key_format import digest, new_key
from ai_gateway.accounts.keys import ConfiguredKey, KeyRing
from ai_gateway.accounts.store.sqlite import SqliteStore
from ai_gateway.api.access import Access
from ai_gateway.contract.call import Caller
from ai_gateway.contract.disconnect import Connection
from ai_gateway.errors import GatewayError, InvalidApiKey, InvalidRequest, MissingApiKey, Unavailable
from tests.support.administration import ADMIN_KEY, Administrator
from tests.support.client import CHAT, NO_CERTIFICATES, TIMEOUT_S, body_of, eventually
from tests.support.gateway import LiveGateway, running_gateway

pytestmark = pytest.mark.anyio
ALPHA = {"authorization": "Bearer alpha"}


class Counted(KeyRing):
    """A ring that counts how many keys it was asked to look up."""

    looks = 0

    @override
    def authenticate(self, headers: Mapping[str, str]) -> Caller:
        self.looks += 1
        return super().authenticate(headers)


def ring(directory: Directory | None = None, *names: str) -> Counted:
    return Counted([ConfiguredKey(name=name, key=name) for name in names], directory)


class Client:
    """Sends heads on one connection: the server gives each that comes again as the same object."""

    def __init__(self, keys: KeyRing) -> None:
        self.access = Access(keys, allow_anonymous=False)
        self.connection = Connection()

    def send(self, headers: Mapping[str, str], *repeated: tuple[str, str]) -> Caller:
        lines = [(name.encode(), value.encode()) for name, value in (*headers.items(), *repeated)]
        scope = {"type": "http", "headers": lines, "connection": self.connection}
        return self.access.authorize(scope, headers, "required")


def another(text: str) -> str:
    """The same text as another object, as a head that differs in anything has it."""
    return "".join(list(text))


def test_a_head_that_comes_again_is_let_in_without_a_look_at_its_key() -> None:
    keys = ring(None, "alpha")
    client = Client(keys)
    callers = [client.send({**ALPHA, "content-length": str(length)}) for length in range(5)]
    assert keys.looks == 1
    assert all(caller is callers[0] for caller in callers)
    client.send({"authorization": another(ALPHA["authorization"])})
    assert keys.looks == 2, "a key that was read anew is not compared with the one before it"


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ({"authorization": "Bearer beta"}, InvalidApiKey),
        ({"authorization": "Bearer alph"}, InvalidApiKey),
        ({"authorization": ""}, InvalidApiKey),
        ({}, MissingApiKey),
        ({**ALPHA, "x-api-key": "beta"}, InvalidRequest),
        ({**ALPHA, "api-key": "beta"}, InvalidRequest),
    ],
)
def test_nobody_else_is_let_in_on_its_connection(headers: dict[str, str], error: type[GatewayError]) -> None:
    client = Client(ring(None, "alpha"))
    client.send(ALPHA)
    with pytest.raises(error):
        client.send(headers)
    assert client.send(ALPHA).name == "alpha"


def test_a_header_that_is_there_twice_is_refused_after_it_was_let_in_once() -> None:
    client = Client(ring(None, "alpha"))
    client.send(ALPHA)
    with pytest.raises(InvalidRequest, match="more than once"):
        client.send(ALPHA, ("authorization", "Bearer beta"))


@pytest.mark.parametrize("empty", ["", "x"])
def test_what_came_beside_the_key_lets_nobody_in(empty: str) -> None:
    """Python has one object for all texts of no or one letter."""
    client = Client(ring(None, "alpha"))
    client.send({"authorization": empty, "x-api-key": "alpha"})
    with pytest.raises(InvalidApiKey):
        client.send({"authorization": empty})


def test_other_keys_of_the_configuration_are_looked_up_anew() -> None:
    client = Client(ring(None, "alpha"))
    client.send(ALPHA)
    client.access.keys = ring(None, "beta")
    with pytest.raises(InvalidApiKey):
        client.send(ALPHA)


def test_a_connection_that_is_lost_keeps_no_key() -> None:
    client = Client(ring(None, "alpha"))
    client.send(ALPHA)
    assert "alpha" in str(vars(client.connection))
    client.connection.lose()
    assert "alpha" not in str(vars(client.connection))


async def test_a_stored_key_that_expires_or_is_deleted_or_cannot_be_checked_lets_nobody_in_any_more() -> None:
    directory = Directory(SqliteStore(None))
    await directory.start()
    keys = ring(directory)
    directory.on_change = keys.forget
    key = new_key()
    headers = {"authorization": f"Bearer {key}"}

    async def store(expires_at: int | None = None, deleted_at: int | None = None) -> None:
        async with directory.change(Actor(None, "test")) as change:
            change.put(
                ApiKey(
                    id="key_1",
                    digest=digest(key),
                    redacted="sk-gw-...",
                    name="k",
                    created_at=1,
                    project_id="default",
                    expires_at=expires_at,
                    deleted_at=deleted_at,
                )
            )

    await store(expires_at=int(time.time()) + 3600)
    client = Client(keys)
    assert client.send(headers) is client.send(headers)
    assert keys.looks == 1
    caller = client.send(headers)
    assert keys.still_knows(caller)

    at, directory.refreshed_at = directory.refreshed_at, time.monotonic() - 61
    with pytest.raises(Unavailable):
        client.send(headers)
    directory.refreshed_at = at
    assert client.send(headers) is caller

    await store(expires_at=int(time.time()))
    with pytest.raises(InvalidApiKey):
        client.send(headers)
    await store()
    client.send(headers)
    await store(deleted_at=1)
    with pytest.raises(InvalidApiKey):
        client.send(headers)
    await directory.aclose()


async def test_a_key_that_expires_between_two_requests_is_good_for_the_first_alone() -> None:
    keys = ring(None, "alpha")
    client = Client(keys)
    header, state, caller = "Bearer old", keys.state, Caller("key_1", is_stored=True, expires_at=int(time.time()))
    client.connection.let_in = header, state, caller
    with pytest.raises(InvalidApiKey):
        client.send({"authorization": header})


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    data: Path = tmp_path_factory.mktemp("known") / "data"
    with running_gateway(GATEWAY_DATA_DIR=str(data), ADMIN_API_KEY=ADMIN_KEY) as gateway:
        yield gateway


def test_a_key_that_is_revoked_is_refused_on_a_connection_that_it_has_opened(live: LiveGateway) -> None:
    admin = Administrator(live)
    project = admin.project()
    account = admin.account(project)
    headers = {"authorization": f"Bearer {account['api_key']['value']}"}
    with httpx2.Client(timeout=TIMEOUT_S, trust_env=False, verify=NO_CERTIFICATES) as client:

        def status() -> int:
            url = f"{live.base_url}/custom/v1/chat/completions"
            return client.post(url, headers=headers, json=body_of(CHAT, "custom-chat")).status_code

        assert [status() for _ in range(5)] == [200] * 5
        admin.delete(f"projects/{project}/service_accounts/{account['id']}")
        eventually(lambda: status() == 401, within=5.0)  # half a second, and what a busy machine takes
        assert [status() for _ in range(3)] == [401] * 3

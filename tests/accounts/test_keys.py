"""Who may call."""

from hashlib import sha256

import pytest

from ai_gateway.accounts.directory import Actor, Directory
from ai_gateway.accounts.entities import ApiKey
from ai_gateway.accounts.key_format import digest, new_key
from ai_gateway.accounts.keys import ConfiguredKey, KeyRing, presented
from ai_gateway.accounts.store.sqlite import SqliteStore
from ai_gateway.errors import InvalidApiKey, InvalidRequest, MissingApiKey
from ai_gateway.redaction import redact

RING = KeyRing(
    [ConfiguredKey(name="env-1", key="alpha"), ConfiguredKey(name="env-2", digest=sha256(b"beta").hexdigest())]
)


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer alpha"},
        {"authorization": "bearer   beta "},
        {"x-api-key": "alpha"},
        {"api-key": "beta"},
        {"authorization": "Bearer alpha", "x-api-key": "alpha"},
        {"authorization": "Basic dTpw", "x-api-key": "alpha"},
        {"authorization": "Bearer ", "api-key": "alpha"},
        {"authorization": "Bearer", "x-api-key": "beta"},
        {"authorization": "Bearer alpha", "api-key": " "},
        {"authorization": "", "x-api-key": "", "api-key": "alpha"},
    ],
)
def test_a_known_key_is_let_in_from_any_header(headers: dict[str, str]) -> None:
    caller = RING.authenticate(headers)
    assert caller.trusted
    assert caller.key_id is not None


def test_a_key_has_an_id_of_its_own_that_gives_nothing_away() -> None:
    alpha, beta = (RING.find(key) for key in ("alpha", "beta"))
    assert alpha is not None
    assert beta is not None
    assert alpha.key_id != beta.key_id
    assert alpha.key_id == KeyRing([ConfiguredKey(name="env-1", key="alpha")]).authenticate({"api-key": "alpha"}).key_id
    assert sha256(b"alpha").hexdigest()[:12] not in str(alpha)


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer gamma"},
        {"authorization": "Bearer alph"},
        {"authorization": "Bearer alphaa"},
        {"authorization": "Basic alpha"},
        {"authorization": "alpha"},
        {"authorization": "Bearer"},
        {"authorization": ""},
        {"x-api-key": "' OR 1=1 --"},
        {"authorization": "Bearer \udcff"},
    ],
)
def test_any_other_key_is_invalid_and_the_challenge_is_sent(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidApiKey, match=r"^Incorrect API key provided") as caught:
        RING.authenticate(headers)
    assert caught.value.headers["www-authenticate"] == "Bearer"
    assert caught.value.status == 401


def test_no_key_is_told_apart_from_a_wrong_one() -> None:
    with pytest.raises(MissingApiKey):
        RING.authenticate({"accept": "*/*"})


def test_two_different_keys_are_refused_even_if_both_are_known() -> None:
    with pytest.raises(InvalidRequest):
        RING.authenticate({"authorization": "Bearer alpha", "x-api-key": "beta"})


def test_the_ring_does_not_hold_the_keys_themselves() -> None:
    assert "alpha" not in repr(vars(RING))


def test_an_empty_ring_is_false_and_holds_nothing() -> None:
    assert not KeyRing([])
    assert KeyRing([]).find("") is None
    assert presented({}) is None


async def test_a_key_that_is_stored_is_redacted_in_what_leaves_once_it_was_presented() -> None:
    directory = Directory(SqliteStore(None))
    await directory.start()
    key = new_key()
    async with directory.change(Actor(None, "test")) as change:
        change.put(
            ApiKey(id="key_1", digest=digest(key), redacted="sk-gw-...", name="k", created_at=1, project_id="default")
        )
    assert key in redact(f"a text with {key} in it"), "nobody but its owner has it in clear"
    assert KeyRing((), directory).authenticate({"authorization": f"Bearer {key}"}).key_id == "key_1"
    assert key not in redact(f"another text with {key} in it")
    await directory.aclose()

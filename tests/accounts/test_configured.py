"""Keys of the configuration: what they may do, and what is wrong with those that cannot be used."""

from hashlib import sha256
from typing import Any

import pytest

from ai_gateway.accounts.configured import configured_keys
from ai_gateway.accounts.entities import EVERY_MODEL
from ai_gateway.accounts.key_format import new_key
from ai_gateway.accounts.keys import ConfiguredKey
from ai_gateway.config.problems import SettingsError
from ai_gateway.config.settings import Settings

DIGEST = sha256(b"sk-of-alice").hexdigest()


def keys_of(tables: dict[str, Any] | None = None, environment: dict[str, str] | None = None, **settings: Any) -> Any:
    made = configured_keys(Settings.model_validate({"keys": tables or {}, **settings}), environment or {})
    return {key.name: key for key in made}


def problems_of(tables: dict[str, Any], environment: dict[str, str] | None = None, **settings: Any) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        keys_of(tables, environment, **settings)
    return caught.value.problems


def test_keys_of_the_environment_have_numbers_and_are_in_the_default_project() -> None:
    keys = keys_of(allowed_api_keys="one-key,two-key", admin_api_key="root-key")
    assert list(keys) == ["env-1", "env-2", "admin-1"]
    assert [key.administers for key in keys.values()] == [False, False, True]
    assert {key.project for key in keys.values()} == {"default"}


def test_a_table_names_a_key_by_its_digest_or_by_the_variable_that_has_it() -> None:
    keys = keys_of({"alice": {"digest": DIGEST}, "bob": {"key_env": "BOB"}}, {"BOB": "sk-of-bob"})
    assert keys["keys.alice"].sha256 == DIGEST
    assert keys["keys.bob"].sha256 == sha256(b"sk-of-bob").hexdigest()
    assert "sk-of-bob" not in repr(keys)


def test_a_table_has_limits_of_its_own_and_without_them_none_are_looked_at() -> None:
    limited = {"requests_per_minute": 5, "spend_limit_cents": 100, "time_zone": "Asia/Tokyo", "models": ["a"]}
    keys = keys_of({"plain": {"digest": DIGEST}, "limited": {"key_env": "K", **limited}}, {"K": "sk-limited"})
    plain, made = keys["keys.plain"], keys["keys.limited"]
    assert (plain.rates, plain.spend, plain.permissions) == ((), None, None)
    (rate,) = made.rates
    assert (rate.entity, rate.model, rate.requests_per_minute, rate.tokens_per_minute) == (
        made.id,
        EVERY_MODEL,
        5,
        None,
    )
    assert (made.spend.id, made.spend.threshold_amount, made.spend.time_zone) == (made.id, 100, "Asia/Tokyo")
    assert made.permissions.model_ids == {"a"}


def test_the_id_of_a_key_stays_however_it_is_configured_and_gives_nothing_away() -> None:
    clear = ConfiguredKey(name="a", key="sk-of-alice")
    digest = ConfiguredKey(name="b", digest=DIGEST)
    assert clear.id == digest.id
    assert DIGEST[:12] not in clear.id


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"a b": {"digest": DIGEST}}, "keys.a b: a name is"),
        ({"alice": {}}, "keys.alice: set either digest"),
        ({"alice": {"digest": DIGEST, "key_env": "K"}}, "keys.alice: set either digest"),
        ({"alice": {"key_env": "NOWHERE"}}, "keys.alice: the variable NOWHERE is not set"),
        ({"alice": {"digest": DIGEST}, "bob": {"digest": DIGEST}}, "keys.alice and keys.bob are the same key"),
    ],
)
def test_a_table_that_cannot_be_used_is_named(tables: dict[str, Any], words: str) -> None:
    (problem,) = problems_of(tables)
    assert words in problem


def test_a_key_does_not_both_call_and_administer() -> None:
    (problem,) = problems_of({}, allowed_api_keys="same-key", admin_api_key="same-key")
    assert "another one" in problem
    assert "same-key" not in problem


def test_the_same_key_in_a_table_and_in_the_environment_is_a_mistake() -> None:
    (problem,) = problems_of({"alice": {"digest": DIGEST}}, allowed_api_keys="sk-of-alice")
    assert "are the same key" in problem


@pytest.mark.parametrize("kind", ["caller", "administrator"])
def test_a_key_that_was_not_copied_as_it_is_is_named_without_it(kind: Any) -> None:
    key = new_key(kind)
    other = "A" if key[-9] != "A" else "B"
    mistyped = key[:-9] + other + key[-8:]
    setting = "allowed_api_keys" if kind == "caller" else "admin_api_key"
    good: dict[str, Any] = {setting: key}
    bad: dict[str, Any] = {setting: mistyped}
    assert len(keys_of(**good)) == 1
    for problem, where in (
        (problems_of({}, **bad), setting.upper()),
        (problems_of({"alice": {"key_env": "K"}}, {"K": mistyped}), "[keys.alice]"),
    ):
        assert len(problem) == 1
        assert problem[0].startswith(where)
        assert "its checksum does not fit" in problem[0]
        assert mistyped not in problem[0]
    assert len(keys_of(allowed_api_keys="sk-gw-one-of-mine")) == 1, "what only begins like one is another's"

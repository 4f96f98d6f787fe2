"""Which store and which counters the settings mean."""

from pathlib import Path

import pytest

from ai_gateway.accounts.store.postgres import PostgresStore
from ai_gateway.accounts.store.sqlite import SqliteStore
from ai_gateway.app.accounts import place_of, store_at, valkey_of
from ai_gateway.config.problems import SettingsError
from ai_gateway.config.settings import Settings

PASSWORD = "p@ss/word-0123456789"
QUOTED = "p%40ss%2Fword-0123456789"


def settings(**values: str) -> Settings:
    return Settings.model_validate(values)


def test_an_address_of_postgresql_is_a_store_whose_name_has_no_password(tmp_path: Path) -> None:
    url = f"postgresql://gateway:{QUOTED}@db.internal:5433/accounts"
    place = place_of(settings(store_url=url, gateway_data_dir=str(tmp_path)))
    assert place is not None
    assert (place.directory, place.store) == (tmp_path, None)
    assert PASSWORD not in repr(place)
    assert QUOTED not in repr(place)
    store = store_at(place)
    assert isinstance(store, PostgresStore)
    assert store.name == "PostgreSQL (db.internal:5433/accounts)"


def test_other_addresses_are_as_before(tmp_path: Path) -> None:
    place = place_of(settings(store_url=f"sqlite:///{tmp_path}/gateway.db"))
    assert place is not None
    assert isinstance(store_at(place), SqliteStore)
    assert place_of(settings(store_url="off")) is None
    with pytest.raises(SettingsError, match="no such store"):
        place_of(settings(store_url="mysql://db"))


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("redis://counters.internal", "counters.internal:6379/0"),
        (f"rediss://gateway:{QUOTED}@counters.internal:6390/2", "counters.internal:6390/2"),
        (f"valkey://:{QUOTED}@10.0.0.1/1", "10.0.0.1:6379/1"),
    ],
)
def test_an_address_of_valkey_is_one_of_redis_and_named_without_its_password(url: str, name: str) -> None:
    address = valkey_of(settings(valkey_url=url))
    assert address is not None
    assert str(address) == name
    assert address.password in {None, PASSWORD}
    assert address.is_secure == url.startswith("rediss")


@pytest.mark.parametrize(
    "url", ["http://host", "redis://", "redis://host/name", "redis://host?db=1", "redis://host:port"]
)
def test_an_address_that_is_none_stops_the_start(url: str) -> None:
    with pytest.raises(SettingsError, match="VALKEY_URL"):
        valkey_of(settings(valkey_url=url))


def test_no_address_means_no_server() -> None:
    assert valkey_of(settings()) is None

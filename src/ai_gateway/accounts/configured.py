"""The keys of the configuration: ALLOWED_API_KEYS, ADMIN_API_KEY and the tables `[keys.NAME]`."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from ai_gateway.accounts.entities import EVERY_MODEL, ModelPermissions, RateLimit, SpendLimit
from ai_gateway.accounts.key_format import is_mistyped
from ai_gateway.accounts.keys import ConfiguredKey
from ai_gateway.config.problems import SettingsError
from ai_gateway.config.settings import KeySettings, Settings

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def configured_keys(settings: Settings, environment: Mapping[str, str]) -> tuple[ConfiguredKey, ...]:
    """All configured keys. Raises SettingsError with all problems."""
    problems: list[str] = []
    keys = [*_plain(settings), *_tables(settings, environment, problems)]
    owners: dict[str, ConfiguredKey] = {}
    for key in keys:
        if key.key is not None and is_mistyped(key.key):
            problems.append(
                f"{key.setting}: {key.name} looks like a key that a gateway has made, but its checksum does not fit: "
                "it was not copied as it is"
            )
        other = owners.setdefault(key.sha256, key)
        if other.administers != key.administers:
            problems.append("ADMIN_API_KEY: the same key calls models: an administrator's key must be another one")
        elif other is not key and "keys." in key.name + other.name:
            problems.append(f"keys: {other.name} and {key.name} are the same key")
    if problems:
        raise SettingsError(problems)
    return tuple(owners.values())


def _plain(settings: Settings) -> Iterator[ConfiguredKey]:
    for number, key in enumerate(settings.allowed_api_keys, 1):
        yield ConfiguredKey(name=f"env-{number}", key=key.get_secret_value())
    for number, key in enumerate(settings.admin_api_key, 1):
        yield ConfiguredKey(name=f"admin-{number}", key=key.get_secret_value(), administers=True)


def _tables(settings: Settings, environment: Mapping[str, str], problems: list[str]) -> Iterator[ConfiguredKey]:
    for name, table in settings.keys.items():
        where = f"keys.{name}"
        if not _NAME.fullmatch(name):
            problems.append(f"{where}: a name is up to 64 letters, digits, dots, dashes and underscores")
        elif (table.digest is None) == (table.key_env is None):
            problems.append(f"{where}: set either digest, the key's SHA-256, or key_env, the variable that contains it")
        elif table.key_env is not None and not environment.get(table.key_env):
            problems.append(f"{where}: the variable {table.key_env} is not set")
        else:
            yield _key(where, table, environment.get(table.key_env) if table.key_env is not None else None)


def _key(name: str, table: KeySettings, key: str | None) -> ConfiguredKey:
    configured = ConfiguredKey(name=name, key=key, digest=table.digest, project=table.project)
    names = ("requests_per_minute", "tokens_per_minute", "requests_per_day", "parallel_requests")
    limits = {name: value for name in names if (value := getattr(table, name)) is not None}
    rates = (RateLimit(id=f"rl-{configured.id}", entity=configured.id, model=EVERY_MODEL, **limits),) if limits else ()
    spend = None
    if table.spend_limit_cents is not None:
        spend = SpendLimit(
            id=configured.id,
            threshold_amount=table.spend_limit_cents,
            interval=table.spend_interval,
            time_zone=table.time_zone,
        )
    permissions = None
    if table.models is not None:
        permissions = ModelPermissions(id=configured.id, mode="allow_list", model_ids=frozenset(table.models))
    return replace(configured, rates=rates, spend=spend, permissions=permissions)

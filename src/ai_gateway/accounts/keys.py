"""Authentication: the keys of the configuration, and those made by administrators."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import count
from typing import cast

from ai_gateway.accounts.directory import Directory
from ai_gateway.accounts.entities import (
    DEFAULT_PROJECT,
    ORGANIZATION,
    ApiKey,
    ModelPermissions,
    Project,
    RateLimit,
    SpendLimit,
)
from ai_gateway.accounts.key_format import redacted, redacted_digest
from ai_gateway.accounts.limits import Scope, What, budget_key, scopes_of
from ai_gateway.accounts.projects import project_called
from ai_gateway.accounts.store.base import StoreError
from ai_gateway.contract.call import Caller
from ai_gateway.errors import InvalidApiKey, InvalidRequest, MissingApiKey, Unavailable
from ai_gateway.redaction import remember

_states = count(1)
_BARE_HEADERS = frozenset({"x-api-key", "api-key"})
_HOW = "Send the header Authorization: Bearer <key>."
# Seconds for which cached keys are accepted while the store is unavailable and revocations are unknown.
_LONGEST_AWAY_S = 60.0
# Only valid keys are cached; the number of wrong ones is unbounded.
_MAX_CALLERS = 100_000
# Keys that are redacted in full; each takes some kilobytes.
_MAX_REMEMBERED = 5_000
_STORE_AWAY = Unavailable(
    "The gateway cannot read its keys at the moment: send the request again in a few seconds.",
    headers={"retry-after": "5"},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredKey:
    """A key of the configuration: in plain text, or as its SHA-256. `name` is for administrators.

    `redacted` is the part to show, `project` the id or name of a project. `rates`, `spend` and `permissions` apply to
    the key alone.
    """

    name: str
    key: str | None = field(default=None, repr=False)
    digest: str | None = None
    redacted: str = ""
    project: str = DEFAULT_PROJECT
    administers: bool = False
    rates: tuple[RateLimit, ...] = ()
    spend: SpendLimit | None = None
    permissions: ModelPermissions | None = None

    @property
    def sha256(self) -> str:
        """The digest in hex."""
        return self.digest or sha256((self.key or "").encode()).hexdigest()

    @property
    def setting(self) -> str:
        """The setting that contains it."""
        if self.name.startswith("keys."):
            return f"[{self.name}]"
        return "ADMIN_API_KEY" if self.administers else "ALLOWED_API_KEYS"

    @property
    def id(self) -> str:
        """The key's id in records, which does not reveal it."""
        return "key_" + sha256(b"id:" + self.sha256.encode()).hexdigest()[:12]


class KeyRing:
    """The gateway's keys: looked up by digest, and redacted in all output if known in plain text."""

    def __init__(self, configured: Iterable[ConfiguredKey] = (), directory: Directory | None = None) -> None:
        keys = list(configured)
        remember(*(key.key for key in keys if key.key), beginnings=True)
        self._configured = {bytes.fromhex(key.sha256): _without_value(key) for key in keys}
        self.configured = {key.id: key for key in self._configured.values()}
        """The keys of the configuration by id, without their values."""
        self._directory = directory
        self._callers: dict[bytes, Caller] = {}
        self._remembered: set[bytes] = set()
        self.state = next(_states)
        """The revision of permissions and limits of keys."""

    def __bool__(self) -> bool:
        directory = self._directory
        return bool(self._configured) or (directory is not None and (directory.has_keys or directory.is_unknown))

    def is_configured(self, digest: str) -> bool:
        """Whether a key of the configuration has this SHA-256 in hex; it takes precedence over a stored one."""
        return bytes.fromhex(digest) in self._configured

    def forget(self) -> None:
        """Drop cached callers, whose permissions or limits have changed."""
        self._callers.clear()
        self.state = next(_states)

    async def refresh(self) -> bool:
        """Look for new keys in the store. Returns whether there are changes.

        Raises Unavailable: without the store, a key cannot be called wrong.
        """
        if self._directory is None:
            return False
        try:
            return await self._directory.look()
        except StoreError:
            raise _STORE_AWAY from None

    def find(self, key: str) -> Caller | None:
        """The caller of a key. The look-up by digest leaks nothing by its timing. Raises Unavailable."""
        digest = sha256(key.encode("utf-8", "surrogateescape")).digest()
        caller = self._callers.get(digest) or self._made(digest, key)
        if caller is None and not key.isascii():
            # Header bytes are decoded as Latin-1 here, while clients may have sent UTF-8.
            digest = sha256(key.encode("latin-1", "replace")).digest()
            caller = self._callers.get(digest) or self._made(digest, key)
        if caller is None or (caller.expires_at is not None and caller.expires_at <= time.time()):
            return None
        if caller.is_stored and self._is_away:
            raise _STORE_AWAY
        return caller

    def authenticate(self, headers: Mapping[str, str]) -> Caller:
        """The caller. Raises MissingApiKey, InvalidApiKey, or InvalidRequest for two different keys."""
        key = presented(headers)
        if key is None:
            raise MissingApiKey(f"No API key was sent. {_HOW}")
        caller = self.find(key)
        if caller is None:
            # Clients recognise a wrong key by OpenAI's message, as neuro-san does (`API_KEY_EXCEPTIONS`).
            raise InvalidApiKey(f"Incorrect API key provided: it is none of this gateway's. {_HOW}")
        return caller

    def still_knows(self, caller: Caller) -> bool:
        """Whether a caller of this `state` would be found now as well: in time, a stored key comes to be unsure."""
        is_over = caller.expires_at is not None and caller.expires_at <= time.time()
        return not (is_over or (caller.is_stored and self._is_away))

    @property
    def _is_away(self) -> bool:
        """Whether the store has been unavailable for so long that keys may be revoked."""
        return self._directory is not None and self._directory.age_s > _LONGEST_AWAY_S

    def scopes_now(self, caller: Caller) -> tuple[Scope, ...]:
        """The present limits of a caller whose call may have begun before a change."""
        if self._directory is None:
            return ()
        own = self.configured.get(caller.key_id or "")
        if own is None:
            return scopes_of(self._directory, caller.key_id, caller.project_id)
        found = self._configured_caller(own)
        return cast("tuple[Scope, ...]", found.scopes) if found is not None else ()

    def spend_limits(self) -> Iterator[tuple[What, SpendLimit, str]]:
        """Every spend limit, with its entity and the entity of its counter."""
        for configured in self.configured.values():
            if configured.spend is not None:
                yield "key", configured.spend, configured.id
        directory = self._directory
        for limit in directory.all(SpendLimit) if directory is not None else ():
            if limit.id == ORGANIZATION:
                yield "organization", limit, limit.id
            elif directory is not None and directory.get(ApiKey, limit.id) is not None:
                yield "key", limit, budget_key(directory, limit.id)
            else:
                yield "project", limit, limit.id

    def anonymous(self, caller: Caller) -> Caller:
        """A caller without a key, with the limits of the default project."""
        if self._directory is None:
            return caller
        made = self._callers.get(caller.name.encode())
        if made is None:
            made = self._callers[caller.name.encode()] = Caller(
                None,
                caller.name,
                caller.trusted,
                scopes=scopes_of(self._directory, None, DEFAULT_PROJECT),
                limits_state=self.state,
            )
        return made

    def _made(self, digest: bytes, key: str) -> Caller | None:
        """The caller of a valid key, cached; the key is redacted in all output from now on."""
        configured = self._configured.get(digest)
        stored = self._directory.key(digest) if self._directory is not None else None
        if configured is not None:
            caller = self._configured_caller(configured)
        else:
            caller = self._stored_caller(stored) if stored is not None and stored.deleted_at is None else None
        if caller is None:
            return None
        if caller.is_stored and digest not in self._remembered and len(self._remembered) < _MAX_REMEMBERED:
            self._remembered.add(digest)
            remember(key, beginnings=True)
        if len(self._callers) >= _MAX_CALLERS:
            self._callers.clear()
        self._callers[digest] = caller
        return caller

    def _configured_caller(self, key: ConfiguredKey) -> Caller | None:
        """The caller of a configured key; None if its project is archived, as for stored keys."""
        if key.administers:
            return Caller(key.id, key.name, trusted=True, administers=True)
        project_id = key.project
        if self._directory is not None:
            project = project_called(self._directory, key.project)
            if project is not None and project.archived_at is not None:
                return None
            project_id = project.id if project is not None else key.project
        rates = {rate.model: rate for rate in key.rates}
        own = Scope("key", key.id, key.spend, rates, key.permissions)
        others = scopes_of(self._directory, None, project_id) if self._directory is not None else ()
        scopes = (own, *others) if own.limits else others
        return Caller(key.id, key.name, trusted=True, project_id=project_id, scopes=scopes, limits_state=self.state)

    def _stored_caller(self, key: ApiKey) -> Caller | None:
        if key.project_id is None:
            return Caller(key.id, key.name, trusted=True, administers=True, expires_at=key.expires_at, is_stored=True)
        assert self._directory is not None  # noqa: S101 - it is where the key is from
        project = self._directory.get(Project, key.project_id)
        if project is None or project.archived_at is not None:
            return None
        return Caller(
            key.id,
            key.name,
            trusted=True,
            project_id=key.project_id,
            may=key.scopes,
            expires_at=key.expires_at,
            is_stored=True,
            scopes=scopes_of(self._directory, key.id, key.project_id),
            limits_state=self.state,
        )


def _without_value(key: ConfiguredKey) -> ConfiguredKey:
    digest = key.sha256
    return replace(key, digest=digest, key=None, redacted=redacted(key.key) if key.key else redacted_digest(digest))


def presented(headers: Mapping[str, str]) -> str | None:
    """The key from any of the headers for it; empty for a malformed one."""
    usual = headers.get("authorization", "")
    if usual.startswith("Bearer ") and "x-api-key" not in headers and "api-key" not in headers:
        return usual[7:].strip()
    keys = [key for name in _BARE_HEADERS if (key := headers.get(name, "").strip())]
    authorization = headers.get("authorization")
    if authorization is not None:
        scheme, _, token = authorization.strip().partition(" ")
        if scheme.lower() == "bearer":
            # Clients with the key in another header, such as `api-key`, may send an empty one.
            keys += [token.strip()] if token.strip() or not keys else []
        elif not keys:  # with a key in another header, another scheme is for a proxy
            keys.append("")
    if len(set(keys)) > 1:
        raise InvalidRequest("Two different API keys were sent: send one.")
    return keys[0] if keys else None

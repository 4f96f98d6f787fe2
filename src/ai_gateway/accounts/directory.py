"""The directory: all entities of administration, cached in memory, so that requests need no query.

The store is authoritative. Each change has a revision; newer entities are fetched twice a second, for unknown keys, and
before each change.
"""

import asyncio
import math
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from typing import cast

import structlog
from pydantic import TypeAdapter
from pydantic_core import to_json

from ai_gateway.accounts.entities import DEFAULT_PROJECT, KINDS, ApiKey, Entity, Project
from ai_gateway.accounts.store.base import Session, Store, StoreError

_REFRESH_S = 0.5  # a change is known everywhere within a second
# An unknown key may be new, so the store is queried; many wrong keys must not overload it.
_LOOK_S = 0.02
_MAX_LOOK_S = 1.0
_NAMES: Mapping[type[Entity], str] = {kind: name for name, kind in KINDS.items()}
_REVISION = "SELECT value FROM meta WHERE name = 'revision'"
_NEWER = "SELECT kind, id, revision, body FROM entities WHERE revision > $1 ORDER BY revision, kind, id"
_NEXT_REVISION = "UPDATE meta SET value = value + 1 WHERE name = 'revision' RETURNING value"
_PUT = """INSERT INTO entities (kind, id, revision, body) VALUES ($1, $2, $3, $4)
    ON CONFLICT (kind, id) DO UPDATE SET revision = excluded.revision, body = excluded.body"""
_AUDIT = "INSERT INTO audit (id, at, type, project_id, actor, body) VALUES ($1, $2, $3, $4, $5, $6)"
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Actor:
    """An administrator: by key, or by the command line on the gateway's machine.

    `address` is the client's, None for the command line.
    """

    key_id: str | None
    name: str
    address: str | None = None
    user_agent: str | None = None


@dataclass(slots=True)
class Change:
    """An atomic change of several entities. The directory has the new ones afterwards.

    `session` is its transaction, for data other than entities.
    """

    actor: Actor
    now: int
    session: Session
    _written: dict[tuple[type[Entity], str], Entity | None] = field(default_factory=dict)
    _audited: list[tuple[str, str | None, dict[str, object]]] = field(default_factory=list)

    def put(self, entity: Entity) -> None:
        """Create the entity, or replace the one with its id."""
        self._written[type(entity), entity.id] = entity

    def delete(self, kind: type[Entity], identifier: str) -> None:
        """Remove an entity. Those that records refer to are not removed, but put with a deletion time."""
        self._written[kind, identifier] = None

    def audit(self, event: str, project_id: str | None = None, **payload: object) -> None:
        """Add to the audit log: an event of OpenAI's list, with the details under its name."""
        self._audited.append((event, project_id, payload))


class Directory:
    """All entities by kind and id. `on_change` is called after each change, of this or another process."""

    def __init__(self, store: Store, on_change: Callable[[], None] = lambda: None) -> None:
        self.store = store
        self.on_change = on_change
        self.refreshed_at = -math.inf
        self.default_tools: frozenset[str] = frozenset()
        """The enabled tools of projects without permissions of their own, by OpenAI's names."""
        self.is_unknown = False
        """Whether the store may have keys that are not read yet."""
        self._revision = 0
        self._entities: dict[type[Entity], dict[str, Entity]] = {kind: {} for kind in KINDS.values()}
        self._keys: dict[bytes, ApiKey] = {}
        self._task: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None

    # -- lifecycle --

    async def start(self) -> None:
        """Load everything, and refresh it from now on. Raises StoreError."""
        await self.store.open()
        await self.refresh()
        if self.get(Project, DEFAULT_PROJECT) is None:
            async with self.change(Actor(None, "gateway")) as change:
                if self.get(Project, DEFAULT_PROJECT) is None:
                    change.put(Project(id=DEFAULT_PROJECT, name="Default", created_at=change.now))
        self._task = asyncio.create_task(self._keep_fresh())

    async def aclose(self) -> None:
        """Stop, and close the store."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            self._task = None
        await self.store.aclose()

    # -- reading --

    def get[E: Entity](self, kind: type[E], identifier: str) -> E | None:
        """The entity of this kind with this id."""
        return cast("Mapping[str, E]", self._entities[kind]).get(identifier)

    def all[E: Entity](self, kind: type[E]) -> Iterable[E]:
        """Every entity of this kind, in no order."""
        return cast("Mapping[str, E]", self._entities[kind]).values()

    def key(self, digest: bytes) -> ApiKey | None:
        """The key with this SHA-256, also if it is expired or deleted."""
        return self._keys.get(digest)

    @property
    def age_s(self) -> float:
        """Seconds since the copy was known to be up to date."""
        return time.monotonic() - self.refreshed_at

    @property
    def is_loaded(self) -> bool:
        """Whether the store was ever read."""
        return self._task is not None

    @property
    def has_keys(self) -> bool:
        """Whether there has ever been a key: deleting the last one does not open the gateway."""
        return bool(self._keys)

    async def refresh(self) -> None:
        """Load newer entities from the store. Raises StoreError."""
        await self._read(self.store)

    async def look(self) -> bool:
        """Load newer entities, rate-limited. Returns whether there were any. Raises StoreError."""
        before, requested_at = self._revision, time.monotonic()
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(max(0.0, _LOOK_S - self.age_s)))
        await asyncio.wait({self._looking}, timeout=_MAX_LOOK_S)
        if self.refreshed_at < requested_at - _LOOK_S:
            raise StoreError(f"{self.store.name} does not answer")
        return self._revision != before

    async def _look(self, in_s: float) -> None:
        """Refresh, shared by concurrent callers."""
        await asyncio.sleep(in_s)
        with suppress(StoreError):
            await self.refresh()

    @asynccontextmanager
    async def change(self, actor: Actor) -> AsyncIterator[Change]:
        """An exclusive transaction. An exception in the block undoes it. Raises StoreError."""
        async with self.store.transaction() as session:
            # Writers are serialised by the row of the revision.
            ((revision,),) = await session.fetch(_NEXT_REVISION)
            await self._read(session, up_to=int(revision or 0) - 1)
            change = Change(actor, int(time.time()), session)
            yield change
            written: list[tuple[str, str, str | None]] = []
            for (kind, identifier), entity in change._written.items():
                body = to_json(entity).decode() if entity is not None else None
                await session.execute(_PUT, _NAMES[kind], identifier, revision, body)
                written.append((_NAMES[kind], identifier, body))
            for number, (event, project_id, payload) in enumerate(change._audited):
                facts = to_json({"payload": payload}).decode()
                who = to_json(actor).decode()
                # Ids are in the order of events, even if a clock goes back.
                identifier = f"audit_log_{revision:016x}{number:08x}"
                await session.execute(_AUDIT, identifier, change.now, event, project_id, who, facts)
        try:
            await self.refresh()
        except StoreError:  # the change is stored, so it must not be reported as failed
            if self._revision == int(revision or 0) - 1:
                self._take_over(written, self._revision + 1)

    async def _read(self, session: Session, up_to: int | None = None) -> None:
        if up_to is None:
            ((revision,),) = await session.fetch(_REVISION)
            up_to = int(revision or 0)
        if up_to > self._revision:
            newer = await session.fetch(_NEWER, self._revision)
            if up_to > self._revision:  # unless another task has read them meanwhile
                self._take_over([(str(kind), str(identifier), body) for kind, identifier, _, body in newer], up_to)
        self.refreshed_at = time.monotonic()
        self.is_unknown = False

    def _take_over(self, newer: Iterable[tuple[str, str, object]], revision: int) -> None:
        """Apply these entities, given by kind, id and body: all newer ones up to this revision."""
        for kind, identifier, body in newer:
            self._adopt(kind, identifier, body)
        self._revision = revision
        self.refreshed_at = time.monotonic()  # before `on_change`, which may read it
        self.on_change()

    def _adopt(self, name: str, identifier: str, body: object) -> None:
        kind = KINDS.get(name)
        if kind is None:  # a kind of a later version
            return
        entities = self._entities[kind]
        former = entities.pop(identifier, None)
        if isinstance(former, ApiKey):
            self._keys.pop(bytes.fromhex(former.digest), None)
        if isinstance(body, str):
            entity = entities[identifier] = _reader(name).validate_json(body)
            if isinstance(entity, ApiKey):
                self._keys[bytes.fromhex(entity.digest)] = entity

    async def _keep_fresh(self) -> None:
        failing = False
        while True:
            await asyncio.sleep(_REFRESH_S)
            try:
                await self.refresh()
            except StoreError as error:
                if not failing:
                    _log.error("store away", store=self.store.name, error=str(error))
                failing = True
            else:
                if failing:
                    _log.warning("store is back", store=self.store.name)
                failing = False


@cache
def _reader(name: str) -> TypeAdapter[Entity]:
    return TypeAdapter(KINDS[name])


def new_id(prefix: str) -> str:
    """An unguessable id that sorts after all earlier ones."""
    return f"{prefix}_{time.time_ns() // 1000:013x}{secrets.token_hex(8)}"

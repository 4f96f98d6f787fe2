"""Everything that administrators have made, in memory: what a request needs to know of its caller costs no question.

The store has the truth. Each change there has a revision; what is newer than the copy is fetched twice a second, when a
key is not known, and before anything is changed.
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
# A key that nobody knows may have been made a moment ago; whoever tries many must not make the store busy.
_LOOK_S = 0.02
_LONGEST_LOOK_S = 1.0
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
    """Who administers: a key of an administrator, or the command line on the gateway's own machine.

    `address` is where the request came from, None for the command line.
    """

    key_id: str | None
    name: str
    address: str | None = None
    user_agent: str | None = None


@dataclass(slots=True)
class Change:
    """One change of several entities, all or nothing. What it has put can be read from the directory afterwards.

    `session` is its transaction, for what is no entity.
    """

    actor: Actor
    now: int
    session: Session
    _written: dict[tuple[type[Entity], str], Entity | None] = field(default_factory=dict)
    _audited: list[tuple[str, str | None, dict[str, object]]] = field(default_factory=list)

    def put(self, entity: Entity) -> None:
        """Make it, or replace the one with its id."""
        self._written[type(entity), entity.id] = entity

    def delete(self, kind: type[Entity], identifier: str) -> None:
        """Remove it. What records may name is not removed but put, with the time of its deletion."""
        self._written[kind, identifier] = None

    def audit(self, event: str, project_id: str | None = None, **payload: object) -> None:
        """Add to the audit log: an event of OpenAI's list, and what it says of itself under that name."""
        self._audited.append((event, project_id, payload))


class Directory:
    """All entities by kind and id. `on_change` is called after each change, whoever made it."""

    def __init__(self, store: Store, on_change: Callable[[], None] = lambda: None) -> None:
        self.store = store
        self.on_change = on_change
        self.refreshed_at = -math.inf
        self.default_tools: frozenset[str] = frozenset()
        """Those that run here for a project until an administrator decides on its tools, by OpenAI's names."""
        self.is_unknown = False
        """Whether the store may have keys that could not be read yet."""
        self._revision = 0
        self._entities: dict[type[Entity], dict[str, Entity]] = {kind: {} for kind in KINDS.values()}
        self._keys: dict[bytes, ApiKey] = {}
        self._task: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None

    # -- lifecycle --

    async def start(self) -> None:
        """Read everything, and keep it fresh from now on. Raises StoreError."""
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
        """Whether there ever was a key: a gateway that had one never opens again because it was deleted."""
        return bool(self._keys)

    async def refresh(self) -> None:
        """Take over what is newer in the store. Raises StoreError."""
        await self._read(self.store)

    async def look(self) -> bool:
        """Take over what is newer now. Returns whether there was anything; never is in a hurry. Raises StoreError."""
        before, asked = self._revision, time.monotonic()
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(max(0.0, _LOOK_S - self.age_s)))
        await asyncio.wait({self._looking}, timeout=_LONGEST_LOOK_S)
        if self.refreshed_at < asked - _LOOK_S:
            raise StoreError(f"{self.store.name} does not answer")
        return self._revision != before

    async def _look(self, in_s: float) -> None:
        """Refresh, once for all who ask meanwhile."""
        await asyncio.sleep(in_s)
        with suppress(StoreError):
            await self.refresh()

    @asynccontextmanager
    async def change(self, actor: Actor) -> AsyncIterator[Change]:
        """Read and write as nobody else can at the same time. What the block raises undoes it. Raises StoreError."""
        async with self.store.transaction() as session:
            # The row of the revision is what writers wait for, each for the one before.
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
                # The ids are in the order of what happened, whatever a clock says.
                identifier = f"audit_log_{revision:016x}{number:08x}"
                await session.execute(_AUDIT, identifier, change.now, event, project_id, who, facts)
        try:
            await self.refresh()
        except StoreError:  # it is stored, so that nobody may be told that it has failed
            if self._revision == int(revision or 0) - 1:
                self._take_over(written, self._revision + 1)

    async def _read(self, session: Session, up_to: int | None = None) -> None:
        if up_to is None:
            ((revision,),) = await session.fetch(_REVISION)
            up_to = int(revision or 0)
        if up_to > self._revision:
            newer = await session.fetch(_NEWER, self._revision)
            if up_to > self._revision:  # or another task has read as much in the meantime
                self._take_over([(str(kind), str(identifier), body) for kind, identifier, _, body in newer], up_to)
        self.refreshed_at = time.monotonic()
        self.is_unknown = False

    def _take_over(self, newer: Iterable[tuple[str, str, object]], revision: int) -> None:
        """Know these entities, each with its kind, id and body, which are all that is newer up to this revision."""
        for kind, identifier, body in newer:
            self._adopt(kind, identifier, body)
        self._revision = revision
        self.refreshed_at = time.monotonic()  # which who is told of the change may ask for
        self.on_change()

    def _adopt(self, name: str, identifier: str, body: object) -> None:
        kind = KINDS.get(name)
        if kind is None:  # what a later version knows
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
    """An id that nobody can guess, after all that were made before it."""
    return f"{prefix}_{time.time_ns() // 1000:013x}{secrets.token_hex(8)}"

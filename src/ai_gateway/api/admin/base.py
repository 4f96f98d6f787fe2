"""Common parts of the handlers of administration: authorisation, reading and changing the directory."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import override

from starlette.types import Scope

from ai_gateway.accounts.directory import Actor, Change, Directory
from ai_gateway.accounts.entities import ORGANIZATION, Entity, Project, SpendAlert, SpendLimit
from ai_gateway.accounts.holds import PICO_PER_CENT
from ai_gateway.accounts.keys import ConfiguredKey
from ai_gateway.accounts.ledger import Ledger
from ai_gateway.accounts.limits import What
from ai_gateway.accounts.store.base import StoreError
from ai_gateway.accounts.windows import window_at
from ai_gateway.api.access import Access, client_of
from ai_gateway.api.boundary import WireBoundary
from ai_gateway.config.fields import is_time_zone
from ai_gateway.config.problems import without_credentials
from ai_gateway.contract.body import BodyLimits
from ai_gateway.contract.call import Call, Caller
from ai_gateway.contract.route import Security
from ai_gateway.contract.wire import OPENAI
from ai_gateway.errors import InvalidRequest, NotFound, Unavailable
from gateway_contract.openai_admin.routes import Handlers

_SECRETS = {"digest", "webhook_secret"}


@dataclass(frozen=True, slots=True)
class Administrator(Caller):
    """A caller with an administrator's key. `address` is the client's, for the audit log."""

    address: str | None = None


class Administration(WireBoundary, Handlers):
    """The base class of the handlers.

    Unknown query parameters are refused: a misspelt filter, or one of a newer document, would silently not apply.
    """

    closed_queries = True

    def __init__(self, directory: Directory, access: Access, body_limits: BodyLimits) -> None:
        super().__init__(OPENAI, access, body_limits)
        self.directory = directory

    @override
    def authorize(self, scope: Scope, headers: Mapping[str, str], security: Security) -> Caller:
        caller = self.access.authorize_administrator(scope, headers)
        address = client_of(scope) or None
        return Administrator(caller.key_id, caller.name, trusted=True, administers=True, address=address)

    async def fresh(self) -> Directory:
        """The directory, with the latest changes of others. Raises Unavailable if the store cannot be read."""
        try:
            await self.directory.refresh()
        except StoreError as error:
            raise store_unavailable(error) from error
        return self.directory

    async def last_uses(self) -> Mapping[str, int]:
        """When each key began its last call, in seconds since the epoch. Not within a change."""
        try:
            return await Ledger(self.directory.store).last_uses()
        except StoreError as error:
            raise store_unavailable(error) from error

    async def is_reached(self, limit: SpendLimit) -> bool:
        """Whether a spend limit of the organization or a project is reached. Not within a change."""
        window = window_at(limit.interval, limit.time_zone, time.time())
        what: What = "organization" if limit.id == ORGANIZATION else "project"
        try:
            spent = await Ledger(self.directory.store).spent(what, limit.id, window.start, window.end)
        except StoreError as error:
            raise store_unavailable(error) from error
        return spent >= limit.threshold_amount * PICO_PER_CENT

    @asynccontextmanager
    async def change(self, call: Call) -> AsyncIterator[Change]:
        """A change of the directory by the caller. An exception in the block undoes it."""
        caller = call.caller
        address = caller.address if isinstance(caller, Administrator) else None
        actor = Actor(caller.key_id, caller.name, address, call.headers.get("user-agent", "")[:256] or None)
        try:
            async with self.directory.change(actor) as change:
                yield change
        except StoreError as error:
            raise store_unavailable(error) from error

    def project(self, project_id: str) -> Project:
        """The project. Raises NotFound."""
        project = self.directory.get(Project, project_id)
        if project is None:
            raise NotFound(f"No project found with id '{project_id}'.")
        return project

    def active_project(self, project_id: str) -> Project:
        """The project, if it can be changed. Raises NotFound, or InvalidRequest for an archived one."""
        project = self.project(project_id)
        if project.archived_at is not None:
            raise InvalidRequest(
                f"The project '{project_id}' is archived, so that it cannot be changed.", code="project_archived"
            )
        return project


def shown(entity: Entity | None) -> dict[str, object] | None:
    """An entity for the audit log: without secrets and unset fields."""
    if entity is None:
        return None
    fields = {name: value for name, value in asdict(entity).items() if name not in _SECRETS}
    if isinstance(entity, SpendAlert) and entity.webhook_url is not None:
        fields["webhook_url"] = without_credentials(entity.webhook_url)
    return {name: value for name, value in fields.items() if value not in (None, ())}


def audit_change(change: Change, entity: str, what: str, before: Entity | None, after: Entity | None) -> None:
    """Audit a change without an event type of its own in OpenAI's list, as one of its organization or project."""
    whole = entity == ORGANIZATION
    change.audit(
        "organization.updated" if whole else "project.updated",
        None if whole else entity,
        id=entity,
        changes_requested={what: shown(after)},
        before={what: shown(before)},
        after={what: shown(after)},
    )


def is_configured(key: ConfiguredKey) -> InvalidRequest:
    """The error for changing a key of the configuration."""
    return InvalidRequest(
        f"The key '{key.id}' is one of the gateway's configuration: its operator has to change it in {key.setting}.",
        code="key_configured",
    )


def store_unavailable(error: StoreError) -> Unavailable:  # noqa: ARG001
    """The error for clients when the store fails; the cause is logged."""
    return Unavailable("The store of accounts cannot be used now: try again.", headers={"retry-after": "1"})


def checked_zone(name: str | None, param: str = "time_zone") -> str:
    """The zone's name, by default UTC. Raises InvalidRequest for an unknown one."""
    if not name:
        return "UTC"
    if not is_time_zone(name):
        raise InvalidRequest(
            f"Invalid value for '{param}': no time zone of the IANA database, such as Europe/Berlin, has this name.",
            param=param,
            code="invalid_value",
        )
    return name

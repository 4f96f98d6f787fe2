"""The keys of a project: created for a service account, listed, changed, deleted."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import override

from ai_gateway.accounts.directory import Change, new_id
from ai_gateway.accounts.entities import (
    EVERY_MODEL,
    ApiKey,
    ModelPermissions,
    Project,
    RateLimit,
    ServiceAccount,
    SpendLimit,
)
from ai_gateway.accounts.key_format import digest, new_key, redacted, redacted_digest
from ai_gateway.accounts.projects import project_called
from ai_gateway.api.admin.base import Administration, is_configured, shown
from ai_gateway.api.admin.limits_of_keys import Limited, add_limits, delete_limits, put_limits, rate_limit_id
from ai_gateway.api.admin.pages import Page, by_time, page
from ai_gateway.contract.call import Call
from ai_gateway.errors import InvalidRequest, NotFound
from ai_gateway.redaction import remember
from gateway_contract.openai_admin import models

type _Creates = models.CreateProjectServiceAccountApiKeyBody | models.ProjectServiceAccountCreateRequest


class ProjectKeys(Administration):
    def account(self, project: Project, account_id: str) -> ServiceAccount:
        """A service account of the project. Raises NotFound, also for one of another project."""
        account = self.directory.get(ServiceAccount, account_id)
        if account is None or account.project_id != project.id or account.deleted_at is not None:
            raise NotFound(f"No service account found with id '{account_id}' in this project.")
        return account

    def make_key(
        self, change: Change, account: ServiceAccount, name: str, body: _Creates, scopes: tuple[str, ...] = ()
    ) -> Mapping[str, object]:
        """Create a key for the account, with the body's limits. Returns it with its secret, which is never shown again.

        Raises InvalidRequest for a digest that is in use, and if the key to replace is not the account's.
        """
        budget_of = None
        if isinstance(body, models.CreateProjectServiceAccountApiKeyBody) and body.replaces is not None:
            budget_of = self._budget_of(account, body.replaces)
        value, known = "", body.digest
        if known is None:
            value = new_key()
            remember(value, beginnings=True)
        elif self.directory.key(bytes.fromhex(known)) is not None or self.access.keys.is_configured(known):
            raise InvalidRequest("There is, or was, a key with this digest.", param="digest", code="key_exists")
        lifetime = body.expires_in_seconds
        key = ApiKey(
            id=new_id("key"),
            digest=known or digest(value),
            redacted=redacted(value) if known is None else redacted_digest(known),
            name=name,
            created_at=change.now,
            project_id=account.project_id,
            service_account_id=account.id,
            expires_at=change.now + lifetime if lifetime else None,
            scopes=scopes,
            budget_of=budget_of,
        )
        change.put(key)
        put_limits(change, key.id, body)
        change.audit(
            "api_key.created",
            account.project_id,
            id=key.id,
            data={"scopes": list(scopes)},
            after={**(shown(key) or {}), **_limits(body)},
        )
        return {
            "object": "organization.project.service_account.api_key",
            "value": value,
            "name": key.name,
            "created_at": key.created_at,
            "id": key.id,
            "expires_at": key.expires_at,
        }

    @override
    async def list_project_api_keys(
        self, call: Call, project_id: str, query: models.ListProjectApiKeysQuery
    ) -> models.ProjectApiKeyListResponse:
        directory = await self.fresh()
        project = self.project(project_id)
        every = (*directory.all(ApiKey), *self._configured_in(project))
        own = (key for key in every if key.project_id == project.id)
        found = _page(own, query, lambda key: query.owner_project_access in {"any", self._access(key, project)})
        uses = await self.last_uses()
        return models.ProjectApiKeyListResponse(
            object="list",
            data=[self._key(key, project, uses) for key in found.items],
            first_id=found.items[0].id if found.items else None,
            last_id=found.items[-1].id if found.items else None,
            has_more=found.has_more,
        )

    @override
    async def list_keys(self, call: Call, query: models.ListKeysQuery) -> models.KeyList:
        directory = await self.fresh()
        projects = {project.id: project for project in directory.all(Project)}
        configured = (key for project in projects.values() for key in self._configured_in(project))
        every = (*directory.all(ApiKey), *configured)
        found = _page(every, query, lambda key: key.project_id in projects and self._is_called(key, query.name))
        uses = await self.last_uses()
        data = [_with_project(self._key(key, project, uses), project) for key, project in _pairs(found.items, projects)]
        first, last = (data[0].id, data[-1].id) if data else (None, None)
        return models.KeyList(object="list", data=data, has_more=found.has_more, first_id=first, last_id=last)

    def _is_called(self, key: ApiKey, name: str | None) -> bool:
        if name is None or name in {key.id, key.redacted}:
            return True
        if key.id in self.access.keys.configured:  # which is its own owner
            return key.name == name
        owner = self.directory.get(ServiceAccount, key.service_account_id or "")
        return (owner.name if owner is not None else key.name) == name

    @override
    async def retrieve_project_api_key(self, call: Call, project_id: str, api_key_id: str) -> models.ProjectApiKey:
        await self.fresh()
        project = self.project(project_id)
        configured = next((key for key in self._configured_in(project) if key.id == api_key_id), None)
        return self._key(configured or self._find_key(project, api_key_id), project, await self.last_uses())

    @override
    async def modify_project_api_key(
        self, call: Call, project_id: str, api_key_id: str, body: models.UpdateProjectApiKeyBody
    ) -> models.ProjectApiKey:
        uses = await self.last_uses()
        async with self.change(call) as change:
            project = self.active_project(project_id)
            former = self._find_key(project, api_key_id)
            if former.expires_at is not None and former.expires_at <= change.now:
                raise InvalidRequest("The key has expired, so that it cannot be changed.", code="key_expired")
            key = former
            if body.expires_in_seconds is not None:
                key = replace(key, expires_at=change.now + body.expires_in_seconds)
            if body.scopes is not None:
                key = replace(key, scopes=tuple(body.scopes))
            before = self._key(former, project, uses)
            change.put(key)
            put_limits(change, key.id, body)
            change.audit(
                "api_key.updated",
                project.id,
                id=key.id,
                changes_requested=body.model_dump(exclude_unset=True),
                before={**(shown(former) or {}), **_limits(before)},
                after={**(shown(key) or {}), **_limits(before), **_limits(body)},
            )
        return self._key(key, project, uses)

    @override
    async def delete_project_api_key(
        self, call: Call, project_id: str, api_key_id: str
    ) -> models.ProjectApiKeyDeleteResponse:
        async with self.change(call) as change:
            key = self._find_key(self.project(project_id), api_key_id)
            change.put(replace(key, deleted_at=change.now))
            delete_limits(change, key.id)
            change.audit("api_key.deleted", project_id, id=key.id, before=shown(key))
        return models.ProjectApiKeyDeleteResponse(
            object="organization.project.api_key.deleted", id=api_key_id, deleted=True
        )

    def _budget_of(self, account: ServiceAccount, key_id: str) -> str:
        """The id of the first key in a chain of replacements, whose budget they share."""
        former = self.directory.get(ApiKey, key_id)
        if former is None or former.service_account_id != account.id:
            raise InvalidRequest(
                f"The service account '{account.id}' has no key with id '{key_id}'.",
                param="replaces",
                code="invalid_value",
            )
        return former.budget_of or former.id

    def _configured_in(self, project: Project) -> Iterator[ApiKey]:
        """The keys of the configuration in this project, whose time of creation is unknown."""
        for key in self.access.keys.configured.values():
            if not key.administers and project_called(self.directory, key.project) == project:
                yield ApiKey(
                    id=key.id,
                    digest=key.sha256,
                    redacted=key.redacted,
                    name=key.name,
                    created_at=project.created_at,
                    project_id=project.id,
                )

    def _find_key(self, project: Project, key_id: str) -> ApiKey:
        """A key that can be changed. Raises NotFound, or InvalidRequest for one of the configuration."""
        if any(key.id == key_id for key in self._configured_in(project)):
            raise is_configured(self.access.keys.configured[key_id])
        key = self.directory.get(ApiKey, key_id)
        if key is None or key.project_id != project.id or key.deleted_at is not None:
            raise NotFound(f"No API key found with id '{key_id}' in this project.")
        return key

    def _access(self, key: ApiKey, project: Project) -> str:
        if key.id in self.access.keys.configured:
            return "inactive" if project.archived_at is not None else "active"
        owner = self.directory.get(ServiceAccount, key.service_account_id or "")
        there = owner is not None and owner.deleted_at is None and project.archived_at is None
        return "active" if there else "inactive"

    def _key(self, key: ApiKey, project: Project, uses: Mapping[str, int]) -> models.ProjectApiKey:
        owner = self.directory.get(ServiceAccount, key.service_account_id or "")
        made = models.ProjectApiKey(
            object="organization.project.api_key",
            redacted_value=key.redacted,
            name=key.name,
            created_at=key.created_at,
            last_used_at=uses.get(key.id),
            id=key.id,
            owner_project_access="active" if self._access(key, project) == "active" else "inactive",
            owner=models.ProjectApiKeyOwner(type="service_account"),
            expires_at=key.expires_at,
        )
        if owner is not None:
            made.owner.service_account = models.ProjectApiKeyOwnerServiceAccount(
                id=owner.id, name=owner.name, created_at=owner.created_at, role=owner.role
            )
        configured = self.access.keys.configured.get(key.id)
        if configured is not None:
            made.owner.service_account = models.ProjectApiKeyOwnerServiceAccount(
                id=key.id, name=key.name, created_at=key.created_at, role="member"
            )
            made.configured_in = configured.setting
            add_limits(
                made, configured.spend, configured.rates[0] if configured.rates else None, configured.permissions
            )
            return made
        if key.scopes:
            made.scopes = list(key.scopes)
        add_limits(
            made,
            self.directory.get(SpendLimit, key.id),
            self.directory.get(RateLimit, rate_limit_id(key.id, EVERY_MODEL)),
            self.directory.get(ModelPermissions, key.id),
        )
        return made


def _page(
    keys: Iterable[ApiKey],
    query: models.ListProjectApiKeysQuery | models.ListKeysQuery,
    is_shown: Callable[[ApiKey], bool],
) -> Page[ApiKey]:
    """A page of those keys that exist and are shown, by age."""
    return page(
        by_time(keys, lambda key: key.created_at),
        lambda key: key.id,
        query.limit,
        query.after,
        is_shown=lambda key: key.deleted_at is None and is_shown(key),
    )


def _pairs(keys: Iterable[ApiKey], projects: Mapping[str, Project]) -> Iterator[tuple[ApiKey, Project]]:
    for key in keys:
        if key.project_id is not None:
            yield key, projects[key.project_id]


def _with_project(key: models.ProjectApiKey, project: Project) -> models.KeyOfProject:
    return models.KeyOfProject(
        object="gateway.key", id=key.id, key=key, project_id=project.id, project_name=project.name
    )


def _limits(limited: Limited | models.ProjectApiKey) -> dict[str, object]:
    """The limits for the audit log; null for a removed one."""
    names = ("spend_limit", "rate_limits", "model_permissions")
    return limited.model_dump(include=set(names) & limited.model_fields_set, exclude_unset=True)

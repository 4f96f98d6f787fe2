"""Service accounts, the owners of keys: one for each person or program that calls."""

from dataclasses import replace
from typing import Literal, cast, override

from ai_gateway.accounts.directory import new_id
from ai_gateway.accounts.entities import ApiKey, ServiceAccount
from ai_gateway.api.admin.base import shown
from ai_gateway.api.admin.limits_of_keys import delete_limits
from ai_gateway.api.admin.pages import by_time, page
from ai_gateway.api.admin.project_keys import ProjectKeys
from ai_gateway.contract.call import Call
from ai_gateway.errors import InvalidRequest
from gateway_contract.openai_admin import models

_OF_THE_KEY = ("expires_in_seconds", "digest", "spend_limit", "rate_limits", "model_permissions")


class ServiceAccounts(ProjectKeys):
    @override
    async def list_project_service_accounts(
        self, call: Call, project_id: str, query: models.ListProjectServiceAccountsQuery
    ) -> models.ProjectServiceAccountListResponse:
        directory = await self.fresh()
        project = self.project(project_id)
        every = by_time(
            (each for each in directory.all(ServiceAccount) if each.project_id == project.id),
            lambda account: account.created_at,
        )
        found = page(
            every,
            lambda account: account.id,
            query.limit,
            query.after,
            is_shown=lambda account: account.deleted_at is None,
        )
        return models.ProjectServiceAccountListResponse(
            object="list",
            data=[_account(each) for each in found.items],
            first_id=found.items[0].id if found.items else None,
            last_id=found.items[-1].id if found.items else None,
            has_more=found.has_more,
        )

    @override
    async def create_project_service_account(
        self, call: Call, project_id: str, body: models.ProjectServiceAccountCreateRequest
    ) -> models.ProjectServiceAccountCreateResponse:
        alone = bool(body.create_service_account_only)
        if alone and (unused := [name for name in _OF_THE_KEY if getattr(body, name) is not None]):
            raise InvalidRequest(
                f"'{unused[0]}' is of the first key, and 'create_service_account_only' says that there is none.",
                param=unused[0],
                code="invalid_value",
            )
        role: Literal["member", "none"] = "none" if alone else "member"
        made = None
        async with self.change(call) as change:
            project = self.active_project(project_id)
            account = ServiceAccount(
                id=new_id("svc_acct"), project_id=project.id, name=body.name, created_at=change.now, role=role
            )
            change.put(account)
            change.audit(
                "service_account.created",
                project.id,
                id=account.id,
                data={"role": role, "name": account.name},
                after=shown(account),
            )
            if not alone:
                made = self.make_key(change, account, "Secret key", body)
        return models.ProjectServiceAccountCreateResponse(
            object="organization.project.service_account",
            id=account.id,
            name=account.name,
            role=role,
            created_at=account.created_at,
            api_key=models.ProjectServiceAccountApiKey.model_validate(made) if made else None,
        )

    @override
    async def retrieve_project_service_account(
        self, call: Call, project_id: str, service_account_id: str
    ) -> models.ProjectServiceAccount:
        await self.fresh()
        return _account(self.account(self.project(project_id), service_account_id))

    @override
    async def update_project_service_account(
        self, call: Call, project_id: str, service_account_id: str, body: models.UpdateProjectServiceAccountBody
    ) -> models.ProjectServiceAccount:
        async with self.change(call) as change:
            former = self.account(self.active_project(project_id), service_account_id)
            account = replace(former, name=body.name or former.name, role=body.role or former.role)
            if account != former:
                change.put(account)
                change.audit(
                    "service_account.updated",
                    project_id,
                    id=account.id,
                    changes_requested={"role": account.role, "name": account.name},
                    before=shown(former),
                    after=shown(account),
                )
        return _account(account)

    @override
    async def delete_project_service_account(
        self, call: Call, project_id: str, service_account_id: str
    ) -> models.ProjectServiceAccountDeleteResponse:
        async with self.change(call) as change:
            account = self.account(self.project(project_id), service_account_id)
            change.put(replace(account, role="none", deleted_at=change.now))
            change.audit("service_account.deleted", project_id, id=account.id, before=shown(account))
            for key in self.directory.all(ApiKey):
                if key.service_account_id == account.id and key.deleted_at is None:
                    change.put(replace(key, deleted_at=change.now))
                    delete_limits(change, key.id)
                    change.audit("api_key.deleted", project_id, id=key.id, before=shown(key))
        return models.ProjectServiceAccountDeleteResponse(
            object="organization.project.service_account.deleted", id=service_account_id, deleted=True
        )

    @override
    async def create_project_service_account_api_key(
        self, call: Call, project_id: str, service_account_id: str, body: models.CreateProjectServiceAccountApiKeyBody
    ) -> models.ServiceAccountApiKeyBody:
        async with self.change(call) as change:
            account = self.account(self.active_project(project_id), service_account_id)
            made = self.make_key(change, account, body.name or "Secret key", body, tuple(body.scopes or ()))
        return models.ServiceAccountApiKeyBody.model_validate(made)


def _account(account: ServiceAccount) -> models.ProjectServiceAccount:
    return models.ProjectServiceAccount(
        object="organization.project.service_account",
        id=account.id,
        name=account.name,
        role=cast("Literal['owner', 'member', 'none']", account.role),
        created_at=account.created_at,
    )

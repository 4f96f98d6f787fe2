"""Permissions of projects: models, gateway-run tools, data retention."""

from collections.abc import Collection
from typing import Final, override

from ai_gateway.accounts.directory import Change
from ai_gateway.accounts.entities import (
    ORGANIZATION,
    DataRetention,
    HostedToolPermissions,
    ModelPermissions,
)
from ai_gateway.api.admin.base import Administration, audit_change
from ai_gateway.contract.call import Call
from gateway_contract.openai_admin import models

_TOOLS: Final = ("file_search", "web_search", "image_generation", "mcp", "code_interpreter")
_DEFAULT_RETENTION: Final = "modified_abuse_monitoring"
"""Stored data is not reviewed by people, and callers may store data."""
_OF_THE_ORGANIZATION: Final = "organization_default"


class Permissions(Administration):
    @override
    async def retrieve_project_model_permissions(self, call: Call, project_id: str) -> models.ProjectModelPermissions:
        directory = await self.fresh()
        return _model_permissions(directory.get(ModelPermissions, self.project(project_id).id))

    @override
    async def update_project_model_permissions(
        self, call: Call, project_id: str, body: models.ProjectModelPermissionsUpdateRequest
    ) -> models.ProjectModelPermissions:
        async with self.change(call) as change:
            project = self.active_project(project_id)
            allowed = ModelPermissions(id=project.id, mode=body.mode, model_ids=frozenset(body.model_ids))
            former = self.directory.get(ModelPermissions, project.id)
            change.put(allowed)
            audit_change(change, project.id, "model_permissions", former, allowed)
        return _model_permissions(allowed)

    @override
    async def delete_project_model_permissions(
        self, call: Call, project_id: str
    ) -> models.ProjectModelPermissionsDeleteResponse:
        async with self.change(call) as change:
            project = self.active_project(project_id)
            former = self.directory.get(ModelPermissions, project.id)
            if former is not None:
                change.delete(ModelPermissions, project.id)
                audit_change(change, project.id, "model_permissions", former, None)
        return models.ProjectModelPermissionsDeleteResponse(object="project.model_permissions.deleted", deleted=True)

    @override
    async def retrieve_project_hosted_tool_permissions(
        self, call: Call, project_id: str
    ) -> models.ProjectHostedToolPermissions:
        directory = await self.fresh()
        return _tools(self._enabled(directory.get(HostedToolPermissions, self.project(project_id).id)))

    @override
    async def update_project_hosted_tool_permissions(
        self, call: Call, project_id: str, body: models.ProjectHostedToolPermissionsUpdateRequest
    ) -> models.ProjectHostedToolPermissions:
        async with self.change(call) as change:
            project = self.active_project(project_id)
            former = self.directory.get(HostedToolPermissions, project.id)
            enabled = set(self._enabled(former))
            for tool in _TOOLS:
                said: models.HostedToolPermissionUpdate | None = getattr(body, tool)
                if said is not None:
                    (enabled.add if said.enabled else enabled.discard)(tool)
            permissions = HostedToolPermissions(id=project.id, enabled=tuple(sorted(enabled)))
            if permissions != former:
                change.put(permissions)
                audit_change(change, project.id, "hosted_tool_permissions", former, permissions)
        return _tools(permissions.enabled)

    def _enabled(self, permissions: HostedToolPermissions | None) -> Collection[str]:
        """The tools of a project: those enabled in the configuration, unless set for the project."""
        return permissions.enabled if permissions is not None else self.directory.default_tools


class Retention(Administration):
    @override
    async def retrieve_organization_data_retention(self, call: Call) -> models.OrganizationDataRetention:
        await self.fresh()
        return self._organization_retention()

    @override
    async def update_organization_data_retention(
        self, call: Call, body: models.UpdateOrganizationDataRetentionBody
    ) -> models.OrganizationDataRetention:
        async with self.change(call) as change:
            self._put_retention(change, ORGANIZATION, body.retention_type)
        return self._organization_retention()

    @override
    async def retrieve_project_data_retention(self, call: Call, project_id: str) -> models.ProjectDataRetention:
        await self.fresh()
        return self._project_retention(self.project(project_id).id)

    @override
    async def update_project_data_retention(
        self, call: Call, project_id: str, body: models.UpdateProjectDataRetentionBody
    ) -> models.ProjectDataRetention:
        async with self.change(call) as change:
            self._put_retention(change, self.active_project(project_id).id, body.retention_type)
        return self._project_retention(project_id)

    def _put_retention(self, change: Change, entity: str, kind: str) -> None:
        former = self.directory.get(DataRetention, entity)
        retention = DataRetention(id=entity, type=kind)
        if retention != former:
            change.put(retention)
            audit_change(change, entity, "data_retention", former, retention)

    def _organization_retention(self) -> models.OrganizationDataRetention:
        kept = self.directory.get(DataRetention, ORGANIZATION)
        return models.OrganizationDataRetention.model_validate(
            {"object": "organization.data_retention", "type": kept.type if kept else _DEFAULT_RETENTION}
        )

    def _project_retention(self, project_id: str) -> models.ProjectDataRetention:
        kept = self.directory.get(DataRetention, project_id)
        return models.ProjectDataRetention.model_validate(
            {"object": "project.data_retention", "type": kept.type if kept else _OF_THE_ORGANIZATION}
        )


def _model_permissions(allowed: ModelPermissions | None) -> models.ProjectModelPermissions:
    """The permissions; by default, an empty list of denied models."""
    return models.ProjectModelPermissions(
        object="project.model_permissions",
        mode=allowed.mode if allowed else "deny_list",
        model_ids=sorted(allowed.model_ids) if allowed else [],
    )


def _tools(enabled: Collection[str]) -> models.ProjectHostedToolPermissions:
    values = {tool: {"enabled": tool in enabled} for tool in _TOOLS}
    return models.ProjectHostedToolPermissions.model_validate(values)

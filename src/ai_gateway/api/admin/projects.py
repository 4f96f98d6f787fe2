"""Projects: listed, made, renamed, archived."""

from dataclasses import replace
from typing import override

from ai_gateway.accounts.directory import new_id
from ai_gateway.accounts.entities import DEFAULT_PROJECT, Project
from ai_gateway.api.admin.base import Administration, shown
from ai_gateway.api.admin.pages import by_time, page
from ai_gateway.contract.call import Call
from ai_gateway.errors import InvalidRequest
from gateway_contract.openai_admin import models


class Projects(Administration):
    @override
    async def list_projects(self, call: Call, query: models.ListProjectsQuery) -> models.ProjectListResponse:
        directory = await self.fresh()
        every = by_time(directory.all(Project), lambda project: project.created_at)
        found = page(
            every,
            lambda project: project.id,
            query.limit,
            query.after,
            is_shown=lambda project: query.include_archived or project.archived_at is None,
        )
        return models.ProjectListResponse(
            object="list",
            data=[_project(each) for each in found.items],
            first_id=found.items[0].id if found.items else None,
            last_id=found.items[-1].id if found.items else None,
            has_more=found.has_more,
        )

    @override
    async def create_project(self, call: Call, body: models.ProjectCreateRequest) -> models.Project:
        async with self.change(call) as change:
            project = Project(
                id=new_id("proj"),
                name=body.name,
                created_at=change.now,
                external_key_id=body.external_key_id,
                geography=body.geography,
            )
            change.put(project)
            change.audit(
                "project.created",
                project.id,
                id=project.id,
                data={"name": body.name, "title": body.name},
                after=shown(project),
            )
        return _project(project)

    @override
    async def retrieve_project(self, call: Call, project_id: str) -> models.Project:
        await self.fresh()
        return _project(self.project(project_id))

    @override
    async def modify_project(self, call: Call, project_id: str, body: models.ProjectUpdateRequest) -> models.Project:
        async with self.change(call) as change:
            former = self.active_project(project_id)
            # null removes a label; the name is required.
            labels = {name: getattr(body, name) for name in ("external_key_id", "geography")}
            given = {name: value for name, value in labels.items() if name in body.model_fields_set}
            project = replace(former, name=body.name or former.name, **given)
            if project != former:
                change.put(project)
                change.audit(
                    "project.updated",
                    project.id,
                    id=project.id,
                    changes_requested={"title": project.name},
                    before=shown(former),
                    after=shown(project),
                )
        return _project(project)

    @override
    async def archive_project(self, call: Call, project_id: str) -> models.Project:
        async with self.change(call) as change:
            former = self.project(project_id)
            if project_id == DEFAULT_PROJECT:
                raise InvalidRequest(
                    "The default project cannot be archived: keys of the configuration are in it.",
                    code="default_project",
                )
            if former.archived_at is not None:  # archiving is idempotent
                return _project(former)
            project = replace(former, archived_at=change.now)
            change.put(project)
            change.audit("project.archived", project.id, id=project.id, before=shown(former), after=shown(project))
        return _project(project)


def _project(project: Project) -> models.Project:
    made = models.Project(
        id=project.id,
        object="organization.project",
        name=project.name,
        created_at=project.created_at,
        archived_at=project.archived_at,
        status="archived" if project.archived_at is not None else "active",
    )
    if project.external_key_id is not None:
        made.external_key_id = project.external_key_id
    if project.geography is not None:
        made.geography = project.geography
    return made

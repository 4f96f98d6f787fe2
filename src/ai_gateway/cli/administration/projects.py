"""The work of `ai-gateway projects`."""

from shlex import quote

from ai_gateway.cli.administration.client import Api, Refusal
from ai_gateway.cli.administration.lookup import all_projects, find_project
from ai_gateway.cli.administration.show import as_json, day, lines, plain, table
from gateway_contract.openai_admin import models


async def show_list(api: Api, *, archived: bool, json: bool) -> None:
    """Print every project."""
    found = await all_projects(api, archived=archived)
    if json:
        as_json({"object": "list", "data": [plain(project) for project in found]})
        return
    rows = [
        (project.name or "", project.id, day(project.created_at), day(project.archived_at, "active"))
        for project in found
    ]
    table(("NAME", "ID", "CREATED", "ARCHIVED"), rows)


async def create(api: Api, name: str, *, json: bool) -> None:
    """Create a project with an unused name."""
    await _require_free(api, name)
    made = await api.call("createProject", models.Project, {"name": name})
    _print_result(
        made,
        f"Project {name} ({made.id}): `ai-gateway keys create NAME --project {quote(name)}` makes a key in it.",
        json=json,
    )


async def rename(api: Api, project_name: str, name: str, *, json: bool) -> None:
    """Rename a project to an unused name."""
    project = await find_project(api, project_name)
    if name != project.name:
        await _require_free(api, name)
    renamed = await api.call("modifyProject", models.Project, {"name": name}, project_id=project.id)
    _print_result(renamed, f"Project {project.name} is called {name} now.", json=json)


async def archive(api: Api, project_name: str, *, json: bool) -> None:
    """Archive a project."""
    project = await find_project(api, project_name)
    archived = await api.call("archiveProject", models.Project, project_id=project.id)
    _print_result(archived, f"Project {project.name} is archived: none of its keys works any longer.", json=json)


async def _require_free(api: Api, name: str) -> None:
    same = [project for project in await all_projects(api) if project.name == name]
    if same:
        raise Refusal(f"There is a project {name!r} already ({same[0].id}).")


def _print_result(project: models.Project, text: str, *, json: bool) -> None:
    if json:
        as_json(plain(project))
    else:
        lines(text)

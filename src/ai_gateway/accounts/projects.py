"""Projects by the names in the operator's configuration."""

from collections.abc import Iterable

from ai_gateway.accounts.directory import Actor, Directory, new_id
from ai_gateway.accounts.entities import Project

_GATEWAY = Actor(None, "gateway")


def project_called(directory: Directory, name: str) -> Project | None:
    """The project with this id, or else the oldest of this name, preferring those that are not archived."""
    project = directory.get(Project, name)
    if project is not None:
        return project
    named = [project for project in directory.all(Project) if project.name == name]
    return min(named, key=lambda project: (project.archived_at is not None, project.created_at), default=None)


async def make_missing(directory: Directory, names: Iterable[str]) -> None:
    """Create each project that does not exist, not even archived. Raises StoreError."""
    wanted = sorted(set(names))
    if all(project_called(directory, name) is not None for name in wanted):
        return
    async with directory.change(_GATEWAY) as change:
        for name in wanted:
            if project_called(directory, name) is None:  # another worker may have created it meanwhile
                project = Project(id=new_id("proj"), name=name, created_at=change.now)
                change.put(project)
                change.audit("project.created", project.id, id=project.id, data={"name": name, "title": name})

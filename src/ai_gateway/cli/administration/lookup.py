"""Looks up projects and keys by id or name."""

import difflib
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

from ai_gateway.accounts.key_format import redacted
from ai_gateway.cli.administration.client import Api, Refusal
from gateway_contract.openai_admin import models

DEFAULT = "default"
_MAX_NAMED = 8
_PAGE = 1_000
_LONGEST_NAME = 512


@dataclass(frozen=True, slots=True)
class Found:
    """A key and its project; None for an administrator's."""

    key: models.ProjectApiKey | models.AdminApiKey
    project: models.Project | None

    @property
    def owner(self) -> str:
        """The owner: the name of the service account, or of an administrator's key."""
        account = self.account
        return account.name if account is not None else self.key.name or self.key.id

    @property
    def account(self) -> models.ProjectApiKeyOwnerServiceAccount | None:
        """The service account that owns it."""
        account = self.key.owner.service_account if isinstance(self.key, models.ProjectApiKey) else None
        return account if isinstance(account, models.ProjectApiKeyOwnerServiceAccount) else None


async def all_projects(api: Api, *, archived: bool = False) -> list[models.Project]:
    """Every project, the oldest first."""
    return await api.every("listProjects", models.ProjectListResponse, include_archived=str(archived).lower())


async def find_project(api: Api, name: str | None) -> models.Project:
    """The project with this id or name; without one, the default project. Raises Refusal."""
    projects = await all_projects(api)
    return chosen_project(projects, DEFAULT if name is None else name)


def chosen_project(projects: Sequence[models.Project], name: str) -> models.Project:
    """The one of these projects. Raises Refusal with the names that are close."""
    found = [project for project in projects if project.id == name]
    found = found or [project for project in projects if project.name == name]
    found = found or [project for project in projects if (project.name or "").casefold() == name.casefold()]
    if len(found) > 1:
        raise Refusal(f"Several projects are called {name!r}: give the id of one: {_ids(found)}")
    if not found:
        near = _near(name, [project.name or project.id for project in projects])
        raise Refusal(f"There is no project {name!r}.{near} `ai-gateway projects create NAME` makes one.")
    return found[0]


async def all_keys(api: Api, projects: Iterable[models.Project], *, administrators: bool) -> list[Found]:
    """The keys of these projects, and those of administrators."""
    found: list[Found] = []
    if administrators:
        keys = await api.every("adminApiKeysList", models.ApiKeyList)
        found += [Found(key, None) for key in keys]
    for project in projects:
        keys = await api.every("listProjectApiKeys", models.ProjectApiKeyListResponse, project_id=project.id)
        found += [Found(key, project) for key in keys]
    return found


async def keys_in(api: Api, project: str | None) -> list[Found]:
    """Every key, or those of one project. Raises Refusal."""
    if project is not None:
        return await all_keys(api, [await find_project(api, project)], administrators=False)
    return [*await all_keys(api, (), administrators=True), *await keys_of_projects(api)]


async def keys_of_projects(api: Api, name: str | None = None, *, archived: bool = False) -> list[Found]:
    """The keys of all projects: at least those with this id, owner or redacted value, if given. Raises Refusal."""
    is_taken = name is not None and 0 < len(name) <= _LONGEST_NAME and name.isprintable()  # by the API, in a query
    named = {"name": name} if name is not None and is_taken else {}
    page = await api.find("listKeys", models.KeyList, **named, limit=_PAGE)
    if page is None:  # a gateway of a version before
        return await all_keys(api, await all_projects(api, archived=archived), administrators=False)
    found = [*page.data]
    while page.has_more and page.last_id:
        page = await api.call("listKeys", models.KeyList, None, **named, limit=_PAGE, after=page.last_id)
        found += page.data
    projects = await _projects(api, {each.project_id for each in found}, archived=archived)
    return [Found(each.key, projects[each.project_id]) for each in found if each.project_id in projects]


async def _projects(api: Api, ids: Set[str], *, archived: bool) -> dict[str, models.Project]:
    """The projects with these ids: a few are looked up, many are listed."""
    if len(ids) > _MAX_NAMED:
        found = await all_projects(api, archived=archived)
    else:
        each = [await api.find("retrieveProject", models.Project, project_id=project_id) for project_id in ids]
        found = [project for project in each if project is not None]
    return {project.id: project for project in found if archived or not isinstance(project.archived_at, int)}


async def find_keys(api: Api, name: str, project: str | None) -> list[Found]:
    """The key with this id, or all keys of an owner of this name. Raises Refusal, also if it is in several projects.

    A key's plain text is accepted as well, and found by its redacted form, for keys that have leaked.
    """
    if project is None:
        keys = [*await all_keys(api, (), administrators=True), *await keys_of_projects(api, name)]
    else:
        keys = await keys_in(api, project)
    found = [each for each in keys if each.key.id == name]
    found = found or [each for each in keys if each.owner == name]
    if not found and len(name) > 20:
        shown = redacted(name)
        keys += await keys_of_projects(api, shown) if project is None else []
        found = [each for each in keys if each.key.redacted_value == shown]
        name = shown
    places = {each.project.id if each.project else None for each in found}
    if len(places) > 1:
        where = ", ".join(sorted(each.project.name or each.project.id for each in found if each.project))
        raise Refusal(f"There are keys of {name!r} in several places ({where}): give --project, or the key's id.")
    if not found:
        near = _near(name, {each.owner for each in await keys_in(api, project)})
        raise Refusal(f"There is no key of {name!r}{f' in project {project!r}' if project else ''}.{near}")
    return found


async def find_key(api: Api, name: str, project: str | None) -> Found:
    """The single matching key. Raises Refusal."""
    found = await find_keys(api, name, project)
    if len(found) > 1:
        ids = ", ".join(f"{each.key.id} ({each.key.redacted_value})" for each in found)
        raise Refusal(f"{found[0].owner!r} has several keys: give the id of one: {ids}")
    return found[0]


def _ids(projects: Iterable[models.Project]) -> str:
    return ", ".join(project.id for project in projects)


def _near(name: str, known: Iterable[str]) -> str:
    """Similar names, or all if there are few."""
    every = sorted(set(known))
    near = difflib.get_close_matches(name, every, n=3, cutoff=0.6)
    if near:
        return f" Did you mean {' or '.join(repr(each) for each in near)}?"
    if every and len(every) <= _MAX_NAMED:
        return f" There are: {', '.join(every)}."
    return f" There are {len(every)}: `list` shows them." if every else " There are none yet."

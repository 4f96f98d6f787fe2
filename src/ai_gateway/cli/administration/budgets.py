"""The work of `ai-gateway budget`."""

from dataclasses import dataclass

from ai_gateway.cli.administration.client import Api, Refusal
from ai_gateway.cli.administration.limits_of import SpendLimit, spend_in_words, spend_limit
from ai_gateway.cli.administration.lookup import all_projects, find_key, find_project, keys_of_projects
from ai_gateway.cli.administration.show import as_json, lines, plain, table
from gateway_contract.openai_admin import models


@dataclass(frozen=True, slots=True)
class Budget:
    """A budget of a key, a project or the organization; None for no limit."""

    what: str
    id: str | None
    name: str
    limit: SpendLimit | None

    def shown(self) -> dict[str, object]:
        """The budget as JSON."""
        limit = plain(self.limit) if self.limit is not None else None
        return {"scope": self.what, "id": self.id, "name": self.name, "spend_limit": limit}


async def set_budget(  # noqa: PLR0913, PLR0917 - what a command was given
    api: Api, key: str | None, project: str | None, amount: int, per: str, zone: str | None, *, json: bool
) -> None:
    """Set the budget of a key, else of a project, else of the organization."""
    body = spend_limit(amount, per, zone)
    if key is not None:
        await _change_key(api, key, project, body)
    elif project is not None:
        of = await find_project(api, project)
        await api.call("updateProjectSpendLimit", models.ProjectSpendLimitResource, body, project_id=of.id)
    else:
        await api.call("updateOrganizationSpendLimit", models.OrganizationSpendLimitResource, body)
    _print([await _budget(api, key, project)], json=json, one=True)


async def show_budgets(api: Api, key: str | None, project: str | None, *, json: bool) -> None:
    """Print one budget, or all."""
    if key is not None or project is not None:
        _print([await _budget(api, key, project)], json=json, one=True)
        return
    projects = await all_projects(api)
    found = [await _budget(api, None, None), *[await _of_project(api, each) for each in projects]]
    found += [
        Budget("key", each.key.id, each.owner, each.key.spend_limit)
        for each in await keys_of_projects(api)
        if isinstance(each.key, models.ProjectApiKey)
    ]
    _print([budget for budget in found if budget.limit is not None], json=json)


async def clear_budget(api: Api, key: str | None, project: str | None, *, json: bool) -> None:
    """Remove the budget of a key, else of a project, else of the organization."""
    former = await _budget(api, key, project)
    if former.limit is None:
        raise Refusal(f"{former.name} has no budget.")
    if key is not None:
        await _change_key(api, key, project, None)
    elif former.id is not None:
        await api.call("deleteProjectSpendLimit", models.ProjectSpendLimitDeletedResource, project_id=former.id)
    else:
        await api.call("deleteOrganizationSpendLimit", models.OrganizationSpendLimitDeletedResource)
    _print([Budget(former.what, former.id, former.name, None)], json=json, one=True)


async def _change_key(api: Api, key: str, project: str | None, limit: dict[str, object] | None) -> None:
    found = await find_key(api, key, project)
    if found.project is None:
        raise Refusal(f"{found.owner!r} is an administrator's key, which calls no models: it spends nothing.")
    await api.call(
        "modifyProjectApiKey",
        models.ProjectApiKey,
        {"spend_limit": limit},
        project_id=found.project.id,
        api_key_id=found.key.id,
    )


async def _budget(api: Api, key: str | None, project: str | None) -> Budget:
    if key is not None:
        found = await find_key(api, key, project)
        limit = found.key.spend_limit if isinstance(found.key, models.ProjectApiKey) else None
        return Budget("key", found.key.id, found.owner, limit)
    if project is not None:
        return await _of_project(api, await find_project(api, project))
    whole = await api.find("retrieveOrganizationSpendLimit", models.OrganizationSpendLimitResource)
    return Budget("organization", None, "all together", whole)


async def _of_project(api: Api, project: models.Project) -> Budget:
    limit = await api.find("retrieveProjectSpendLimit", models.ProjectSpendLimitResource, project_id=project.id)
    return Budget("project", project.id, project.name or project.id, limit)


def _print(budgets: list[Budget], *, json: bool, one: bool = False) -> None:
    if json:
        as_json(budgets[0].shown() if one else {"object": "list", "data": [budget.shown() for budget in budgets]})
    elif not budgets:
        lines("There are no budgets: `ai-gateway budget set USD` sets one for all together.")
    else:
        table(("WHO", "NAME", "ID", "BUDGET", "REACHED"), [_row(budget) for budget in budgets])


def _row(budget: Budget) -> tuple[str, ...]:
    limit = budget.limit
    reached = "-"
    if isinstance(limit, models.ProjectSpendLimitResource | models.OrganizationSpendLimitResource):
        reached = "yes" if limit.enforcement.status == "enforcing" else "no"
    return budget.what, budget.name, budget.id or "", spend_in_words(limit), reached

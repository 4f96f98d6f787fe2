"""The work of `ai-gateway keys`."""

import time
from collections.abc import Sequence

from ai_gateway.cli.administration.client import Api, Refusal, path_of
from ai_gateway.cli.administration.limits_of import Limits, models_in_words, of_key, rates_in_words, spend_in_words
from ai_gateway.cli.administration.lookup import (
    Found,
    all_keys,
    find_keys,
    find_project,
    keys_in,
)
from ai_gateway.cli.administration.show import as_json, day, lines, note, plain, table
from ai_gateway.redaction import remember
from gateway_contract.openai_admin import models

type Made = dict[str, object]
"""A new key as printed: with its value, owner and project."""


async def create_administrator(api: Api, name: str, expires: int | None, *, json: bool) -> None:
    """Create an administrator's key."""
    if any(each.key.name == name for each in await all_keys(api, (), administrators=True)):
        raise Refusal(f"There is an administrator's key {name!r}: choose another name, or revoke it first.")
    body: dict[str, object] = {"name": name}
    if expires is not None:
        body["expires_in_seconds"] = expires
    made = await api.call("adminApiKeysCreate", models.AdminApiKeyCreateResponse, body)
    remember(made.value)
    if json:
        as_json(plain(made))
        return
    lines(f"Administrator's key {made.name} ({made.id}), which makes other keys and calls no models:", "")
    lines(f"  {made.value}", "", *_once(api), "Try it:")
    lines(f"  curl {api.url}{path_of('listProjects')} -H 'Authorization: Bearer {made.value}'")


async def create(  # noqa: PLR0913 - what a command was given
    api: Api, name: str, project_name: str | None, expires: int | None, limits: Limits, *, json: bool
) -> None:
    """Create a key for an owner without one."""
    project = await find_project(api, project_name)
    if any(each.owner == name for each in await all_keys(api, [project], administrators=False)):
        raise Refusal(
            f"{name!r} has a key in project {project.name!r}: `ai-gateway keys rotate` makes one that replaces it, "
            "and `ai-gateway keys revoke` takes it away."
        )
    body = limits.body(expires)
    made = await make(api, name, project, body, (await accounts_in(api, project)).get(name))
    if json:
        as_json(made)
        return
    lines(f"Key for {name} in project {project.name} ({made['id']}):", "")
    lines(f"  {made['value']}", "", *_once(api), "Try it:")
    lines(f"  curl {api.url}{path_of('listModelsRouted')} -H 'Authorization: Bearer {made['value']}'")


async def accounts_in(api: Api, project: models.Project) -> dict[str, str]:
    """The ids of a project's service accounts by their names."""
    accounts: list[models.ProjectServiceAccount] = await api.every(
        "listProjectServiceAccounts", models.ProjectServiceAccountListResponse, project_id=project.id
    )
    return {account.name: account.id for account in accounts}


async def make(api: Api, name: str, project: models.Project, body: dict[str, object], account_id: str | None) -> Made:
    """Create a key for this owner, with a service account if there is none."""
    if account_id is not None:
        return await _another(api, account_id, name, project, body)
    reply = await api.call(
        "createProjectServiceAccount",
        models.ProjectServiceAccountCreateResponse,
        {**body, "name": name},
        project_id=project.id,
    )
    key = reply.api_key
    if key is None:
        raise Refusal("The gateway has made a service account without a key: it is no gateway of this kind.")
    return _made(key, name, reply.id, project)


async def _another(api: Api, account_id: str, name: str, project: models.Project, body: dict[str, object]) -> Made:
    """Create a further key for a service account."""
    key = await api.call(
        "createProjectServiceAccountApiKey",
        models.ServiceAccountApiKeyBody,
        body,
        project_id=project.id,
        service_account_id=account_id,
    )
    return _made(key, name, account_id, project)


def _made(
    key: models.ProjectServiceAccountApiKey | models.ServiceAccountApiKeyBody,
    owner: str,
    account_id: str,
    project: models.Project,
) -> Made:
    remember(key.value)
    return {
        **plain(key),
        "service_account": {"id": account_id, "name": owner},
        "project": {"id": project.id, "name": project.name},
    }


async def show_list(api: Api, project: str | None, *, json: bool) -> None:
    """Print every key, or those of a project."""
    found = await keys_in(api, project)
    if json:
        as_json({"object": "list", "data": [_as_shown(each) for each in found]})
        return
    if not found:
        lines("There are no keys yet: `ai-gateway keys create NAME` makes one.")
        return
    table(
        ("OWNER", "PROJECT", "ID", "KEY", "CREATED", "EXPIRES", "LAST USED", "LIMITS", "BUDGET"),
        [_row(each) for each in found],
    )


async def show(api: Api, name: str, project: str | None, *, json: bool) -> None:
    """Print the details of one key, or of each key of an owner."""
    found = await find_keys(api, name, project)
    if json:
        as_json(_as_shown(found[0]) if len(found) == 1 else {"object": "list", "data": list(map(_as_shown, found))})
        return
    for number, each in enumerate(found):
        facts = dict(
            zip(("owner", "project", "id", "key", "created", "expires", "last used"), _row(each), strict=False)
        )
        if isinstance(each.key, models.ProjectApiKey):
            facts |= {
                "limits": _row(each)[7],
                "budget": _row(each)[8],
                "models": models_in_words(each.key.model_permissions),
            }
            facts["scopes"] = ", ".join(each.key.scopes) if isinstance(each.key.scopes, list) else "all"
        lines(*([""] if number else []), *(f"{f'{title}:':<11}{value}" for title, value in facts.items()))


async def rotate(  # noqa: PLR0913 - what a command was given
    api: Api, name: str, project: str | None, grace: int, expires: int | None, *, json: bool
) -> None:
    """Create a key that replaces another, which expires after a grace period."""
    # Other keys of the owner are its predecessors.
    former = max(await find_keys(api, name, project), key=lambda found: (found.key.created_at, found.key.id))
    made = await _successor(api, former, expires)
    former_id = former.key.id
    if grace == 0:
        await _delete(api, former)
    elif isinstance(former.key, models.ProjectApiKey) and former.project is not None:
        left = former.key.expires_at - int(time.time()) if former.key.expires_at else grace
        if left >= grace:
            await api.call(
                "modifyProjectApiKey",
                models.ProjectApiKey,
                {"expires_in_seconds": grace},
                project_id=former.project.id,
                api_key_id=former_id,
            )
    if json:
        as_json({**made, "replaces": former_id})
        return
    lines(f"New key for {former.owner} ({made['id']}):", "", f"  {made['value']}", "", *_once(api))
    if grace == 0:
        lines(f"The former one ({former_id}, {former.key.redacted_value}) works no longer.")
    elif isinstance(former.key, models.ProjectApiKey):
        lines(f"The former one ({former_id}, {former.key.redacted_value}) works until {day(int(time.time()) + grace)}.")
    else:
        lines(f"The former one works on: `ai-gateway keys revoke {former_id}` ends it.")


async def _successor(api: Api, former: Found, expires: int | None) -> Made:
    """Create a key with the former's owner and limits and, by default, its lifetime."""
    key = former.key
    if isinstance(key.configured_in, str):
        raise Refusal(f"{key.name!r} is a key of the gateway's configuration: change it in {key.configured_in}.")
    expires = expires or (key.expires_at - key.created_at if key.expires_at else None)
    body: dict[str, object] = {"expires_in_seconds": expires} if expires else {}
    if not isinstance(key, models.ProjectApiKey):
        made = await api.call("adminApiKeysCreate", models.AdminApiKeyCreateResponse, {**body, "name": key.name})
        remember(made.value)
        return plain(made)
    account, project = former.account, former.project
    if account is None or project is None:
        raise Refusal(
            f"The key {key.id} has no owner: make another with `ai-gateway keys create`, and revoke this one."
        )
    if isinstance(key.scopes, list):
        body["scopes"] = key.scopes
    return await _another(
        api, account.id, account.name, project, {**body, **of_key(key), "name": key.name, "replaces": key.id}
    )


async def revoke(api: Api, name: str, project: str | None, *, json: bool) -> None:
    """End a key by its id, or every key of an owner."""
    found = await find_keys(api, name, project)
    for each in found:
        await _delete(api, each)
    if json:
        as_json({"object": "list", "data": [{"id": each.key.id, "deleted": True} for each in found]})
        return
    for each in found:
        lines(f"Revoked {each.key.id} ({each.key.redacted_value}) of {each.owner}.")
    note("Every gateway that runs on this store refuses it within a second.")


async def _delete(api: Api, found: Found) -> None:
    if found.project is None:
        await api.call("adminApiKeysDelete", models.AdminApiKeysDeleteResponse, key_id=found.key.id)
    else:
        await api.call(
            "deleteProjectApiKey",
            models.ProjectApiKeyDeleteResponse,
            project_id=found.project.id,
            api_key_id=found.key.id,
        )


def _once(api: Api) -> Sequence[str]:
    return ("It is shown this once: only its digest is kept.", f"Stored in: {api.place}", "")


def _as_shown(found: Found) -> dict[str, object]:
    project = {"id": found.project.id, "name": found.project.name} if found.project else None
    return {**plain(found.key), "project": project}


def _row(found: Found) -> tuple[str, ...]:
    key = found.key
    expires = day(key.expires_at)
    if key.expires_at is not None and key.expires_at <= time.time():
        expires = f"expired {expires}"
    project = (found.project.name or found.project.id) if found.project else "(administrator)"
    facts = (found.owner, project, key.id, key.redacted_value, day(key.created_at), expires, day(key.last_used_at))
    if not isinstance(key, models.ProjectApiKey):
        return (*facts, "-", "-")
    return (*facts, rates_in_words(key.rate_limits), spend_in_words(key.spend_limit))

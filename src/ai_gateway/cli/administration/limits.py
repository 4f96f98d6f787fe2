"""The work of `ai-gateway limits`."""

from collections.abc import Mapping

from ai_gateway.cli.administration.client import Api, Refusal
from ai_gateway.cli.administration.limits_of import RATES, UNLIMITED, allow_list, models_in_words, rates_in_words
from ai_gateway.cli.administration.lookup import Found, find_key, find_project
from ai_gateway.cli.administration.show import as_json, lines, plain, table
from gateway_contract.openai_admin import models

_ALL = "all"
_EVERY_MODEL = "rl-*"


async def set_limits(  # noqa: PLR0913, PLR0917 - what a command was given
    api: Api,
    key: str | None,
    project: str | None,
    model: str | None,
    rates: Mapping[str, int | None],
    allowed: str | None,
    *,
    json: bool,
) -> None:
    """Set the given limits of a key, else of a project."""
    if key is not None:
        await _set_of_key(api, await find_key(api, key, project), rates, allowed)
    else:
        await _set_of_project(api, await find_project(api, project), model, rates, allowed)
    await show_limits(api, key, project, json=json)


async def show_limits(api: Api, key: str | None, project: str | None, *, json: bool) -> None:
    """Print the limits of a key, else of a project."""
    if key is not None:
        found = await find_key(api, key, project)
        limited = _caller(found)
        shown = {
            "id": limited.id,
            "rate_limits": plain(limited.rate_limits) if limited.rate_limits else None,
            "model_permissions": plain(limited.model_permissions) if limited.model_permissions else None,
        }
        if json:
            as_json(shown)
        else:
            lines(f"{found.owner} ({limited.id})", f"limits:  {rates_in_words(limited.rate_limits)}")
            lines(f"models:  {models_in_words(limited.model_permissions)}")
        return
    of = await find_project(api, project)
    rows: list[models.ProjectRateLimit] = await api.every(
        "listProjectRateLimits", models.ProjectRateLimitListResponse, project_id=of.id
    )
    allowed = await api.call("retrieveProjectModelPermissions", models.ProjectModelPermissions, project_id=of.id)
    if json:
        as_json({"id": of.id, "rate_limits": [plain(row) for row in rows], "model_permissions": plain(allowed)})
        return
    lines(f"{of.name} ({of.id})")
    table(
        ("MODEL", "LIMITS"), [("all together" if row.model == "*" else row.model, rates_in_words(row)) for row in rows]
    )
    lines(f"models:  {models_in_words(allowed)}")


async def _set_of_key(api: Api, found: Found, rates: Mapping[str, int | None], allowed: str | None) -> None:
    key = _caller(found)
    body: dict[str, object] = {}
    if rates:
        # The API replaces the whole row.
        kept = plain(key.rate_limits) if key.rate_limits else {}
        named = {RATES[name]: value for name, value in rates.items()}
        merged = {name: value for name, value in {**kept, **named}.items() if value is not None}
        body["rate_limits"] = merged or None
    if allowed is not None:
        body["model_permissions"] = None if allowed == _ALL else allow_list(allowed)
    assert found.project is not None  # noqa: S101 - callers' keys have one
    await api.call("modifyProjectApiKey", models.ProjectApiKey, body, project_id=found.project.id, api_key_id=key.id)


async def _set_of_project(
    api: Api, project: models.Project, model: str | None, rates: Mapping[str, int | None], allowed: str | None
) -> None:
    if rates:
        body = {RATES[name]: UNLIMITED if value is None else value for name, value in rates.items()}
        await api.call(
            "updateProjectRateLimits",
            models.ProjectRateLimit,
            body,
            project_id=project.id,
            rate_limit_id=f"rl-{model}" if model else _EVERY_MODEL,
        )
    if allowed == _ALL:
        await api.call(
            "deleteProjectModelPermissions", models.ProjectModelPermissionsDeleteResponse, project_id=project.id
        )
    elif allowed is not None:
        await api.call(
            "updateProjectModelPermissions",
            models.ProjectModelPermissions,
            allow_list(allowed),
            project_id=project.id,
        )


def _caller(found: Found) -> models.ProjectApiKey:
    if not isinstance(found.key, models.ProjectApiKey):
        raise Refusal(f"{found.owner!r} is an administrator's key, which calls no models: it has no limits.")
    return found.key

"""The rate limits of a project: one for each model that has its own, and one for all of them together."""

from dataclasses import replace
from typing import Any, Final, override

from ai_gateway.accounts.entities import EVERY_MODEL, RateLimit
from ai_gateway.api.admin.base import Administration, shown
from ai_gateway.api.admin.limits_of_keys import rate_limit_id
from ai_gateway.api.admin.pages import page
from ai_gateway.contract.call import Call
from ai_gateway.errors import NotFound
from gateway_contract.openai_admin import models

_PREFIX = "rl-"
_NO_LIMIT: Final = 2**53 - 1
_FIELDS: Final = {
    "max_requests_per_1_minute": "requests_per_minute",
    "max_tokens_per_1_minute": "tokens_per_minute",
    "max_images_per_1_minute": "images_per_minute",
    "max_audio_megabytes_per_1_minute": "audio_megabytes_per_minute",
    "max_requests_per_1_day": "requests_per_day",
    "batch_1_day_max_input_tokens": "batch_input_tokens_per_day",
    "max_parallel_requests": "parallel_requests",
}
_ALWAYS = ("max_requests_per_1_minute", "max_tokens_per_1_minute")


class RateLimits(Administration):
    @override
    async def list_project_rate_limits(
        self, call: Call, project_id: str, query: models.ListProjectRateLimitsQuery
    ) -> models.ProjectRateLimitListResponse:
        directory = await self.fresh()
        project = self.project(project_id)
        rows = {limit.model: limit for limit in directory.all(RateLimit) if limit.entity == project.id}
        rows.setdefault(EVERY_MODEL, _unlimited(project.id, EVERY_MODEL))
        ordered = [rows[model] for model in sorted(rows, key=lambda model: (model != EVERY_MODEL, model))]
        found = page(ordered, lambda limit: _PREFIX + limit.model, query.limit, query.after, query.before)
        return models.ProjectRateLimitListResponse(
            object="list",
            data=[_rate_limit(limit) for limit in found.items],
            first_id=_PREFIX + found.items[0].model if found.items else None,
            last_id=_PREFIX + found.items[-1].model if found.items else None,
            has_more=found.has_more,
        )

    @override
    async def update_project_rate_limits(
        self, call: Call, project_id: str, rate_limit_id: str, body: models.ProjectRateLimitUpdateRequest
    ) -> models.ProjectRateLimit:
        async with self.change(call) as change:
            project = self.active_project(project_id)
            former = self._find_limit(project.id, rate_limit_id)
            given = {theirs: value for theirs in _FIELDS if (value := getattr(body, theirs)) is not None}
            changes: dict[str, Any] = {
                _FIELDS[theirs]: None if value == _NO_LIMIT else value for theirs, value in given.items()
            }
            limit = replace(former, **changes)
            if limit == _unlimited(project.id, limit.model):
                change.delete(RateLimit, limit.id)
            else:
                change.put(limit)
            if limit != former:
                change.audit(
                    "rate_limit.updated",
                    project.id,
                    id=rate_limit_id,
                    changes_requested=given,
                    before=shown(former),
                    after=shown(limit),
                )
        return _rate_limit(limit)

    def _find_limit(self, project_id: str, identifier: str) -> RateLimit:
        model = identifier.removeprefix(_PREFIX)
        if model == identifier or not model:
            raise NotFound(f"No rate limit found with id '{identifier}': it is '{_PREFIX}' and a model's name.")
        known = self.directory.get(RateLimit, rate_limit_id(project_id, model))
        return known or _unlimited(project_id, model)


def _unlimited(project_id: str, model: str) -> RateLimit:
    return RateLimit(id=rate_limit_id(project_id, model), entity=project_id, model=model)


def _rate_limit(limit: RateLimit) -> models.ProjectRateLimit:
    values = {theirs: getattr(limit, ours) for theirs, ours in _FIELDS.items()}
    shown_ones = {name: value for name, value in values.items() if value is not None}
    return models.ProjectRateLimit.model_validate(
        {
            "object": "project.rate_limit",
            "id": _PREFIX + limit.model,
            "model": limit.model,
            **dict.fromkeys(_ALWAYS, _NO_LIMIT),
            **shown_ones,
        }
    )

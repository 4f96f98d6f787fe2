"""The limits of a key, from and to the contract's form. They are stored by the key's id."""

from typing import Final

from ai_gateway.accounts.directory import Change
from ai_gateway.accounts.entities import EVERY_MODEL, ModelPermissions, RateLimit, SpendLimit
from ai_gateway.api.admin.zones import checked_zone
from gateway_contract.openai_admin import models

type Limited = (
    models.CreateProjectServiceAccountApiKeyBody
    | models.ProjectServiceAccountCreateRequest
    | models.UpdateProjectApiKeyBody
)
_RATES: Final = {
    "max_requests_per_1_minute": "requests_per_minute",
    "max_tokens_per_1_minute": "tokens_per_minute",
    "max_requests_per_1_day": "requests_per_day",
    "max_parallel_requests": "parallel_requests",
}


def rate_limit_id(entity: str, model: str) -> str:
    """The id of an entity's rate limit: one for each model."""
    return f"{entity}/{model}"


def put_limits(change: Change, key_id: str, body: Limited) -> None:
    """Set the key's limits from the body; null removes a limit, and missing fields stay. Raises InvalidRequest."""
    said = body.model_fields_set
    if (spend := body.spend_limit) is not None:
        change.put(
            SpendLimit(
                id=key_id,
                threshold_amount=spend.threshold_amount,
                interval=spend.interval,
                time_zone=checked_zone(spend.time_zone, "spend_limit.time_zone"),
                currency=spend.currency,
            )
        )
    elif "spend_limit" in said:
        change.delete(SpendLimit, key_id)
    row = rate_limit_id(key_id, EVERY_MODEL)
    if (rates := body.rate_limits) is not None:
        values = {ours: getattr(rates, theirs) for theirs, ours in _RATES.items()}
        change.put(RateLimit(id=row, entity=key_id, model=EVERY_MODEL, **values))
    elif "rate_limits" in said:
        change.delete(RateLimit, row)
    if (allowed := body.model_permissions) is not None:
        change.put(ModelPermissions(id=key_id, mode=allowed.mode, model_ids=frozenset(allowed.model_ids)))
    elif "model_permissions" in said:
        change.delete(ModelPermissions, key_id)


def delete_limits(change: Change, key_id: str) -> None:
    """Remove all limits of a key."""
    change.delete(SpendLimit, key_id)
    change.delete(RateLimit, rate_limit_id(key_id, EVERY_MODEL))
    change.delete(ModelPermissions, key_id)


def add_limits(
    shown: models.ProjectApiKey, spend: SpendLimit | None, rates: RateLimit | None, allowed: ModelPermissions | None
) -> None:
    """Add the limits to a key's fields."""
    if spend is not None:
        shown.spend_limit = models.KeySpendLimit(
            threshold_amount=spend.threshold_amount, currency="USD", interval=spend.interval
        )
        if spend.time_zone != "UTC":
            shown.spend_limit.time_zone = spend.time_zone
    if rates is not None:
        values = {theirs: value for theirs, ours in _RATES.items() if (value := getattr(rates, ours)) is not None}
        shown.rate_limits = models.KeyRateLimits.model_validate(values)
    if allowed is not None:
        shown.model_permissions = models.KeyModelPermissions(mode=allowed.mode, model_ids=sorted(allowed.model_ids))

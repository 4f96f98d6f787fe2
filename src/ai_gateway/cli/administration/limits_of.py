"""Limits of keys and projects, from options to the form of the Administration API."""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway_contract.openai_admin import models

UNLIMITED = 2**53 - 1
"""The value for no limit in a project's rate limits."""
RATES: Mapping[str, str] = {
    "rpm": "max_requests_per_1_minute",
    "tpm": "max_tokens_per_1_minute",
    "rpd": "max_requests_per_1_day",
    "parallel": "max_parallel_requests",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a new key; None for no limit."""

    rpm: int | None = None
    tpm: int | None = None
    rpd: int | None = None
    parallel: int | None = None
    budget: int | None = None
    per: str = "month"
    zone: str | None = None
    models: str | None = None

    def body(self, expires: int | None) -> dict[str, object]:
        """The request fields for creating a key with this lifetime in seconds."""
        rates = {theirs: value for ours, theirs in RATES.items() if (value := getattr(self, ours)) is not None}
        body: dict[str, object] = {"rate_limits": rates} if rates else {}
        if self.budget is not None:
            body["spend_limit"] = spend_limit(self.budget, self.per, self.zone)
        if self.models is not None:
            body["model_permissions"] = allow_list(self.models)
        if expires is not None:
            body["expires_in_seconds"] = expires
        return body


def allow_list(names: str) -> dict[str, object]:
    """Permissions for comma-separated models."""
    return {"mode": "allow_list", "model_ids": [name.strip() for name in names.split(",") if name.strip()]}


def models_in_words(allowed: models.KeyModelPermissions | models.ProjectModelPermissions | None) -> str:
    """Model permissions on one line."""
    if allowed is None or (allowed.mode == "deny_list" and not allowed.model_ids):
        return "all"
    listed = ", ".join(allowed.model_ids) or "none"
    return listed if allowed.mode == "allow_list" else f"all but {listed}"


def spend_limit(amount: int, per: str, zone: str | None) -> dict[str, object]:
    """A spend limit of so many cents."""
    body: dict[str, object] = {"threshold_amount": amount, "currency": "USD", "interval": per}
    return {**body, "time_zone": zone} if zone else body


def of_key(key: models.ProjectApiKey) -> dict[str, object]:
    """The limits of a key, for creating another one."""
    named = ("spend_limit", "rate_limits", "model_permissions")
    return key.model_dump(mode="json", include=set(named), exclude_none=True, exclude_unset=True)


def rates_in_words(rates: models.KeyRateLimits | models.ProjectRateLimit | None) -> str:
    """Rate limits on one line."""
    if rates is None:
        return "-"
    words = {"rpm": "requests/min", "tpm": "tokens/min", "rpd": "requests/day", "parallel": "at once"}
    said = [
        f"{value} {words[ours]}"
        for ours, theirs in RATES.items()
        if isinstance(value := getattr(rates, theirs, None), int) and value != UNLIMITED
    ]
    return ", ".join(said) or "-"


type SpendLimit = models.KeySpendLimit | models.ProjectSpendLimitResource | models.OrganizationSpendLimitResource


def spend_in_words(limit: SpendLimit | None) -> str:
    """A spend limit on one line."""
    if limit is None:
        return "-"
    amount = f"${limit.threshold_amount // 100}.{limit.threshold_amount % 100:02}"
    zone = f" ({limit.time_zone})" if isinstance(limit.time_zone, str) else ""
    return f"{amount} in total" if limit.interval == "total" else f"{amount} per {limit.interval}{zone}"

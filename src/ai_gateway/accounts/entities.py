"""Entities of administration: projects, keys, limits and permissions. Amounts are cents of USD.

They are stored as JSON. Unknown fields of newer versions are ignored; new fields have a default.
"""

from dataclasses import dataclass, field
from typing import Literal

type Interval = Literal["day", "week", "month", "total"]

ORGANIZATION = "organization"
"""The id of the one organization, this deployment, in limits."""
DEFAULT_PROJECT = "default"
"""The default project, of keys of the configuration and callers without a key."""
EVERY_MODEL = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """An entity, with an id that is unique for its kind."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Project(Entity):
    """Times are seconds since the epoch. An archived project stays archived, and none of its keys works."""

    name: str | None
    created_at: int
    archived_at: int | None = None
    external_key_id: str | None = None
    geography: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccount(Entity):
    """A person or program of a project: the owner of keys. `role` is `member` or `owner`, `none` if deleted."""

    project_id: str
    name: str
    created_at: int
    role: str = "member"
    deleted_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey(Entity):
    """A key, stored as its digest: SHA-256 in hex. Administrators' keys have no project.

    Deleted keys stay, since records refer to them. Empty `scopes` mean no restriction. `budget_of` is the first of the
    keys that it has replaced, with which it shares a budget.
    """

    digest: str
    redacted: str
    name: str
    created_at: int
    project_id: str | None = None
    service_account_id: str | None = None
    expires_at: int | None = None
    deleted_at: int | None = None
    scopes: tuple[str, ...] = ()
    budget_of: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit(Entity):
    """The rate limits of a project or a key for a model, or for all models together (`*`). None is no limit."""

    entity: str
    model: str
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    requests_per_day: int | None = None
    images_per_minute: int | None = None
    audio_megabytes_per_minute: int | None = None
    batch_input_tokens_per_day: int | None = None
    parallel_requests: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendLimit(Entity):
    """The spend limit of ORGANIZATION, a project or a key for each interval of the calendar of `time_zone`.

    `id` is the entity's.
    """

    threshold_amount: int
    interval: Interval = "month"
    time_zone: str = "UTC"
    currency: str = "USD"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendAlert(Entity):
    """A notification when an entity's spending in an interval reaches a threshold."""

    entity: str
    threshold_amount: int
    created_at: int
    interval: Interval = "month"
    time_zone: str = "UTC"
    currency: str = "USD"
    recipients: tuple[str, ...] = ()
    subject_prefix: str | None = None
    webhook_url: str | None = None
    webhook_secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPermissions(Entity):
    """Which models a project or a key may use. `id` is the entity's."""

    mode: Literal["allow_list", "deny_list"]
    model_ids: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedToolPermissions(Entity):
    """The gateway-run tools that a project may use. `id` is the project's. Others are disabled.

    A project without permissions has the tools that the configuration enables.
    """

    enabled: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRetention(Entity):
    """The permitted storage of requests and replies. `id` is the entity's: ORGANIZATION or a project."""

    type: str


KINDS: dict[str, type[Entity]] = {
    "project": Project,
    "service_account": ServiceAccount,
    "api_key": ApiKey,
    "rate_limit": RateLimit,
    "spend_limit": SpendLimit,
    "spend_alert": SpendAlert,
    "model_permissions": ModelPermissions,
    "hosted_tool_permissions": HostedToolPermissions,
    "data_retention": DataRetention,
}
"""The stored names of the kinds."""

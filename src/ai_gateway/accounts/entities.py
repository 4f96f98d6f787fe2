"""What administrators make and change: projects, keys, and what these are held to. Amounts are cents of USD.

They are kept as JSON. A field that an older version does not know is ignored by it; a new field has a default.
"""

from dataclasses import dataclass, field
from typing import Literal

type Interval = Literal["day", "week", "month", "total"]

ORGANIZATION = "organization"
"""The one organization: this deployment. Limits name it as they name a project or a key."""
DEFAULT_PROJECT = "default"
"""The project that is always there. Keys of the configuration and callers without a key belong to it."""
EVERY_MODEL = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """One thing that was made, by its id among those of its kind."""

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
    """A person or program of a project: the owner of keys. `role` is `member` or `owner`, `none` once it is deleted."""

    project_id: str
    name: str
    created_at: int
    role: str = "member"
    deleted_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey(Entity):
    """A key, of which only the digest is kept: SHA-256 in hex. Administrators' keys have no project.

    It is there after it was deleted too: records of its use name it. `scopes` are empty for all that its kind may do.
    `budget_of` is the key that it has replaced, or the first one of several: they spend one budget.
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
    """How much of a model, or of each (`*`), an entity may use: a project or a key. None is as much as it likes."""

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
    """What an entity may spend in each interval of the calendar of `time_zone`: ORGANIZATION, a project or a key.

    `id` is the entity's.
    """

    threshold_amount: int
    interval: Interval = "month"
    time_zone: str = "UTC"
    currency: str = "USD"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendAlert(Entity):
    """Who learns when an entity has spent this much in an interval."""

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
    """Which of the tools that run here a project has. `id` is the project's. What is not named is off.

    A project without them has what the gateway's configuration switches on.
    """

    enabled: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRetention(Entity):
    """What may be kept of requests and replies. `id` is the entity's: ORGANIZATION or a project."""

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
"""Under which names they are stored."""

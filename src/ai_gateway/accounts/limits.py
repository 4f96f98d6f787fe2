"""The limits of a caller: those of its key, its project and the organization."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from ai_gateway.accounts.directory import Directory
from ai_gateway.accounts.entities import (
    EVERY_MODEL,
    ORGANIZATION,
    ApiKey,
    ModelPermissions,
    RateLimit,
    SpendLimit,
)
from ai_gateway.contract.call import Caller

type What = Literal["key", "project", "organization"]


@dataclass(frozen=True, slots=True, eq=False)
class Scope:
    """One entity that limits its calls. `rates` are by model; those of `*` count the calls of all models together.

    `budget_keys` are the entities that share a budget, whose counter has the first one's name: the entity alone or, for
    keys, those that have replaced each other.
    """

    what: What
    entity: str
    spend: SpendLimit | None = None
    rates: Mapping[str, RateLimit] = field(default_factory=dict)
    permissions: ModelPermissions | None = None
    budget_keys: tuple[str, ...] = ()

    @property
    def limits(self) -> bool:
        """Whether it has any limit."""
        return bool(self.spend or self.rates or self.permissions)

    def rates_for(self, names: Collection[str]) -> Iterable[RateLimit]:
        """The rate limits for a model with these names."""
        for model, rate in self.rates.items():
            if model == EVERY_MODEL or model in names:
                yield rate

    def allows(self, model: str, targets: Sequence[Collection[str]]) -> bool:
        """Whether a model may be used: by its requested name, or by the names of all targets."""
        permissions = self.permissions
        if permissions is None:
            return True
        listed = permissions.model_ids
        if permissions.mode == "deny_list":
            return model not in listed and all(listed.isdisjoint(names) for names in targets)
        return model in listed or all(not listed.isdisjoint(names) for names in targets)


class CurrentLimits(Protocol):
    """What limits callers by now. `state` is another number after each change."""

    state: int

    def scopes_now(self, caller: Caller) -> tuple[Scope, ...]:
        """What limits a caller who may have been let in before a change."""


def scopes_of(directory: Directory, key_id: str | None, project_id: str) -> tuple[Scope, ...]:
    """The scopes with limits, narrowest first; empty for a caller without limits."""
    entities: list[tuple[What, str]] = [("project", project_id), ("organization", ORGANIZATION)]
    if key_id is not None:
        entities.insert(0, ("key", key_id))
    found = (_scope(directory, what, entity) for what, entity in entities)
    return tuple(scope for scope in found if scope.limits)


def _scope(directory: Directory, what: What, entity: str) -> Scope:
    rates = {rate.model: rate for rate in directory.all(RateLimit) if rate.entity == entity}
    spend = directory.get(SpendLimit, entity)
    budget_keys = _budget_keys(directory, entity) if what == "key" and spend is not None else (entity,)
    return Scope(what, entity, spend, rates, directory.get(ModelPermissions, entity), budget_keys)


def budget_key(directory: Directory, key_id: str) -> str:
    """The key with this key's budget counter: itself, or the first one that it has replaced."""
    key = directory.get(ApiKey, key_id)
    return key.budget_of if key is not None and key.budget_of is not None else key_id


def _budget_keys(directory: Directory, key_id: str) -> tuple[str, ...]:
    first = budget_key(directory, key_id)
    return (first, *sorted(each.id for each in directory.all(ApiKey) if each.budget_of == first))

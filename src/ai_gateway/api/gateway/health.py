"""The report of `/health`: providers, accounts and the model list."""

from collections import Counter
from typing import Protocol

from ai_gateway.accounts.accounting import Accounting
from ai_gateway.accounts.directory import Directory
from ai_gateway.accounts.journal import Journal
from ai_gateway.gateway import Gateway
from ai_gateway.redaction import redact
from ai_gateway.routing.model_list.feed import ListStatus
from ai_gateway.routing.provider_models import CachedModels
from ai_gateway.routing.registry import BUILT_IN
from ai_gateway.routing.resolver import Routing
from gateway_contract.gateway import models


class Accounts(Protocol):
    """The state of accounts. `problem` says why the store cannot be used, except that it is unavailable."""

    directory: Directory | None
    accounting: Accounting | None
    problem: str | None

    @property
    def store_is_away(self) -> bool:
        """Whether the cached keys and limits may be outdated."""

    @property
    def records_wait_s(self) -> float:
        """Seconds for which pending records could not be stored."""


# Seconds after which records that could not be stored, despite several attempts, mean a degraded state.
_RECORDS_WAIT_S = 5.0
_MAX_IDS = 10
_MAX_PROVIDERS = 100


def is_degraded(gateway: Gateway, model_list: ListStatus | None, accounts: models.AccountsHealth | None) -> bool:
    """Whether a configured part is known not to work."""
    routing = gateway.routing
    lost = any(cached.state == "unreachable" for cached in routing.catalogue.cached)
    lost = lost or any(gateway.resilience.state(name) == "open" for name in routing.registry.names)
    if accounts is not None:
        lost = lost or any(part.state != "ready" for part in (accounts.store, accounts.counters, accounts.journal))
    return lost or (model_list is not None and model_list.problem is not None)


def providers_health(gateway: Gateway) -> list[models.ProviderHealth]:
    """Each provider, with the state of its model list and of its circuit breaker."""
    routing = gateway.routing
    return [_provider_health(gateway, cached) for cached in routing.catalogue.cached]


def _provider_health(gateway: Gateway, cached: CachedModels) -> models.ProviderHealth:
    name = cached.provider.name
    state = "ready" if name == BUILT_IN else cached.state  # the built-in provider is always ready
    report = models.ProviderHealth(name=name, state=state, breaker=gateway.resilience.state(name))
    if (checked := cached.provider.certificates_checked) is not None:
        report.certificates_checked = checked
    answered, failed = gateway.resilience.last_attempts(name)
    answers = [(cached.answered_at, cached.latency_s)] if cached.answered_at is not None else []
    answers += [(answered.answered, answered.answered - answered.started)] if answered is not None else []
    if answers:
        at, latency_s = max(answers)
        report.last_success_at, report.latency_s = round(at, 3), round(max(0.0, latency_s), 3)
    failures = [(cached.failed_at or 0.0, cached.failure), (failed.ended, failed.failure) if failed else (0.0, None)]
    at, failure = max(failures, key=lambda each: each[0])
    if failure is not None:
        report.last_error = models.ProviderError(at=round(at, 3), code=failure.code, message=redact(failure.message))
    return report


def accounts_health(accounts: Accounts) -> models.AccountsHealth | None:
    """The store of keys, limits and usage, and its state; None without a store."""
    directory, accounting = accounts.directory, accounts.accounting
    if directory is None or accounting is None:
        return None
    report = models.AccountsHealth(
        store=models.StoreHealth(state="away" if accounts.store_is_away else "ready"),
        counters=models.CountersHealth(state="away" if accounting.counters_away else "ready"),
        journal=models.JournalHealth(state="ready", bytes=0, dropped=0),
    )
    if report.store.state == "ready" and accounts.records_wait_s > _RECORDS_WAIT_S:
        report.store.state, report.store.problem = "away", "it can be read, but takes no records"
    if accounts.problem is not None:
        report.store.state, report.store.problem = "unusable", accounts.problem
    if directory.is_loaded:
        report.store.age_s = round(directory.age_s, 3)
    journal = accounting.log
    if isinstance(journal, Journal):
        report.journal.bytes, report.journal.dropped = journal.size, journal.dropped
        if (waiting := journal.waiting) is not None:
            report.journal.records = waiting
        if journal.problem is not None:
            report.journal.state = "full" if journal.is_full else "memory"
            report.journal.problem = journal.problem
    return report


def model_list_health(routing: Routing, status: ListStatus) -> models.ModelListHealth:
    """The fetched list, and how many of its models are available."""
    listing = routing.listing
    lost = Counter(entry.provider for entry in listing.missing.values())
    report = models.ModelListHealth(
        state=status.state,
        models=len(listing.available),
        skipped=len(status.models.problems),
        unavailable=[
            models.UnavailableModels(provider=name, models=count) for name, count in lost.most_common(_MAX_PROVIDERS)
        ],
    )
    if status.age_s is not None:
        report.age_s = round(status.age_s, 3)
    if listing.hidden:
        report.hidden = list(listing.hidden)[:_MAX_IDS]
    if status.problem is not None:
        report.problem = status.problem
    return report

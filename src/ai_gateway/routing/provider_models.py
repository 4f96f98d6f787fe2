"""The model lists of the configured providers: fetched on first use, cached, with a short timeout."""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import structlog

from ai_gateway.conform.conformer import Conformer
from ai_gateway.contract.call import Attempt, Call, Notes
from ai_gateway.contract.tracebacks import forget_frames
from ai_gateway.errors import GatewayError, UnsupportedOperation, UpstreamTimeout
from ai_gateway.providers.base import Provider
from gateway_contract.openai import models

_log = structlog.get_logger(__name__)
# One unresponsive provider must not delay the list of all others.
FETCH_TIMEOUT_S = 3.0
# After a failure the previous list stays, and the provider is not called again at once.
_RETRY_S = 30.0

type State = Literal["ready", "unreachable", "unknown"]


@dataclass(slots=True)
class CachedModels:
    """One provider's models, by the provider's ids. `listed` is None until the provider has answered once.

    `answered_at` and `failed_at` are in seconds since the epoch; `latency_s` is the duration of the last answer, and
    `failure` the last error.
    """

    provider: Provider
    listed: dict[str, models.Model] | None = None
    state: State = "unknown"
    refresh_at: float = 0.0
    refreshing: asyncio.Task[None] | None = field(default=None, repr=False)
    answered_at: float | None = None
    latency_s: float = 0.0
    failed_at: float | None = None
    failure: GatewayError | None = field(default=None, repr=False)

    def answered(self, listed: dict[str, models.Model], latency_s: float) -> None:
        """Store a fetched list."""
        self.listed, self.state = listed, "ready"
        self.answered_at, self.latency_s = time.time(), latency_s

    def failed(self, failure: GatewayError) -> None:
        """Note a failed fetch: the previous list stays."""
        self.state, self.failed_at, self.failure = "unreachable", time.time(), failure
        forget_frames(failure)


class Catalogue:
    """The cached models of every provider, in order of configuration. Each is refreshed by one task at a time.

    `clock` gives monotonic seconds.
    """

    def __init__(
        self,
        providers: Iterable[Provider],
        ttl_s: float = 300.0,
        *,
        fetch_timeout_s: float = FETCH_TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cache = {provider.name: CachedModels(provider) for provider in providers}
        self._ttl_s = ttl_s
        self._fetch_timeout_s = fetch_timeout_s
        self._clock = clock
        self.version = 0  # grows with every list, so that values derived from the lists can be cached until the next

    @property
    def cached(self) -> Sequence[CachedModels]:
        """Every provider's models, in any state."""
        return list(self._cache.values())

    def get(self, provider: str, model: str) -> models.Model | None:
        """A model as its provider lists it, if its list has been fetched and has the model."""
        cached = self._cache.get(provider)
        return cached.listed.get(model) if cached is not None and cached.listed is not None else None

    def find(self, model: str) -> tuple[Provider, str] | None:
        """The first configured provider that lists the model, as far as is known, and the model's name there."""
        for cached in self._cache.values():
            if cached.listed is None:
                continue
            if model in cached.listed:
                return cached.provider, model
            # Ollama adds the tag `latest` to a name without one, and lists the full name: see its docs/api.md, "Model
            # names".
            if "ollama" in cached.provider.wires and f"{model}:latest" in cached.listed:
                return cached.provider, f"{model}:latest"
        return None

    def take_over(self, other: "Catalogue") -> None:
        """Copy the other's lists for the providers that both have, by identity and not by name."""
        for name, cached in self._cache.items():
            theirs = other._cache.get(name)
            if theirs is not None and theirs.provider is cached.provider:
                cached.listed, cached.state, cached.refresh_at = theirs.listed, theirs.state, theirs.refresh_at
                cached.answered_at, cached.latency_s = theirs.answered_at, theirs.latency_s
                cached.failed_at, cached.failure = theirs.failed_at, theirs.failure
        self.version += 1

    def refresh(self) -> None:
        """Start to refresh every stale list, in the background."""
        self._start_refreshes()

    async def ensure_loaded(self, *, renew: bool = False) -> None:
        """Wait for every list that was never fetched before; with `renew`, for every stale one as well."""
        waiting = [task for cached, task in self._start_refreshes() if renew or cached.state == "unknown"]
        if waiting:
            # The tasks are shared: one caller that disconnects must not cancel them for the others.
            await asyncio.wait(waiting)

    async def check(self, timeout_s: float) -> None:
        """Fetch every provider's list now, with this timeout, and wait for all results."""
        # Fetches in progress are shared, as above, and may have a longer timeout of their own.
        joined = {cached.refreshing: cached for cached in self._cache.values() if cached.refreshing is not None}
        started = []
        for cached in self._cache.values():
            if cached.refreshing is None:
                cached.refreshing = asyncio.create_task(self._refresh(cached, timeout_s))
                started.append(cached.refreshing)
        if joined:
            _, late = await asyncio.wait(joined, timeout=timeout_s)
            for task in late:
                joined[task].failed(UpstreamTimeout.of(joined[task].provider.name))
        if started:
            await asyncio.wait(started)

    def renew(self, provider: str) -> None:
        """Start to refresh one provider's list in the background, if it is stale and there is such a provider."""
        cached = self._cache.get(provider)
        if cached is not None and cached.refreshing is None and cached.refresh_at <= self._clock():
            cached.refreshing = asyncio.create_task(self._refresh(cached, self._fetch_timeout_s))

    async def aclose(self) -> None:
        """Cancel the refreshes."""
        tasks = [cached.refreshing for cached in self._cache.values() if cached.refreshing is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start_refreshes(self) -> list[tuple[CachedModels, asyncio.Task[None]]]:
        """A task for every stale list: a new one, or the one that is running."""
        now = self._clock()
        for cached in self._cache.values():
            if cached.refreshing is None and cached.refresh_at <= now:
                cached.refreshing = asyncio.create_task(self._refresh(cached, self._fetch_timeout_s))
        return [(cached, cached.refreshing) for cached in self._cache.values() if cached.refreshing is not None]

    async def _refresh(self, cached: CachedModels, timeout_s: float) -> None:
        started = time.perf_counter()
        try:
            async with asyncio.timeout(timeout_s):
                listed = await _fetched(cached.provider)
            cached.answered(listed, time.perf_counter() - started)
            self.version += 1
        except Exception as error:  # one failing provider must not hide the others
            failure = _failure_of(cached.provider, error)
            _log.warning(
                "models not listed", provider=cached.provider.name, reason=failure.message, detail=failure.detail
            )
            cached.failed(failure)
        finally:
            pause = self._ttl_s if cached.state == "ready" else min(self._ttl_s, _RETRY_S)
            cached.refresh_at = self._clock() + pause
            cached.refreshing = None


async def _fetched(provider: Provider) -> dict[str, models.Model]:
    """The provider's models by id; none for one that has models, but no list of them."""
    attempt = Attempt(Call("listModels", f"models-{secrets.token_hex(8)}"), Notes(provider.name))
    try:
        received = await provider.list_models(attempt)
    except UnsupportedOperation:
        return {}
    listed = Conformer(provider, attempt, "").item(models.ListModelsResponse, received).model.data
    return {model.id: model for model in listed}


def _failure_of(provider: Provider, error: Exception) -> GatewayError:
    """The failure as an error whose message callers may read."""
    if isinstance(error, GatewayError):
        return error
    if isinstance(error, TimeoutError):
        return UpstreamTimeout.of(provider.name)
    return GatewayError(
        f"The models of provider '{provider.name}' could not be listed: the gateway's log says why.",
        detail=f"{type(error).__name__}: {error}",
    )

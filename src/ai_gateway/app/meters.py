"""The metrics of the gateway: counters of past events, and gauges of the present state."""

import asyncio
import gc
import os
import resource
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path

from ai_gateway.accounts.counters.base import CountersError
from ai_gateway.accounts.holds import PICO_PER_CENT, spend_counter
from ai_gateway.accounts.keys import KeyRing
from ai_gateway.api.gateway.handlers import MetricsContent
from ai_gateway.app.accounts import Accounts
from ai_gateway.config.constants import BUILD, VERSION
from ai_gateway.contract.budget import Admission, ByteBudget
from ai_gateway.contract.stream import Content
from ai_gateway.gateway import Gateway
from ai_gateway.middleware.request_metrics import RequestMetrics
from ai_gateway.observability import families
from ai_gateway.observability.families import EVENTS, TIMINGS
from ai_gateway.observability.metrics import Distribution, Timing, counted, timed, times
from ai_gateway.observability.samples import Samples
from ai_gateway.observability.worker_memory import WorkerMemory
from ai_gateway.providers.custom.provider import MODELS
from ai_gateway.routing.registry import BUILT_IN

_EVERY_S = 1.0
# Seconds; older gauges are of a worker that has ended.
_STALE_S = 10.0
_MAX_SPEND_LIMITS = 1_000
_SPEND_S = 1.0
_PICO = 10**12
_STATES = ("closed", "half-open", "open")


class Meters:
    """Collects metrics: values are computed on reading, and reading resets nothing.

    With several workers, each writes its counts into `shared` once a second, under its number `worker`.
    """

    def __init__(
        self,
        gateway: Gateway,
        accounts: Accounts,
        admission: Admission,
        bodies: ByteBudget,
        keys: Callable[[], KeyRing],
    ) -> None:
        self.requests = RequestMetrics(self._knows)
        self.shared: WorkerMemory | None = None
        self.worker = 0
        self._gateway = gateway
        self._accounts = accounts
        self._admission = admission
        self._bodies = bodies
        self._keys = keys
        self._before = Samples()
        self._started = time.time()
        self._ticking: asyncio.Task[None] | None = None

    def share(self, shared: WorkerMemory, worker: int) -> None:
        """Continue the counts of the previous worker with this number."""
        self.shared, self.worker = shared, worker
        self._started = time.time()
        if (raw := shared.read(worker)) is not None:
            self._before = Samples()
            self._before.include(Samples.from_bytes(raw), gauges=False)

    def start(self) -> None:
        """Start to measure the event loop, and to share the counts."""
        self._ticking = asyncio.create_task(self._tick())

    async def aclose(self) -> None:
        """Share the last counts."""
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.wait({self._ticking})
            self._ticking = None
            self._write()

    async def expose(self, accept: str) -> MetricsContent:
        """All metrics in Prometheus' text format, or in OpenMetrics if the client accepts it."""
        # Imported on first use: 10 ms and a megabyte.
        from ai_gateway.observability.exposition import expose  # noqa: PLC0415

        samples = await self.read()
        # In a thread, because thousands of series would block the event loop.
        if "application/openmetrics-text" in accept.lower():
            text = await asyncio.to_thread(expose, samples, openmetrics=True)
            return Content("application/openmetrics-text; version=1.0.0; charset=utf-8", text)
        return Content(
            "text/plain; version=0.0.4; charset=utf-8", await asyncio.to_thread(expose, samples, openmetrics=False)
        )

    async def read(self) -> Samples:
        """The metrics of all workers."""
        if self.shared is None:
            samples = self.own()
        else:
            self._write()  # so that other workers report the same
            samples = Samples()
            for raw in self.shared.read_all():
                each = Samples.from_bytes(raw)
                samples.include(each, gauges=time.time() - each.at < _STALE_S)
        await self._add_spending(samples)
        return samples

    def own(self) -> Samples:
        """The metrics of this worker."""
        samples = Samples(time.time())
        samples.include(self._before)
        self.requests.collect(samples)
        for event, family in EVENTS.items():
            if not family.labels:
                samples.add(family, 0)  # so that Prometheus sees the first event as an increase
            for labels, value in counted(event).items():
                samples.add(family, value, labels)
        for family in TIMINGS.values():
            if not family.labels:
                samples.merge(family, Distribution(family.buckets))
        for (timing, label), distribution in times().items():
            samples.merge(TIMINGS[timing], distribution, (label,) if label else ())
        self._add_state(samples)
        self._add_accounts(samples)
        self._add_process(samples)
        return samples

    def _write(self) -> None:
        if self.shared is not None:
            self.shared.write(self.worker, self.own().to_bytes())

    async def _tick(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            await asyncio.sleep(_EVERY_S)
            timed(Timing.LOOP_LAG, max(0.0, clock() - began - _EVERY_S))
            self._write()

    def _knows(self, provider: str, model: str) -> bool:
        """Whether a model is configured, listed or priced, and not merely a name in a request."""
        if provider == BUILT_IN and model in MODELS:
            return True
        routing = self._gateway.routing
        if routing.catalogue.get(provider, model) is not None or (provider, model) in routing.configured():
            return True
        accounting = self._accounts.accounting
        if accounting is not None and accounting.prices.names(provider, model, time.time()):
            return True
        routing.catalogue.renew(provider)  # the list may not have been fetched by this worker yet
        return False

    def _add_state(self, samples: Samples) -> None:
        gateway = self._gateway
        samples.add(families.IN_FLIGHT, self._admission.inside)
        samples.add(families.BODY_BUDGET, self._bodies.used)
        for provider in gateway.registry:
            name, resilience = provider.name, gateway.resilience
            samples.add(families.UPSTREAM_IN_FLIGHT, resilience.bulkhead(name).in_flight, (name,))
            if not provider.is_remote:
                continue
            current = resilience.state(name)
            for state in _STATES:
                samples.add(families.BREAKERS, state == current, (name, state))
            if (connections := provider.connections) is not None:
                for kind, value in connections._asdict().items():
                    samples.add(families.CONNECTIONS, value, (name, kind))

    def _add_accounts(self, samples: Samples) -> None:
        accounts = self._accounts
        if accounts.accounting is None or accounts.place is None:
            return
        samples.add(families.STORE_UNREACHABLE, accounts.problem is not None or accounts.store_is_away)
        samples.add(families.COUNTERS_UNREACHABLE, accounts.accounting.counters_away)
        samples.add(families.JOURNAL_BYTES, accounts.accounting.log.size)
        samples.add(families.JOURNAL_WAITING, accounts.accounting.log.waiting or 0)
        samples.add(families.JOURNAL_AGE, accounts.records_wait_s)
        if (directory := accounts.place.directory) is not None:
            with suppress(OSError):
                samples.add(families.DISK_FREE, shutil.disk_usage(directory).free)

    def _add_process(self, samples: Samples) -> None:
        worker = (str(self.worker),)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        samples.add(families.CPU, usage.ru_utime + usage.ru_stime, worker)
        samples.add(families.STARTED, self._started, worker)
        samples.add(families.MAX_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[0], worker)
        with suppress(OSError, ValueError):  # not all systems have /proc
            pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
            samples.add(families.MEMORY, pages * os.sysconf("SC_PAGE_SIZE"), worker)
            samples.add(families.OPEN_FILES, len(os.listdir("/proc/self/fd")), worker)
        for generation, stats in enumerate(gc.get_stats()):
            samples.add(families.COLLECTIONS, stats["collections"], (*worker, str(generation)))
        samples.add(families.WORKERS, 1)
        samples.add(families.BUILD_INFO, 1, (VERSION, BUILD.commit or ""))

    async def _add_spending(self, samples: Samples) -> None:
        """The spent and reserved amount under each spend limit, up to a second old."""
        accounts, now = self._accounts, time.time()
        if accounts.directory is None or accounts.accounting is None:
            return
        limits = list(islice(self._keys().spend_limits(), _MAX_SPEND_LIMITS))
        if not limits:
            return
        counters = [spend_counter(limit, now, budget_key)[0] for _, limit, budget_key in limits]
        with suppress(CountersError, TimeoutError):
            async with asyncio.timeout(_SPEND_S):
                found = await accounts.accounting.counters.read(counters)
            for (what, limit, _), counter in zip(limits, counters, strict=True):
                if counter in found:
                    used, held = found[counter]
                    samples.add(families.SPEND, used / _PICO, (what, limit.id, limit.interval))
                    samples.add(families.RESERVED, held / _PICO, (what, limit.id, limit.interval))
        for what, limit, _ in limits:
            amount = limit.threshold_amount * PICO_PER_CENT / _PICO
            samples.add(families.SPEND_LIMIT, amount, (what, limit.id, limit.interval))

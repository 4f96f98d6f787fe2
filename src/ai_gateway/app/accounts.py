"""The accounts of one process: its store, its counters, and the recording of calls."""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import structlog
from pydantic import SecretStr

from ai_gateway.accounts.accounting import Accounting
from ai_gateway.accounts.alerts import Alerts, Mailing
from ai_gateway.accounts.counters.base import Counters, CountersError
from ai_gateway.accounts.counters.file import FileCounters
from ai_gateway.accounts.counters.memory import MemoryCounters
from ai_gateway.accounts.directory import Directory
from ai_gateway.accounts.journal import Journal
from ai_gateway.accounts.ledger import Ledger
from ai_gateway.accounts.limits import Scope
from ai_gateway.accounts.policy import Policy
from ai_gateway.accounts.prices import Listed, Prices
from ai_gateway.accounts.recovery import Recovery
from ai_gateway.accounts.shipper import Shipper, Traced, untraced
from ai_gateway.accounts.store.base import Store, StoreError
from ai_gateway.accounts.store.sqlite import SqliteStore
from ai_gateway.accounts.webhook import WebhookNetwork
from ai_gateway.accounts.windows import Window
from ai_gateway.config.constants import data_dir
from ai_gateway.config.problems import SettingsError
from ai_gateway.config.settings import Settings
from ai_gateway.providers.upstream import Proxy
from ai_gateway.redaction import remember

if TYPE_CHECKING:
    from ai_gateway.accounts.counters.valkey_connection import Address

_MEMORY, _OFF, _SQLITE, _POSTGRES = "memory", "off", "sqlite:///", ("postgresql://", "postgres://")
_TRY_AGAIN_S = 1.0
_CHECK_S = 5.0
# Seconds; an older copy of the store has failed to refresh several times.
_AWAY_S = 5.0
# Usage records that are kept in memory where there is no disk for a journal.
_MAX_IN_MEMORY = 100_000
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Place:
    """Where data is stored. `directory` is None for memory only, `store` None for the embedded store in it.

    `url` is that of a store shared by replicas; `directory` then has the journal and data of this machine.
    """

    directory: Path | None
    store: Path | None = None
    url: str | None = field(default=None, repr=False)

    @property
    def is_kept(self) -> bool:
        """Whether stored data outlives the process."""
        return self.directory is not None or self.url is not None


class Accounts:
    """The parts of accounts. `directory` and `accounting` are None if STORE_URL is `off`."""

    def __init__(self, settings: Settings, on_change: Callable[[], None]) -> None:
        self.place = place_of(settings)
        self.directory: Directory | None = None
        self.accounting: Accounting | None = None
        self.problem: str | None = None
        """Why the store has never been opened or cannot be used; None if it can, or is only unavailable."""
        self.traced: Traced = untraced
        self._listed: Sequence[Listed] = ()
        self._watching: asyncio.Task[None] | None = None
        self._shipper: Shipper | None = None
        self._valkey = valkey_of(settings)
        if self.place is None:
            return
        self.directory = Directory(store_at(self.place), on_change)
        self.directory.is_unknown = self.place.url is not None
        self._alerts = Alerts(self.directory, Ledger(self.directory.store))
        self.accounting = Accounting(MemoryCounters(), Prices(), Journal(None), self._spent)
        self.apply(settings)

    def apply(self, settings: Settings) -> None:
        """Apply these settings, except those that need a restart."""
        self._settings = settings
        if self.accounting is not None:
            self.accounting.policy = Policy(
                settings.unpriced,
                settings.limits_outage,
                settings.replicas,
                settings.output_tokens_bound,
                settings.input_tokens_bound,
                divided=self.place is not None and self.place.url is not None and self._valkey is None,
            )
            self.accounting.prices = Prices(settings.prices)
            self.accounting.prices.take_list(self._listed)
            self._alerts.mailing = _mailing(settings)

    def apply_webhook_network(self, settings: Settings, proxy_for: Callable[[str], Proxy | None]) -> None:
        """Apply the network settings for webhooks."""
        if self.accounting is not None:
            self._alerts.network = WebhookNetwork(settings.webhook_addresses, proxy_for)

    @property
    def webhook_network(self) -> WebhookNetwork:
        """Where webhooks may be."""
        return self._alerts.network

    def take_list(self, entries: Sequence[Listed]) -> None:
        """Apply the prices of this model list."""
        self._listed = entries
        if self.accounting is not None:
            self.accounting.prices.take_list(entries)

    async def start(self) -> None:
        """Open the store. If its directory is not writable, all is kept in memory, with a warning."""
        directory, accounting = self.directory, self.accounting
        if directory is None or accounting is None or self.place is None:
            return
        where = self._writable(self.place.directory)
        if self.place.url is None:
            where = await self._start_embedded(directory, where)
        elif self._valkey is None:
            _log.warning(
                "limits are not shared by replicas: each counts its share, and spend limits refuse all calls",
                replicas=accounting.policy.replicas,
                advice="set VALKEY_URL",
            )
        owner = secrets.token_hex(8)
        accounting.start(owner)
        accounting.counters = await self._counters(where, owner)
        accounting.log = journal = Journal(
            where / "journal" if where is not None else None,
            max_size=self._settings.journal_max_size,
            when_full=self._settings.journal_full,
            owner=owner,
        )
        most = None if where is not None or self.place.url is not None else _MAX_IN_MEMORY
        ledger = self._alerts.ledger = Ledger(directory.store)
        recovery = Recovery(accounting.counters)
        self._shipper = Shipper(journal, ledger, recovery, keep_days=self._settings.records_keep_days, most=most)
        self._shipper.traced = self.traced
        self._shipper.start()
        if self.place.url is not None:
            await self._start_shared(directory)
        self._alerts.start()
        self._watching = asyncio.create_task(self._watch(directory))

    async def _start_embedded(self, directory: Directory, where: Path | None) -> Path | None:
        """Returns the place for the journal."""
        if where is not None:
            try:
                await directory.start()
            except StoreError as error:
                if self.place is not None and self.place.store is not None and self.place.store.exists():
                    self._not_usable(directory, str(error))  # existing data must not be ignored
                    return where
                await directory.store.aclose()
                self._warn_of_memory(where, error)
            else:
                return where
        self.place = Place(None)
        directory.store = store_at(self.place)
        await directory.start()
        return None

    async def _start_shared(self, directory: Directory) -> None:
        """A remote store may be unavailable for a while: the gateway is not ready, but does not fail."""
        try:
            await directory.start()
        except StoreError as error:
            self._not_usable(directory, str(error))

    def _not_usable(self, directory: Directory, problem: str) -> None:
        self.problem = problem
        directory.is_unknown = True
        _log.error("store cannot be used", store=directory.store.name, problem=problem)

    async def _counters(self, where: Path | None, owner: str) -> Counters:
        """`owner` identifies this process among those that share the counters."""
        if self._valkey is None:
            return FileCounters(where / "counters", owner=owner) if where is not None else MemoryCounters()
        from ai_gateway.accounts.counters.valkey import ValkeyCounters  # noqa: PLC0415 - an extra

        counters = ValkeyCounters(self._valkey)
        try:
            await counters.open()
        except CountersError as error:
            _log.error("counters away", error=str(error))
        return counters

    async def _watch(self, directory: Directory) -> None:
        """Open the store as soon as it is available, and check its schema periodically."""
        pause_s = 0.0 if directory.is_loaded else _TRY_AGAIN_S
        while True:
            await asyncio.sleep(pause_s)
            began = directory.is_loaded
            pause_s = _CHECK_S if began else _TRY_AGAIN_S
            try:
                if not began:
                    await directory.start()
                problem = await directory.store.problem()
            except StoreError as error:
                if began:
                    continue  # unavailable: cached keys are used for a while
                problem = str(error)
            except Exception as error:  # the task must keep running
                _log.error("store not checked", store=directory.store.name, exc_info=error)
                continue
            if problem is not None and problem != self.problem:
                _log.error("store cannot be used", store=directory.store.name, problem=problem)
            elif problem is None and self.problem is not None:
                _log.warning("store can be used", store=directory.store.name)
            self.problem = problem

    def _writable(self, directory: Path | None) -> Path | None:
        if directory is not None:
            try:
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                self._warn_of_memory(directory, error)
                return None
        return directory

    def _warn_of_memory(self, directory: Path, error: Exception) -> None:
        what = "keys and usage: they are" if self.place and self.place.url is None else "records on their way: they are"
        _log.warning(
            f"no place for {what} kept in memory, and lost when the gateway stops",
            directory=str(directory),
            error=str(error),
            advice="set GATEWAY_DATA_DIR to a directory that can be written, or STORE_URL=off",
        )

    @property
    def store_is_away(self) -> bool:
        """Whether the cached keys and limits may be outdated."""
        directory = self.directory
        return directory is not None and directory.is_loaded and directory.age_s > _AWAY_S

    @property
    def records_wait_s(self) -> float:
        """Seconds for which pending records could not be stored."""
        return self._shipper.away_s if self._shipper is not None else 0.0

    async def aclose(self) -> None:
        """Write pending records, and close the store."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})
        if self.accounting is not None:
            await self._alerts.aclose()
            await self.accounting.aclose()
        if self._shipper is not None:
            await self._shipper.aclose()
        if self.accounting is not None:
            await self.accounting.counters.aclose()
        if self.directory is not None:
            await self.directory.aclose()

    async def _spent(self, scope: Scope, window: Window) -> int:
        if self._shipper is None:
            return 0
        await self._shipper.ship()  # include calls that have ended here and are not stored yet
        ledger = self._shipper.ledger
        budget_keys = scope.budget_keys or (scope.entity,)
        return sum([await ledger.spent(scope.what, each, window.start, window.end) for each in budget_keys])


def _mailing(settings: Settings) -> Mailing | None:
    if settings.smtp_url is None or settings.smtp_from is None:
        return None
    url = settings.smtp_url.get_secret_value()
    remember(unquote(urlsplit(url).password or ""))
    return Mailing(url, settings.smtp_from)


def store_at(place: Place) -> Store:
    """The store of this place, not opened yet."""
    if place.url is None:
        return SqliteStore(place.store)
    from ai_gateway.accounts.store.postgres import PostgresStore  # noqa: PLC0415 - an extra

    return PostgresStore(place.url)


def place_of(settings: Settings) -> Place | None:
    """The place of data; None if there is no store. Raises SettingsError."""
    return place_at(settings.store_url, settings.gateway_data_dir)


def place_at(store_url: SecretStr | None, data_directory: Path | None) -> Place | None:
    """The place of data for these settings; None if there is no store. Raises SettingsError."""
    url = store_url.get_secret_value() if store_url is not None else None
    if url == _OFF:
        return None
    if url == _MEMORY:
        return Place(None)
    directory = data_directory or data_dir()
    if url is not None and url.startswith(_POSTGRES):
        _require("asyncpg", "STORE_URL", "postgres")
        try:
            remember(unquote(urlsplit(url).password or ""))
        except ValueError as error:
            raise SettingsError([f"STORE_URL: {error}"]) from None
        return Place(directory, url=url)
    if url is not None and not url.startswith(_SQLITE):
        raise SettingsError(
            ["STORE_URL: no such store is known: use sqlite:///PATH, postgresql://USER@HOST/DATABASE, memory or off"]
        )
    if url is not None:
        path = Path(url.removeprefix(_SQLITE))
        return Place(directory or path.parent, path)
    return Place(directory, directory / "gateway.db") if directory is not None else Place(None)


def valkey_of(settings: Settings) -> "Address | None":
    """The Valkey server of the counters; None if they are on this machine. Raises SettingsError."""
    if settings.valkey_url is None:
        return None
    _require("hiredis", "VALKEY_URL", "valkey")
    from ai_gateway.accounts.counters.valkey_connection import address_of  # noqa: PLC0415 - an extra

    try:
        address = address_of(settings.valkey_url.get_secret_value())
    except ValueError as error:
        raise SettingsError([f"VALKEY_URL: {error}"]) from None
    remember(address.password or "")
    return address


def _require(module: str, setting: str, extra: str) -> None:
    if find_spec(module) is None:
        raise SettingsError([f"{setting} takes an extra: pip install 'universal-ai-gateway[{extra}]'"])

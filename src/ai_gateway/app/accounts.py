"""The accounts of one process: the store that it uses, and what counts and keeps what is called here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import structlog
from pydantic import SecretStr

from ai_gateway.accounts.accounting import Accounting, Policy
from ai_gateway.accounts.alerts import Alerts, Mailing
from ai_gateway.accounts.counters.memory import MemoryCounters
from ai_gateway.accounts.counters.sqlite import SqliteCounters
from ai_gateway.accounts.directory import Directory
from ai_gateway.accounts.journal import Journal
from ai_gateway.accounts.ledger import Ledger
from ai_gateway.accounts.limits import Scope
from ai_gateway.accounts.prices import Listed, Prices
from ai_gateway.accounts.shipper import Shipper
from ai_gateway.accounts.store.base import Store, StoreError
from ai_gateway.accounts.store.sqlite import SqliteStore
from ai_gateway.accounts.windows import Window
from ai_gateway.config.constants import data_dir
from ai_gateway.config.problems import SettingsError
from ai_gateway.config.settings import Settings
from ai_gateway.redaction import remember

_MEMORY, _OFF, _SQLITE = "memory", "off", "sqlite:///"
# Records that are kept where there is no disk for them.
_MOST_IN_MEMORY = 100_000
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Place:
    """Where data is kept. `directory` is None for what lives in memory only, `store` None for the store in it."""

    directory: Path | None
    store: Path | None = None


class Accounts:
    """What is there of accounts. `directory` and `accounting` are None where STORE_URL is `off`."""

    def __init__(self, settings: Settings, on_change: Callable[[], None]) -> None:
        self.place = place_of(settings)
        self.directory: Directory | None = None
        self.accounting: Accounting | None = None
        self._listed: Sequence[Listed] = ()
        if self.place is None:
            return
        self.directory = Directory(store_at(self.place), on_change)
        self._shipper: Shipper | None = None
        self._alerts = Alerts(self.directory, Ledger(self.directory.store))
        self.accounting = Accounting(MemoryCounters(), Prices(), Journal(None), self._spent)
        self.apply(settings)

    def apply(self, settings: Settings) -> None:
        """Go by these settings from now on."""
        if self.accounting is not None:
            self.accounting.policy = Policy(
                settings.unpriced, settings.limits_outage, settings.replicas, settings.output_tokens_bound
            )
            self.accounting.prices = Prices(settings.prices)
            self.accounting.prices.take_list(self._listed)
            self._alerts.mailing = _mailing(settings)

    def take_list(self, entries: Sequence[Listed]) -> None:
        """Use the prices of this list of models from now on."""
        self._listed = entries
        if self.accounting is not None:
            self.accounting.prices.take_list(entries)

    async def start(self) -> None:
        """Open the store. Where its place cannot be written, all is kept in memory, which is said once."""
        directory, accounting = self.directory, self.accounting
        if directory is None or accounting is None or self.place is None:
            return
        where = self.place.directory
        if where is not None:
            try:
                where.mkdir(mode=0o700, parents=True, exist_ok=True)
                await directory.start()
            except (OSError, StoreError) as error:
                _log.warning(
                    "no place for keys and usage: they are kept in memory, and lost when the gateway stops",
                    directory=str(where),
                    error=str(error),
                    advice="set GATEWAY_DATA_DIR to a directory that can be written, or STORE_URL=off",
                )
                await directory.store.aclose()
                self.place = Place(None)
                directory.store = store_at(self.place)
                where = None
            else:
                accounting.counters = SqliteCounters(where / "counters.db")
        if where is None:
            await directory.start()
        accounting.log = journal = Journal(where / "journal" if where is not None else None)
        most = None if where is not None else _MOST_IN_MEMORY
        ledger = self._alerts.ledger = Ledger(directory.store)
        self._shipper = Shipper(journal, ledger, accounting.give_back, most=most)
        self._shipper.start()
        self._alerts.start()

    async def aclose(self) -> None:
        """Close the store, after what is still to be written."""
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
        await self._shipper.ship()  # what has ended here counts, whether or not it has arrived there
        return await self._shipper.ledger.spent(scope.what, scope.entity, window.start, window.end)


def _mailing(settings: Settings) -> Mailing | None:
    if settings.smtp_url is None or settings.smtp_from is None:
        return None
    url = settings.smtp_url.get_secret_value()
    remember(unquote(urlsplit(url).password or ""))
    return Mailing(url, settings.smtp_from)


def store_at(place: Place) -> Store:
    """The store of this place, not yet open."""
    return SqliteStore(place.store)


def place_of(settings: Settings) -> Place | None:
    """Where data is kept, None for nowhere. Raises SettingsError."""
    return place_at(settings.store_url, settings.gateway_data_dir)


def place_at(store_url: SecretStr | None, data_directory: Path | None) -> Place | None:
    """Where data is kept with these settings, None for nowhere. Raises SettingsError."""
    url = store_url.get_secret_value() if store_url is not None else None
    if url == _OFF:
        return None
    if url == _MEMORY:
        return Place(None)
    directory = data_directory or data_dir()
    if url is not None and not url.startswith(_SQLITE):
        raise SettingsError(["STORE_URL: no such store is known: use sqlite:///PATH, memory or off"])
    if url is not None:
        path = Path(url.removeprefix(_SQLITE))
        return Place(directory or path.parent, path)
    return Place(directory, directory / "gateway.db") if directory is not None else Place(None)

"""Administration without a running gateway: its operations on this machine's store, for the command line.

A gateway with the same store sees the changes within a second.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from getpass import getuser
from typing import override

from starlette.types import ASGIApp, Receive, Scope, Send

from ai_gateway.accounts.directory import Directory
from ai_gateway.accounts.entities import ApiKey
from ai_gateway.accounts.keys import ConfiguredKey, KeyRing
from ai_gateway.accounts.store.base import StoreError
from ai_gateway.api.access import Access
from ai_gateway.app.accounts import place_of, store_at
from ai_gateway.config.problems import SettingsError
from ai_gateway.config.settings import Settings
from ai_gateway.contract.body import BodyLimits
from ai_gateway.contract.call import Caller
from ai_gateway.contract.dispatch import Direct

_MAX_BODY_BYTES = 10 * 2**20
_BODY_TIMEOUT_S = 60.0


class _OnThisMachine(Access):
    """Authorises the user who can write the store: no key could allow more."""

    def __init__(self, keys: Sequence[ConfiguredKey]) -> None:
        super().__init__(KeyRing(keys), allow_anonymous=False)
        self._caller = Caller(None, f"command line ({_user()})", trusted=True, administers=True)

    @override
    def authorize_administrator(self, scope: Scope, headers: Mapping[str, str]) -> Caller:
        return self._caller


@asynccontextmanager
async def local_administration(
    settings: Settings, keys: Sequence[ConfiguredKey] = ()
) -> AsyncIterator[tuple[ASGIApp, str]]:
    """The operations of administration as an ASGI application, and the directory that they change.

    `keys` are those of the configuration, which are listed as well. Raises SettingsError if there is no store that this
    process could share with a gateway.
    """
    # Imported here because of the memory of its contract's models.
    from ai_gateway.api.admin.handlers import admin_router  # noqa: PLC0415

    async with open_directory(settings) as directory:
        limits = BodyLimits(_MAX_BODY_BYTES, _BODY_TIMEOUT_S)
        routes = admin_router(directory, _OnThisMachine(keys), limits).routes
        yield Direct(routes, _nothing), directory.store.name


@asynccontextmanager
async def open_directory(settings: Settings) -> AsyncIterator[Directory]:
    """The directory of this machine's store. Raises SettingsError if there is none, or it cannot be used."""
    place = place_of(settings)
    if place is None:
        raise SettingsError(
            ["STORE_URL=off: no keys or limits are stored here: unset STORE_URL, or use ALLOWED_API_KEYS and [keys]"]
        )
    if not place.is_kept:
        raise SettingsError(
            [
                "STORE_URL=memory: keys live in the gateway's own process: administer it with --url, "
                "or set GATEWAY_DATA_DIR to a directory that can be written"
            ]
        )
    directory = Directory(store_at(place))
    async with aclosing(directory):
        try:
            if place.directory is not None and place.url is None:
                place.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            await directory.start()
        except (OSError, StoreError) as error:
            if place.url is not None:
                raise SettingsError([f"STORE_URL: the store of keys cannot be used: {error}"]) from error
            raise SettingsError(
                [
                    f"{place.directory}: the store of keys cannot be used: {error}. Run this as the gateway's user, "
                    "set GATEWAY_DATA_DIR to its data directory, or administer a running gateway with --url"
                ]
            ) from error
        yield directory


async def has_stored_keys(settings: Settings) -> bool:
    """Whether the store has ever had a key; does not create the store."""
    place = place_of(settings)
    if place is not None and place.url is not None:
        return True  # it may be unavailable: until it was read, a key is required
    if place is None or place.directory is None or (place.store is not None and not place.store.exists()):
        return False
    try:
        async with open_directory(settings) as directory:
            return any(True for _ in directory.all(ApiKey))
    except SettingsError:  # the start reports the problem
        return False


def _user() -> str:
    try:
        return getuser()
    except (KeyError, OSError):  # a user without a name, as in containers
        return "unknown"


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI
    raise LookupError(scope["path"])

"""DNS look-ups: in threads, shared by concurrent callers, and cached for a moment."""

import asyncio
import math
import socket
import threading
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address

from aiohappyeyeballs import AddrInfoType

from ai_gateway.contract.turns import Turns

type Resolve = Callable[[str, int], Sequence[AddrInfoType]]

_KEPT_S = 10.0
_PATIENCE_S = 2.0  # what is fetched afterwards needs some of its time too


def resolve(host: str, port: int) -> Sequence[AddrInfoType]:
    """Resolve the name by the system; may take as long as its name servers do."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


class Lookup:
    """The addresses of one host. Each result starts with another address, so that connections spread over all of them.

    A look-up runs in a thread of its own: a name server that does not answer would block the event loop's shared thread
    pool.
    """

    def __init__(self, host: str, port: int, resolve: Resolve = resolve) -> None:
        self._host = host
        self._port = port
        self._resolve = resolve
        self._addresses: list[AddrInfoType] = []
        self._until = -math.inf
        self._pending: asyncio.Future[OSError | None] | None = None
        self.on_done: Callable[[], object] | None = None
        with suppress(OSError, UnicodeError):  # an address needs no look-up
            self._addresses = [*socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)]
            self._until = math.inf

    @property
    def is_address(self) -> bool:
        """Whether the host is an address, so that there is nothing to look up."""
        return self._until == math.inf

    async def addresses(self) -> Sequence[AddrInfoType]:
        """At least one. Raises OSError."""
        loop = asyncio.get_running_loop()
        if loop.time() >= self._until:
            if self._pending is None:
                self._pending = loop.create_future()
                threading.Thread(target=self._run, args=(loop,), name=f"look-up of {self._host}", daemon=True).start()
            failure = await asyncio.shield(self._pending)
            if failure is not None:
                raise type(failure)(*failure.args)
        self._addresses.append(self._addresses.pop(0))
        return list(self._addresses)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        found: Sequence[AddrInfoType] = ()
        failure: OSError | None = None
        try:
            found = self._resolve(self._host, self._port)
        except OSError as error:
            failure = error
        except UnicodeError as error:
            failure = OSError(f"no name server can know {self._host!r}: {error}")
        if not found and failure is None:
            failure = OSError(f"{self._host!r} has no address")
        with suppress(RuntimeError):  # the event loop is closed
            loop.call_soon_threadsafe(self._done, list(found), failure)

    def _done(self, found: list[AddrInfoType], failure: OSError | None) -> None:
        pending, self._pending = self._pending, None
        if failure is None:
            self._addresses, self._until = found, asyncio.get_running_loop().time() + _KEPT_S
        if pending is not None:
            pending.set_result(failure)
        if self.on_done is not None:
            self.on_done()


class AddressLookups:
    """Look-ups for host names in requests, which callers choose: at most so many run at a time, fewer for one caller.

    They have threads of their own, and a caller's names which never resolve leave places for the names of others.
    """

    def __init__(self, most: int = 32, resolve: Resolve = resolve, most_of_one: int = 24) -> None:
        self._turns = Turns(most, most_of_one)
        self._resolve = resolve
        self._running: dict[tuple[str, int], Lookup] = {}

    async def addresses(self, host: str, port: int, caller: Hashable = None) -> Sequence[AddrInfoType]:
        """At least one address. Raises OSError, and NoPlace if too many look-ups are running."""
        key = (host, port)
        if key not in self._running:
            lookup = Lookup(host, port, self._resolve)
            if lookup.is_address:
                return await lookup.addresses()
            await self._turns.take(caller, _PATIENCE_S)
            if key in self._running:  # begun for another meanwhile
                self._turns.release(caller)
            else:
                self._running[key] = lookup
                lookup.on_done = lambda: self._done(key, caller)
        return await self._running[key].addresses()

    def _done(self, key: tuple[str, int], caller: Hashable) -> None:
        del self._running[key]
        self._turns.release(caller)


def parsed_address(host: str) -> IPv4Address | IPv6Address | None:
    """The host as an address; None if it is a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None

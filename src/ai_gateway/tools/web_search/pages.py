"""Web pages as text: fetched from allowed addresses, and reduced to their text."""

import asyncio
import json
import time
from collections.abc import Callable, Hashable
from pathlib import Path

from ai_gateway.contract.turns import NoPlace, Turns
from ai_gateway.observability.metrics import Event, count
from ai_gateway.programs import end_program, start_apart, write_input
from ai_gateway.providers.http.egress import Egress, Fetched, NotFetched, NotLookedUp
from ai_gateway.tools.tool import Citation, Result
from ai_gateway.tools.web_search.results import NOTICE, quoted

MOST = 2 * 2**20
"""Bytes of a page."""
KINDS = ("text/html", "application/xhtml+xml", "text/plain", "text/markdown")
_PLAIN = ("text/plain", "text/markdown")
_READER = Path(__file__).with_name("page_text.py")
_READERS = 2  # concurrent processes; each may use a core
_READ_S = 4.0  # in which a process has used the time that it may have, and more if the machine is busy
_AT_ONCE, _MAX_OF_ONE = 16, 12  # pages being read per worker, which are 32 MB at the most, and those of one caller
_MAX_READ = 8 * MOST  # bytes of a page's text as JSON
_MAX_TITLE_LENGTH = 200


class NotRead(Exception):
    """A page could not be read. The message is for a model, and reveals nothing about networks."""


class Pages:
    """Reads pages through `egress`, which checks addresses."""

    def __init__(self, egress: Egress | None = None) -> None:
        self._egress = egress or Egress()
        self._readers = Turns(_READERS)
        self._pages = Turns(_AT_ONCE, _MAX_OF_ONE)

    async def read(
        self, url: str, seconds: float, allows: Callable[[str], bool] = lambda _: True, caller: Hashable = None
    ) -> Result:
        """The text of a page. `allows` is called for the URL of every redirect. Raises NotRead.

        The memory for pages, and the processes that read them, are shared by callers in turn.
        """
        ends = time.monotonic() + seconds
        try:
            async with self._pages.place(caller, seconds / 2), asyncio.timeout(ends - time.monotonic()):
                fetched = await self._egress.for_caller(caller).page(url, KINDS, MOST, allows)
                title, text = await self._text(fetched, caller, ends)
        except (NoPlace, NotLookedUp) as error:
            if isinstance(error, NoPlace):  # the other has been counted
                count(Event.OVERLOAD, "pages")
            raise NotRead("The gateway is busy with other pages: try this one again later.") from None
        except (NotFetched, TimeoutError) as error:
            raise NotRead("The page could not be fetched, or is no text.") from error
        if not text.strip():
            raise NotRead("The page has no text.")
        title = title[:_MAX_TITLE_LENGTH] or url
        return Result(f"{NOTICE}\n\n[1] {title}\n{url}\n{quoted(text)}", citations=(Citation(url, title),))

    async def _text(self, fetched: Fetched, caller: Hashable, ends: float) -> tuple[str, str]:
        """Title and text of a page. Raises NotRead, or NoPlace in time for the page to be read after the wait."""
        if fetched.media_type in _PLAIN:
            return "", fetched.data.decode("utf-8", "replace")
        left = ends - time.monotonic()
        async with self._readers.place(caller, max(left - _READ_S, left / 2)):
            return await _read_apart(fetched.data)


async def _read_apart(page: bytes) -> tuple[str, str]:
    """Title and text of an HTML page, by a process of its own. Raises NotRead if that exceeds its limits."""
    process = await start_apart(_READER)
    written = b""
    try:
        output = await write_input(process, page)
        while len(written) <= _MAX_READ and (more := await output.read(_MAX_READ)):
            written += more
    finally:
        await asyncio.shield(end_program(process))
    try:
        read = json.loads(written)
    except ValueError:
        raise NotRead("The page is too complicated to be read.") from None
    return read["title"], read["text"]

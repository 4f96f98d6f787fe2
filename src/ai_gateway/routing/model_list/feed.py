"""Keeps the model list fresh: fetched at startup and periodically, within limits; the last valid list stays."""

import asyncio
import hashlib
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import structlog
from yarl import URL

from ai_gateway.config.constants import VERSION
from ai_gateway.providers.http.broken import BrokenReply
from ai_gateway.providers.http.single import single_request
from ai_gateway.providers.upstream import Proxy
from ai_gateway.routing.model_list.parse import InvalidList, ModelList, parse_list
from ai_gateway.routing.model_list.store import MAX_LIST_BYTES, ListStore

_log = structlog.get_logger(__name__)
_FETCH_TIMEOUT_S = 5.0
# Providers work without the list, so a slow host of it may delay startup only briefly.
_START_WAIT_S = 2.0
_RETRY_S = 30.0
_MAX_WARNINGS = 20
_rng = random.SystemRandom()  # jitter: replicas that start together must not fetch together for ever

type State = Literal["loading", "fresh", "stale", "missing"]


@dataclass(frozen=True, slots=True)
class ListStatus:
    """`stale` is a list that could not be refreshed, `missing` means that there is none; `problem` is the reason."""

    state: State
    models: ModelList
    age_s: float | None
    problem: str | None


class ListFeed:
    """Runs between `start` and `aclose`. `on_change` is called with every list that differs from the previous one.

    `clock` gives seconds since the epoch: a stored list may be older than this process.
    """

    def __init__(  # noqa: PLR0913 - by name, and most have a default
        self,
        url: str,
        on_change: Callable[[ModelList], None],
        *,
        refresh_s: float,
        store: ListStore | None = None,
        api_key: str | None = None,
        proxy: Proxy | None = None,
        fetch_timeout_s: float = _FETCH_TIMEOUT_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url = url
        self._on_change = on_change
        self._refresh_s = refresh_s
        self._store = store
        self._fetch_timeout_s = fetch_timeout_s
        self._clock = clock
        self._proxy = proxy
        self._headers = {"accept": "application/json", "accept-encoding": "identity"}
        self._headers["user-agent"] = f"ai-gateway/{VERSION}"
        if api_key:
            self._headers["authorization"] = f"Bearer {api_key}"
        self._models: ModelList | None = None
        self._digest = ""
        self._fetched_at = 0.0
        self._problem: str | None = None
        self._is_fresh = False
        self._first_attempt = asyncio.Event()
        self._refresh_requested = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._save_failed = False

    @property
    def status(self) -> ListStatus:
        """The state of the list."""
        if self._models is None:
            state: State = "missing" if self._problem else "loading"
            return ListStatus(state, ModelList(), None, self._problem)
        age = max(0.0, self._clock() - self._fetched_at)
        return ListStatus("fresh" if self._is_fresh else "stale", self._models, age, self._problem)

    async def start(self) -> None:
        """Load the stored list, start to fetch, and wait for the first response for a moment."""
        if self._store is not None:
            await asyncio.to_thread(self._restore, self._store)
            if self._models is not None:
                self._on_change(self._models)
        self._task = asyncio.create_task(self._keep_fresh())
        with suppress(TimeoutError):
            await asyncio.wait_for(self._first_attempt.wait(), _START_WAIT_S)

    def refresh(self) -> None:
        """Fetch the list now instead of at the next interval."""
        self._refresh_requested.set()

    async def aclose(self) -> None:
        """Stop fetching."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def _restore(self, store: ListStore) -> None:
        try:
            stored = store.load()
        except InvalidList as problem:
            _log.warning("stored model list ignored", path=str(store.path), reason=str(problem))
            return
        if stored is not None:
            self._models, self._fetched_at = stored.models, stored.fetched_at

    async def _keep_fresh(self) -> None:
        while True:
            try:
                await self._refresh()
            except Exception as error:  # any failure: the next attempt must run
                self._problem = _reason(error)
                self._is_fresh = False
                _log.warning("model list not renewed", reason=self._problem, kept=self._models is not None)
            self._first_attempt.set()
            pause = self._refresh_s if self._is_fresh else min(self._refresh_s, _RETRY_S)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._refresh_requested.wait(), pause * _rng.uniform(0.9, 1.1))
            self._refresh_requested.clear()

    async def _refresh(self) -> None:
        async with asyncio.timeout(self._fetch_timeout_s):
            raw = await self._fetch()
        digest = hashlib.sha256(raw).hexdigest()
        if digest != self._digest:
            models = await asyncio.to_thread(parse_list, raw)
            _warn(models)
            self._models, self._digest = models, digest
            self._on_change(models)
        self._fetched_at, self._problem, self._is_fresh = self._clock(), None, True
        await self._save(raw)

    async def _fetch(self) -> bytes:
        """The document, up to the size limit. No redirects, no decompression, no cookies."""
        async with single_request(URL(self._url), self._headers, self._fetch_timeout_s, proxy=self._proxy) as reply:
            if 300 <= reply.status < 400:
                raise InvalidList("its host answered with a redirect, which is not followed")
            if reply.status != 200:
                raise InvalidList(f"its host answered with status {reply.status}")
            if reply.headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
                raise InvalidList("its host sent it compressed, which was not requested")
            body = await reply.whole(MAX_LIST_BYTES)
            if body is None:
                raise InvalidList(f"it is larger than {MAX_LIST_BYTES} bytes")
            return body

    async def _save(self, raw: bytes) -> None:
        if self._store is None or self._save_failed:
            return
        try:
            await asyncio.to_thread(self._store.save, raw, self._fetched_at)
        except OSError as error:  # logged once, because the list in memory is not affected
            self._save_failed = True
            _log.warning("model list not stored", path=str(self._store.path), reason=error.strerror)


def _reason(error: Exception) -> str:
    """The reason without the URL, which may contain a secret."""
    if isinstance(error, InvalidList):
        return str(error)
    if isinstance(error, TimeoutError):
        return "its host did not answer in time"
    if isinstance(error, OSError):
        return f"its host cannot be reached ({type(error).__name__})"
    if isinstance(error, BrokenReply):
        return "its host did not answer with a whole HTTP reply"
    return type(error).__name__


def _warn(models: ModelList) -> None:
    for problem in models.problems[:_MAX_WARNINGS]:
        _log.warning("entry of the model list skipped", reason=problem)
    if len(models.problems) > _MAX_WARNINGS:
        _log.warning("more entries of the model list skipped", count=len(models.problems) - _MAX_WARNINGS)

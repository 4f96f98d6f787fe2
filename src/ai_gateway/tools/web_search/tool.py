"""The tool `gateway:web_search`: its functions, and how they run."""

from collections.abc import Mapping, Sequence
from typing import cast, override

from pydantic import JsonValue

from ai_gateway.contract.call import Caller
from ai_gateway.errors import InvalidRequest
from ai_gateway.tools.tool import Function, Result, Tool, Use
from ai_gateway.tools.web_search.pages import NotRead, Pages
from ai_gateway.tools.web_search.results import Backend, NotSearched, Query, SafeSearch, is_allowed, kept, shown

_MAX_QUERY_LENGTH = 400  # Brave's and Tavily's limit
_SEARCH: Mapping[str, JsonValue] = {
    "type": "object",
    "properties": {"query": {"type": "string", "description": "What to search for, as one would type it."}},
    "required": ["query"],
    "additionalProperties": False,
}
_FETCH: Mapping[str, JsonValue] = {
    "type": "object",
    "properties": {"url": {"type": "string", "description": "The http or https address of a page."}},
    "required": ["url"],
    "additionalProperties": False,
}


class WebSearch(Tool):
    """Searches with `backend`, for `most` results. With `pages`, models can fetch pages as well."""

    name = "web_search"

    @property
    def reads_pages(self) -> bool:
        """Whether models can fetch pages."""
        return self._pages is not None

    def __init__(self, backend: Backend, most: int = 5, pages: Pages | None = None) -> None:
        self._backend = backend
        self._most = most
        self._pages = pages

    @override
    async def functions(self, caller: Caller, options: Mapping[str, JsonValue]) -> Sequence[Function]:
        allowed, blocked = _domains(options, "allowed_domains"), _domains(options, "blocked_domains")
        if allowed and all(any(_covers(bad, good) for bad in blocked) for good in allowed):
            raise InvalidRequest("'blocked_domains' leaves nothing of 'allowed_domains': leave one of them out.")
        found = []
        if options.get("search") is not False:
            described = f"Search the web. Returns numbered sources to cite.{_place(options.get('user_location'))}"
            found.append(Function("web_search", described, _SEARCH, self._search))
        if self._pages is not None and options.get("fetch") is not False:
            found.append(Function("web_fetch", "Read the text of a public page of the web.", _FETCH, self._fetch))
        if not found:
            raise InvalidRequest("'search' and 'fetch' leave nothing of gateway:web_search: leave one of them out.")
        return found

    @override
    async def close(self) -> None:
        """Nothing to do: nothing runs between calls."""

    async def _search(self, use: Use) -> Result:
        text = use.arguments.get("query")
        if not isinstance(text, str) or not text.strip():
            return Result("'query' has to be a text that is not empty.", failed=True, error="invalid_arguments")
        requested, options = use.options.get("max_results"), use.options
        query = Query(
            text=text.strip()[:_MAX_QUERY_LENGTH],
            most=min(requested, self._most) if isinstance(requested, int) else self._most,
            allowed=_domains(options, "allowed_domains"),
            blocked=_domains(options, "blocked_domains"),
            safe_search=cast("SafeSearch", options.get("safe_search") or "moderate"),
            language=cast("str | None", options.get("language")),
        )
        try:
            found = await self._backend.search(query, use.seconds)
        except NotSearched as error:
            return Result(str(error), failed=True)
        return shown(kept(found, query), query, self._backend.unmet(query))

    async def _fetch(self, use: Use) -> Result:
        url = use.arguments.get("url")
        if not isinstance(url, str):
            return Result("'url' has to be a text.", failed=True, error="invalid_arguments")
        allowed, blocked = _domains(use.options, "allowed_domains"), _domains(use.options, "blocked_domains")

        def allows(address: str) -> bool:
            return is_allowed(address, allowed, blocked)

        if not allows(url):
            return Result("This address may not be fetched.", failed=True)
        assert self._pages is not None  # noqa: S101 - or the function is not offered
        try:
            return await self._pages.read(url, use.seconds, allows, use.caller.identity)
        except NotRead as error:
            return Result(str(error), failed=True)


def _place(location: JsonValue) -> str:
    """The user's location as text for the model, to be used in the words of its queries."""
    known = location if isinstance(location, dict) else {}
    names = [str(known[name]) for name in ("city", "region", "country", "timezone") if known.get(name)]
    return f" The user is near: {', '.join(names)}." if names else ""


def _domains(options: Mapping[str, JsonValue], name: str) -> tuple[str, ...]:
    return tuple(cast("Sequence[str]", options.get(name) or ()))


def _covers(domain: str, other: str) -> bool:
    domain, other = domain.lower(), other.lower()
    return other == domain or other.endswith(f".{domain}")

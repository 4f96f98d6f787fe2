"""Search backends: SearXNG's, Tavily's and Brave's own wires."""

import html
import re
from collections.abc import Iterator, Sequence
from typing import override

from yarl import URL

from ai_gateway.tools.web_search.ask import ask
from ai_gateway.tools.web_search.results import Backend, Found, NotSearched, Query

_TAVILY = "https://api.tavily.com/search"
_BRAVE = "https://api.search.brave.com/res/v1/web/search"
_SAFE = {"off": "0", "moderate": "1", "strict": "2"}  # SearXNG's
_TAG = re.compile(r"<[^<>]{0,200}>")
# SearXNG has no parameter for domains: engines know the operators, as far as they do.
_MOST_OPERATORS = 10
# Brave's names of languages, where they are not those of ISO 639-1: api-dashboard.search.brave.com, "Language codes".
_BRAVES_LANGUAGES = {"ja": "jp", "zh": "zh-hans", "pt": "pt-pt"}
_BRAVES_REGIONS = {"pt-BR": "pt-br", "zh-TW": "zh-hant", "zh-HK": "zh-hant", "en-GB": "en-gb"}


class SearXNG(Backend):
    """A server of SearXNG at `url`: docs.searxng.org "Search API"."""

    def __init__(self, url: str) -> None:
        self._url = URL(url)

    @override
    async def search(self, query: Query, seconds: float) -> Sequence[Found]:
        asked = {"q": with_operators(query), "format": "json", "safesearch": _SAFE[query.safe_search]}
        if query.language:
            asked["language"] = query.language
        url = self._url if self._url.path.endswith("/search") else self._url / "search"
        try:
            reply = await ask(url.with_query(asked), {}, seconds)
        except NotSearched as error:
            if "refused the gateway" in str(error):  # 403: what it says where JSON is not among its formats
                raise NotSearched("The search server does not answer in JSON: its `search.formats` lack it.") from error
            raise
        return list(_found(reply.get("results"), "content"))


class Tavily(Backend):
    """Tavily's API: docs.tavily.com "Search". It knows no languages, and is safe as it is."""

    def __init__(self, key: str, url: str | None = None) -> None:
        self._key = key
        self._url = URL(url or _TAVILY)

    @override
    async def search(self, query: Query, seconds: float) -> Sequence[Found]:
        body: dict[str, object] = {"query": query.text, "max_results": query.most, "search_depth": "basic"}
        if query.allowed:
            body["include_domains"] = list(query.allowed)
        if query.blocked:
            body["exclude_domains"] = list(query.blocked)
        reply = await ask(self._url, {"authorization": f"Bearer {self._key}"}, seconds, body)
        return list(_found(reply.get("results"), "content"))


class Brave(Backend):
    """Brave's API: api-dashboard.search.brave.com "Web search"."""

    def __init__(self, key: str, url: str | None = None) -> None:
        self._key = key
        self._url = URL(url or _BRAVE)

    @override
    async def search(self, query: Query, seconds: float) -> Sequence[Found]:
        asked = {
            "q": with_operators(query),
            "count": str(query.most),
            "safesearch": query.safe_search,
            "text_decorations": "false",
        }
        if query.language:
            language, _, country = query.language.partition("-")
            asked["search_lang"] = _BRAVES_REGIONS.get(query.language) or _BRAVES_LANGUAGES.get(language, language)
            asked |= {"country": country} if country else {}
        reply = await ask(self._url.with_query(asked), {"x-subscription-token": self._key}, seconds)
        web = reply.get("web")
        return list(_found(web.get("results") if isinstance(web, dict) else None, "description"))


def with_operators(query: Query) -> str:
    """The query with operators for its domains. What engines make of them is checked when they have answered."""
    allowed = [f"site:{domain}" for domain in query.allowed[:_MOST_OPERATORS]]
    blocked = [f"-site:{domain}" for domain in query.blocked[:_MOST_OPERATORS]]
    only = [f"({' OR '.join(allowed)})"] if len(allowed) > 1 else allowed
    return " ".join([query.text, *only, *blocked])


def _found(results: object, text: str) -> Iterator[Found]:
    """Results with an address, and their text under this name."""
    for one in results if isinstance(results, list) else ():
        if isinstance(one, dict) and isinstance(url := one.get("url"), str):
            yield Found(url, _plain(one.get("title")), _plain(one.get(text)))


def _plain(value: object) -> str:
    """A text without the tags and entities that engines leave in theirs."""
    return html.unescape(_TAG.sub("", value)) if isinstance(value, str) else ""

"""Search backends: the APIs of SearXNG, Tavily and Brave."""

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import override

from yarl import URL

from ai_gateway.providers.upstream import Proxy
from ai_gateway.tools.web_search.backend_request import request_json
from ai_gateway.tools.web_search.results import Backend, Found, NotSearched, Query

ADDRESSES: Mapping[str | None, str] = {
    "tavily": "https://api.tavily.com/search",
    "brave": "https://api.search.brave.com/res/v1/web/search",
}
"""The default URLs of backends."""
_SAFE = {"off": "0", "moderate": "1", "strict": "2"}  # SearXNG's
_TAG = re.compile(r"<[^<>]{0,200}>")
# Limits of a query, those of Brave: "Maximum of 400 characters and 50 words in the query".
_MAX_QUERY_LENGTH = 400
_MAX_WORDS = 50
_MAX_OPERATORS = 10
# Brave's `search_lang` by ISO 639-1 language, and by region where it distinguishes them: "Language codes" of
# api-dashboard.search.brave.com. Any other value is a 422 there.
_BRAVES_LANGUAGES = {
    **{
        each: each
        for each in [
            "ar",
            "bg",
            "bn",
            "ca",
            "cs",
            "da",
            "de",
            "en",
            "es",
            "et",
            "eu",
            "fi",
            "fr",
            "gl",
            "gu",
            "he",
            "hi",
            "hr",
            "hu",
            "is",
            "it",
            "kn",
            "ko",
            "lt",
            "lv",
            "ml",
            "mr",
            "ms",
            "nb",
            "nl",
            "pa",
            "pl",
            "ro",
            "ru",
            "sk",
            "sl",
            "sr",
            "sv",
            "ta",
            "te",
            "th",
            "tr",
            "uk",
            "vi",
        ]
    },
    "ja": "jp",
    "no": "nb",
    "nn": "nb",
    "pt": "pt-pt",
    "zh": "zh-hans",
    "en-GB": "en-gb",
    "pt-BR": "pt-br",
    "zh-HK": "zh-hant",
    "zh-MO": "zh-hant",
    "zh-TW": "zh-hant",
}
# Brave's `country`, with Tavily's name of each: "Country codes" there, and `country` of docs.tavily.com.
_COUNTRIES: Mapping[str, str | None] = {
    "AR": "argentina",
    "AT": "austria",
    "AU": "australia",
    "BE": "belgium",
    "BR": "brazil",
    "CA": "canada",
    "CH": "switzerland",
    "CL": "chile",
    "CN": "china",
    "DE": "germany",
    "DK": "denmark",
    "ES": "spain",
    "FI": "finland",
    "FR": "france",
    "GB": "united kingdom",
    "HK": None,
    "ID": "indonesia",
    "IN": "india",
    "IT": "italy",
    "JP": "japan",
    "KR": "south korea",
    "MX": "mexico",
    "MY": "malaysia",
    "NL": "netherlands",
    "NO": "norway",
    "NZ": "new zealand",
    "PH": "philippines",
    "PL": "poland",
    "PT": "portugal",
    "RU": "russia",
    "SA": "saudi arabia",
    "SE": "sweden",
    "TR": "turkey",
    "TW": "taiwan",
    "US": "united states",
    "ZA": "south africa",
}
_TAVILYS_PLAN = "The search cannot be a strict one: Tavily has `safe_search` in its Enterprise plan only."


class SearXNG(Backend):
    """A server of SearXNG at `url`: docs.searxng.org "Search API"."""

    def __init__(self, url: str, proxy: Proxy | None = None) -> None:
        self._url = URL(url)
        self._proxy = proxy

    @override
    async def search(self, query: Query, seconds: float) -> Sequence[Found]:
        parameters = {"q": with_operators(query), "format": "json", "safesearch": _SAFE[query.safe_search]}
        if query.language:
            parameters["language"] = query.language
        url = self._url if self._url.path.endswith("/search") else self._url / "search"
        try:
            reply = await request_json(url.with_query(parameters), {}, seconds, proxy=self._proxy)
        except NotSearched as error:
            if error.status == 403:  # sent if JSON is not among the enabled formats
                raise NotSearched("The search server does not answer in JSON: its `search.formats` lack it.") from error
            raise
        return list(_found(reply.get("results"), "content"))

    @override
    def unmet(self, query: Query) -> Sequence[str]:
        return _left_out(query)


class _Vendor(Backend):
    """An API at `url` that requires a key."""

    def __init__(self, key: str, url: str, proxy: Proxy | None = None) -> None:
        self._key = key
        self._url = URL(url)
        self._proxy = proxy


class Tavily(_Vendor):
    """Tavily's API: docs.tavily.com "Search"."""

    @override
    async def search(self, query: Query, seconds: float) -> Sequence[Found]:
        body: dict[str, object] = {"query": query.text, "max_results": query.most, "search_depth": "basic"}
        if query.allowed:
            body["include_domains"] = list(query.allowed)
        if query.blocked:
            body["exclude_domains"] = list(query.blocked)
        if country := _COUNTRIES.get(query.region):
            body["country"] = country
        is_strict = query.safe_search == "strict"
        if is_strict:
            body["safe_search"] = True
        try:
            reply = await request_json(self._url, {"authorization": f"Bearer {self._key}"}, seconds, body, self._proxy)
        except NotSearched as error:
            if is_strict and error.status in {400, 403, 422}:
                raise NotSearched(_TAVILYS_PLAN) from error
            raise
        return list(_found(reply.get("results"), "content"))

    @override
    def unmet(self, query: Query) -> Sequence[str]:
        if query.language is None:
            return ()
        return [f"This search cannot be told a language ({query.language}): the words of the query decide it."]


class Brave(_Vendor):
    """Brave's API: api-dashboard.search.brave.com "Web search"."""

    @override
    async def search(self, query: Query, seconds: float) -> Sequence[Found]:
        parameters = {
            "q": with_operators(query),
            "count": str(query.most),
            "safesearch": query.safe_search,
            "text_decorations": "false",
            "result_filter": "web",
        }
        if language := _braves_language(query):
            parameters["search_lang"] = language
        if query.region in _COUNTRIES:
            parameters["country"] = query.region
        key = {"x-subscription-token": self._key}
        reply = await request_json(self._url.with_query(parameters), key, seconds, proxy=self._proxy)
        web = reply.get("web")
        return list(_found(web.get("results") if isinstance(web, dict) else None, "description"))

    @override
    def unmet(self, query: Query) -> Sequence[str]:
        unmet = list(_left_out(query))
        if query.language is not None and _braves_language(query) is None:
            unmet.append(f"This search does not know the language {query.language}: the words of the query decide it.")
        return unmet


def _braves_language(query: Query) -> str | None:
    language = query.language or ""
    return _BRAVES_LANGUAGES.get(language) or _BRAVES_LANGUAGES.get(language.partition("-")[0])


def with_operators(query: Query) -> str:
    """The query with `site:` operators for its domains. Results are checked, since engines may ignore them.

    Operators that do not fit are left out; of allowed domains all or none, since a part would exclude the others.
    """
    allowed, blocked, text = _operators_and_words(query)
    only = [f"({' OR '.join(allowed)})"] if len(allowed) > 1 else allowed
    return " ".join([text, *only, *blocked])


def _left_out(query: Query) -> Sequence[str]:
    """The operators that `with_operators` has left out."""
    allowed, blocked, text = _operators_and_words(query)
    unmet = []
    if len(allowed) < len(query.allowed) or len(blocked) < len(query.blocked):
        unmet.append("There were too many domains to search for them: results of others were left out.")
    if len(text) < len(" ".join(query.text.split())):
        unmet.append("The query was too long: only its first words were searched for.")
    return unmet


def _operators_and_words(query: Query) -> tuple[list[str], list[str], str]:
    """The operators for allowed domains, those for blocked ones, and the words."""
    allowed = [f"site:{domain}" for domain in query.allowed]
    blocked = [f"-site:{domain}" for domain in query.blocked]
    if len(allowed) > _MAX_OPERATORS or len(" OR ".join(allowed)) > _MAX_QUERY_LENGTH // 2:
        allowed = []
    kept: list[str] = []
    for operator in blocked[:_MAX_OPERATORS]:
        if len(" ".join([*kept, operator])) > _MAX_QUERY_LENGTH // 4:
            break
        kept.append(operator)
    operators = " ".join([*allowed, *kept])
    words = _MAX_WORDS - 2 * len(allowed) - len(kept)
    length = _MAX_QUERY_LENGTH - len(operators) - 4 * len(allowed) - 4
    return allowed, kept, " ".join(query.text.split()[:words])[:length].rstrip()


def _found(results: object, text: str) -> Iterator[Found]:
    """The results with a URL; their text is in this field."""
    for one in results if isinstance(results, list) else ():
        if isinstance(one, dict) and isinstance(url := one.get("url"), str):
            yield Found(url, _plain(one.get("title")), _plain(one.get(text)))


def _plain(value: object) -> str:
    """The text without HTML tags and entities."""
    return html.unescape(_TAG.sub("", value)) if isinstance(value, str) else ""

"""Simulated search results, made from the words of a query: for tests and the built-in provider, offline."""

from collections.abc import Sequence
from hashlib import sha256
from typing import override

from ai_gateway.tools.web_search.results import Backend, Found, NotSearched, Query

FAILS = "search-fails"
"""A query with this word fails."""
_TOPICS = ("harbour", "orchard", "lantern", "archive", "meadow", "signal", "bridge", "garden", "valley", "compass")


class Rehearsed(Backend):
    """Deterministic results at `example.com` and the allowed domains."""

    @override
    async def search(self, query: Query, seconds: float) -> Sequence[Found]:
        if FAILS in query.text:
            raise NotSearched("The search failed, as this query asks for.")
        domains = query.allowed or ("example.com", "example.org", "example.net")
        found = []
        for at in range(query.most + len(query.blocked)):
            digest = sha256(f"{query.text}/{at}".encode("utf-8", "surrogatepass")).digest()
            topic = _TOPICS[digest[0] % len(_TOPICS)]
            url = f"https://{domains[at % len(domains)]}/{topic}-{digest.hex()[:8]}"
            text = f"A page that was made up for the query: {query.text[:100]}. It tells of the {topic}."
            found.append(Found(url, f"About the {topic}", text))
        return found

    @override
    def unmet(self, query: Query) -> Sequence[str]:
        return ()

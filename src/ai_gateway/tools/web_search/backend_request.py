"""One request to a search backend, and its JSON reply. Backend addresses are the operator's, never a caller's."""

import json
from collections.abc import Mapping
from typing import Any

from yarl import URL

from ai_gateway.config.constants import VERSION
from ai_gateway.providers.http.errors import CLIENT_FAILURES
from ai_gateway.providers.http.single import single_request
from ai_gateway.providers.upstream import Proxy
from ai_gateway.tools.web_search.results import NotSearched

_MAX_REPLY_BYTES = 4 * 2**20
_HEADERS = {"accept": "application/json", "accept-encoding": "identity", "user-agent": f"ai-gateway/{VERSION}"}
_REFUSALS = {
    401: "The search refused the gateway's key.",
    402: "The search wants to be paid.",
    403: "The search refused the gateway.",
    429: "The search has had too many requests: wait before the next one.",
    432: "The plan of the gateway's search is used up.",
    433: "The plan of the gateway's search is used up.",
}


async def request_json(
    url: URL, headers: Mapping[str, str], seconds: float, body: object = None, proxy: Proxy | None = None
) -> Mapping[str, Any]:
    """The reply to a GET or, with a body, a POST; through the proxy, if there is one. Raises NotSearched."""
    sent = json.dumps(body).encode() if body is not None else None
    more = {"content-type": "application/json"} if sent is not None else {}
    try:
        async with single_request(url, {**_HEADERS, **more, **headers}, seconds, body=sent, proxy=proxy) as reply:
            raw = await reply.whole(_MAX_REPLY_BYTES)
            status = reply.status
    except (*CLIENT_FAILURES, TimeoutError, ValueError) as error:
        raise NotSearched("The search does not answer.") from error
    if status != 200:
        raise NotSearched(_REFUSALS.get(status, f"The search failed with status {status}."), status)
    if raw is None:
        raise NotSearched("The search answered with too much.")
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        raise NotSearched("The search answered with something that is not JSON.") from None
    if not isinstance(value, dict):
        raise NotSearched("The search answered with something else than results.")
    return value

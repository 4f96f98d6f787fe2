"""The target of the probe: checks its arguments, and discovers its base URL and models."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from ai_gateway.probe.client import ProbeClient, Unreachable
from ai_gateway.probe.probe import MODELS, Probe
from ai_gateway.probe.reply import Reply, items, string
from ai_gateway.probe.verdict import Failed

_VERSION_PATH = "v1"


class Unusable(Exception):
    """The probe cannot start; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Target:
    """The user's arguments."""

    url: str
    key: str | None = None
    model: str | None = None
    embedding_model: str | None = None
    timeout_s: float = 30


def check_url(url: str) -> str:
    """The URL without a trailing slash. Raises Unusable, which never quotes the URL: it may contain a secret."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise Unusable("URL is not an address: give one such as http://127.0.0.1:9000/custom/v1") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise Unusable("URL must begin with http:// or https://, such as http://127.0.0.1:9000/custom/v1")
    if parts.username is not None or parts.query or parts.fragment:
        raise Unusable("URL must be a plain base address: no user, no query; a key goes into --key")
    return url.rstrip("/")


def check_key(key: str | None) -> str | None:
    """The key without surrounding white space. Raises Unusable for characters that a header cannot carry."""
    stripped = (key or "").strip()
    if not all(" " < sign <= "~" for sign in stripped):
        raise Unusable("the key holds characters that no header can: give printable ASCII without spaces")
    return stripped or None


async def discover(client: ProbeClient, target: Target) -> Probe:
    """List the models, to find the base URL and the models to use. Raises Unusable."""
    reply = await _listing(client)
    if reply.status in {401, 403}:
        raise Unusable(f"{client.base_url} refuses with {reply.status}: give a valid --key")
    names = _names(reply)
    chat = target.model or next((name for name in names if "embed" not in name.lower()), *names[:1] or [""])
    if not chat:
        raise Unusable(f"{client.base_url} lists no models (status {reply.status}): name one with --model")
    vectors = target.embedding_model or next((name for name in names if "embed" in name.lower()), chat)
    return Probe(client, chat, vectors)


async def _listing(client: ProbeClient) -> Reply:
    """The model list; if a URL without a version has none, `/v1` is tried."""
    base_url = client.base_url
    reply = await _list_models(client)
    if reply.status != 404 or base_url.endswith(f"/{_VERSION_PATH}"):
        return reply
    client.base_url = f"{base_url}/{_VERSION_PATH}"
    versioned = await _list_models(client)
    if versioned.status == 404:
        client.base_url = base_url
        return reply
    return versioned


async def _list_models(client: ProbeClient) -> Reply:
    try:
        return await client.request("GET", MODELS, None, {})
    except Unreachable as error:
        raise Unusable(f"cannot reach {client.base_url}: {error}") from None
    except Failed as error:
        raise Unusable(f"{client.base_url} gave no answer: expected {error.expected}, seen {error.seen}") from None


def _names(reply: Reply) -> list[str]:
    try:
        return [name for one in items(reply.value(), "data") if (name := string(one, "id"))]
    except Failed:
        return []

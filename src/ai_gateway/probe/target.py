"""What is to be probed: whether it can be reached, where its API begins, and which models to ask."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from ai_gateway.probe.caller import Caller, Unreachable
from ai_gateway.probe.probe import MODELS, Probe
from ai_gateway.probe.reply import Reply, items, words
from ai_gateway.probe.verdict import Failed

_VERSION_PATH = "v1"


class Unusable(Exception):
    """The probe cannot begin; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Target:
    """What the user named."""

    url: str
    key: str | None = None
    model: str | None = None
    embedding_model: str | None = None
    timeout_s: float = 30


def check_url(url: str) -> str:
    """The address without a slash at its end. Raises Unusable; never quotes what may hold a secret."""
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
    """The key without what a shell or a file left around it. Raises Unusable for what no header can hold."""
    stripped = (key or "").strip()
    if not all(" " < sign <= "~" for sign in stripped):
        raise Unusable("the key holds characters that no header can: give printable ASCII without spaces")
    return stripped or None


async def acquaint(caller: Caller, target: Target) -> Probe:
    """Ask for the models, so as to know where the API is, and what to ask of whom. Raises Unusable."""
    reply = await _listing(caller)
    if reply.status in {401, 403}:
        raise Unusable(f"{caller.base_url} refuses with {reply.status}: give a valid --key")
    names = _names(reply)
    chat = target.model or next((name for name in names if "embed" not in name.lower()), *names[:1] or [""])
    if not chat:
        raise Unusable(f"{caller.base_url} lists no models (status {reply.status}): name one with --model")
    vectors = target.embedding_model or next((name for name in names if "embed" in name.lower()), chat)
    return Probe(caller, chat, vectors)


async def _listing(caller: Caller) -> Reply:
    """The list of models; where an address without its version has none, the one with it is used."""
    given = caller.base_url
    reply = await _ask(caller)
    if reply.status != 404 or given.endswith(f"/{_VERSION_PATH}"):
        return reply
    caller.base_url = f"{given}/{_VERSION_PATH}"
    longer = await _ask(caller)
    if longer.status == 404:
        caller.base_url = given
        return reply
    return longer


async def _ask(caller: Caller) -> Reply:
    try:
        return await caller.ask("GET", MODELS, None, {})
    except Unreachable as error:
        raise Unusable(f"cannot reach {caller.base_url}: {error}") from None
    except Failed as error:
        raise Unusable(f"{caller.base_url} gave no answer: expected {error.expected}, seen {error.seen}") from None


def _names(reply: Reply) -> list[str]:
    try:
        return [name for one in items(reply.value(), "data") if (name := words(one, "id"))]
    except Failed:
        return []

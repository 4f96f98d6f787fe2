"""Ids and names that both wires accept: Anthropic's is stricter for ids of calls, OpenAI's for names of tools."""

import hashlib
import re
from collections.abc import Iterable, Mapping

_ID = re.compile(r"[A-Za-z0-9_-]+")
_PLAIN = re.compile(r"[A-Za-z0-9_]+")
_FOREIGN = re.compile(r"[^A-Za-z0-9_-]")
_SERVED = "srvtoolu_"
_MAX_NAME_LENGTH = 64  # platform.openai.com/docs/api-reference/chat: names of functions; Anthropic's may have 128
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def served_id(given: str) -> str:
    """The id of a server tool call, in the contract's form for those."""
    suffix = given if _PLAIN.fullmatch(given) else hashlib.sha256(given.encode()).hexdigest()[:24]
    return suffix if suffix.startswith(_SERVED) else f"{_SERVED}{suffix}"


def call_id(given: str) -> str:
    """The id of a call, replaced deterministically if Anthropic's clients would refuse it."""
    return given if _ID.fullmatch(given) else f"toolu_{hashlib.sha256(given.encode()).hexdigest()[:24]}"


class CallIds:
    """Ids for the calls of one message: valid for Anthropic's clients, and unique in the conversation.

    Some upstreams number the calls of each turn from 0, while clients match results by id alone.
    """

    def __init__(self, used: Iterable[str] = ()) -> None:
        self._used = dict.fromkeys(used, 1)

    def of(self, given: str) -> str:
        """The id for the next call, which has this id upstream."""
        valid = unique = call_id(given)
        while unique in self._used:
            self._used[valid] += 1
            unique = f"{valid}_{self._used[valid]}"
        self._used[unique] = 1
        return unique


def _fitting(name: str) -> str:
    """A valid function name for one that OpenAI refuses: too long, or with other characters, as of MCP tools."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9_-]', '_', name)[: _MAX_NAME_LENGTH - 9]}_{digest}"


class ToolNames:
    """Maps the tool names of one request to valid ones for OpenAI, and back.

    `called` are the ids of earlier calls in the conversation.
    """

    def __init__(self, names: Iterable[str] = (), called: Iterable[str] = ()) -> None:
        self.called = frozenset(called)
        self._short = {name: _fitting(name) for name in names if not _NAME.fullmatch(name)}
        self._served: dict[str, str] = {}
        self._long = {short: name for name, short in self._short.items()}

    def to_chat(self, name: str) -> str:
        """The name for the provider."""
        return name if _NAME.fullmatch(name) else self._short.get(name) or _fitting(name)

    def to_client(self, name: str) -> str:
        """The name for the caller."""
        return self._long.get(name, name)

    def serve(self, name: str, function: str) -> None:
        """Map the server tool of this name to a function of the gateway."""
        self._served[name] = function

    def served(self, name: str) -> str:
        """The name of a server tool for the provider."""
        return self._served.get(name, name)

    def served_by(self, server: str, name: str) -> str:
        """The same for a tool of an MCP server, which the request need not offer any more."""
        own = f"{'gateway' if server == 'gateway' else f'gateway_mcp_{server}'}_{name}"
        return self._served.get(f"{server}/{name}") or _FOREIGN.sub("_", own)[:_MAX_NAME_LENGTH]

    @property
    def changed(self) -> Mapping[str, str]:
        """The caller's names by the provider's, where they differ."""
        return self._long

"""Ids and names that both wires take: Anthropic's are stricter for ids of calls, OpenAI's for names of tools."""

import hashlib
import re
from collections.abc import Iterable, Mapping

_ID = re.compile(r"[A-Za-z0-9_-]+")
_PLAIN = re.compile(r"[A-Za-z0-9_]+")
_FOREIGN = re.compile(r"[^A-Za-z0-9_-]")
_SERVED = "srvtoolu_"
_LONGEST_NAME = 64  # platform.openai.com/docs/api-reference/chat: names of functions; Anthropic's may have 128
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def served_id(given: str) -> str:
    """The id of a call of a server tool, which the contract has a form of its own for."""
    told = given if _PLAIN.fullmatch(given) else hashlib.sha256(given.encode()).hexdigest()[:24]
    return told if told.startswith(_SERVED) else f"{_SERVED}{told}"


def call_id(given: str) -> str:
    """The id of a call as Anthropic's clients take it; another one, always the same, for what they would refuse."""
    return given if _ID.fullmatch(given) else f"toolu_{hashlib.sha256(given.encode()).hexdigest()[:24]}"


class CallIds:
    """Ids for the calls of one message: such as Anthropic's clients take, and each once in the conversation.

    Some upstreams number the calls of each turn from 0, and clients tell results apart by the ids alone.
    """

    def __init__(self, used: Iterable[str] = ()) -> None:
        self._used = dict.fromkeys(used, 1)

    def of(self, given: str) -> str:
        """The id of the next call, which its upstream calls so."""
        valid = unique = call_id(given)
        while unique in self._used:
            self._used[valid] += 1
            unique = f"{valid}_{self._used[valid]}"
        self._used[unique] = 1
        return unique


def _fitting(name: str) -> str:
    """A name for a function that has none that OpenAI takes: too long, or with other letters, as of MCP's tools."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9_-]', '_', name)[: _LONGEST_NAME - 9]}_{digest}"


class ToolNames:
    """The names of one request's tools with OpenAI, where long ones are shortened, and back.

    `called` are the ids of the calls that the conversation has already.
    """

    def __init__(self, names: Iterable[str] = (), called: Iterable[str] = ()) -> None:
        self.called = frozenset(called)
        self._short = {name: _fitting(name) for name in names if not _NAME.fullmatch(name)}
        self._served: dict[str, str] = {}
        self._long = {short: name for name, short in self._short.items()}

    def there(self, name: str) -> str:
        """The name as the provider gets it."""
        return name if _NAME.fullmatch(name) else self._short.get(name) or _fitting(name)

    def here(self, name: str) -> str:
        """The name as the caller has it."""
        return self._long.get(name, name)

    def serve(self, name: str, function: str) -> None:
        """The server tool of this name is that function of the gateway's."""
        self._served[name] = function

    def served(self, name: str) -> str:
        """The name of a server tool as the provider gets it."""
        return self._served.get(name, name)

    def served_by(self, server: str, name: str) -> str:
        """The same of a tool of a server, whose calls may be older than what the request offers."""
        own = f"{'gateway' if server == 'gateway' else f'gateway_mcp_{server}'}_{name}"
        return self._served.get(f"{server}/{name}") or _FOREIGN.sub("_", own)[:_LONGEST_NAME]

    @property
    def changed(self) -> Mapping[str, str]:
        """The callers' names by the provider's, where they differ."""
        return self._long

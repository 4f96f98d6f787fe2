"""Gateway-run tool calls as blocks of a message.

Web search, pages and code have blocks of their own. All others are presented as calls of an MCP server, named `gateway`
for the gateway's own tools. The text that the model read of a search is in the fields that Anthropic's service
encrypts, so that the next request has the whole history.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import Final, cast

from pydantic import JsonValue
from pydantic_core import from_json

from ai_gateway.translate.anthropic_chat.hosted import FUNCTIONS
from ai_gateway.translate.anthropic_chat.ids import call_id, served_id
from ai_gateway.translate.anthropic_chat.kept import kept
from ai_gateway.translate.gateway_tools import McpName, called_function, mcp_name

type Fields = dict[str, JsonValue]

_ANSWER: Final = frozenset({"status", "result", "error", "sources"})
_MAX_QUOTE_LENGTH = 150  # docs.claude.com, "Web search tool": `cited_text`
_MAX_TITLE_LENGTH = 512
_DIRECT: Final[Fields] = {"type": "direct"}
_NAMES: Final[Mapping[str, str]] = {function: name for name, function in FUNCTIONS.items()}
_SEARCH_ERRORS: Final[Mapping[str, str]] = {
    "invalid_arguments": "invalid_tool_input",
    "max_uses_exceeded": "max_uses_exceeded",
}
_CODE_ERRORS: Final[Mapping[str, str]] = {
    "invalid_arguments": "invalid_tool_input",
    "timed_out": "execution_time_exceeded",
}


@dataclass(slots=True)
class RanCalls:
    """The calls of one message. `names` are those of MCP tools; `searches` and `fetches` count successful calls."""

    names: Mapping[str, McpName]
    searches: int = 0
    fetches: int = 0
    sources: dict[int, Fields] = field(default_factory=dict)
    _started: dict[str, Fields] = field(default_factory=dict)

    def blocks(self, entry: Mapping[str, JsonValue]) -> list[Fields]:
        """The blocks for an entry of `gateway_tool_calls`: the start of a call, its end, or both."""
        index = str(entry.get("index"))
        known = self._started.get(index)
        call = self._started[index] = {**(known or {}), **entry}
        blocks = [] if known is not None else [self._use(call)]
        if "status" in entry:
            blocks.append(self._result(call))
        return blocks

    def usage(self) -> Fields | None:
        """The counts for `usage`; None if there are none."""
        if not self._started:
            return None
        return {"web_search_requests": self.searches, "web_fetch_requests": self.fetches}

    def _use(self, call: Fields) -> Fields:
        name, given = _name(call), _object(called_function(call).get("arguments"))
        if (known := _NAMES.get(name)) is not None:
            own: Fields = {"type": "server_tool_use", "id": served_id(str(call.get("id"))), "name": known}
            return {**own, "input": given, "caller": {**_DIRECT}}
        named = mcp_name(self.names, name)
        block: Fields = {"type": "mcp_tool_use", "id": call_id(str(call.get("id"))), "name": named.tool}
        return {**block, "server_name": named.server, "input": given}

    def _result(self, call: Fields) -> Fields:
        name, result = _name(call), call.get("result")
        result_text = str(result.get("content")) if isinstance(result, dict) else ""
        failed = call["status"] != "completed"
        kind = _NAMES.get(name)
        if kind is None:
            text: Fields = {"type": "text", "text": result_text or "(no content)", "citations": None}
            block: Fields = {"type": "mcp_tool_result", "tool_use_id": call_id(str(call.get("id")))}
            return {**block, "is_error": failed, "content": [text]}
        served: Fields = {"type": f"{kind}_tool_result", "tool_use_id": served_id(str(call.get("id")))}
        error = str(call.get("error"))
        if kind == "code_execution":
            return {**served, "content": _ran_code(result_text, error if failed else None)}
        content = self._found(call, kind, result_text) if not failed else _not_found(kind, error)
        return {**served, "content": content, "caller": {**_DIRECT}}

    def _found(self, call: Fields, kind: str, text: str) -> JsonValue:
        sources = cast("Sequence[Fields]", call.get("sources") or ())
        pieces = _pieces(text, sources)
        for source, piece in zip(sources, pieces, strict=True):
            self.sources[cast("int", source["number"])] = {**source, "text": piece}
        if kind == "web_search":
            self.searches += 1
            return [_search_result(source, piece) for source, piece in zip(sources, pieces, strict=True)]
        self.fetches += 1
        return _page(call, sources, text)

    def citations(self, urls: Iterable[str]) -> list[Fields]:
        """The citations of a text for the sources at these URLs, each once."""
        numbers = {str(source["url"]): number for number, source in reversed(self.sources.items())}
        found = [numbers[url] for url in dict.fromkeys(urls) if url in numbers]
        return [_citation(self.sources[number]) for number in found]


def _search_result(source: Fields, piece: str) -> Fields:
    found: Fields = {"type": "web_search_result", "url": source["url"], "title": source["title"]}
    return {**found, "encrypted_content": kept(piece), "page_age": None}


def _page(call: Fields, sources: Sequence[Fields], text: str) -> Fields:
    source = sources[0] if sources else {}
    requested = _object(called_function(call).get("arguments")).get("url")
    read: Fields = {"type": "text", "media_type": "text/plain", "data": text}
    document: Fields = {"type": "document", "source": read, "title": source.get("title"), "citations": None}
    url = source.get("url") or (requested if isinstance(requested, str) else "")
    return {"type": "web_fetch_result", "url": url, "retrieved_at": None, "content": document}


def _citation(source: Fields) -> Fields:
    lines = [line.removeprefix("> ") for line in str(source["text"]).splitlines() if line.startswith("> ")]
    quote = " ".join(lines)[:_MAX_QUOTE_LENGTH]
    cited: Fields = {"type": "web_search_result_location", "cited_text": quote, "url": source["url"]}
    return {**cited, "title": str(source["title"])[:_MAX_TITLE_LENGTH], "encrypted_index": kept(str(source["number"]))}


def _not_found(kind: str, error: str) -> Fields:
    code = _SEARCH_ERRORS.get(error, "unavailable")
    return {"type": f"{kind}_tool_result_error", "error_code": code}


def _ran_code(text: str, error: str | None) -> Fields:
    if error in _CODE_ERRORS:
        return {"type": "code_execution_tool_result_error", "error_code": _CODE_ERRORS[str(error)]}
    out: Fields = {"stdout": "" if error else text, "stderr": text if error else "", "return_code": 1 if error else 0}
    return {"type": "code_execution_result", **out, "content": []}


def _pieces(text: str, sources: Sequence[Fields]) -> list[str]:
    """The section of a result for each source: from the line with its number to the next one."""
    marks: list[int] = []
    at = 0
    for source in sources:
        line = f"[{source['number']}] {source['title']}\n"
        found = 0 if at == 0 and text.startswith(line) else text.find(f"\n{line}", at) + 1
        at = found if found > 0 or text.startswith(line) else len(text)
        marks.append(at)
    marks = [0, *marks[1:], len(text)] if marks else []
    return [text[start:end] for start, end in pairwise(marks)]


def _name(call: Fields) -> str:
    return str(called_function(call).get("name"))


def _object(arguments: JsonValue) -> Fields:
    """The input of a call; arguments that are not an object are kept as a text, which the result reports as wrong."""
    text = arguments if isinstance(arguments, str) else ""
    try:
        value = from_json(text) if text.strip() else {}
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"arguments": text}


def in_order(
    text: str, calls: Sequence[Fields], ran: RanCalls, cites: Callable[[int, int], Iterable[str]]
) -> list[Fields]:
    """The texts of an answer and the blocks of its calls, in order.

    `cites` gives the cited URLs between two places of the text.
    """
    blocks: list[Fields] = []
    done = 0
    for _, group in groupby(calls, lambda call: call.get("round")):
        together = [*group]
        position = together[0].get("position")
        at = min(position, len(text)) if isinstance(position, int) else 0
        if text[done:at]:
            blocks.append(_text(text[done:at], ran.citations(cites(done, at))))
            done = at
        for call in together:
            blocks += ran.blocks({name: value for name, value in call.items() if name not in _ANSWER})
        for call in together:
            blocks += ran.blocks(call)
    if text[done:]:
        blocks.append(_text(text[done:], ran.citations(cites(done, len(text)))))
    return blocks


def _text(text: str, citations: Sequence[Fields]) -> Fields:
    # Not null, which the contract allows and @ai-sdk/anthropic 3.0.140 refuses.
    return {"type": "text", "text": text, "citations": [*citations]}

"""Forced tool calls, for which Ollama's API has no field: the answer is constrained to the tool's arguments.

`format` also applies to an answer with tools, and such an answer is content and never a call (ollama/ollama-python
#546, 2025-07), so the content is converted to a call. The native API ignores `tool_choice` (there, #671, 2026-08).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from ai_gateway.contract.strict_json import read_json
from ai_gateway.translate.chat_ollama.messages import Object
from ai_gateway.translate.wires.ollama import CalledFunction, ToolCall

# Their values are data, in which "$ref" is an ordinary key.
_DATA = frozenset({"const", "enum", "default", "examples"})
_MAX_ANSWER_LENGTH = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ForcedCall:
    """The functions of which one has to be called; with a single one, the answer need not contain its name."""

    names: Sequence[str]

    @property
    def is_named(self) -> bool:
        """Whether the answer consists of the arguments only."""
        return len(self.names) == 1

    def call(self, content: str, *, cut: bool) -> ToolCall | None:
        """The call in an answer's content; None if it is no call, from a server that does not support `format`.

        Arguments keep the model's text; one that was `cut` by a token limit stays incomplete, as in OpenAI's API.
        """
        text = content.strip()
        try:
            value = read_json(text.encode())
        except ValueError:
            is_begun = cut and self.is_named and text.startswith("{")
            return _call(self.names[0], text) if is_begun else None
        if not isinstance(value, dict):
            return None
        if self.is_named:
            return _call(self.names[0], text)
        name, arguments = value.get("name"), value.get("arguments")
        known = next((each for each in self.names if each == name), None)
        return _call(known, arguments) if known is not None and isinstance(arguments, dict) else None


def _call(name: str, arguments: Mapping[str, object] | str) -> ToolCall:
    kept = arguments if isinstance(arguments, str) else dict(arguments)
    return ToolCall(function=CalledFunction(name=name, arguments=kept))


def forcing_format(tools: Sequence[Object]) -> Object:
    """The schema for an answer that calls one of the tools: its parameters, or its name and parameters."""
    functions = [cast("Object", tool["function"]) for tool in tools]
    if len(functions) == 1:
        return _object(functions[0])
    schemas = {
        str(function["name"]): _moved(_object(function), f"#/$defs/{function['name']}") for function in functions
    }
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": name}, "arguments": {"$ref": f"#/$defs/{name}"}},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for name in schemas
    ]
    return {"anyOf": calls, "$defs": schemas}


def _object(function: Object) -> Object:
    parameters = cast("Object", function["parameters"])
    return parameters if parameters else {"type": "object", "properties": {}}


def _moved(schema: object, place: str) -> object:
    """A schema moved to another place in the document, with its internal references adapted."""
    if isinstance(schema, list):
        return [_moved(each, place) for each in schema]
    if not isinstance(schema, dict):
        return schema
    moved = {name: value if name in _DATA else _moved(value, place) for name, value in schema.items()}
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        moved["$ref"] = f"{place}{reference[1:]}"
    return moved


class ForcedContent:
    """The content of a streamed answer to a forced call, recognised as a call or text while it arrives.

    With a single function, it is arguments from its first brace on. Otherwise the name may come last, so everything is
    held back until the end, up to a maximum length.
    """

    def __init__(self, forced: ForcedCall) -> None:
        self._forced = forced
        self._kept: list[str] = []
        self._size = 0  # without leading blanks
        self.calls = False
        self.is_text = False

    def feed(self, content: str) -> tuple[str, str]:
        """The part of this piece to send: text, or arguments of the only function."""
        if self.is_text:
            return content, ""
        if self.calls:
            return "", content
        begun = content if self._size else content.lstrip()
        is_first = bool(begun) and not self._size
        self._kept.append(content)
        self._size += len(begun)
        if (is_first and begun[0] != "{") or self._size > _MAX_ANSWER_LENGTH:
            self.is_text = True
            return self._take(), ""
        if is_first and self._forced.is_named:
            self.calls = True
            return "", self._take().lstrip()
        return "", ""

    def end(self, *, cut: bool) -> Iterator[ToolCall | str]:
        """The content that was held back: a whole call, or text that is not a call."""
        content = self._take()
        if not content:
            return
        call = self._forced.call(content, cut=cut)
        self.is_text = call is None
        yield content if call is None else call

    def _take(self) -> str:
        kept, self._kept = "".join(self._kept), []
        return kept

"""Unknown kinds in requests of Anthropic's API: those of betas and newer versions.

Blocks such as `compaction` and `mcp_tool_use`, tools such as `mcp_toolset`, sources such as `file`, a caller of a newer
date: a body that is only wrong in such places is validated with stand-ins. An upstream of this wire gets it unchanged;
for others, the translation maps, drops by name or refuses the original values.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel, PrivateAttr, ValidationError
from pydantic_core import ErrorDetails

from ai_gateway.contract.open_lists import UnknownKinds, takes
from ai_gateway.contract.types import OpenModel
from ai_gateway.errors import InvalidRequest
from gateway_contract.anthropic import models as anthropic

type Object = dict[str, Any]
type Kinds = Mapping[str, type[BaseModel]]
type Place = tuple[str | int, ...]


class UnknownBlock(OpenModel):
    """A block of a type, or with a required value, that the contract does not list.

    `fault` is the contract's error for the body.
    """

    type: str
    _fault: InvalidRequest = PrivateAttr()

    @classmethod
    def of(cls, block: Object, fault: InvalidRequest) -> "UnknownBlock":
        """The block, unchanged."""
        made = cls.model_construct(set(block), **block)
        made._fault = fault
        return made

    @property
    def fault(self) -> InvalidRequest:
        """The error for targets that cannot take the block."""
        return self._fault

    def value_of(self, name: str) -> Any:  # noqa: ANN401 - any JSON value
        """One of its fields; None if missing."""
        return (self.model_extra or {}).get(name)


class UnknownTool(OpenModel):
    """A tool of a type that the contract does not list."""

    type: str


def _classes(annotation: object) -> list[type[BaseModel]]:
    """The models in a field's annotation, also inside lists."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [found for each in get_args(getattr(annotation, "__value__", annotation)) for found in _classes(each)]


def _types(annotation: object) -> list[str]:
    if get_origin(annotation) is Literal:
        return [each for each in get_args(annotation) if isinstance(each, str)]
    return [kind for each in get_args(annotation) for kind in _types(each)]


def _kinds(annotation: object) -> Kinds:
    """The models of a list field, by their `type`."""
    return {kind: each for each in _classes(annotation) for kind in _types(each.model_fields["type"].annotation)}


def _content_of(holder: type[BaseModel]) -> Kinds:
    return _kinds(holder.model_fields["content"].annotation)


_BLOCKS: Final = _content_of(anthropic.AnthropicInputMessage)
KNOWN_BLOCKS: Final = frozenset(_BLOCKS)
_OF_RESULTS: Final = _content_of(anthropic.AnthropicRequestToolResultBlock)
_OF_SOURCES: Final = _content_of(anthropic.AnthropicContentBlockSource)
_TOOLS: Final = _kinds(anthropic.AnthropicCreateMessageParamsTool)
_NO_BETA: Final = frozenset({"function", ""})  # OpenAI's tools are a client's mistake, which has to be reported
_THINKING: Final = frozenset({"enabled", "disabled", "adaptive"})
_CLOSED: Final = frozenset({"union_tag_invalid", "literal_error"})
_STAND_IN: Final = {"type": "text", "text": "?"}


def read_open[Model: BaseModel](
    model: type[Model], value: object, error: InvalidRequest
) -> tuple[Model, UnknownKinds] | None:
    """The body with stand-ins for unknown kinds; None if it is wrong in other places as well.

    `fields` are names of removed fields; `others` says that there are blocks or tools that other wires lack.
    """
    if not isinstance(value, dict):
        return None
    found = _Found(error)
    body = found.opened_body(dict(value))
    if not (found.fields or found.blocks or found.tools or found.others or found.filled):
        return None
    try:
        read = model.model_validate(body, strict=True)
    except ValidationError:
        return None
    found.put_back(read)
    return read, UnknownKinds(error, found.fields, set(found.tools), found.others)


@dataclass(slots=True)
class _Found:
    """The unknown kinds of a body: names of fields, blocks by place, and tools by index.

    `filled` says that an empty content was added to a message.
    """

    error: InvalidRequest
    fields: set[str] = field(default_factory=set)
    blocks: dict[Place, UnknownBlock] = field(default_factory=dict)
    tools: dict[int, UnknownTool] = field(default_factory=dict)
    others: bool = False
    filled: bool = False

    def opened_body(self, body: Object) -> Object:
        if isinstance(tools := body.get("tools"), list):
            body["tools"] = [self._tool(tool, at) for at, tool in enumerate(tools)]
        if isinstance(messages := body.get("messages"), list):
            body["messages"] = [self._message(message, at) for at, message in enumerate(messages)]
        thinking = body.get("thinking")
        if isinstance(thinking, dict) and isinstance(kind := thinking.get("type"), str) and kind not in _THINKING:
            self._leave_out(body, "thinking")
        if isinstance(config := body.get("output_config"), dict):
            body["output_config"] = self._config(dict(config), "output_config")
        if _is_unknown_format(body.get("output_format")):
            del body["output_format"]
            self.others = True
        for name in ("service_tier", "cache_control"):
            if name in body and not takes(anthropic.AnthropicCreateMessageParams, name, body[name]):
                self._leave_out(body, name)
        return body

    def put_back(self, body: BaseModel) -> None:
        """Replace the stand-ins by the original blocks and tools."""
        for place, block in self.blocks.items():
            _holder(body, place[:-1])[place[-1]] = block
        for at, tool in self.tools.items():
            _holder(body, ("tools",))[at] = tool

    def _leave_out(self, holder: Object, name: str, path: str = "") -> None:
        del holder[name]
        self.fields.add(f"{path}{name}")

    def _config(self, config: Object, path: str) -> Object:
        if "effort" in config and not takes(anthropic.AnthropicOutputConfig, "effort", config["effort"]):
            self._leave_out(config, "effort", f"{path}.")
        if _is_unknown_format(config.get("format")):
            del config["format"]
            self.others = True
        return config

    def _tool(self, tool: object, at: int) -> object:
        kind = tool.get("type") if isinstance(tool, dict) else None
        if not isinstance(tool, dict) or not isinstance(kind, str | None) or kind in _NO_BETA:
            return tool
        kind = kind or "custom"
        if (known := _TOOLS.get(kind)) is not None:
            opened, needed = self._without(tool, known, "tools.")
            return tool if needed else opened
        if not isinstance(tool.get("name", ""), str):  # which is looked up by everything that follows
            return tool
        self.tools[at] = UnknownTool.model_construct(set(tool), **tool)
        return {"name": "unknown", "input_schema": {"type": "object"}}

    def _message(self, message: object, at: int) -> object:
        if not isinstance(message, dict):
            return message
        opened = dict(message)
        if isinstance(content := opened.get("content"), list):
            opened["content"] = self._content(content, _BLOCKS, ("messages", at, "content"))
        if isinstance(config := opened.get("output_config"), dict):
            opened["output_config"] = self._config(dict(config), "messages.output_config")
            if "content" not in opened and opened.get("role") == "system":  # a system message that only has settings
                opened["content"], self.filled = [], True
        if "clear_at" in opened and not takes(anthropic.AnthropicInputMessage, "clear_at", opened["clear_at"]):
            self._leave_out(opened, "clear_at", "messages.")
        return opened

    def _content(self, blocks: list[Any], kinds: Kinds, place: Place) -> list[Any]:
        return [self._block(block, kinds, (*place, at)) for at, block in enumerate(blocks)]

    def _block(self, block: object, kinds: Kinds, place: Place) -> object:
        kind = block.get("type") if isinstance(block, dict) else None
        if not isinstance(block, dict) or not isinstance(kind, str) or not kind:
            return block
        known = kinds.get(kind)
        if known is not None:
            opened, needed = self._without(self._nested(dict(block), place), known, "messages.content.")
            if not needed:
                return opened
        self.blocks[place] = UnknownBlock.of(block, self.error)
        return dict(_STAND_IN)

    def _nested(self, block: Object, place: Place) -> Object:
        """The block, with stand-ins inside it."""
        content, source = block.get("content"), block.get("source")
        if block["type"] == "tool_result" and isinstance(content, list):
            block["content"] = self._content(content, _OF_RESULTS, (*place, "content"))
        elif isinstance(source, dict) and source.get("type") == "content" and isinstance(source.get("content"), list):
            inner = self._content(source["content"], _OF_SOURCES, (*place, "source", "content"))
            block["source"] = {**source, "content": inner}
        return block

    def _without(self, value: Object, known: type[BaseModel], path: str) -> tuple[Object, bool]:
        """The object without fields that have unlisted values, and whether it requires one of them."""
        try:
            known.__pydantic_validator__.validate_python(value, strict=True)
        except ValidationError as error:
            errors = error.errors(include_url=False)
            closed = {str(each["loc"][0]) for each in errors if _is_unlisted(each)}
            # The other branches of a union report the type.
            if any(str(each["loc"][0]) not in closed or not _is_of_a_kind(each) for each in errors):
                return value, False  # the error for the whole body applies
            opened = dict(value)
            for name in closed:
                if name not in known.model_fields or known.model_fields[name].is_required():
                    return value, True
                self._leave_out(opened, name, path)
            return opened, False
        return value, False


def _is_unknown_format(wanted: object) -> bool:
    return isinstance(wanted, dict) and isinstance(kind := wanted.get("type"), str) and kind != "json_schema"


def _is_of_a_kind(fault: ErrorDetails) -> bool:
    return _is_unlisted(fault) or fault["type"].endswith("_type")


def _is_unlisted(fault: ErrorDetails) -> bool:
    """Whether the fault is an unlisted string, such as a type."""
    found = fault["input"]
    if fault["type"] == "union_tag_invalid" and isinstance(found, dict):
        found = found.get("type")
    return fault["type"] in _CLOSED and isinstance(found, str) and found != ""


def _holder(body: BaseModel, place: Place) -> Any:  # noqa: ANN401 - a list of a model's
    found: Any = body
    for step in place:
        found = found[step] if isinstance(step, int) else getattr(found, step)
    return found

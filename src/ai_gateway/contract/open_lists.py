"""Unknown kinds: types of tools and parts, and values, that upstreams have beyond the contract's closed lists.

OpenAI's document closes lists that other vendors extend: OpenRouter's tools (`openrouter:web_search`), parts such as
`video_url`, Mistral's `tool_choice: any`, the modality `image`, `input_type` of embeddings. A body that is only wrong
in such places is validated with a stand-in for each; the original values go to providers that forward unknown fields.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError

from ai_gateway.errors import InvalidRequest

type Object = dict[str, Any]

# Beside OpenAI's, the gateway's own.
_HOSTED = frozenset({"gateway:web_search", "gateway:code_execution", "gateway:memory", "gateway:mcp"})
_TOOLS = frozenset({"function", "custom"}) | _HOSTED
_CHOICES = frozenset({"none", "auto", "required"})
_CHOICE_KINDS = frozenset({"function", "custom", "allowed_tools"}) | _HOSTED
_FORMATS = frozenset({"text", "json_object", "json_schema"})
_USER_PARTS = frozenset({"text", "image_url", "input_audio", "file"})
_PARTS: Mapping[object, frozenset[str]] = {"user": _USER_PARTS, "assistant": frozenset({"text", "refusal"})}
_TEXT = frozenset({"text"})
_MODALITIES = frozenset({"text", "audio"})
# Values inside of objects, by the object's name: OpenAI's newer models know a `detail` of "original", OpenRouter and
# vLLM take sound in "flac", "ogg" and others (openrouter.ai "Audio Inputs").
_INSIDE: Mapping[str, Mapping[str, frozenset[str]]] = {
    "image_url": {"detail": frozenset({"auto", "low", "high"})},
    "input_audio": {"format": frozenset({"wav", "mp3"})},
    "web_search_options": {"search_context_size": frozenset({"low", "medium", "high"})},
}
_STAND_INS: Mapping[str, str] = {"detail": "auto", "format": "wav", "search_context_size": "medium"}
# Top-level fields with closed lists of values that upstreams extend.
_VALUES = ("service_tier", "reasoning_effort", "verbosity", "prompt_cache_retention")


@dataclass(frozen=True, slots=True)
class UnknownKinds:
    """The parts of a body that the contract does not list.

    `fields` are top-level names that the body's model lacks, `tools` the indexes of unknown tools. `others` says that
    there are stand-ins elsewhere, which must not be sent upstream. Without any of these, the body was only completed
    with implied values. `error` is raised for providers that accept only what the contract lists.
    """

    error: InvalidRequest
    fields: set[str] = field(default_factory=set)
    tools: set[int] = field(default_factory=set)
    others: bool = False


def read_open[Model: BaseModel](
    model: type[Model], value: object, error: InvalidRequest
) -> tuple[Model, UnknownKinds] | None:
    """The body with stand-ins, and what is unknown in it; None if it is wrong in other places as well."""
    if not isinstance(value, dict):
        return None
    body, found = dict(value), _Found()
    if "messages" in model.model_fields:
        _open_chat(body, found)
    for name in _VALUES:
        if name in model.model_fields and isinstance(body.get(name), str) and not takes(model, name, body[name]):
            del body[name]
            found.fields.add(name)
    if model.model_config.get("extra") == "forbid":
        found.fields |= body.keys() - model.model_fields.keys()
        body = {name: each for name, each in body.items() if name in model.model_fields}
    if not (found.fields or found.tools or found.others or found.equal):
        return None
    try:
        read = model.model_validate(body, strict=True)
    except ValidationError:
        return None
    return read, UnknownKinds(error, found.fields, found.tools, found.others)


@dataclass(slots=True)
class _Found:
    fields: set[str] = field(default_factory=set)
    tools: set[int] = field(default_factory=set)
    others: bool = False
    equal: bool = False


def takes(model: type[BaseModel], name: str, value: object) -> bool:
    """Whether the value is valid for this field of the model."""
    try:
        model.__pydantic_validator__.validate_assignment(model.model_construct(), name, value, strict=True)
    except ValidationError:
        return False
    return True


def _open_chat(body: Object, found: _Found) -> None:
    tools = body.get("tools")
    if isinstance(tools, list):
        named = [_as_function(tool, found) for tool in tools]
        found.tools |= {at for at, tool in enumerate(named) if is_unknown(tool, _TOOLS)}
        body["tools"] = [tool for at, tool in enumerate(named) if at not in found.tools]
        if not body["tools"] and found.tools:
            del body["tools"]
    choice, form = body.get("tool_choice"), body.get("response_format")
    if (isinstance(choice, str) and choice not in _CHOICES) or is_unknown(choice, _CHOICE_KINDS):
        body["tool_choice"], found.others = "auto", True
    elif found.tools and "tools" not in body and choice is not None:  # it is about tools that are not there now
        body.pop("tool_choice")
        found.fields.add("tool_choice")
    if is_unknown(form, _FORMATS):
        body["response_format"], found.others = {"type": "text"}, True
    _open_modalities(body, found)
    _open_inside(body, "web_search_options", found)
    messages = body.get("messages")
    if isinstance(messages, list):
        body["messages"] = [_open_message(message, found) for message in messages]


def _open_modalities(body: Object, found: _Found) -> None:
    """Answers in images, as OpenRouter's models give them (openrouter.ai "Image Generation")."""
    wanted = body.get("modalities")
    if isinstance(wanted, list) and any(isinstance(each, str) and each not in _MODALITIES for each in wanted):
        known = [each for each in wanted if not isinstance(each, str) or each in _MODALITIES]
        body["modalities"], found.others = known or ["text"], True


def _open_inside(holder: Object, name: str, found: _Found) -> None:
    """The same of values in an object that the holder has under this name."""
    inner = holder.get(name)
    for key, known in _INSIDE[name].items():
        if isinstance(inner, dict) and isinstance(value := inner.get(key), str) and value not in known:
            holder[name], found.others = {**inner, key: _STAND_INS[key]}, True


def _as_function(tool: object, found: _Found) -> object:
    """A tool, or a tool call, whose `type` is missing: it is a function."""
    if isinstance(tool, dict) and not tool.get("type") and isinstance(tool.get("function"), dict):
        found.equal = True
        return {**tool, "type": "function"}
    return tool


def is_unknown(value: object, kinds: frozenset[str]) -> bool:
    """Whether it is an object of a type that is not listed."""
    kind = value.get("type") if isinstance(value, dict) else None
    return isinstance(kind, str) and kind != "" and kind not in kinds


def _open_message(message: object, found: _Found) -> object:
    if not isinstance(message, dict):
        return message
    opened = dict(message)
    content, calls = opened.get("content"), opened.get("tool_calls")
    if isinstance(content, list):
        if not content and calls:
            opened["content"], found.equal = None, True
        opened["content"] = _each(opened["content"], found, _part_of(_parts_of(opened.get("role"))))
    if isinstance(calls, list):
        opened["tool_calls"] = _each(calls, found, _as_function)
    return opened


def _parts_of(role: object) -> frozenset[str]:
    return _PARTS.get(role, _TEXT) if isinstance(role, str) else _TEXT


def _each(items: object, found: _Found, opened: Callable[[object, _Found], object]) -> object:
    return [opened(item, found) for item in items] if isinstance(items, list) else items


def _part_of(kinds: frozenset[str]) -> Callable[[object, _Found], object]:
    def opened(part: object, found: _Found) -> object:
        if not is_unknown(part, kinds):
            if not isinstance(part, dict) or not isinstance(kind := part.get("type"), str) or kind not in _INSIDE:
                return part
            known = dict(part)
            _open_inside(known, kind, found)
            return known
        found.others = True
        return {"type": "text", "text": ""}

    return opened

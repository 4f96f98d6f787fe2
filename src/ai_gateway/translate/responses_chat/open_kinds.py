"""Kinds that the contract of the Responses API does not list, and that upstreams of its wire have.

Tools such as xAI's `x_search` (docs.x.ai "Tools"), items and parts of newer versions, values of fixed lists: a body
that is only wrong in such places is read without them. An upstream of this wire gets it as it came; for others the
tools and values are dropped by name, and the rest is refused.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError

from ai_gateway.contract.open_lists import UnknownKinds, is_unknown, takes
from ai_gateway.contract.types import OpenModel
from ai_gateway.errors import InvalidRequest
from gateway_contract.openai_responses import models

type Object = dict[str, Any]


def _types(annotation: object) -> Iterator[str]:
    """The types of all objects that a field may hold, in lists as well."""
    annotation = getattr(annotation, "__value__", annotation)
    if get_origin(annotation) is Literal:
        yield from (each for each in get_args(annotation) if isinstance(each, str))
    elif tags := [each.tag for each in getattr(annotation, "__metadata__", ()) if isinstance(each, Tag)]:
        yield from tags
    elif isinstance(annotation, type) and get_origin(annotation) is None and issubclass(annotation, BaseModel):
        yield from _types(annotation.model_fields["type"].annotation)
    else:
        yield from (found for each in get_args(annotation) for found in _types(each))


def _types_in(model: type[BaseModel], name: str) -> frozenset[str]:
    return frozenset(_types(model.model_fields[name].annotation))


_TOOLS: Final = _types_in(models.CreateResponse, "tools")
_CHOICES: Final = _types_in(models.CreateResponse, "tool_choice")
_ITEMS: Final = frozenset(_types(models.InputItem))
_PARTS: Final = _types_in(models.EasyInputMessage, "content")
_FORMATS: Final = _types_in(models.ResponseTextParam, "format")
_DETAILED: Final[Mapping[str, type[BaseModel]]] = {
    "input_image": models.InputImageContent,
    "input_file": models.InputFileContent,
}
# Values of fixed lists, at the top and in objects, without which the answer is another but the question the same.
_VALUES: Final = ("service_tier", "truncation", "prompt_cache_retention")
_INSIDE: Final[Mapping[str, tuple[type[BaseModel], tuple[str, ...]]]] = {
    "reasoning": (models.Reasoning, ("effort", "summary", "generate_summary", "context", "mode")),
    "text": (models.ResponseTextParam, ("verbosity",)),
}


class UnknownItem(OpenModel):
    """An item of a type that the contract does not list, or with a part of such a type."""

    type: str


def read_open[Model: BaseModel](
    model: type[Model], value: object, error: InvalidRequest
) -> tuple[Model, UnknownKinds] | None:
    """The body of a response without what the contract does not list; None if it is wrong elsewhere.

    `fields` of the kinds are the names of what was left out; `others` says that something is there, as an UnknownItem
    if it is one, that only an upstream of this wire can take.
    """
    if model is not models.CreateResponse or not isinstance(value, dict):
        return None
    found = _Found()
    body = found.opened(dict(value))
    if not (found.fields or found.items or found.others):
        return None
    try:
        read = model.model_validate(body, strict=True)
    except ValidationError:
        return None
    given: Any = getattr(read, "input", None)
    for at, item in found.items.items():
        given.insert(at, item)
    return read, UnknownKinds(error, found.fields, set(), found.others)


@dataclass(slots=True)
class _Found:
    """The content outside the contract: names of what was left out, and items by their places."""

    fields: set[str] = field(default_factory=set)
    items: dict[int, UnknownItem] = field(default_factory=dict)
    others: bool = False

    def opened(self, body: Object) -> Object:
        self._open_tools(body)
        if isinstance(given := body.get("input"), list):
            new = {at: item for at, item in enumerate(given) if _is_new(item)}
            self.items = {at: UnknownItem.model_construct(set(item), **item) for at, item in new.items()}
            self.others |= bool(new)
            body["input"] = [item for at, item in enumerate(given) if at not in new]
        for name in _VALUES:
            self._leave_out(models.CreateResponse, body, name, name)
        for name, (model, inner) in _INSIDE.items():
            if isinstance(body.get(name), dict):
                body[name] = holder = dict(body[name])
                for each in inner:
                    self._leave_out(model, holder, each, f"{name}.{each}")
        self._open_format(body.get("text"))
        self._open_include(body)
        return body

    def _open_format(self, text: object) -> None:
        if isinstance(text, dict) and is_unknown(text.get("format"), _FORMATS):
            del text["format"]
            self.others = True

    def _open_include(self, body: Object) -> None:
        wanted = body.get("include")
        if isinstance(wanted, list):
            fitting = (not isinstance(each, str) or takes(models.CreateResponse, "include", [each]) for each in wanted)
            known = [each for each, fits in zip(wanted, fitting, strict=True) if fits]
            if len(known) < len(wanted):
                body["include"] = known
                self.fields.add("include")

    def _open_tools(self, body: Object) -> None:
        tools, choice = body.get("tools"), body.get("tool_choice")
        if isinstance(tools, list):
            new = {at: str(tool["type"]) for at, tool in enumerate(tools) if is_unknown(tool, _TOOLS)}
            body["tools"] = [tool for at, tool in enumerate(tools) if at not in new]
            self.fields |= {f"tools.{kind}" for kind in new.values()}
            # Where nothing else is left, it cannot be left out.
            self.others |= bool(new) and not body["tools"] and choice is not None and choice not in ("auto", "none")
        if is_unknown(choice, _CHOICES):
            del body["tool_choice"]
            self.others = True

    def _leave_out(self, model: type[BaseModel], holder: Object, name: str, path: str) -> None:
        if isinstance(holder.get(name), str) and not takes(model, name, holder[name]):
            del holder[name]
            self.fields.add(path)


def _is_new(item: object) -> bool:
    """Whether an item is of another type, or holds a part that is."""
    if not isinstance(item, dict):
        return False
    kind = item.get("type")
    if isinstance(kind, str) and kind not in _ITEMS:
        return kind != ""
    is_message = (kind is None or kind == "message") and isinstance(item.get("role"), str)
    content = item.get("content") if is_message else item.get("output") if kind == "function_call_output" else None
    return isinstance(content, list) and any(map(_is_new_part, content))


def _is_new_part(part: object) -> bool:
    if not isinstance(part, dict) or is_unknown(part, _PARTS):
        return isinstance(part, dict)
    known, detail = _DETAILED.get(str(part.get("type"))), part.get("detail")
    return known is not None and isinstance(detail, str) and not takes(known, "detail", detail)

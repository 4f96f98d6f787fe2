"""The gateway-run tools of a request, offered to the model as functions with reserved names."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from pydantic import BaseModel, JsonValue

from ai_gateway.contract.write import to_fields
from ai_gateway.errors import InvalidRequest
from ai_gateway.tools.tool import Function
from gateway_contract.openai import models

PREFIX = "gateway_"
"""The reserved prefix of the gateway's function names."""
TYPES = "gateway:"
_MAX_NAME_LENGTH = 64  # https://platform.openai.com/docs/api-reference/chat/create, `tools.function.name`

type Fields = dict[str, Any]
type Hosted = (
    models.GatewayWebSearchTool | models.GatewayCodeExecutionTool | models.GatewayMemoryTool | models.GatewayMcpTool
)
HOSTED = (
    models.GatewayWebSearchTool,
    models.GatewayCodeExecutionTool,
    models.GatewayMemoryTool,
    models.GatewayMcpTool,
)
_OURS = frozenset(HOSTED)
_ASSISTANT = models.ChatCompletionRequestAssistantMessage


@dataclass(frozen=True, slots=True)
class Offered:
    """One function that the model may call, of the tool with the name `tool`."""

    name: str
    tool: str
    function: Function
    options: Mapping[str, JsonValue]
    price: int = 0

    def described(self) -> Fields:
        """The function as an entry of `tools`."""
        function = self.function
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": function.description,
                "parameters": dict(function.parameters),
            },
        }


@dataclass(slots=True)
class Offer:
    """All functions by name, and in `typed` the names for each typed tool in `tools`.

    `allows` says whether a tool is still allowed, since an administrator's change applies at once.
    """

    functions: dict[str, Offered] = field(default_factory=dict)
    typed: list[list[str]] = field(default_factory=list)
    allows: Callable[[str], bool] = lambda _: True

    def add(
        self, place: int, tool: str, options: Mapping[str, JsonValue], price: int, made: Sequence[Function]
    ) -> None:
        """Add the functions of the next tool, at this path. Raises InvalidRequest for a repeated tool."""
        names: list[str] = []
        for function in made:
            name = f"{PREFIX}{function.name}"[:_MAX_NAME_LENGTH]
            if name in self.functions:
                raise InvalidRequest(
                    f"The tool '{TYPES}{tool}' is there twice: leave one out.", param=f"tools[{place}]"
                )
            self.functions[name] = Offered(name, tool, function, options, price)
            names.append(name)
        self.typed.append(names)

    def narrowed(self, names: Collection[str]) -> "Offer":
        """The same with only these functions."""
        kept = {name: offered for name, offered in self.functions.items() if name in names}
        return Offer(kept, self.typed, self.allows)

    @property
    def highest_price(self) -> int:
        """The highest price of a call, in 1e-12 USD."""
        return max((offered.price for offered in self.functions.values()), default=0)

    def names_of(self, kind: str, param: str) -> list[str]:
        """The functions of the tool with this type. Raises InvalidRequest if it is not in `tools`."""
        names = [name for name, offered in self.functions.items() if f"{TYPES}{offered.tool}" == kind]
        if not names:
            raise InvalidRequest(f"'tool_choice' names '{kind}', which is not in 'tools': add it there.", param=param)
        return names


def is_hosted(tool: object) -> bool:
    """Whether an entry of `tools` is a gateway-run tool."""
    return type(tool) in _OURS


def options_of(tool: Hosted) -> dict[str, JsonValue]:
    """The fields beside `type`."""
    options: dict[str, JsonValue] = tool.model_dump(exclude={"type"}, exclude_unset=True, exclude_none=True)
    return options


def requests_gateway_tools(body: models.CreateChatCompletionRequest) -> bool:
    """Whether a request has gateway-run tools in it or its history; called for every chat, so it has to be fast."""
    fields = body.__dict__
    if fields["web_search_options"] is not None and (fields["n"] or 1) == 1:
        return True
    # Loops are several times faster than generators here.
    for tool in fields["tools"] or ():
        if type(tool) in _OURS:
            return True
    for message in fields["messages"]:  # noqa: SIM110 - as above
        if type(message) is _ASSISTANT and message.gateway_tool_calls:
            return True
    return False


def check_names(body: models.CreateChatCompletionRequest, offer: Offer) -> None:
    """Raise InvalidRequest if a caller's function has a reserved name."""
    for place, function in enumerate(body.functions or ()):
        if function.name in offer.functions:
            raise _taken(function.name, f"functions[{place}].name")
    for place, tool in enumerate(body.tools or ()):
        name = tool.function.name if isinstance(tool, models.ChatCompletionTool) else ""
        if isinstance(tool, models.CustomToolChatCompletions):
            name = tool.custom.name
        if name in offer.functions:
            raise _taken(name, f"tools[{place}].function.name")


def _taken(name: str, param: str) -> InvalidRequest:
    problem = f"The name '{name}' is that of a tool of the gateway in the same request: give your function another."
    return InvalidRequest(problem, param=param, code="invalid_value")


def offered_tools(tools: Iterable[object], offer: Offer, names: Iterable[str]) -> list[Any]:
    """`tools` with the typed tools replaced by these functions, and further ones appended.

    Entries are matched by position, since `tools` may be raw JSON with unknown kinds.
    """
    kept = frozenset(names)
    described = [[offer.functions[name].described() for name in each if name in kept] for each in offer.typed]
    found: list[Any] = []
    for tool in tools:
        kind = tool.get("type") if isinstance(tool, dict) else getattr(tool, "type", None)
        if not (isinstance(kind, str) and kind.startswith(TYPES)):
            found.append(tool)
        else:
            found += described.pop(0)
    return [*found, *chain.from_iterable(described)]


@dataclass(frozen=True, slots=True)
class Choice:
    """The `tool_choice` of one round, the offered functions, and those that may be called.

    Models may call functions that they must not call.
    """

    value: object
    names: Sequence[str]
    callable: Collection[str]


def first_choice(body: models.CreateChatCompletionRequest, offer: Offer) -> Choice:
    """The choice of the first round: the request's, in terms of functions."""
    every = list(offer.functions)
    match body.tool_choice:
        case models.GatewayToolChoice(type=kind):
            names = offer.names_of(kind, "tool_choice.type")
            if len(names) == 1:
                return Choice({"type": "function", "function": {"name": names[0]}}, every, every)
            return Choice("required", names, names)
        case models.ChatCompletionAllowedToolsChoice() as choice:
            fields = _allowed(choice, offer)
            return Choice(fields, every, _names_in(fields))
        case other:
            return Choice(_plain(other), every, () if other == "none" else every)


def later_choice(body: models.CreateChatCompletionRequest, offer: Offer) -> Choice:
    """The choice of later rounds: without forced calls, which would be repeated for ever."""
    every = list(offer.functions)
    match body.tool_choice:
        case models.ChatCompletionAllowedToolsChoice() as choice:
            fields = _allowed(choice, offer)
            fields["allowed_tools"]["mode"] = "auto"
            return Choice(fields, every, _names_in(fields))
        case None | "auto" | "none":
            return Choice(body.tool_choice, every, () if body.tool_choice == "none" else every)
        case _:
            return Choice("auto", every, every)


def _plain(choice: object) -> object:
    return to_fields(choice) if isinstance(choice, BaseModel) else choice


def _names_in(choice: Fields) -> frozenset[str]:
    """The functions in a choice of allowed tools."""
    listed = choice["allowed_tools"]["tools"]
    return frozenset(str(each["function"].get("name")) for each in listed if isinstance(each.get("function"), dict))


def _allowed(choice: models.ChatCompletionAllowedToolsChoice, offer: Offer) -> Fields:
    fields: Fields = to_fields(choice)
    listed: list[object] = []
    for place, entry in enumerate(fields["allowed_tools"]["tools"]):
        kind = entry.get("type")
        if isinstance(kind, str) and kind.startswith(TYPES):
            names = offer.names_of(kind, f"tool_choice.allowed_tools.tools[{place}]")
            listed += [{"type": "function", "function": {"name": name}} for name in names]
        else:
            listed.append(entry)
    fields["allowed_tools"] = {**fields["allowed_tools"], "tools": listed}
    return fields

"""Responses requests as chat requests: every field is mapped, dropped by name, or refused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel

from ai_gateway.errors import InvalidRequest, UnsupportedParameter, UnsupportedValue
from ai_gateway.translate.chat_request import text_message, unchecked
from ai_gateway.translate.gateway_tools import NO_TOOLS, Runs
from ai_gateway.translate.responses_chat.conversation import Conversation, Item
from ai_gateway.translate.responses_chat.envelope import Sealer
from ai_gateway.translate.responses_chat.hosted import Claimed, chosen, claim, kept
from ai_gateway.translate.responses_chat.offered import Offered
from ai_gateway.translate.responses_chat.policies import apply_policies
from ai_gateway.translate.responses_chat.ran import RanItems, list_of
from ai_gateway.translate.responses_chat.tools import ClientTool, ToolKind
from gateway_contract.openai import models as openai
from gateway_contract.openai_responses import models as responses

type Fields = dict[str, object]
type Body = responses.CreateResponse | responses.CompactResponseMethodPublicBody | responses.TokenCountsBody

_NONE: Mapping[str, str] = {}
# Fields with the same name and meaning in chat.
_SAME = (
    "temperature",
    "top_p",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "service_tier",
)
_HOSTED_CHOICES = (
    responses.ToolChoiceTypes,
    responses.ToolChoiceMCP,
    responses.SpecificProgrammaticToolCallingParam,
)
_SOURCES = "web_search_call.action.sources"
_LOGPROBS = "message.output_text.logprobs"
# Fields of `reasoning` beside the effort; summaries are always included if there are any.
_REASONING_DROPPED = ("mode", "context")


@dataclass(slots=True)
class TranslatedRequest:
    """A chat request, the names of its tools, and the dropped fields of the original."""

    request: openai.CreateChatCompletionRequest
    offered: Offered
    dropped: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class ChatTarget:
    """The target: the gateway's model id, the provider's name, and the sealer of its data."""

    model: str
    provider: str
    sealer: Sealer


def translate_response(
    body: responses.CreateResponse,
    target: ChatTarget,
    history: Sequence[Item] = (),
    runs: Runs = NO_TOOLS,
    failures: Mapping[str, str] = _NONE,
) -> TranslatedRequest:
    """For createResponse. `history` are the items of earlier responses and their outputs.

    `runs` are the caller's gateway-run tools, and `failures` are those of MCP servers.

    Raises InvalidRequest, UnsupportedParameter or UnsupportedValue.
    """
    offered = Offered()
    offered.add_all(body.tools or [])
    claimed = claim(offered, runs, failures)
    offered.names.ran = _ran(body, history, claimed)
    fields, dropped = _conversation_fields(body, target, history, offered)
    fields |= _answer_fields(body, dropped)
    fields |= _tool_fields(body, offered, claimed)
    if body.stream:
        options = unchecked(openai.ChatCompletionStreamOptionsObject, {"include_usage": True})
        fields |= {"stream": True, "stream_options": options}
    return TranslatedRequest(unchecked(openai.CreateChatCompletionRequest, fields), offered, dropped | offered.dropped)


def _ran(body: responses.CreateResponse, history: Sequence[Item], claimed: Claimed) -> RanItems:
    """The response's items of gateway-run calls. The tools of an MCP server are listed once in a conversation."""
    items = [*history, *items_of(body.input)] if claimed.lists else ()
    listed = {item.server_label for item in items if isinstance(item, responses.MCPListTools)}
    lists = [
        list_of(label, tools, claimed.failures.get(label))
        for label, tools in claimed.lists.items()
        if label not in listed
    ]
    return RanItems(claimed.names, lists, shows_sources=_SOURCES in (body.include or ()))


def translate_conversation(body: Body, target: ChatTarget, history: Sequence[Item] = ()) -> TranslatedRequest:
    """Instructions, items and tools of any request that has them."""
    offered = Offered()
    offered.add_all(body.__dict__.get("tools") or [])
    fields, dropped = _conversation_fields(body, target, history, offered)
    return TranslatedRequest(unchecked(openai.CreateChatCompletionRequest, fields), offered, dropped)


def _conversation_fields(
    body: Body, target: ChatTarget, history: Sequence[Item], offered: Offered
) -> tuple[Fields, set[str]]:
    """The chat's fields for the conversation, and the dropped fields of the original."""
    dropped = set(apply_policies(body))
    conversation = Conversation(offered, target.sealer, target.provider)
    if body.instructions:
        conversation.messages.append(text_message("system", body.instructions))
    input_ = body.input
    items = [] if isinstance(input_, str) else items_of(input_)
    conversation.add_all([*history, *items], skipped=len(history))
    if input_ and isinstance(input_, str):
        conversation.messages.append(text_message("user", input_))
    if not conversation.messages:
        raise InvalidRequest(
            "There is nothing to answer: send `input`.", param="input", code="missing_required_parameter"
        )
    fields: Fields = {"model": target.model, "messages": conversation.messages}
    declared = body.__dict__  # an undeclared field of that name is elsewhere, and not validated
    fields |= {name: value for name in _SAME if (value := declared.get(name)) is not None}
    if (options := declared.get("prompt_cache_options")) is not None:
        fields["prompt_cache_options"] = openai.PromptCacheOptionsParam.model_validate(_dump(options))
    return fields, dropped | conversation.dropped


def items_of(given: str | Sequence[Item] | None) -> list[Item]:
    """The items of an input; a string is a user message."""
    if given is None or given == "":
        return []
    if isinstance(given, str):
        return [responses.EasyInputMessage(type="message", role="user", content=given)]
    return [*given]


def _answer_fields(body: responses.CreateResponse, dropped: set[str]) -> Fields:
    """The fields that shape the answer. Adds to `dropped` those without a counterpart."""
    fields: Fields = {}
    if body.max_output_tokens is not None:
        fields["max_tokens"] = body.max_output_tokens
    if body.top_logprobs or _LOGPROBS in (body.include or ()):
        fields |= {"logprobs": True, "top_logprobs": body.top_logprobs or 0}
    if body.truncation == "auto":
        dropped.add("truncation")
    if body.reasoning is not None:
        if body.reasoning.effort is not None:
            fields["reasoning_effort"] = body.reasoning.effort
        dropped |= {f"reasoning.{name}" for name in _REASONING_DROPPED if getattr(body.reasoning, name, None)}
    if body.text is not None:
        fields |= _text_fields(body.text)
    return fields


def _text_fields(text: responses.ResponseTextParam) -> Fields:
    fields: Fields = {} if text.verbosity is None else {"verbosity": text.verbosity}
    match text.format:
        case responses.TextResponseFormatJsonSchema() as wanted:
            schema = _dump(wanted)
            schema.pop("type")
            named = openai.ResponseFormatJsonSchemaJsonSchema.model_validate(schema)
            fields["response_format"] = openai.ResponseFormatJsonSchema(type="json_schema", json_schema=named)
        case responses.ResponseFormatJsonObject():
            fields["response_format"] = openai.ResponseFormatJsonObject(type="json_object")
        case _:
            pass
    return fields


def _dump(model: BaseModel) -> dict[str, object]:
    return model.model_dump(by_alias=True, exclude_unset=True, exclude_none=True)


def _tool_fields(body: responses.CreateResponse, offered: Offered, claimed: Claimed) -> Fields:
    """Tools and tool choice. Server tools are dropped if the choice is `auto`.

    The `claimed` tools are gateway-run.
    """
    if body.tool_choice is None and not (offered.functions or offered.hosted or claimed):
        return {}
    names: set[str] = {tool.type for _, tool in offered.hosted}
    offered.dropped |= {f"tools.{name}" for name in names}
    fields: Fields
    if (own := chosen(body.tool_choice, claimed)) is not None:
        fields = {"tools": [*offered.functions.values(), *claimed.all], "tool_choice": own}
    else:
        _refuse_hosted(body.tool_choice, names, only_hosted=not offered.functions and not claimed)
        fields = _Choice(body.tool_choice, offered, claimed).fields()
        functions, only = offered.functions, fields.pop("functions", None)
        listed = body.tool_choice.tools if isinstance(body.tool_choice, responses.ToolChoiceAllowed) else None
        mine = [function for name, function in functions.items() if only is None or name in only]  # type: ignore[operator] # names
        if not (allowed := [*mine, *kept(claimed, listed)]):
            return {}
        fields["tools"] = allowed
    if body.parallel_tool_calls is not None:
        fields["parallel_tool_calls"] = body.parallel_tool_calls
    return fields


def _refuse_hosted(choice: object, hosted: set[str], *, only_hosted: bool) -> None:
    """Raise UnsupportedValue if the choice only allows server tools."""
    if isinstance(choice, _HOSTED_CHOICES) or (choice == "required" and only_hosted and hosted):
        raise UnsupportedValue(
            "Neither the gateway nor this provider runs the tool that is chosen: use functions, or choose `auto`.",
            param="tool_choice" if choice == "required" else "tool_choice.type",
        )


@dataclass(frozen=True, slots=True)
class _Choice:
    """`tool_choice` in chat's form, with function names."""

    choice: object
    offered: Offered
    claimed: Claimed

    def fields(self) -> Fields:
        """`tool_choice`; `functions` are the allowed names. Raises InvalidRequest."""
        match self.choice:
            case None:
                return {}
            case str():
                if self.choice == "required" and not self.offered.functions and not self.claimed:
                    raise InvalidRequest("`tool_choice` needs `tools`.", param="tool_choice", code="invalid_value")
                return {"tool_choice": self.choice}
            case responses.ToolChoiceAllowed(mode=mode, tools=tools):
                allowed = {self._of(tool, f"tool_choice.tools[{at}]") for at, tool in enumerate(tools)} - {""}
                if not allowed and not kept(self.claimed, tools) and mode == "required":
                    raise UnsupportedValue("None of these tools can be called here.", param="tool_choice.tools")
                return {"tool_choice": mode, "functions": allowed}
            case BaseModel():
                name = self._of(self.choice.model_dump(), "tool_choice")
                named = openai.ChatCompletionNamedToolChoiceFunction(name=name)
                return {"tool_choice": openai.ChatCompletionNamedToolChoice(type="function", function=named)}
            case _:
                raise UnsupportedParameter("This choice of tools is not known here.", param="tool_choice")

    def _of(self, tool: dict[str, object], path: str) -> str:
        """The function for a tool; "" for a dropped server tool."""
        kind, name = tool.get("type"), tool.get("name")
        is_claimed = isinstance(kind, str) and bool(self.claimed.of(kind, tool.get("server_label")))
        if is_claimed or kind in {each.type for _, each in self.offered.hosted}:
            return ""
        if kind == "namespace" and isinstance(name, str):
            raise UnsupportedValue("Name the tools of the namespace one by one.", param=f"{path}.type")
        if not isinstance(kind, str) or kind not in set(ToolKind):
            raise UnsupportedValue("Neither the gateway nor this provider has this tool.", param=f"{path}.type")
        space = tool.get("namespace")
        wanted = ClientTool(
            ToolKind(kind), name if isinstance(name, str) else kind, space if isinstance(space, str) else None
        )
        functions = self.offered.functions
        if (function := self.offered.names.known(wanted)) is not None and function in functions:
            return function
        called = self.offered.names.called(wanted.name)
        found = self.offered.names.known(called)
        if found in functions and called.kind == wanted.kind:
            return str(found)
        raise InvalidRequest(
            "`tool_choice` names a tool that is not in `tools`.",
            param=f"{path}.name" if name is not None else f"{path}.type",
            code="invalid_value",
        )

"""OpenAI's complete replies to chats as messages of Anthropic's API."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from pydantic import BaseModel, JsonValue, ValidationError

from ai_gateway.contract.reasoning import REASONING_NAMES, thought_in
from ai_gateway.contract.strict_json import read_json
from ai_gateway.errors import UpstreamInvalidResponse
from ai_gateway.translate.anthropic_chat.ids import CallIds, ToolNames
from ai_gateway.translate.anthropic_chat.ran import RanCalls, in_order
from ai_gateway.translate.anthropic_chat.seal import sealed
from ai_gateway.translate.anthropic_chat.usage import NATIVE, cut_short, require_answer, stop_reason, stopped_by, usage
from ai_gateway.translate.carriers import KEPT
from ai_gateway.translate.extra_fields import Fields, carry, extra_fields, place
from ai_gateway.translate.gateway_tools import McpName
from gateway_contract.anthropic import models as anthropic
from gateway_contract.openai import models as openai

type Block = BaseModel


_NONE: Mapping[str, McpName] = {}
LISTS = ("thinking_blocks", "other_blocks", "citations")
"""Extra fields of messages: lists of items for which this wire has blocks."""

_STOPPED = ("stop_sequence", "stop_reason", "stop_details")


def message(  # noqa: PLR0913 - what a message is made of
    reply: openai.CreateChatCompletionResponse,
    took: openai.CompletionUsage,
    names: ToolNames,
    *,
    provider: str,
    stop_sequences: Collection[str] = (),
    mcp: Mapping[str, McpName] = _NONE,
) -> anthropic.AnthropicMessage:
    """The first choice as a message; `took` is its usage, reported or estimated. `mcp` names MCP tools.

    Raises UpstreamInvalidResponse for invalid calls.
    """
    if not reply.choices:
        raise UpstreamInvalidResponse("The provider's reply holds no answer.")
    choice = reply.choices[0]
    reply_message = choice.message
    ids = CallIds(names.called)
    calls = _calls(reply_message, names, ids, cut=choice.finish_reason == "length")
    refused = bool(reply_message.refusal)
    ran = RanCalls(mcp)
    texts = _texts(reply_message, ran)
    ended_by = stopped_by(choice, stop_sequences)
    native = (choice.model_extra or {}).get(NATIVE)
    reason = stop_reason(choice.finish_reason, native, called=bool(calls), refused=refused)
    content = [
        *_thoughts(reply_message),
        *_others(reply_message),
        *texts,
        *calls,
        *_kept(reply_message, provider, names),  # the last one, as in a stream, where it is not complete before
    ]
    require_answer(choice.finish_reason, is_empty=not content)
    made = anthropic.AnthropicMessage(
        id=reply.id,
        type="message",
        role="assistant",
        model=reply.model,
        content=content,
        stop_reason="stop_sequence" if ended_by is not None and reason == "end_turn" else reason,
        stop_sequence=ended_by if reason == "end_turn" else None,
        stop_details=refusal_details(reply_message.refusal, choice) if reason == "refusal" else None,
        usage=usage(took, reply.service_tier, ran.usage()),
        container=None,
    )
    return carry(together(extra_fields(reply), extra_of_end(choice), extra_of(reply_message)), made)


def together(*every: Fields) -> Fields:
    """The merged extra fields of several objects."""
    found: Fields = {}
    for each in every:
        place(each, found)
    return found


def extra_of_end(choice: BaseModel) -> Fields:
    """The extra fields of a choice, except those that become the stop reason."""
    found = extra_fields(choice, *_STOPPED)
    if cut_short(found.get(NATIVE)) is not None:
        del found[NATIVE]
    return found


def extra_of(source: BaseModel) -> Fields:
    """The extra fields of a message or delta, except those with blocks of their own."""
    extras = source.model_extra
    if not extras:
        return {}
    found = extra_fields(source, *KEPT, *LISTS)
    for name in REASONING_NAMES:
        if name in found and (found[name] is None or type(found[name]) is str):
            del found[name]
    for name in LISTS:
        if (rest := unknown_in(name, extras.get(name))) not in (None, []):
            found[name] = rest
    return found


def unknown_in(name: str, value: object) -> object:
    """The items of one of the LISTS for which this wire has no block."""
    if not isinstance(value, list):
        return value
    if name == "citations":
        return [] if valid_citations(value) is not None else value
    return [block for block in value if not valid_blocks([block])]


def _thoughts(source: openai.ChatCompletionResponseMessage) -> list[Block]:
    """The thinking: signed blocks of its upstream, or else an unsigned text."""
    extras = source.model_extra or {}
    blocks = valid_blocks(extras.get("thinking_blocks"))
    if blocks:
        return blocks
    thought = thought_in(extras)
    return (
        [anthropic.AnthropicResponseThinkingBlock(type="thinking", thinking=thought, signature="")] if thought else []
    )


def _kept(source: openai.ChatCompletionResponseMessage, provider: str, names: ToolNames) -> list[Block]:
    calls = source.tool_calls if isinstance(source.tool_calls, list) else []
    ids = CallIds(names.called)
    data = sealed(provider, source.model_extra or {}, {ids.of(call.id): call.model_extra or {} for call in calls})
    return [anthropic.AnthropicResponseRedactedThinkingBlock(type="redacted_thinking", data=data)] if data else []


def _others(source: openai.ChatCompletionResponseMessage) -> list[Block]:
    return valid_blocks((source.model_extra or {}).get("other_blocks"))


def _texts(source: openai.ChatCompletionResponseMessage, ran: RanCalls) -> list[Block]:
    """The texts, with the blocks of gateway-run calls in between."""
    extras = source.model_extra or {}
    links = [each.model_dump(exclude_unset=True) for each in _annotations(source)]
    calls = _ran_here(source)
    if calls:
        blocks = in_order(source.content or "", calls, ran, partial(_named, links))
        blocks += [{"type": "text", "text": source.refusal, "citations": []}] if source.refusal else []
        return valid_blocks(blocks)
    words = [each for each in (source.content, source.refusal) if each]
    audio = source.audio if isinstance(source.audio, BaseModel) else None
    if audio is not None and not words:
        words = [audio.transcript]
    if not words:
        return []
    # Not null, which the contract allows and @ai-sdk/anthropic 3.0.140 refuses.
    texts = [anthropic.AnthropicResponseTextBlock(type="text", text=each, citations=[]) for each in words]
    cited = valid_citations(extras.get("citations"))
    if cited:
        texts[0].citations = [*cited]
    elif links:
        carry({"annotations": links}, texts[0])
    if audio is not None:
        carry({"audio": audio.model_dump(exclude_unset=True)}, texts[0])
    return list(texts)


def _annotations(source: openai.ChatCompletionResponseMessage) -> Sequence[BaseModel]:
    return source.annotations if isinstance(source.annotations, list) else []


def _ran_here(source: openai.ChatCompletionResponseMessage) -> list[dict[str, JsonValue]]:
    calls = source.gateway_tool_calls
    return [call.model_dump(exclude_unset=True) for call in calls] if isinstance(calls, list) else []


def _named(links: Sequence[Fields], start: int, end: int) -> Iterator[str]:
    """The cited URLs between two places."""
    for link in links:
        cited = link.get("url_citation")
        at = cited.get("start_index") if isinstance(cited, dict) else None
        if isinstance(cited, dict) and isinstance(at, int) and start <= at < end:
            yield str(cited["url"])


def _read(model: type[BaseModel], name: str, value: object) -> Any:  # noqa: ANN401 - whatever the field holds
    """The value validated as a field of the model; None if it is invalid."""
    made = model.model_construct()
    try:
        model.__pydantic_validator__.validate_assignment(made, name, value, strict=True)
    except ValidationError:
        return None
    return getattr(made, name)


def valid_blocks(blocks: object) -> list[Block]:
    """The blocks that are valid on Anthropic's wire."""
    valid: list[Block] = []
    for block in blocks if isinstance(blocks, list) else ():
        valid += _read(anthropic.AnthropicMessage, "content", [block]) or []
    return valid


def valid_citations(citations: object) -> list[Any] | None:
    """The citations of a text, if all are valid on Anthropic's wire."""
    found: list[Any] | None = _read(anthropic.AnthropicResponseTextBlock, "citations", citations)
    return found


def _calls(source: openai.ChatCompletionResponseMessage, names: ToolNames, ids: CallIds, *, cut: bool) -> list[Block]:
    calls = source.tool_calls if isinstance(source.tool_calls, list) else []
    if not calls and isinstance(source.function_call, BaseModel):  # the deprecated field, without an id
        value = _input(source.function_call.arguments)
        if value is None:
            raise _no_object()
        return [call_block(ids.of("call_0"), names.to_client(source.function_call.name), value)]
    made: list[Block] = []
    for at, call in enumerate(calls):
        if not isinstance(call, openai.ChatCompletionMessageToolCall):
            raise UpstreamInvalidResponse("The provider called a tool that is no function.")
        value = _input(call.function.arguments)
        if value is None:
            if cut and at == len(calls) - 1:  # the answer was cut off in the last call, which its stop reason says
                break
            raise _no_object()
        made.append(_call(call, ids.of(call.id), names.to_client(call.function.name), value))
    return made


def _no_object() -> UpstreamInvalidResponse:
    return UpstreamInvalidResponse("The provider called a tool with arguments that are no object.")


def _call(call: openai.ChatCompletionMessageToolCall, ident: str, name: str, value: Mapping[str, object]) -> Block:
    made = call_block(ident, name, value, (call.model_extra or {}).get("caller"))
    return carry(together(extra_of_call(call), extra_fields(call.function)), made)


def extra_of_call(call: BaseModel) -> Fields:
    """The extra fields of a call, or of a piece of one, except those with fields of their own here."""
    return extra_fields(call, "caller", "index", *KEPT) if call.model_extra else {}


def call_block(
    ident: str, name: str, value: Mapping[str, object], caller: object = None
) -> anthropic.AnthropicResponseToolUseBlock:
    """The block of a call. Raises UpstreamInvalidResponse for one without a name."""
    block = {"type": "tool_use", "id": ident, "name": name, "input": value}
    for each in (caller, {"type": "direct"}):
        try:
            return anthropic.AnthropicResponseToolUseBlock.model_validate({**block, "caller": each}, strict=True)
        except ValidationError:
            continue
    raise UpstreamInvalidResponse("The provider called a tool without a name.")


def _input(arguments: str) -> dict[str, object] | None:
    """The object in the text; a blank text means an empty one, and so does null, as some models say."""
    try:
        value = read_json(arguments.encode("utf-8", "surrogatepass")) if arguments.strip() else {}
    except ValueError:
        return None
    if value is None:
        return {}
    return value if isinstance(value, dict) else None


def refusal_details(explanation: str | None, choice: BaseModel) -> anthropic.AnthropicRefusalStopDetails:
    """The reason of a refusal, with the upstream's category if given."""
    own = (choice.model_extra or {}).get("stop_details")
    category = own.get("category") if isinstance(own, dict) else None
    fields = {"type": "refusal", "explanation": explanation}
    for each in (category, None):
        try:
            return anthropic.AnthropicRefusalStopDetails.model_validate({**fields, "category": each}, strict=True)
        except ValidationError:
            continue
    raise AssertionError("a refusal without a category is one")


def blocks_text(blocks: Sequence[Block]) -> str:
    """All texts of blocks, for estimating missing token counts."""
    return "".join(
        str(getattr(block, name)) for block in blocks for name in ("text", "thinking", "input") if hasattr(block, name)
    )

"""A whole chat reply as a response: output items, status and usage."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final, cast

from pydantic import BaseModel, JsonValue

from ai_gateway.contract.item_ids import item_id
from ai_gateway.contract.reasoning import REASONING_NAMES, thought_in
from ai_gateway.contract.write import to_fields
from ai_gateway.errors import UpstreamInvalidResponse
from ai_gateway.translate.carriers import KEPT, SEALED_FIELDS, kept
from ai_gateway.translate.extra_fields import extra_fields, names_of, place
from ai_gateway.translate.responses_chat.outline import served_tier, usage
from ai_gateway.translate.responses_chat.ran import RanItems
from ai_gateway.translate.responses_chat.tools import Fields, ToolNames
from gateway_contract.openai import models as openai
from gateway_contract.openai_responses import models as responses

type Seal = Callable[[Sequence[str], Sequence[JsonValue]], str | None]
"""Seals a reasoning item's summary and signed blocks; None if there is nothing to seal."""

type Keep = Callable[[Mapping[str, object], Mapping[str, Mapping[str, object]]], str | None]
"""Seals the fields that the provider needs again of a message, and of its calls by id; None if there are none."""

ITEM_FIELDS: Final = frozenset(
    {*REASONING_NAMES, *KEPT, "thinking_blocks", "annotations", "gateway_tool_calls", "index"}
)
"""Extra fields of a message that become items; others are carried over unchanged."""
_WITH_STATUS: Final = frozenset({"message", "reasoning", "function_call"})
INCOMPLETE: Final[Mapping[str, str]] = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""The reason of an incomplete response, by chat's finish reason."""


@dataclass(slots=True)
class Items:
    """The output items of one response, whose ids follow from the response's."""

    response_id: str
    all: list[Fields] = field(default_factory=list)

    def add(self, kind: str, **fields: JsonValue) -> None:
        self.all.append({"type": kind, "id": self.next_id(kind), **fields})

    def cut(self) -> None:
        """Mark the last item as incomplete, unless it is a gateway-run call, which is finished."""
        if self.all and self.all[-1]["type"] in _WITH_STATUS:
            self.all[-1]["status"] = "incomplete"

    def next_id(self, kind: str) -> str:
        """The id of the next item, unique over all responses."""
        return item_id(kind, self.response_id, len(self.all))


def response(  # noqa: PLR0913 - what a response is made of
    reply: openai.CreateChatCompletionResponse,
    *,
    response_id: str,
    created_at: int,
    model: str,
    echo: Fields,
    names: ToolNames,
    seal: Seal,
    keep: Keep,
    now: Callable[[], float] = time.time,
) -> Fields:
    """The response as JSON. `model` is the one that answered. Raises UpstreamInvalidResponse for an empty reply."""
    if not reply.choices:
        raise UpstreamInvalidResponse("The provider's reply holds no answer.")
    choice = next((each for each in reply.choices if each.index == 0), reply.choices[0])
    reason = INCOMPLETE.get(choice.finish_reason)
    items = Items(response_id)
    for entry in names.ran.lists:
        items.all.append({**entry, "id": items.next_id(str(entry["type"]))})
    _add_reasoning(items, choice.message, seal)
    sent = _add_ran(items, choice, names.ran)
    _add_message(items, choice, sent, is_cut=reason is not None)
    _add_calls(items, choice.message, names, cut=reason is not None)
    if reason is not None:
        items.cut()
    if (sealed := keep(choice.message.model_extra or {}, _extras_of_calls(choice.message))) is not None:
        items.add("reasoning", summary=[], encrypted_content=sealed, status="completed")
    return {
        "id": response_id,
        "object": "response",
        "created_at": created_at,
        "completed_at": int(now()) if reason is None else None,
        "status": "completed" if reason is None else "incomplete",
        "error": None,
        "incomplete_details": None if reason is None else {"reason": reason},
        "model": model,
        "usage": usage(reply.usage),
        **echo,
        **served_tier(reply.service_tier),
        **carried(_beyond(reply, choice), _extras_of_calls(choice.message)),
        "output": [*items.all],
    }


def _add_reasoning(items: Items, message: openai.ChatCompletionResponseMessage, seal: Seal) -> None:
    """Reasoning as a summary, with one part for each signed block."""
    extra = message.model_extra or {}
    blocks = extra.get("thinking_blocks")
    blocks = blocks if isinstance(blocks, list) else []
    texts = [text for block in blocks if isinstance(block, dict) and (text := block.get("thinking"))]
    texts = [text for text in texts or [thought_in(extra)] if isinstance(text, str) and text]
    if not texts and not blocks:
        return
    summary: list[JsonValue] = [{"type": "summary_text", "text": text} for text in texts]
    sealed = seal(texts, blocks)
    secret: Fields = {} if sealed is None else {"encrypted_content": sealed}
    items.add("reasoning", summary=summary, **secret, status="completed")


def _add_ran(items: Items, choice: openai.CreateChatCompletionResponseChoice, ran: RanItems) -> int:
    """Gateway-run calls and the texts between them. Returns the characters of these texts."""
    entries = choice.message.gateway_tool_calls
    calls = [call.model_dump(exclude_unset=True) for call in entries] if isinstance(entries, list) else []
    text, done = choice.message.content or "", 0
    for _, group in groupby(calls, lambda call: call.get("round")):
        together = [*group]
        position = together[0].get("position")
        if isinstance(position, int) and text[done:position]:
            part = _text_part(choice, done, position)
            items.add("message", status="completed", role="assistant", content=[part])
            done = position
        for call in together:
            items.all.append(ran.item(call, items.next_id(ran.kind(call))))
    return done


def _add_message(items: Items, choice: openai.CreateChatCompletionResponseChoice, sent: int, *, is_cut: bool) -> None:
    """The message, without the first `sent` characters."""
    message = choice.message
    content: list[JsonValue] = []
    part = _text_part(choice, sent, len(message.content or ""))
    if part["text"] or part["annotations"]:
        content.append(part)
    if message.refusal:
        content.append({"type": "refusal", "refusal": message.refusal})
    if not content:
        if _calls(message) or (is_cut and items.all):
            return
        # Agents take an empty output for an unfinished turn.
        content.append({"type": "output_text", "text": "", "annotations": [], "logprobs": []})
    items.add("message", status="completed", role="assistant", content=content)


def _text_part(choice: openai.CreateChatCompletionResponseChoice, start: int, end: int) -> Fields:
    """The text between two positions, with its annotations."""
    whole = choice.message.content or ""
    tokens = _logprobs(choice.logprobs) if end - start == len(whole) else []
    annotations = [each for each in _annotations(choice.message) if _is_within(each, start, end)]
    return {
        "type": "output_text",
        "text": whole[start:end],
        "annotations": [_moved(each, start) for each in annotations],
        "logprobs": tokens,
    }


def _is_within(annotation: Fields, start: int, end: int) -> bool:
    at = annotation.get("start_index")
    return not isinstance(at, int) or start <= at < max(end, 1)


def _moved(annotation: Fields, by: int) -> Fields:
    """An annotation with shifted positions."""
    places = {name: at - by for name in ("start_index", "end_index") if isinstance(at := annotation.get(name), int)}
    return {**annotation, **places}


def _annotations(message: openai.ChatCompletionResponseMessage) -> list[Fields]:
    """The annotations of a text, whose fields are nested in chat completions."""
    found: list[Fields] = []
    for annotation in message.annotations if isinstance(message.annotations, list) else ():
        facts = annotation.model_dump(exclude_unset=True)
        inner = facts.get(str(facts.get("type")))
        found.append({"type": facts.get("type"), **inner} if isinstance(inner, dict) else facts)
    return found


def _logprobs(logprobs: openai.CreateChatCompletionResponseChoiceLogprobs | None) -> list[JsonValue]:
    if logprobs is None or not logprobs.content:
        return []
    return [
        {**_token(token), "top_logprobs": [_token(top) for top in token.top_logprobs]} for token in logprobs.content
    ]


def _token(token: openai.ChatCompletionTokenLogprob | openai.ChatCompletionTokenLogprobTopLogprob) -> Fields:
    return {"token": token.token, "logprob": token.logprob, "bytes": [*(token.bytes or ())]}


def _extras_of_calls(message: openai.ChatCompletionResponseMessage) -> dict[str, dict[str, object]]:
    """The extra fields of calls, by id."""
    calls = message.tool_calls if isinstance(message.tool_calls, list) else []
    return {call.id: call.model_extra for call in calls if call.model_extra}


def _beyond(
    reply: openai.CreateChatCompletionResponse, choice: openai.CreateChatCompletionResponseChoice
) -> dict[str, object]:
    """The extra fields of a reply."""
    beyond = dict(reply.model_extra or {})
    for each in (choice, choice.message):
        place(extra_fields(each, *ITEM_FIELDS), beyond)
    if isinstance(choice.message.audio, BaseModel):
        beyond["audio"] = to_fields(choice.message.audio)
    return beyond


def carried(
    beyond: Mapping[str, object], calls: Mapping[str, Mapping[str, object]], unread: Sequence[JsonValue] = ()
) -> Fields:
    """The extra fields of a reply, of its `calls` by id, and annotations that a response cannot have.

    They are collected in one field of the response.
    """
    if not (beyond or calls or unread):
        return {}
    placed: dict[str, object] = {}
    place(beyond, placed, names_of(responses.Response))
    of_calls = []
    for call_id, each in calls.items():
        if rest := {name: value for name, value in each.items() if name not in ITEM_FIELDS and value is not None}:
            of_calls.append({"id": call_id, **rest})
    for name, more in (("tool_calls", of_calls), ("annotations", [*unread])):
        if more:
            place({name: more}, placed)
    return cast("Fields", placed)


def _calls(message: openai.ChatCompletionResponseMessage) -> list[tuple[str, str, str]]:
    """Id, function and arguments of every call."""
    found = []
    for call in message.tool_calls if isinstance(message.tool_calls, list) else ():
        if isinstance(call, openai.ChatCompletionMessageToolCall):
            found.append((call.id, call.function.name, call.function.arguments))
        else:
            found.append((call.id, call.custom.name, call.custom.input))
    deprecated = message.function_call
    if isinstance(deprecated, BaseModel) and not found:
        found.append(("call_0", str(getattr(deprecated, "name", "")), str(getattr(deprecated, "arguments", ""))))
    return found


def _add_calls(items: Items, message: openai.ChatCompletionResponseMessage, names: ToolNames, *, cut: bool) -> None:
    calls = _calls(message)
    for at, (call_id, function, arguments) in enumerate(calls, 1):
        known = call_id or f"call_{items.response_id.rpartition('_')[2][:24]}_{at}"
        item = names.restored(function, arguments, "", known, cut=cut and at == len(calls))
        item["id"] = items.next_id(str(item["type"]))
        items.all.append(item)


def kept_by(seal: Callable[[dict[str, JsonValue]], str]) -> Keep:
    """Seals fields that a provider needs again, except reasoning."""

    def sealed(message: Mapping[str, object], calls: Mapping[str, Mapping[str, object]]) -> str | None:
        fields = kept(message, calls)
        return None if fields is None else seal({SEALED_FIELDS: cast("Fields", fields)})

    return sealed


def sealed_by(seal: Callable[[dict[str, JsonValue]], str], *, wanted: bool) -> Seal:
    """Seals reasoning for its provider: signed blocks always, other reasoning only if the caller requests it."""

    def sealed(summary: Sequence[str], blocks: Sequence[JsonValue]) -> str | None:
        if blocks:
            return seal({"thinking_blocks": [*blocks]})
        return seal({"reasoning_content": "\n\n".join(summary)}) if wanted else None

    return sealed

"""Quirks: how an OpenAI-compatible upstream differs from OpenAI's API, as data, and how requests are adapted to it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ai_gateway.contract.types import Policy
from ai_gateway.errors import UnsupportedValue
from ai_gateway.translate.carriers import Carrier
from gateway_contract.openai import models
from gateway_contract.openai.parameters import Policies, RequestField, changed, is_request_field

_ABSENT = object()
_UUID = re.compile(r"[0-9a-fA-F]{32}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True, slots=True)
class Quirks:
    """The differences of one upstream. A quirk applies to every operation that has its field.

    Only documented and lasting differences belong here: a stale quirk breaks a request that would have worked, while a
    missing one is an error of the upstream's own.
    """

    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with every request, by name."""

    header_variables: Mapping[str, str] = field(default_factory=dict)
    """The environment variable that sets a header, by the header's name; its value `none` sends none."""

    renamed: Mapping[RequestField, str] = field(default_factory=dict)
    """The upstream's own name for a field. Its policy is mapped."""

    omit_when_default: Mapping[RequestField, object] = field(default_factory=dict)
    """Fields that the upstream rejects, with their default value. A field with that value is omitted; with another one
    it is sent, and the upstream decides. Its policy is mapped."""

    handled_here: frozenset[RequestField] = frozenset()
    """Fields that the upstream rejects and the gateway honours itself: never sent. Their policy is mapped."""

    dropped: frozenset[RequestField] = frozenset()
    """Fields that the upstream rejects and that do not change the answer. Named in the response."""

    refused: frozenset[RequestField] = frozenset()
    """Fields that the upstream silently ignores although they change the answer: a 400."""

    token_arrays: bool = True
    """Whether it accepts token ids as `input` of embeddings. If not, they are a 400 before it is called."""

    bare_model_list: bool = False
    """Whether it may list its models as a bare array, without the list object."""

    lists_models: bool = True
    """Whether it lists its models. If not, no list is requested."""

    nulls: bool = True
    """Whether it accepts null for a field that is not set. If not, such fields are omitted, which means the same."""

    max_completion_tokens_only: bool = False
    """Whether some of its models reject `max_tokens` in a chat, while all accept `max_completion_tokens`. Limits from
    callers of other APIs, which have one name for both, are then sent under the latter. It does not apply to another
    base URL configured for the provider."""

    accepts_effort_none: bool = False
    """Whether models without reasoning accept `reasoning_effort: none`. If not, it is dropped and named for callers of
    other APIs, some of which turn thinking off in every request."""

    uuid_request_ids: bool = False
    """Whether it rejects an `X-Request-ID` that is not a UUID (RFC 9562). The gateway's own ids are sent as UUIDs; it
    then gets no id that a caller chose in another form."""

    takes_reasoning: bool = True
    """Whether it accepts the `reasoning_content` of earlier answers. If not, it is dropped and named for callers of
    other APIs, whose requests include the reasoning."""

    takes_cache_control: bool = False
    """Whether it reads the `cache_control` of parts and tools, in the form of Anthropic's API."""

    no_developer_role: bool = False
    """Whether it lacks the role `developer`. Such messages are then sent as `system`, the role's former name. The
    policy of `messages` is mapped."""

    text_parts: bool = True
    """Whether it accepts a message's text in parts. If not, messages that have nothing else are sent with one string,
    the parts joined by line feeds. The policy of `messages` is mapped."""

    responses_only: str = ""
    """A pattern of the models that only answer by the Responses API. Chats with them are translated to it. Neither this
    quirk nor the next one applies to another base URL configured for the provider."""

    responses_for_tools: str = ""
    """A pattern of the models that refuse tools in a chat unless reasoning is turned off."""

    @property
    def carriers(self) -> frozenset[Carrier]:
        """The fields beyond the contract that it accepts."""
        taken: tuple[tuple[Carrier, bool], ...] = (
            ("reasoning_content", self.takes_reasoning),
            ("cache_control", self.takes_cache_control),
        )
        return frozenset(name for name, is_taken in taken if is_taken)

    @property
    def changes_bodies(self) -> bool:
        """Whether `encode` may change bodies."""
        fields = self.renamed or self.omit_when_default or self.handled_here
        return self.no_developer_role or not self.text_parts or not self.nulls or bool(fields)

    def policies(self, base: Policies) -> Policies:
        """The policies of `base` with these quirks applied."""
        changes: dict[str, Policy] = dict.fromkeys(
            [*self.renamed, *self.omit_when_default, *self.handled_here], "mapped"
        )
        if self.no_developer_role or not self.text_parts:
            changes["messages"] = "mapped"
        changes.update((name, "dropped") for name in self.dropped)
        changes.update((name, "refused") for name in self.refused)
        return changed(base, changes)

    def request_id(self, request_id: str) -> dict[str, str]:
        """The request id header for the upstream, if it accepts the id."""
        is_accepted = not self.uuid_request_ids or _UUID.fullmatch(request_id)
        return {"x-request-id": request_id} if is_accepted else {}

    def check_input(self, provider: str, body: models.CreateEmbeddingRequest) -> None:
        """Raise UnsupportedValue for token ids if the upstream embeds texts only."""
        if not self.token_arrays and isinstance(body.input, list) and not isinstance(body.input[0], str):
            raise UnsupportedValue(
                f"Provider '{provider}' embeds texts only: send 'input' as a string or an array of strings.",
                param="input",
            )

    def from_other_wires(self, fields: Mapping[str, object]) -> tuple[dict[str, object], set[str]]:
        """The fields of a translated body as all models of the upstream accept them, and the dropped ones."""
        adapted, dropped = dict(fields), set[str]()
        if adapted.get("reasoning_effort") == "none" and not self.accepts_effort_none:
            del adapted["reasoning_effort"]
            dropped.add("reasoning_effort")
        if self.max_completion_tokens_only and "messages" in adapted and "max_tokens" in adapted:
            adapted["max_completion_tokens"] = adapted.pop("max_tokens")
        return adapted, dropped

    def encode(self, provider: str, fields: Mapping[str, object]) -> Mapping[str, object]:
        """The fields of a body as the upstream expects them. Raises UnsupportedValue for contradicting fields."""
        if self.no_developer_role and isinstance(fields.get("messages"), list):
            fields = {**fields, "messages": _as_system(fields["messages"])}
        if not self.text_parts and isinstance(fields.get("messages"), list):
            fields = {**fields, "messages": _with_strings(fields["messages"])}
        if not self.nulls:
            fields = {name: value for name, value in fields.items() if value is not None}
        if all(map(fields.keys().isdisjoint, (self.renamed, self.omit_when_default, self.handled_here))):
            return fields
        return self._renamed(provider, {name: v for name, v in fields.items() if not self._is_omitted(name, v)})

    def _is_omitted(self, name: str, value: object) -> bool:
        """Whether the field is not sent. Null means absent for every field with a quirk."""
        if not is_request_field(name):
            return False
        affected = name in self.omit_when_default or name in self.renamed
        default = self.omit_when_default.get(name, _ABSENT)
        is_default = type(value) is type(default) and value == default  # 0 is not False here
        return name in self.handled_here or (affected and value is None) or is_default

    def _renamed(self, provider: str, sent: Mapping[str, object]) -> dict[str, object]:
        """The fields under the upstream's names, in their original order."""
        renamed: dict[str, object] = {}
        for name, value in sent.items():
            theirs = self.renamed.get(name, name) if is_request_field(name) else name
            other = sent.get(theirs) if theirs != name else None
            if other is not None and other != value:
                raise UnsupportedValue(
                    f"'{name}' and '{theirs}' mean the same to provider '{provider}': send one of them.", param=name
                )
            if theirs == name and renamed.get(name) is not None:
                continue  # already set, under the contract's name
            renamed[theirs] = value
        return renamed


def _as_system(messages: object) -> object:
    """The messages with `system` for the role `developer`."""
    return [
        {**message, "role": "system"} if isinstance(message, dict) and message.get("role") == "developer" else message
        for message in (messages if isinstance(messages, list) else ())
    ]


def _with_strings(messages: object) -> object:
    """The messages with one string for each content that is nothing but text in parts."""
    found = messages if isinstance(messages, list) else ()
    return [{**each, "content": words} if (words := _joined(each)) is not None else each for each in found]


def _joined(message: object) -> str | None:
    """The text of a message's parts; None if its content is something else, or has more than text."""
    parts = message.get("content") if isinstance(message, dict) else None
    if not isinstance(parts, list) or not parts:
        return None
    words = [part["text"] for part in parts if isinstance(part, dict) and part.keys() == {"type", "text"}]
    return "\n".join(words) if len(words) == len(parts) and all(isinstance(word, str) for word in words) else None

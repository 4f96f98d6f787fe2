"""How an upstream differs from the wire it speaks, as data, and what becomes of a request because of it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ai_gateway.contract.types import Policy
from ai_gateway.errors import UnsupportedValue
from gateway_contract.openai import models
from gateway_contract.openai.parameters import Policies, RequestField, changed, is_request_field

_ABSENT = object()
_UUID = re.compile(r"(?:req_)?([0-9a-fA-F]{32}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})")


@dataclass(frozen=True, slots=True)
class Quirks:
    """Where an upstream of OpenAI's wire is not quite OpenAI. A quirk holds in every operation that has its field.

    Only what the upstream's documentation is certain of, and what will last, belongs here: a stale quirk costs a
    caller something that would have worked, while an upstream that refuses a field says so by itself.
    """

    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with every request, by name."""

    header_variables: Mapping[str, str] = field(default_factory=dict)
    """The environment variable that sets a header, by the header's name; its value `none` sends none."""

    renamed: Mapping[RequestField, str] = field(default_factory=dict)
    """The upstream's own name for a field. Counts as mapped."""

    left_out: Mapping[RequestField, object] = field(default_factory=dict)
    """Fields that the upstream refuses, with the value that means the same as leaving them out. With that value a
    field is left out; with another one it goes on, for the upstream to decide. Counts as mapped."""

    understood: frozenset[RequestField] = frozenset()
    """Fields that the upstream refuses and that are honoured without it: never sent. Counts as mapped."""

    dropped: frozenset[RequestField] = frozenset()
    """Fields that the upstream refuses, and without which the answer is no other. Named in the reply."""

    refused: frozenset[RequestField] = frozenset()
    """Fields that the upstream ignores in silence, and without which the answer is another."""

    token_arrays: bool = True
    """Whether it embeds arrays of tokens. Where it takes texts only, tokens are a 400 before it is called."""

    bare_model_list: bool = False
    """Whether it may list its models as an array, without the object around it."""

    nulls: bool = True
    """Whether it takes null for a field that is not set. Otherwise such fields are left out, which means the same."""

    newer_limit: bool = False
    """Whether some of its models take the limit of a chat as `max_completion_tokens` only, and all of them do so.
    Callers of other wires, which have one word for both, are then understood as saying that. It says nothing of other
    servers that are configured under the provider's name."""

    effort_none: bool = False
    """Whether models that do not think take `reasoning_effort` none. Elsewhere they refuse the field: for callers of
    other wires, some of which say with every request that there is to be no thinking, it is dropped and named."""

    uuid_request_ids: bool = False
    """Whether it refuses requests whose `X-Request-ID` is no UUID. It then gets the digits of the gateway's ids, which
    are a UUID's, and none of the ids that callers chose otherwise."""

    def policies(self, base: Policies) -> Policies:
        """What is declared for every field of `base`, with these quirks."""
        changes: dict[str, Policy] = dict.fromkeys([*self.renamed, *self.left_out, *self.understood], "mapped")
        changes.update((name, "dropped") for name in self.dropped)
        changes.update((name, "refused") for name in self.refused)
        return changed(base, changes)

    def request_id(self, ours: str) -> dict[str, str]:
        """The header that names the request to the upstream, if it takes one."""
        if not self.uuid_request_ids:
            return {"x-request-id": ours}
        uuid = _UUID.fullmatch(ours)
        return {"x-request-id": uuid[1]} if uuid else {}

    def check_input(self, provider: str, body: models.CreateEmbeddingRequest) -> None:
        """Raise UnsupportedValue for tokens where only texts are embedded."""
        if not self.token_arrays and isinstance(body.input, list) and not isinstance(body.input[0], str):
            raise UnsupportedValue(
                f"Provider '{provider}' embeds texts only: send 'input' as a string or an array of strings.",
                param="input",
            )

    def from_other_wires(self, fields: Mapping[str, object]) -> tuple[dict[str, object], set[str]]:
        """The fields of a translated body in words that all of the upstream's models take, and those left out."""
        said, dropped = dict(fields), set[str]()
        if said.get("reasoning_effort") == "none" and not self.effort_none:
            del said["reasoning_effort"]
            dropped.add("reasoning_effort")
        if self.newer_limit and "messages" in said and "max_tokens" in said:
            said["max_completion_tokens"] = said.pop("max_tokens")
        return said, dropped

    def worded(self, provider: str, fields: Mapping[str, object]) -> Mapping[str, object]:
        """The fields of a body as the upstream words them. Raises UnsupportedValue for what cannot be said to it."""
        if not self.nulls:
            fields = {name: value for name, value in fields.items() if value is not None}
        if not (self.renamed.keys() | self.left_out.keys() | self.understood) & fields.keys():
            return fields
        return self._renamed(provider, {name: v for name, v in fields.items() if not self._superfluous(name, v)})

    def _superfluous(self, name: str, value: object) -> bool:
        """Whether the upstream is not to see the field. Null means absent wherever something is done to a field."""
        if not is_request_field(name):
            return False
        touched = name in self.left_out or name in self.renamed
        default = self.left_out.get(name, _ABSENT)
        means_nothing = type(value) is type(default) and value == default  # 0 is not False here
        return name in self.understood or (touched and value is None) or means_nothing

    def _renamed(self, provider: str, sent: Mapping[str, object]) -> dict[str, object]:
        """The fields under the upstream's names, in the order in which they came."""
        worded: dict[str, object] = {}
        for name, value in sent.items():
            theirs = self.renamed.get(name, name) if is_request_field(name) else name
            other = sent.get(theirs) if theirs != name else None
            if other is not None and other != value:
                raise UnsupportedValue(
                    f"'{name}' and '{theirs}' mean the same to provider '{provider}': send one of them.", param=name
                )
            if theirs == name and worded.get(name) is not None:
                continue  # said already, under the contract's name
            worded[theirs] = value
        return worded

"""What becomes of every request field at a provider: declared once, applied to each request, shown in the ledger.

A policy is one of four. *forwarded*: the provider gets the field as it came. *mapped*: it gets or honours it in terms
of its own. *dropped*: the field has no effect there, so it is taken out and named in the reply. *refused*: leaving it
out would change the answer's meaning, so sending it is a 400. An operation of which every field is refused is one that
the provider does not offer.

The contract generates the type `Policies`: mypy names the field that a provider has not decided on.
"""

import re
from collections.abc import Iterable, Mapping

from pydantic import BaseModel

from ai_gateway.config.settings import UnknownParams
from ai_gateway.contract.call import Attempt
from ai_gateway.contract.open_lists import UnknownKinds
from ai_gateway.contract.types import Policy
from ai_gateway.errors import InvalidRequest, UnsupportedOperation, UnsupportedParameter
from ai_gateway.observability.metrics import Event, count
from gateway_contract.openai.parameters import CLOSED, OPERATION_OF, Policies, by_field

_KNOWN = frozenset(field for model in OPERATION_OF for field in model.model_fields)
# What an operation is called in messages: its operationId is a word of ours.
_CALLED = {
    "createChatCompletion": "chat completions",
    "createCompletion": "legacy completions",
    "createEmbedding": "embeddings",
    "listModels": "a list of models",
    "retrieveModel": "facts about a model",
    "ollamaChat": "chat",
    "ollamaGenerate": "completions",
    "ollamaEmbed": "embeddings",
    "ollamaEmbeddings": "embeddings",
    "ollamaList": "a list of models",
    "ollamaShow": "facts about a model",
}
_HARMLESS = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Parameters:
    """One provider's policies, made ready to be applied."""

    def __init__(self, provider: str, policies: Policies, unknown: UnknownParams) -> None:
        self._provider = provider
        self._unknown: UnknownParams = unknown
        self._policies = by_field(policies)
        self._dropped = {operation: frozenset(self.fields(operation, "dropped")) for operation in self._policies}
        self._refused = {operation: frozenset(self.fields(operation, "refused")) for operation in self._policies}
        self._affected = {
            operation: self._dropped[operation] | self._refused[operation] for operation in self._policies
        }
        self._missing = {name for name, fields in self._policies.items() if set(fields.values()) == {"refused"}}

    @property
    def operations(self) -> list[str]:
        """Every operation that takes a body, by its operationId."""
        return list(self._policies)

    def policies(self, operation: str) -> Mapping[str, Policy]:
        """The policy of each of the operation's fields."""
        return self._policies[operation]

    def fields(self, operation: str, policy: Policy) -> list[str]:
        """The operation's fields of this policy, sorted."""
        return sorted(field for field, declared in self._policies[operation].items() if declared == policy)

    def unknown(self, operation: str) -> UnknownParams:
        """What becomes of fields that the contract does not name; a closed body takes none, whatever is set."""
        return "reject" if operation in CLOSED else self._unknown

    def pass_on(self, body: BaseModel) -> bool:
        """Whether the provider gets the body as it is, so that `apply` would change and report nothing."""
        operation = OPERATION_OF[type(body)]
        if operation in self._missing or not self._affected[operation].isdisjoint(body.model_fields_set):
            return False
        return not body.model_extra or self.unknown(operation) == "forward"

    def apply(self, attempt: Attempt, body: BaseModel) -> None:
        """Take out of the body what the provider is not to get, and name it in the reply.

        Null means absent for every field that may be left out, so a null is taken out silently and never refused.
        Raises UnsupportedOperation, UnsupportedParameter, or InvalidRequest for an unknown field.
        """
        operation = OPERATION_OF[type(body)]
        if operation in self._missing:
            raise not_offered(self._provider, attempt.operation)
        self._check(operation, body)
        gone = self._affected[operation] & body.model_fields_set
        named = [field for field in gone if _take(body, field) is not None]
        if body.model_extra and self._unknown == "drop":
            named += body.model_extra
            body.model_fields_set.difference_update(body.model_extra)
            body.model_extra.clear()
        note_dropped(attempt, named)

    def apply_unknown(self, attempt: Attempt, unknown: UnknownKinds, forwards: bool) -> None:
        """Let what the contract does not list through to a provider that forwards it, or take it out and name it.

        Raises InvalidRequest where neither is possible.
        """
        changes = unknown.fields or unknown.tools or unknown.others
        if self._unknown != "reject" and (not changes or (forwards and self._unknown == "forward")):
            return
        if self._unknown != "drop" or unknown.others:  # to leave a part of a message out would change the question
            raise unknown.error
        note_dropped(attempt, [*unknown.fields, *(f"tools.{at}" for at in unknown.tools)])

    def forwarded(self, unknown: UnknownKinds | None) -> bool:
        """Whether the provider gets what the contract does not list."""
        return unknown is not None and self._unknown == "forward"

    def _check(self, operation: str, body: BaseModel) -> None:
        for field in sorted(self._refused[operation] & body.model_fields_set):
            if getattr(body, field) is not None:
                raise UnsupportedParameter(
                    f"Provider '{self._provider}' cannot honour '{field}': leave it out, or choose another provider.",
                    param=field,
                )
        if body.model_extra and self._unknown == "reject":
            name = next(filter(_HARMLESS.fullmatch, body.model_extra), None)
            blamed = f": '{name}'" if name else ""
            raise InvalidRequest(
                f"Unknown parameter{blamed}. Leave it out: for '{self._provider}' the gateway takes no field that its "
                "contract does not name.",
                param=name,
                code="unknown_parameter",
            )


def not_offered(provider: str, operation: str) -> UnsupportedOperation:
    """The error for an operation that a provider does not have; `operation` is its operationId."""
    called = _CALLED.get(operation, "this operation")
    return UnsupportedOperation(f"Provider '{provider}' does not offer {called}: choose another provider for it.")


def note_dropped(attempt: Attempt, fields: Iterable[str]) -> None:
    """Note and count what the provider does not get, beside what was noted already: fields, or paths inside them."""
    notes = attempt.notes
    dropped = set(fields)
    for field in _countable(dropped) - _countable(notes.dropped):
        count(Event.DROPPED, notes.provider, field)
    notes.dropped |= dropped


def _countable(fields: Iterable[str]) -> set[str]:
    """What is counted for them: callers choose all names but the contract's, so those are one."""
    return {field if field in _KNOWN else "other" for field in fields}


def _take(body: BaseModel, field: str) -> object:
    """Unset the field; what it held."""
    value: object = getattr(body, field)
    setattr(body, field, None)
    body.model_fields_set.discard(field)
    return value

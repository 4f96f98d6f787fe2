"""Parameter policies: declared once for each provider and field, applied to each request, listed in the docs.

A policy is one of four. *forwarded*: the provider gets the field unchanged. *mapped*: it gets an equivalent in its own
API. *dropped*: the field has no effect there, so it is removed and named in the reply. *refused*: removing it would
change the answer's meaning, so sending it is a 400. A provider does not offer an operation whose fields are all
refused.

The type `Policies` is generated from the contract: mypy names fields for which a provider has no policy.
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
# Names of operations in messages, in place of their operationIds.
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
    """One provider's policies, prepared for fast application."""

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
        """The policy for fields that the contract does not name; a closed model accepts none in any case."""
        return "reject" if operation in CLOSED else self._unknown

    def pass_on(self, body: BaseModel) -> bool:
        """Whether `apply` would change and report nothing."""
        operation = OPERATION_OF[type(body)]
        # The attributes directly, because their properties would cost as much as all else here.
        if operation in self._missing or not self._affected[operation].isdisjoint(body.__pydantic_fields_set__):
            return False
        return not body.__pydantic_extra__ or self.unknown(operation) == "forward"

    def apply(self, attempt: Attempt, body: BaseModel) -> None:
        """Remove the fields that the provider must not get, and name them in the reply.

        Null means absent for every optional field, so it is removed silently and never refused. Raises
        UnsupportedOperation, UnsupportedParameter, or InvalidRequest for an unknown field.
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
        """Forward unknown fields and kinds to a provider that takes them, or remove and name them.

        Raises InvalidRequest if neither is possible.
        """
        changes = unknown.fields or unknown.tools or unknown.others
        if self._unknown != "reject" and (not changes or (forwards and self._unknown == "forward")):
            return
        if self._unknown != "drop" or unknown.others:  # removing a part of a message would change the question
            raise unknown.error
        note_dropped(attempt, [*unknown.fields, *(f"tools.{at}" for at in unknown.tools)])

    def forwarded(self, unknown: UnknownKinds | None) -> bool:
        """Whether the provider gets unknown fields and kinds."""
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
    """Note and count further dropped fields, or paths inside fields."""
    notes = attempt.notes
    dropped = set(fields)
    if not dropped:
        return
    for field in _countable(dropped) - _countable(notes.dropped):
        count(Event.DROPPED, notes.provider, field)
    notes.dropped |= dropped


def _countable(fields: Iterable[str]) -> set[str]:
    """The metric labels for them: names that are not the contract's share one, since callers choose them."""
    return {field if field in _KNOWN else "other" for field in fields}


def _take(body: BaseModel, field: str) -> object:
    """Unset the field; returns its value."""
    value: object = getattr(body, field)
    setattr(body, field, None)
    body.model_fields_set.discard(field)
    return value

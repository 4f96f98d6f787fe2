"""Judgements that many checks share: exact by the contract, granted or cleanly refused, refused as asked."""

import re
from collections.abc import Collection

from pydantic import BaseModel, ValidationError

from ai_gateway.probe.reply import Reply, words
from ai_gateway.probe.verdict import Failed, Skipped
from gateway_contract.openai import models

_SHOWN_PROBLEMS = 6
# A refusal of an option that the model lacks; 401, 422 and 429 are no such thing.
_REFUSING = frozenset({400, 403, 404, 405})
_MISSING_ENDPOINT = frozenset({None, "not_found", "unknown_url", "invalid_url", "model_not_found"})


def expect(holds: bool, expected: str, seen: object) -> None:
    """Fail unless it holds."""
    if not holds:
        raise Failed(expected, seen)


def exact[Model: BaseModel](model: type[Model], value: object, seen: object) -> Model:
    """The value as the exact model of the contract."""
    try:
        return model.model_validate(value, strict=True)
    except ValidationError as error:
        raise Failed(f"a valid {model.__name__}", f"{_problems(error)} in {seen}") from None


def _problems(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    shown = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in found[:_SHOWN_PROBLEMS]]
    return "; ".join([*shown, *(["..."] if len(found) > _SHOWN_PROBLEMS else [])])


def answered(reply: Reply) -> object:
    """The JSON of a reply that must be a success."""
    expect(reply.status == 200, "status 200", reply)
    return reply.value()


def granted(reply: Reply, *fields: str, endpoint: bool = False) -> object:
    """The JSON of a success. A clean refusal of one of the fields, or of the whole endpoint, skips the check."""
    grant(reply, *fields, endpoint=endpoint)
    return reply.value()


def grant(reply: Reply, *fields: str, endpoint: bool = False) -> Reply:
    """The reply itself, if it is a success, as `granted` has it."""
    if reply.status == 200:
        return reply
    refusal = _clean(reply)
    if refusal is not None and (_unsupported(refusal, fields) or (endpoint and _no_endpoint(reply, refusal))):
        raise Skipped(f"refused with {reply.status} {refusal.code or refusal.type}: {refusal.message}")
    raise Failed("status 200, or a clean refusal: 400 to 405, OpenAI's envelope, a code that says unsupported", reply)


def _clean(reply: Reply) -> models.Error | None:
    if reply.status not in _REFUSING or reply.media_type != "application/json":
        return None
    try:
        return models.ErrorResponse.model_validate(reply.value(), strict=True).error
    except (ValidationError, Failed):
        return None


def _unsupported(refusal: models.Error, fields: Collection[str]) -> bool:
    if refusal.code and re.search(r"unsupported|not_supported", refusal.code):
        return True
    named = re.split(r"[.\[]", refusal.param or "")[0]
    return refusal.code in {None, "invalid_value"} and named in fields


def _no_endpoint(reply: Reply, refusal: models.Error) -> bool:
    return reply.status in {404, 405} and refusal.code in _MISSING_ENDPOINT


def refused(reply: Reply, *statuses: int, param: str = "", coded: str = "") -> models.Error:
    """A refusal with one of the statuses, in OpenAI's envelope, that blames what it should."""
    expect(reply.status in statuses, f"status {' or '.join(map(str, statuses))}", reply)
    expect(reply.media_type == "application/json", "an error as application/json", reply)
    error = exact(models.ErrorResponse, reply.value(), reply).error
    expect(bool(error.message.strip()), "a message", reply)
    blamed = error.param or ""
    expect(not param or blamed == param or blamed.startswith((f"{param}.", f"{param}[")), f"param {param!r}", reply)
    expect(not coded or error.code == coded, f"code {coded!r}", reply)
    return error


def said(value: object) -> str:
    """The text of a chat reply's first choice."""
    return words(value, "choices", 0, "message", "content") if isinstance(value, dict) else ""

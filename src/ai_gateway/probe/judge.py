"""Assertions shared by many checks: exact by the contract, supported or cleanly rejected, rejected as required."""

import re
from collections.abc import Collection

from pydantic import BaseModel, ValidationError

from ai_gateway.probe.reply import Reply, string
from ai_gateway.probe.verdict import Failed, Skipped
from gateway_contract.openai import models

_SHOWN_PROBLEMS = 6
# Statuses that can mean that an option is not supported; 401, 422 and 429 cannot.
_UNSUPPORTED = frozenset({400, 403, 404, 405})
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
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    shown = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in problems[:_SHOWN_PROBLEMS]]
    return "; ".join([*shown, *(["..."] if len(problems) > _SHOWN_PROBLEMS else [])])


def success_json(reply: Reply) -> object:
    """The JSON of a response that must be a success."""
    expect(reply.status == 200, "status 200", reply)
    return reply.value()


def supported_json(reply: Reply, *fields: str, endpoint: bool = False) -> object:
    """The JSON of a success. A clean rejection of one of the fields, or of the whole endpoint, skips the check."""
    supported(reply, *fields, endpoint=endpoint)
    return reply.value()


def supported(reply: Reply, *fields: str, endpoint: bool = False) -> Reply:
    """The same, but the response itself."""
    if reply.status == 200:
        return reply
    error = _openai_error(reply)
    if error is not None and (_is_unsupported(error, fields) or (endpoint and _no_endpoint(reply, error))):
        raise Skipped(f"refused with {reply.status} {error.code or error.type}: {error.message}")
    raise Failed("status 200, or a clean refusal: 400 to 405, OpenAI's envelope, a code that says unsupported", reply)


def _openai_error(reply: Reply) -> models.Error | None:
    if reply.status not in _UNSUPPORTED or reply.media_type != "application/json":
        return None
    try:
        return models.ErrorResponse.model_validate(reply.value(), strict=True).error
    except (ValidationError, Failed):
        return None


def _is_unsupported(error: models.Error, fields: Collection[str]) -> bool:
    if error.code and re.search(r"unsupported|not_supported", error.code):
        return True
    field = re.split(r"[.\[]", error.param or "")[0]
    return error.code in {None, "invalid_value"} and field in fields


def _no_endpoint(reply: Reply, error: models.Error) -> bool:
    return reply.status in {404, 405} and error.code in _MISSING_ENDPOINT


def rejected(reply: Reply, *statuses: int, param: str = "", error_code: str = "") -> models.Error:
    """An error with one of the statuses, in OpenAI's envelope, with the expected `param` and code."""
    expect(reply.status in statuses, f"status {' or '.join(map(str, statuses))}", reply)
    expect(reply.media_type == "application/json", "an error as application/json", reply)
    error = exact(models.ErrorResponse, reply.value(), reply).error
    expect(bool(error.message.strip()), "a message", reply)
    actual = error.param or ""
    expect(not param or actual == param or actual.startswith((f"{param}.", f"{param}[")), f"param {param!r}", reply)
    expect(not error_code or error.code == error_code, f"code {error_code!r}", reply)
    return error


def answer_text(value: object) -> str:
    """The text of the first choice of a chat response."""
    return string(value, "choices", 0, "message", "content") if isinstance(value, dict) else ""

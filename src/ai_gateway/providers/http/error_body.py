"""Error bodies of upstreams in all known formats, read without keys, for callers and for the log."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic_core import to_json

from ai_gateway.contract.lenient_json import read_leniently, whole_text, whole_texts
from ai_gateway.redaction import redact, redact_all

# Fields with the message; the first one present is used.
_MESSAGES = (
    "message",
    "detail",  # FastAPI
    "error_description",  # RFC 6749, section 5.2
    "error_msg",  # Baidu: cloud.baidu.com "Error codes"
    "status_msg",  # MiniMax, in `base_resp`: platform.minimax.io "Error codes"
    "msg",  # docs.z.ai, older SiliconFlow
)
_CODES = ("code", "error_code", "status_code")
# An object without choices and with a message is an error if it also has any of these.
_SIGNS = frozenset({"code", "error_code", "status_code", "status", "type"})
_NO_ERROR_CODES = frozenset({"0", "200", "ok", "success", "succeeded"})
_FAILURE = re.compile(r"err|fail|invalid|denied|exceed", re.IGNORECASE)
_USUAL_FIELDS = frozenset({*_MESSAGES, *_CODES, "type", "param", "error", "object", "status"})
_HARMLESS = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_LONGEST_MESSAGE = 2_000
_LONGEST_NAME = 200
_LONGEST_EXTRAS = 16_000
_LONGEST_WORDS = 2_000


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """An upstream's error.

    `extras` are fields beside the usual ones, such as Groq's `failed_generation` (console.groq.com "Tool use") or
    OpenRouter's `metadata` (openrouter.ai "Errors"). `words` is the whole body, for the log.
    """

    message: str | None = None
    type: str | None = None
    code: str | None = None
    param: str | None = None
    extras: Mapping[str, object] = field(default_factory=dict)
    words: str = ""


def parse_error_body(body: bytes) -> ErrorBody:
    """Reads nested (`{"error": {...}}`), flat, string and FastAPI formats; other bodies are only for the log."""
    try:
        value = read_leniently(body, set())
    except ValueError:
        words = _words(body.decode(errors="replace"))
        # Plain text is the upstream's own message; an HTML page mostly comes from a proxy in between.
        return ErrorBody(message=None if body.lstrip()[:1] in b"<" else words or None, words=words)
    return error_body_of(value)


def error_body_of(value: object) -> ErrorBody:
    """The same for a JSON value."""
    value = whole_texts(value, set())
    if (failed := _failed_choice(value)) is not None:
        value = {"error": failed}  # without the answer so far
    found = _read(value)
    return ErrorBody(
        message=_cut(found.message, _LONGEST_MESSAGE),
        type=_cut(found.type, _LONGEST_NAME),
        code=_cut(found.code, _LONGEST_NAME),
        param=_cut(found.param, _LONGEST_NAME),
        extras=found.extras,
        words=_words(to_json(value, inf_nan_mode="null").decode()),
    )


def is_error(value: object) -> bool:
    """Whether a JSON value of a response with status 200 is an error."""
    # Gemini's errors come in a list: github.com/bytedance/deer-flow/issues/1515.
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, dict):
        return False
    if (isinstance(value.get("error"), dict | str) and bool(value["error"])) or value.get("object") == "error":
        return True
    if value.get("choices") or value.get("data"):
        return _failed_choice(value) is not None
    if value.keys() <= {"detail"} or (value.get("errors") and value.keys() <= {"errors", "success", "result"}):
        return bool(value)  # the only field of some frameworks' errors
    inner = _inner(value)
    has_words = any(isinstance(inner.get(name), str) and inner[name] for name in _MESSAGES)
    return has_words and any(_is_bad(name, inner[name]) for name in inner.keys() & _SIGNS)


def _failed_choice(value: object) -> object:
    """What a choice says of its failure, as OpenRouter tells of one behind it (openrouter.ai "Errors"); else None."""
    choices = value.get("choices") if isinstance(value, dict) and not value.get("error") else None
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and isinstance(choice.get("error"), dict | str) and choice["error"]:
            return choice["error"]
    return None


def _is_bad(name: str, value: object) -> bool:
    """Whether a code, status or type can only be that of an error."""
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        return False
    if name in _CODES:
        return str(value).lower() not in _NO_ERROR_CODES
    if isinstance(value, int):
        return 400 <= value < 600
    return bool(_FAILURE.search(value))


def _inner(value: Mapping[str, object]) -> Mapping[str, object]:
    """The object with the message."""
    for name in ("error", "base_resp", "errors"):
        inner = value.get(name)
        if isinstance(inner, list) and inner:
            inner = inner[0]
        if isinstance(inner, dict):
            return inner
    return value


def _read(value: object) -> ErrorBody:
    if isinstance(value, list) and value:  # as Gemini does
        value = value[0]
    if not isinstance(value, dict):
        return ErrorBody(message=_text(value))
    reported = value.get("error", value.get("detail"))
    if isinstance(reported, str) and not isinstance(value.get("message"), str):
        return ErrorBody(message=reported or None, code=_code(value))
    if isinstance(reported, list) and reported and isinstance(reported[0], dict):
        where = [str(step) for step in reported[0].get("loc", []) if step != "body"]
        return ErrorBody(message=_text(reported[0].get("msg")), param=".".join(where) or None)
    errors = value.get("errors")
    if isinstance(errors, list) and errors and isinstance(errors[0], str):
        return ErrorBody(message=_text(errors[0]))
    inner = reported if isinstance(reported, dict) else _inner(value)
    for nested in (inner.get("error"), inner.get("message")):
        if isinstance(nested, dict):
            return _read({"error": nested} if nested is inner.get("error") else nested)
    return ErrorBody(
        message=next(filter(None, (_text(inner.get(name)) for name in _MESSAGES)), None),
        type=_text(inner.get("type")),
        code=_code(inner),
        param=_text(inner.get("param")),
        extras=_extras(inner) if inner is not value else {},
    )


def _extras(inner: Mapping[str, object]) -> dict[str, object]:
    """The fields beside the usual ones, bounded."""
    more = {name: each for name, each in inner.items() if name not in _USUAL_FIELDS and each not in (None, "", [], {})}
    kept = {name: each for name, each in more.items() if _HARMLESS.fullmatch(name)}
    if len(to_json(kept, inf_nan_mode="null")) > _LONGEST_EXTRAS:
        return {}
    return {redact(name): redact_all(each) for name, each in kept.items()}


def _code(inner: Mapping[str, object]) -> str | None:
    return _name(next((inner[name] for name in _CODES if inner.get(name) is not None), None))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _name(value: object) -> str | None:
    """A code or type; some upstreams send a number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value)


def _cut(text: str | None, longest: int) -> str | None:
    """Truncated text without keys; they are redacted first, since truncation could leave a part of one."""
    return redact(text[: longest + _LONGEST_NAME])[:longest] if text else None


def _words(text: str) -> str:
    return redact(whole_text(" ".join(text[: 2 * _LONGEST_WORDS].split()), set()))[:_LONGEST_WORDS]

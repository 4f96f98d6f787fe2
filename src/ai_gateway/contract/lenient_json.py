"""JSON as upstreams send it: what no strict parser takes is read all the same, and what was mended is named."""

import json
from codecs import BOM_UTF8
from math import isfinite

from ai_gateway.contract.strict_json import read_json

# What OpenAI's API gives for a token that is too unlikely to have a finite log probability: platform.openai.com,
# `top_logprobs` of "Create chat completion".
_UNLIKELY = -9999.0
_PROBABILITIES = frozenset({"logprob", "token_logprobs", "top_logprobs"})
_DEEPEST = 201  # as strict parsers have it
NUMBER, TEXT = "number", "text"


def read_leniently(raw: bytes, mended: set[str]) -> object:
    """The value in `raw`; NUMBER and TEXT are added to `mended` if there were such as JSON does not have.

    Halves of surrogate pairs are left in the texts: see `whole_texts`. Raises ValueError without quoting the input.
    """
    raw = raw.removeprefix(BOM_UTF8)
    try:
        return read_json(raw)
    except ValueError:
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            mended.add(TEXT)
            text = raw.decode(errors="replace")
        try:
            return _finite(json.loads(text, strict=False), "", mended, _DEEPEST)
        except (ValueError, RecursionError) as error:
            place = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
            raise ValueError(f"no JSON{place}") from None


def _finite(value: object, key: str, mended: set[str], levels: int) -> object:
    """The value with each number that is none replaced. Raises ValueError for more levels."""
    if not levels:
        raise ValueError("too deep")
    if isinstance(value, float) and not isfinite(value):
        mended.add(NUMBER)
        return _UNLIKELY if key in _PROBABILITIES and value < 0 else None
    if isinstance(value, dict):
        inner = key if key in _PROBABILITIES else ""  # legacy completions have the probabilities under the tokens
        return {name: _finite(each, inner or name, mended, levels - 1) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each, key, mended, levels - 1) for each in value]
    return value


def whole_texts(value: object, mended: set[str]) -> object:
    """The value with U+FFFD for each half of a surrogate pair that has no other half beside it."""
    if isinstance(value, str):
        return whole_text(value, mended)
    if isinstance(value, dict):
        return {whole_text(name, mended): whole_texts(each, mended) for name, each in value.items()}
    return [whole_texts(each, mended) for each in value] if isinstance(value, list) else value


def whole_text(text: str, mended: set[str]) -> str:
    """The same of one text."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        mended.add(TEXT)
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def is_high_half(character: str) -> bool:
    """Whether it is the first half of a surrogate pair."""
    return "\ud800" <= character <= "\udbff"

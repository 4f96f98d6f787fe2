"""JSON as upstreams send it: read where strict parsers fail, with the repairs named."""

import json
from codecs import BOM_UTF8
from math import isfinite

from ai_gateway.contract.strict_json import read_json

# OpenAI's value for a token without a finite log probability: platform.openai.com, `top_logprobs` of "Create chat
# completion".
_UNLIKELY = -9999.0
_PROBABILITIES = frozenset({"logprob", "token_logprobs", "top_logprobs"})
_MAX_DEPTH = 201  # levels of nesting, the limit of `read_json`
NUMBER, TEXT = "number", "text"


def read_leniently(raw: bytes, repairs: set[str]) -> object:
    """The value in `raw`; NUMBER or TEXT is added to `repairs` if numbers or strings were repaired.

    Lone surrogates stay in the strings: see `whole_texts`. Raises ValueError without quoting the input.
    """
    raw = raw.removeprefix(BOM_UTF8)
    try:
        return read_json(raw)
    except ValueError:
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            repairs.add(TEXT)
            text = raw.decode(errors="replace")
        try:
            return _finite(json.loads(text, strict=False), "", repairs, _MAX_DEPTH)
        except (ValueError, RecursionError) as error:
            place = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
            raise ValueError(f"no JSON{place}") from None


def _finite(value: object, key: str, repairs: set[str], levels: int) -> object:
    """The value with NaN and infinities replaced. Raises ValueError for too many levels."""
    if not levels:
        raise ValueError("too deep")
    if isinstance(value, float) and not isfinite(value):
        repairs.add(NUMBER)
        return _UNLIKELY if key in _PROBABILITIES and value < 0 else None
    if isinstance(value, dict):
        inner = key if key in _PROBABILITIES else ""  # legacy completions have the probabilities under the tokens
        return {name: _finite(each, inner or name, repairs, levels - 1) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each, key, repairs, levels - 1) for each in value]
    return value


def whole_texts(value: object, repairs: set[str]) -> object:
    """The value with U+FFFD for each lone surrogate."""
    if isinstance(value, str):
        return whole_text(value, repairs)
    if isinstance(value, dict):
        return {whole_text(name, repairs): whole_texts(each, repairs) for name, each in value.items()}
    return [whole_texts(each, repairs) for each in value] if isinstance(value, list) else value


def whole_text(text: str, repairs: set[str]) -> str:
    """The same for one string."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        repairs.add(TEXT)
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def is_high_half(character: str) -> bool:
    """Whether it is a high surrogate."""
    return "\ud800" <= character <= "\udbff"

"""What a reply took that is refused, and so not delivered: it is paid for all the same.

A reply of any wire may come from any upstream, so its usage is read in every form there is.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pydantic import ValidationError

from ai_gateway.conform.relayed_tokens import count_of, message_tokens, response_tokens
from ai_gateway.conform.usage import ImpossibleCount, tokens_of
from ai_gateway.contract.call import Notes
from ai_gateway.contract.lenient_json import read_leniently
from ai_gateway.contract.tokens import Tokens
from ai_gateway.errors import UpstreamInvalidResponse
from gateway_contract.openai import models


@contextmanager
def counting_refused(notes: Notes, raw: bytes) -> Iterator[None]:
    """Note what this reply took, if the block refuses it."""
    try:
        yield
    except UpstreamInvalidResponse:
        with suppress(ValueError):
            note_refused(notes, read_leniently(raw, set()))
        raise


def note_refused(notes: Notes, value: object) -> None:
    """Note what this reply took, unless that is known."""
    if notes.tokens is None:
        notes.tokens = tokens_in(value)


def tokens_in(value: object) -> Tokens | None:
    """The tokens that the JSON of a reply counts; None if it counts none, or what is impossible."""
    if not isinstance(value, dict):
        return None
    usage = value.get("usage")
    if not isinstance(usage, dict):
        return _of_ollama(value)
    if "prompt_tokens" in usage:
        with suppress(ValidationError, ImpossibleCount):  # those of embeddings have no completion, some have no total
            counts = {"completion_tokens": 0, "total_tokens": 0, **usage}
            return tokens_of(models.CompletionUsage.model_validate(counts, strict=True))
        return None
    return response_tokens(usage) if value.get("object") == "response" else message_tokens(usage)


def _of_ollama(reply: dict[str, object]) -> Tokens | None:
    """Ollama's counts, which are fields of the reply itself."""
    tokens = Tokens(count_of(reply.get("prompt_eval_count")), count_of(reply.get("eval_count")))
    return tokens if any(tokens) else None

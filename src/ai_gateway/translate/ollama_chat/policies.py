"""The policy for every field of Ollama's requests, for providers that are not Ollama servers.

As for providers: *mapped* to OpenAI's format, *dropped* and named in the response, or *refused* because leaving the
field out would change the answer's meaning. Options have policies of their own: OPTIONS are mapped, all others dropped.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from pydantic import BaseModel

from ai_gateway.errors import UnsupportedParameter
from gateway_contract.ollama.models import OllamaModelOptions
from gateway_contract.ollama.parameters import OPERATION_OF, Policies, by_field

POLICIES: Final[Policies] = {
    "ollamaGenerate": {
        "prompt": "mapped",
        "suffix": "mapped",
        "images": "mapped",
        "format": "mapped",
        "system": "mapped",
        "stream": "mapped",
        "think": "mapped",
        "raw": "mapped",
        "keep_alive": "dropped",
        "options": "mapped",
        "logprobs": "mapped",
        "top_logprobs": "mapped",
        "model": "mapped",
        "truncate": "dropped",
        "shift": "dropped",
        "template": "refused",
        "context": "refused",
    },
    "ollamaChat": {
        "messages": "mapped",
        "tools": "mapped",
        "format": "mapped",
        "options": "mapped",
        "stream": "mapped",
        "think": "mapped",
        "keep_alive": "dropped",
        "logprobs": "mapped",
        "top_logprobs": "mapped",
        "model": "mapped",
        "truncate": "dropped",
        "shift": "dropped",
    },
    "ollamaEmbed": {
        "input": "mapped",
        "truncate": "dropped",
        "dimensions": "mapped",
        "options": "dropped",
        "model": "mapped",
        "keep_alive": "dropped",
    },
    "ollamaShow": {"verbose": "dropped", "model": "mapped", "name": "mapped"},
    "ollamaEmbeddings": {"prompt": "mapped", "keep_alive": "dropped", "options": "dropped", "model": "mapped"},
}
OPTIONS: Final[Mapping[str, str]] = {
    "temperature": "temperature",
    "top_p": "top_p",
    "seed": "seed",
    "stop": "stop",
    "num_predict": "max_tokens",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}
"""Ollama's options by OpenAI's name."""

OLLAMA_NAMES: Final[Mapping[str, str]] = {
    **{field: f"options.{option}" for option, field in OPTIONS.items()},
    "response_format": "format",
    "reasoning_effort": "think",
}
"""OpenAI's fields by the name in the caller's request, where it differs."""

ADDED_FIELDS: Final = frozenset({"stream_options"})
"""OpenAI's fields that the gateway adds and no caller of Ollama's API has sent."""

METRIC_LABELS: Final = frozenset(
    [*(field for policies in by_field(POLICIES).values() for field in policies),
     *(f"options.{option}" for option in OllamaModelOptions.model_fields)]
)  # fmt: skip
"""The contract's names, each a metric label of its own; all others are chosen by callers, and share one."""

_EMPTY: tuple[object, ...] = (None, "", [], {})
# Ollama's own command line sends these as false with every request.
_OFF = frozenset({"verbose", "_debug_render_only"})


def apply_policies(body: BaseModel) -> list[str]:
    """The names of the dropped fields, unknown ones included. Raises UnsupportedParameter for a refused one.

    Null and empty values count as absent: official clients send such fields with every request.
    """
    policies = by_field(POLICIES)[OPERATION_OF[type(body)]]
    sent = {field: getattr(body, field) for field in policies if _is_set(field, getattr(body, field))}
    for field in sorted(sent):
        if policies[field] == "refused":
            raise UnsupportedParameter(
                f"'{field}' means something to Ollama only, and another provider answers this model: leave it out.",
                param=field,
            )
    dropped = [field for field in sent if policies[field] == "dropped" and field != "options"]
    options: OllamaModelOptions | None = sent.get("options")
    if options is not None:
        dropped += _options(options, mapped=policies["options"] == "mapped")
    return [*dropped, *unknown_fields(body)]


def unknown_fields(body: BaseModel) -> list[str]:
    """The fields outside the contract that are set."""
    return [name for name, value in (body.model_extra or {}).items() if _is_set(name, value)]


def _is_set(name: str, value: object) -> bool:
    return value not in _EMPTY and not (name in _OFF and value is False)


def _options(options: OllamaModelOptions, *, mapped: bool) -> Iterator[str]:
    for name, value in options:
        if value is not None and not (mapped and name in OPTIONS):
            yield f"options.{name}"

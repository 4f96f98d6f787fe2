"""What becomes of every field of a request on Ollama's wire where something other than Ollama answers.

As with providers: *mapped* to what OpenAI's wire says, *dropped* and named in the reply, or *refused* because leaving
it out would change the answer's meaning. Options are looked at one by one: OPTIONS are mapped, all others dropped.
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
"""What an option is called on OpenAI's wire."""

IN_OLLAMAS_WORDS: Final[Mapping[str, str]] = {
    **{field: f"options.{option}" for option, field in OPTIONS.items()},
    "response_format": "format",
    "reasoning_effort": "think",
}
"""What a field on OpenAI's wire was called in the caller's request, where that is something else."""

OUR_OWN: Final = frozenset({"stream_options"})
"""Fields of OpenAI's wire that no caller on Ollama's wire has sent."""

COUNTED: Final = frozenset(
    [*(field for policies in by_field(POLICIES).values() for field in policies),
     *(f"options.{option}" for option in OllamaModelOptions.model_fields)]
)  # fmt: skip
"""The names that the contract knows: callers choose all others, so those are counted as one."""

_NOTHING: tuple[object, ...] = (None, "", [], {})
# The official command line says with every request that it wants neither more than usual nor to debug the server.
_OFF = frozenset({"verbose", "_debug_render_only"})


def settle(body: BaseModel) -> list[str]:
    """The names of what is dropped, unknown fields among them. Raises UnsupportedParameter for what is refused.

    Null, and what is empty, asks for nothing: official clients send such fields with every request.
    """
    policies = by_field(POLICIES)[OPERATION_OF[type(body)]]
    said = {field: getattr(body, field) for field in policies if _asks(field, getattr(body, field))}
    for field in sorted(said):
        if policies[field] == "refused":
            raise UnsupportedParameter(
                f"'{field}' means something to Ollama only, and another provider answers this model: leave it out.",
                param=field,
            )
    dropped = [field for field in said if policies[field] == "dropped" and field != "options"]
    options: OllamaModelOptions | None = said.get("options")
    if options is not None:
        dropped += _options(options, mapped=policies["options"] == "mapped")
    return [*dropped, *unknown(body)]


def unknown(body: BaseModel) -> list[str]:
    """The fields that the contract does not name, if they ask for anything."""
    return [name for name, value in (body.model_extra or {}).items() if _asks(name, value)]


def _asks(name: str, value: object) -> bool:
    return value not in _NOTHING and not (name in _OFF and value is False)


def _options(options: OllamaModelOptions, *, mapped: bool) -> Iterator[str]:
    for name, value in options:
        if value is not None and not (mapped and name in OPTIONS):
            yield f"options.{name}"

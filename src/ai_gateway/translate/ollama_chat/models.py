"""Models as Ollama lists and shows them: names with tags, digests, and what is known of each.

Nothing is made up. What no provider says is empty, 0 or absent; a digest is made from the model's id, because clients
take models of one digest for one model. What providers do say stands in fields outside the contract, each under names
of its own.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final

from pydantic import ValidationError

from ai_gateway.translate.ollama_chat.timings import timestamp
from gateway_contract.ollama import models as ollama
from gateway_contract.openai.models import Model

LATEST: Final = ":latest"
_CONTEXT = ("context_length", "context_window", "max_model_len", "max_context_length")
_CAPABILITIES: Final[Mapping[str, str]] = {
    "completion_chat": "completion",
    "function_calling": "tools",
    "vision": "vision",
    "completion_fim": "insert",
}
"""What flags of other wires are called here."""


def tagged(ident: str) -> str:
    """The name under which a model is listed: with a tag, as every name of Ollama's."""
    return ident if ":" in ident.rpartition("/")[2] else ident + LATEST


def digest(ident: str) -> str:
    """64 hexadecimal digits that are this model's alone."""
    return hashlib.sha256(ident.encode("utf-8", "surrogatepass")).hexdigest()


def summaries(models: Iterable[Model]) -> list[ollama.OllamaModelSummary]:
    """Each name once: a model that is really called `m:latest` is what that name leads to, and not `m`."""
    found: dict[str, Model] = {}
    for model in models:
        name = tagged(model.id)
        if name not in found or model.id == name:
            found[name] = model
    return [summary(model) for model in found.values()]


def summary(model: Model) -> ollama.OllamaModelSummary:
    """A model in the list."""
    return ollama.OllamaModelSummary(
        name=tagged(model.id),
        model=tagged(model.id),
        modified_at=_modified_at(model),
        size=_whole_number(model, ("size",)) or 0,
        digest=digest(model.id),
        details=_details(model),
        capabilities=capabilities(model),
    )


def shown(model: Model) -> ollama.OllamaShowResponse:
    """A model by itself."""
    details = _details(model)
    family = details.family or "unknown"
    info: dict[str, str | int] = {"general.architecture": family, "general.basename": model.id}
    if context := _whole_number(model, _CONTEXT):
        info[f"{family}.context_length"] = context
    found = ollama.OllamaShowResponse(
        details=details, modified_at=_modified_at(model), capabilities=capabilities(model), model_info=info
    )
    told = (model.model_extra or {}).get("shown")
    return _with(found, told) if isinstance(told, dict) else found


def _with(found: ollama.OllamaShowResponse, told: Mapping[str, object]) -> ollama.OllamaShowResponse:
    """What a server of this very wire says counts for more than what was made of it, field by field."""
    ours = found.model_dump(exclude_unset=True)
    said = {name: value for name, value in told.items() if value is not None}
    if isinstance(details := said.get("details"), dict):
        said["details"] = {**ours["details"], **details}
    try:
        return ollama.OllamaShowResponse.model_validate({**ours, **said})
    except ValidationError as error:
        odd = {spot["loc"][0] for spot in error.errors(include_url=False, include_input=False)}
        kept = {name: value for name, value in said.items() if name not in odd}
        return ollama.OllamaShowResponse.model_validate({**ours, **kept})


def capabilities(model: Model) -> list[str]:
    """What the model can do: what its provider says, else what any chat model is asked for."""
    facts = model.model_extra or {}
    given = facts.get("capabilities")
    if isinstance(given, list) and given and all(isinstance(word, str) for word in given):
        return [str(word) for word in given]
    if isinstance(given, dict):
        return [word for flag, word in _CAPABILITIES.items() if given.get(flag) is True] or ["completion"]
    if "embed" in model.id.lower():
        return ["embedding"]
    return _by_parameters(facts)


def _by_parameters(facts: Mapping[str, object]) -> list[str]:
    """What the parameters that a model takes, and the kinds of input, say of it."""
    parameters, inputs = facts.get("supported_parameters"), facts.get("architecture")
    found = ["completion"]
    if not isinstance(parameters, list) or "tools" in parameters:
        found.append("tools")
    if isinstance(parameters, list) and "reasoning" in parameters:
        found.append("thinking")
    kinds = inputs.get("input_modalities") if isinstance(inputs, dict) else None
    if isinstance(kinds, list) and "image" in kinds:
        found.append("vision")
    return found


def _details(model: Model) -> ollama.OllamaModelSummaryDetails:
    given = (model.model_extra or {}).get("details")
    facts = given if isinstance(given, dict) else {}
    family = _text(facts, "family") or _text(model.model_extra or {}, "model_family")
    return ollama.OllamaModelSummaryDetails(
        parent_model=_text(facts, "parent_model"),
        format=_text(facts, "format"),
        family=family,
        families=[family] if family else None,
        parameter_size=_text(facts, "parameter_size"),
        quantization_level=_text(facts, "quantization_level"),
    )


def _modified_at(model: Model) -> str:
    """When the model was made; the beginning of time for one whose time no calendar has."""
    try:
        return timestamp(model.created * 1_000_000_000)
    except (OverflowError, OSError, ValueError):
        return timestamp(0)


def _text(facts: Mapping[str, object], name: str) -> str:
    value = facts.get(name)
    return value if isinstance(value, str) else ""


def _whole_number(model: Model, names: Iterable[str]) -> int | None:
    """The first of the fields that holds a number above 0."""
    for name in names:
        value = (model.model_extra or {}).get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None

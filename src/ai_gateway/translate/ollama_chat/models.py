"""Models in Ollama's format: names with tags, digests, and the known details.

Nothing is invented. Unknown values are empty, 0 or absent; a digest is derived from the model's id, because clients
treat models with the same digest as one. Details that providers report are in fields outside OpenAI's contract, under
different names at each.
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
"""Capability flags of other providers, and Ollama's names for them."""


def tagged(model_id: str) -> str:
    """The listed name of a model, with a tag: ollama's docs/api.md, "Model names"."""
    return model_id if ":" in model_id.rpartition("/")[2] else model_id + LATEST


def digest(model_id: str) -> str:
    """64 hexadecimal digits, unique to the model."""
    return hashlib.sha256(model_id.encode("utf-8", "surrogatepass")).hexdigest()


def summaries(models: Iterable[Model]) -> list[ollama.OllamaModelSummary]:
    """Each name once: `m:latest` is the model with exactly that id, if there is one, and otherwise `m`."""
    by_name: dict[str, Model] = {}
    for model in models:
        name = tagged(model.id)
        if name not in by_name or model.id == name:
            by_name[name] = model
    return [summary(model) for model in by_name.values()]


def summary(model: Model) -> ollama.OllamaModelSummary:
    """A model as the list shows it."""
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
    """A model as `/api/show` shows it."""
    details = _details(model)
    family = details.family or "unknown"
    info: dict[str, str | int] = {"general.architecture": family, "general.basename": model.id}
    if context := _whole_number(model, _CONTEXT):
        info[f"{family}.context_length"] = context
    response = ollama.OllamaShowResponse(
        details=details, modified_at=_modified_at(model), capabilities=capabilities(model), model_info=info
    )
    reported = (model.model_extra or {}).get("shown")
    return _merged(response, reported) if isinstance(reported, dict) else response


def _merged(response: ollama.OllamaShowResponse, reported: Mapping[str, object]) -> ollama.OllamaShowResponse:
    """The fields that an Ollama server reported take precedence over derived ones, except invalid ones."""
    derived = response.model_dump(exclude_unset=True)
    fields = {name: value for name, value in reported.items() if value is not None}
    if isinstance(details := fields.get("details"), dict):
        fields["details"] = {**derived["details"], **details}
    try:
        return ollama.OllamaShowResponse.model_validate({**derived, **fields})
    except ValidationError as error:
        invalid = {problem["loc"][0] for problem in error.errors(include_url=False, include_input=False)}
        valid = {name: value for name, value in fields.items() if name not in invalid}
        return ollama.OllamaShowResponse.model_validate({**derived, **valid})


def capabilities(model: Model) -> list[str]:
    """The capabilities that the provider reports, or else those of any chat model."""
    facts = model.model_extra or {}
    reported = facts.get("capabilities")
    if isinstance(reported, list) and reported and all(isinstance(name, str) for name in reported):
        return [str(name) for name in reported]
    if isinstance(reported, dict):
        return [name for flag, name in _CAPABILITIES.items() if reported.get(flag) is True] or ["completion"]
    if "embed" in model.id.lower():
        return ["embedding"]
    return _by_parameters(facts)


def _by_parameters(facts: Mapping[str, object]) -> list[str]:
    """The capabilities by supported parameters and input modalities, as OpenRouter lists them."""
    parameters, inputs = facts.get("supported_parameters"), facts.get("architecture")
    names = ["completion"]
    if not isinstance(parameters, list) or "tools" in parameters:
        names.append("tools")
    if isinstance(parameters, list) and "reasoning" in parameters:
        names.append("thinking")
    kinds = inputs.get("input_modalities") if isinstance(inputs, dict) else None
    if isinstance(kinds, list) and "image" in kinds:
        names.append("vision")
    return names


def _details(model: Model) -> ollama.OllamaModelSummaryDetails:
    details = (model.model_extra or {}).get("details")
    facts = details if isinstance(details, dict) else {}
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
    """The creation time; 1970 for a time outside the calendar's range."""
    try:
        return timestamp(model.created * 1_000_000_000)
    except (OverflowError, OSError, ValueError):
        return timestamp(0)


def _text(facts: Mapping[str, object], name: str) -> str:
    value = facts.get(name)
    return value if isinstance(value, str) else ""


def _whole_number(model: Model, names: Iterable[str]) -> int | None:
    """The first of the fields with a number above 0."""
    for name in names:
        value = (model.model_extra or {}).get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None

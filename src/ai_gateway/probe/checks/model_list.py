"""The model list, and single models."""

import time
from typing import Final

from ai_gateway.probe.check import Check
from ai_gateway.probe.judge import exact, expect, rejected, success_json
from ai_gateway.probe.probe import MODELS, NO_SUCH_MODEL, Probe
from ai_gateway.probe.reply import count, dig, items, string
from gateway_contract.openai import models

_EARLIEST = 946_684_800  # the year 2000: a smaller number is not a time of a model or a response
_DAY = 86_400


def is_time(value: int) -> bool:
    """Whether the number is a time in seconds: neither zero, nor in milliseconds, nor in the future."""
    return _EARLIEST < value < time.time() + _DAY


async def _list(probe: Probe) -> None:
    reply = await probe.get(MODELS)
    exact(models.ListModelsResponse, success_json(reply), reply)


async def _named(probe: Probe) -> None:
    reply = await probe.get(MODELS)
    names = [string(one, "id") for one in items(success_json(reply), "data")]
    expect(bool(names) and all(names), "at least one model, each with an id", reply)


async def _unique(probe: Probe) -> None:
    reply = await probe.get(MODELS)
    names = [string(one, "id") for one in items(success_json(reply), "data")]
    expect(len(names) == len(set(names)), "each id once", reply)


async def _times(probe: Probe) -> None:
    reply = await probe.get(MODELS)
    times = [count(one, "created") for one in items(success_json(reply), "data")]
    expect(bool(times) and all(map(is_time, times)), "created in seconds since 1970", reply)


async def _retrieve(probe: Probe) -> None:
    reply = await probe.retrieve(probe.model)
    exact(models.Model, success_json(reply), reply)


async def _same(probe: Probe) -> None:
    reply = await probe.retrieve(probe.model)
    expect(dig(success_json(reply), "id") == probe.model, "the requested id", reply)


async def _unknown(probe: Probe) -> None:
    rejected(await probe.retrieve(NO_SUCH_MODEL), 404, error_code="model_not_found")


CHECKS: Final = (
    Check("models-list", "models", "The list of models is exact", "ListModelsResponse", _list),
    Check("models-named", "models", "The list names at least one model", "usable-list", _named),
    Check("models-unique", "models", "No model is listed twice", "usable-list", _unique),
    Check("models-created", "models", "Every model has a creation time", "seconds", _times),
    Check("models-retrieve", "models", "A listed model can be retrieved", "Model", _retrieve),
    Check("models-same-id", "models", "The retrieved model is the requested one", "usable-list", _same),
    Check("models-unknown", "models", "A model that does not exist is not found", "unknown-model", _unknown),
)

"""Structured output: answers that follow a format or a schema."""

import json
from functools import partial
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from ai_gateway.probe.check import Check
from ai_gateway.probe.judge import answer_text, exact, expect, rejected, success_json, supported, supported_json
from ai_gateway.probe.probe import Probe, user
from ai_gateway.probe.verdict import Failed
from gateway_contract.openai import models

_CLOSED = ConfigDict(extra="forbid")
_MESSAGES: Final = [user("Give an example of a city with its river, as JSON.")]


class River(BaseModel):
    """A part of the nested schema."""

    model_config = _CLOSED
    name: str
    size: Literal["small", "large"]


class City(BaseModel):
    """The flat schema."""

    model_config = _CLOSED
    name: str
    population: int


class Country(BaseModel):
    """The nested schema: a list of a referenced definition."""

    model_config = _CLOSED
    name: str
    rivers: list[River]
    capital: City | None


def _format(model: type[BaseModel]) -> dict[str, object]:
    schema = model.model_json_schema()
    return {"type": "json_schema", "json_schema": {"name": model.__name__.lower(), "strict": True, "schema": schema}}


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        raise Failed("content that is JSON", text) from None


async def _object(probe: Probe) -> None:
    reply = await probe.chat(messages=_MESSAGES, response_format={"type": "json_object"})
    value = supported_json(reply, "response_format")
    expect(isinstance(_json(answer_text(value)), dict), "a JSON object", reply)


async def _follows(probe: Probe, model: type[BaseModel]) -> None:
    reply = await probe.chat(messages=_MESSAGES, response_format=_format(model))
    text = answer_text(supported_json(reply, "response_format"))
    exact(model, _json(text), text)


_schema = partial(_follows, model=City)
_nested = partial(_follows, model=Country)


async def _exact(probe: Probe) -> None:
    reply = await probe.chat(messages=_MESSAGES, response_format=_format(City))
    exact(models.CreateChatCompletionResponse, supported_json(reply, "response_format"), reply)


async def _stream(probe: Probe) -> None:
    reply = await probe.chat(messages=_MESSAGES, response_format=_format(City), stream=True)
    text = supported(reply, "response_format").events().text()
    exact(City, _json(text), text)


async def _text(probe: Probe) -> None:
    reply = await probe.chat(response_format={"type": "text"})
    expect(bool(answer_text(success_json(reply))), "text", reply)


async def _nameless(probe: Probe) -> None:
    bad = {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}
    rejected(await probe.chat(response_format=bad), 400, param="response_format")


_GROUP = "structured output"
CHECKS: Final = (
    Check("structured-object", _GROUP, "json_object gives a JSON object", "output-schema", _object),
    Check("structured-schema", _GROUP, "json_schema is followed", "output-schema", _schema),
    Check(
        "structured-nested",
        _GROUP,
        "So is one with references, lists and null",
        "output-schema",
        _nested,
    ),
    Check("structured-reply", _GROUP, "The response is exact", "CreateChatCompletionResponse", _exact),
    Check("structured-stream", _GROUP, "A stream forms valid JSON", "output-schema", _stream),
    Check("structured-text", _GROUP, "text is the format of plain answers", "plain-answer", _text),
    Check("structured-nameless", _GROUP, "A format without a name is rejected", "names-the-param", _nameless),
)

"""OpenAI's requests in Ollama's format: ollama's docs/api.md.

Fields of the contract are mapped as the policies declare. Fields outside the contract have already passed the policy
for unknown fields, so they are forwarded under their own names; where one has the same meaning as a field of the
contract, the contract's takes precedence.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

from pydantic import BaseModel

from ai_gateway.errors import InvalidRequest, UnsupportedValue
from ai_gateway.translate.chat_ollama.forced import ForcedCall, forcing_format
from ai_gateway.translate.chat_ollama.messages import Object, ollama_messages
from ai_gateway.translate.chat_request import chosen_names, drop_unknown_in_objects, drop_unknown_stream_options
from gateway_contract.openai import models

# Ollama has fewer levels of thinking than OpenAI has efforts.
_THINK: Mapping[str, bool | str | None] = {
    "default": None,
    "none": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "max",
    "max": "max",
}
_NO_PARAMETERS: Object = {"type": "object", "properties": {}}


@dataclass(frozen=True, slots=True)
class Translated:
    """A body for Ollama, the paths of dropped fields, and the forced call, if any."""

    body: Object
    dropped: frozenset[str]
    forced: ForcedCall | None = None


def chat_request(body: models.CreateChatCompletionRequest, images: Mapping[str, str]) -> Translated:
    """For `chat`. `images` has the fetched images as base64, by URL."""
    _check_one(body.n, "n")
    if body.modalities and "audio" in body.modalities:
        raise UnsupportedValue("This provider answers in text only: leave 'audio' out.", param="modalities")
    dropped: set[str] = set()
    tools, is_forced = _tools(body)
    forced = ForcedCall([_name(tool) for tool in tools]) if is_forced else None
    mapped: Object = {
        "model": body.model,
        "messages": ollama_messages(body.messages, images, dropped),
        "tools": tools or None,
        "stream": bool(body.stream),
        # A forced call replaces text, so the requested format of the text does not matter.
        "format": forcing_format(tools) if forced else _format(body.response_format, dropped),
        "think": None if body.reasoning_effort is None else _THINK[body.reasoning_effort],
        "logprobs": body.logprobs,
        "top_logprobs": body.top_logprobs,
        "options": _options(body, _limit(max_completion_tokens=body.max_completion_tokens, max_tokens=body.max_tokens)),
    }
    if tools and body.parallel_tool_calls is False and not forced:
        dropped.add("parallel_tool_calls")
    drop_unknown_in_objects(body, dropped)
    return replace(_translated(body, mapped, dropped), forced=forced)


def completion_request(body: models.CreateCompletionRequest) -> Translated:
    """For `generate`: the raw prompt without a template, unless a suffix needs the model's template."""
    _check_one(body.n, "n")
    _check_one(body.best_of or None, "best_of")
    if body.echo:
        raise UnsupportedValue("This provider does not repeat the prompt: leave 'echo' out.", param="echo")
    mapped: Object = {
        "model": body.model,
        "prompt": _prompt(body),
        "suffix": body.suffix or None,
        "raw": None if body.suffix else True,
        "stream": bool(body.stream),
        "logprobs": None if body.logprobs is None else True,
        "top_logprobs": body.logprobs or None,
        "options": _options(body, _limit(max_tokens=body.max_tokens)),
    }
    return _translated(body, mapped, set())


def embed_request(body: models.CreateEmbeddingRequest) -> Translated:
    """For `embed`. Without `truncate: false`, Ollama silently truncates a text that is too long; OpenAI rejects it."""
    texts = body.input
    if not isinstance(texts, str) and not all(isinstance(item, str) for item in texts):
        raise UnsupportedValue("This provider takes texts only, no token ids: send the text.", param="input")
    body_sent: Object = {"model": body.model, "input": texts, "truncate": False}
    if body.dimensions is not None:
        body_sent["dimensions"] = body.dimensions
    return Translated(body_sent, frozenset())


def _translated(
    body: models.CreateChatCompletionRequest | models.CreateCompletionRequest, mapped: Object, dropped: set[str]
) -> Translated:
    """The mapped fields over the unknown ones; `options` are merged, because both may have some."""
    drop_unknown_stream_options(body, dropped)
    extra = {name: value for name, value in (body.model_extra or {}).items() if value is not None}
    options = extra.pop("options", {})
    if not isinstance(options, dict):
        raise InvalidRequest("The options must be an object.", param="options")
    mapped_options = cast("Object", mapped["options"])
    dropped |= {f"options.{name}" for name in options.keys() & mapped_options.keys()}
    mapped["options"] = {**options, **mapped_options} or None
    sent = {name: value for name, value in mapped.items() if value is not None}
    dropped |= extra.keys() & sent.keys()
    return Translated({**extra, **sent}, frozenset(dropped))


def _options(
    body: models.CreateChatCompletionRequest | models.CreateCompletionRequest, num_predict: int | None
) -> Object:
    """Sampling options; one that the request does not set keeps the model's own default."""
    options: Object = {
        "temperature": body.temperature,
        "top_p": body.top_p,
        "seed": body.seed,
        "stop": [body.stop] if isinstance(body.stop, str) else body.stop,
        "num_predict": num_predict,
        "presence_penalty": body.presence_penalty,
        "frequency_penalty": body.frequency_penalty,
    }
    return {name: value for name, value in options.items() if value is not None}


def _limit(**limits: int | None) -> int | None:
    """The lowest limit. To Ollama 0 means no limit, the opposite of OpenAI's meaning, so it is rejected."""
    set_limits = {field: limit for field, limit in limits.items() if limit is not None}
    for field, limit in set_limits.items():
        if limit == 0:
            raise UnsupportedValue("This provider cannot answer in 0 tokens: ask for 1 at least.", param=field)
    return min((limit for limit in set_limits.values() if limit > 0), default=next(iter(set_limits.values()), None))


def _check_one(count: int | None, param: str) -> None:
    if count not in {None, 1}:
        raise UnsupportedValue("This provider gives one answer at a time: send a request for each.", param=param)


def _prompt(body: models.CreateCompletionRequest) -> str:
    prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt or [""]
    if len(prompts) == 1 and isinstance(prompts[0], str):
        return prompts[0]
    if any(isinstance(prompt, str) for prompt in prompts):
        raise UnsupportedValue("This provider takes one prompt at a time: send a request for each.", param="prompt")
    raise UnsupportedValue("This provider takes texts only, no token ids: send the text.", param="prompt")


def _tools(body: models.CreateChatCompletionRequest) -> tuple[list[Object], bool]:
    """The functions to send, which the choice may limit, and whether one of them has to be called."""
    offered = [_function(tool, at) for at, tool in enumerate(body.tools or ())]
    choice = body.tool_choice
    names = chosen_names(choice, [_name(tool) for tool in offered])
    if choice == "none":
        return [], False
    if choice is None or choice == "auto":
        return offered, False
    if names is not None:
        offered = [tool for tool in offered if _name(tool) in names]
    is_free = isinstance(choice, models.ChatCompletionAllowedToolsChoice) and choice.allowed_tools.mode == "auto"
    return offered, not is_free


def _function(tool: BaseModel, at: int) -> Object:
    """The tool unchanged, with its keys in order; missing parameters become an empty schema."""
    if not isinstance(tool, models.ChatCompletionTool):
        raise UnsupportedValue("This provider knows functions only, no custom tools.", param=f"tools[{at}].type")
    sent: Object = tool.model_dump(by_alias=True, exclude_unset=True)
    function = cast("Object", sent["function"])
    if function.get("parameters") is None:
        function["parameters"] = _NO_PARAMETERS
    return sent


def _name(tool: Object) -> str:
    return str(cast("Object", tool["function"])["name"])


def _format(
    wanted: models.ResponseFormatText | models.ResponseFormatJsonSchema | models.ResponseFormatJsonObject | None,
    dropped: set[str],
) -> object:
    """`json` or a schema: ollama's docs/api.md, "Structured outputs". The name of the schema has no effect there."""
    match wanted:
        case models.ResponseFormatJsonObject():
            return "json"
        case models.ResponseFormatJsonSchema(json_schema=named):
            if named.description:
                dropped.add("response_format.json_schema.description")
            return "json" if named.schema_ is None else named.schema_.model_dump(by_alias=True, exclude_unset=True)
        case _:
            return None

"""How many tokens a request can take at the most, known before anybody is asked.

A token of the vocabularies in use stands for at least one byte of UTF-8, so a text has no more tokens than bytes. What
a model is told beside the texts is declared here, as are images and sounds, whose tokens nobody can count in advance.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ai_gateway.accounts.price import MOST_SEARCHES
from ai_gateway.conform.stream import prompt_count
from gateway_contract.openai import models

# Roles, separators and what a chat template puts around a message or a tool.
_PER_MESSAGE = 64
# The instructions that vendors add where there are tools; Anthropic's are the longest known, some 700
# (https://docs.claude.com/en/docs/agents-and-tools/tool-use/overview#pricing, looked up in 2026-11).
_FOR_TOOLS = 2_048
# The most that a vendor counts for one image: gpt-4o-mini's 2,833 and 5,667 for each of 8 tiles, since it scales images
# to 2,048 x 768 at most (https://platform.openai.com/docs/guides/images-vision).
PER_IMAGE = 50_000
# Compressed sound has at least 1,000 bytes a second, and vendors count up to 32 tokens for it.
_SOUND_BYTES_PER_TOKEN = 32
_SEARCHES = ("search", "plugins")  # parts of the names of fields with which other vendors' requests ask for it
# Where a response's or a message's parts stand, which of them are no text, and where such a one has its bytes.
_CONTENTS = ("content", "output", "source", "input_audio")
_MEDIA = ("image", "file", "audio", "document", "base64")
_DATA = ("data", "image_url", "file_data")
_DEFAULT_COMPLETION = 16  # what OpenAI's completions give where `max_tokens` is missing


class Bound(NamedTuple):
    """Tokens of a request. `output` is None where only the model limits it; it counts all choices together.

    `service_tier` is the one that it asks for, `searches` how often the web may be searched for it.
    """

    input: int
    output: int | None
    choices: int = 1
    service_tier: str | None = None
    searches: int = 0


def chat_bound(body: models.CreateChatCompletionRequest, size: int) -> Bound:
    """For a chat, whose body has so many bytes."""
    tokens = size + _PER_MESSAGE * len(body.messages)
    if body.tools or body.functions:
        tokens += _FOR_TOOLS + _PER_MESSAGE * len(body.tools or body.functions or ())
    for message in body.messages:
        content = message.content
        if isinstance(content, list):
            tokens += sum(_beyond_text(content))
    choices = body.n or 1
    each = body.max_completion_tokens or body.max_tokens
    searches = MOST_SEARCHES if body.web_search_options is not None or _asks_to_search(body.model_extra) else 0
    return Bound(tokens, each * choices if each else None, choices, body.service_tier, searches)


def completion_bound(body: models.CreateCompletionRequest, size: int) -> Bound:
    """For a completion, of which the best are chosen among as many as `best_of`."""
    prompts = prompt_count(body)
    choices = prompts * max(body.n or 1, body.best_of or 1)
    each = _DEFAULT_COMPLETION if body.max_tokens is None else body.max_tokens
    return Bound((size + _PER_MESSAGE * prompts) * max(body.n or 1, body.best_of or 1), each * choices, choices)


def embedding_bound(_: models.CreateEmbeddingRequest, size: int) -> Bound:
    """For embeddings, which have no output."""
    return Bound(size + _PER_MESSAGE, 0)


def _asks_to_search(more: Mapping[str, object] | None) -> bool:
    return any(part in name for name in more or () for part in _SEARCHES)


def _beyond_text(parts: Iterable[object]) -> Iterable[int]:
    """For parts that are no text: what they count in place of the bytes that they have."""
    for part in parts:
        if isinstance(part, models.ChatCompletionRequestMessageContentPartImage):
            url = part.image_url.url
            yield PER_IMAGE - (len(url) if url.startswith("data:") else 0)
        elif isinstance(part, models.ChatCompletionRequestMessageContentPartAudio):
            length = len(part.input_audio.data)
            yield length // _SOUND_BYTES_PER_TOKEN - length


def relayed_bound(fields: Mapping[str, object], size: int) -> Bound:
    """For a request of another wire, whose body has so many bytes: a response of OpenAI's, a message of Anthropic's."""
    tokens = size + _FOR_TOOLS
    searches = 0
    pending: list[object] = [fields.get("input"), fields.get("messages"), fields.get("system")]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending.extend(value)
            tokens += _PER_MESSAGE * len(value)
        elif isinstance(value, dict):
            kind = str(value.get("type"))
            pending.extend(value[name] for name in _CONTENTS if name in value)
            if any(part in kind for part in _MEDIA):
                tokens += PER_IMAGE - sum(len(data) for name in _DATA if isinstance(data := value.get(name), str))
    tools = fields.get("tools")
    if isinstance(tools, list):
        tokens += _PER_MESSAGE * len(tools)
        kinds = [str(tool.get("type")) for tool in tools if isinstance(tool, dict)]
        searches = MOST_SEARCHES if any("search" in kind for kind in kinds) else 0
    limits = [fields.get(name) for name in ("max_output_tokens", "max_tokens")]
    output = next((limit for limit in limits if type(limit) is int and limit >= 0), None)
    tier = fields.get("service_tier")
    return Bound(max(tokens, 0), output, service_tier=tier if isinstance(tier, str) else None, searches=searches)

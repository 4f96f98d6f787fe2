"""Upper bounds of the tokens of a request, computed before an upstream is called.

A token of the vocabularies in use stands for at least one byte of UTF-8, so a text has no more tokens than bytes. The
tokens that a model gets beside the texts are constants here, as are those of images and sounds, which cannot be counted
in advance.
"""

from base64 import b64decode
from collections.abc import Mapping
from typing import NamedTuple

from ai_gateway.accounts.price import MAX_SEARCHES
from ai_gateway.conform.stream import prompt_count
from ai_gateway.contract.open_lists import UnknownKinds
from ai_gateway.contract.tokens import quickly
from gateway_contract.openai import models

# Roles, separators and other tokens of a chat template around a message or a tool.
PER_MESSAGE = 64
# The instructions that vendors add for tools; Anthropic's are the longest known, some 700
# (https://docs.claude.com/en/docs/agents-and-tools/tool-use/overview#pricing, looked up in 2026-11).
FOR_TOOLS = 2_048
# The most that a vendor counts for one image: gpt-4o-mini's 2,833 and 5,667 for each of 8 tiles, since it scales images
# to 2,048 x 768 at most (https://platform.openai.com/docs/guides/images-vision).
PER_IMAGE = 50_000
# Compressed sound has at least 1,000 bytes a second, and vendors count up to 32 tokens for it.
_SOUND_BYTES_A_SECOND = 1_000
_SOUND_BYTES_PER_TOKEN = 32
# WAV: the bytes that contain its format, and the formats of uncompressed samples (PCM and floats).
_WAV_HEAD = 36
_SAMPLES = frozenset({1, 3})
_SEARCHES = ("search", "plugins")  # parts of field names by which requests of other vendors enable searches
# Parts of the names of fields beyond the contract that some upstream accepts: for more output, and for input that is
# not in the body, such as stored content.
_OUTPUT = ("tokens", "predict", "budget", "max_length", "max_gen")
_INPUT = ("prompt", "input", "context", "ctx")
_ELSEWHERE = ("cached", "file_id", "files", "previous_", "conversation")
# The fields of a chat, beside its messages, that its bound goes by.
_COUNTED = frozenset(
    {"tools", "functions", "n", "max_completion_tokens", "max_tokens", "web_search_options", "service_tier"}
)
# The parts of messages of all other classes are texts.
_User = models.ChatCompletionRequestUserMessage
_Assistant = models.ChatCompletionRequestAssistantMessage
_CHOICES = frozenset({"best_of", "candidate_count", "candidateCount", "num_return_sequences"})
_MAX_DEPTH = 3


class Bound(NamedTuple):
    """Bounds of a request's tokens. `output` is None if only the model limits it; it is for all choices together.

    `service_tier` is the requested one, `searches` the most web searches. `is_open` says that some input is not in the
    body, or compressed in it: only the model limits its tokens.
    """

    input: int
    output: int | None
    choices: int = 1
    service_tier: str | None = None
    searches: int = 0
    is_open: bool = False


def chat_bound(body: models.CreateChatCompletionRequest, size: int) -> Bound:
    """The bound of a chat with a body of this size."""
    messages = body.messages
    tokens = size + PER_MESSAGE * len(messages)
    is_open = False
    for message in messages:
        # An attribute of messages of any class would take many times as long as one of a known class.
        if type(message) is _User:
            content = message.content
            if type(content) is not str:
                for part in content:
                    beyond = _beyond_text(part)
                    is_open = is_open or beyond is None
                    tokens += beyond or 0
        elif type(message) is _Assistant and message.audio is not None:  # the id of a reply that the upstream has kept
            is_open = True
    if not body.__pydantic_extra__ and _COUNTED.isdisjoint(body.__pydantic_fields_set__):
        return quickly(Bound, (tokens, None, 1, None, 0, is_open))
    return _chat_bound(body, tokens, is_open)


def _chat_bound(body: models.CreateChatCompletionRequest, tokens: int, is_open: bool) -> Bound:
    """By what the body has beside its messages, which have so many tokens."""
    if body.tools or body.functions:
        tokens += FOR_TOOLS + PER_MESSAGE * len(body.tools or body.functions or ())
    choices, output, older = body.n or 1, body.max_completion_tokens, body.max_tokens
    if older is not None or (output is not None and output <= 0):
        output = _limit(output, older)
    searches = 0 if body.web_search_options is None else MAX_SEARCHES
    if body.__pydantic_extra__:
        more = _more(body.__pydantic_extra__)
        choices, is_open = max(choices, more.choices), is_open or more.is_open
        output = output + more.output if output is not None and more.output is not None else None
        searches = max(searches, more.searches)
    output = output * choices if output is not None else None
    # Search results count as input.
    return quickly(Bound, (tokens, output, choices, body.service_tier, searches, is_open or searches > 0))


def completion_bound(body: models.CreateCompletionRequest, size: int) -> Bound:
    """The bound of a completion, whose choices are the best of `best_of`.

    Without `max_tokens`, OpenAI's default is 16, but that of other upstreams is the model's context.
    """
    prompts = prompt_count(body)
    each, output, is_open, searches = max(body.n or 1, body.best_of or 1), body.max_tokens, False, 0
    if body.model_extra:
        more = _more(body.model_extra)
        each, is_open, searches = max(each, more.choices), more.is_open, more.searches
        output = output + more.output if output is not None and more.output is not None else None
    choices = prompts * each
    return Bound(
        (size + PER_MESSAGE * prompts) * each,
        output * choices if output is not None else None,
        choices,
        searches=searches,
        is_open=is_open or searches > 0,
    )


def embedding_bound(_: models.CreateEmbeddingRequest, size: int) -> Bound:
    """The bound of embeddings, which have no output."""
    return Bound(size + PER_MESSAGE, 0)


def whole_bound(bound: Bound, unknown: UnknownKinds | None, input_tokens: int) -> Bound:
    """The bound with unknown content: tools that may be an upstream's own search, and parts of any kind.

    If only the model limits the input, `input_tokens` is its bound.
    """
    if unknown is not None and unknown.tools:
        bound = bound._replace(searches=MAX_SEARCHES, is_open=True)
    elif unknown is not None and unknown.others:
        bound = bound._replace(is_open=True)
    return bound._replace(input=max(bound.input, input_tokens)) if bound.is_open else bound


def _limit(*limits: int | None) -> int | None:
    """The largest limit, since it is unknown which one the upstream reads; None for no limit, also for -1 or 0."""
    stated = [limit for limit in limits if limit is not None]
    return max(stated) if stated and min(stated) > 0 else None


class _More(NamedTuple):
    """The possible effect of fields beyond the contract; None is unlimited output."""

    output: int | None = 0
    choices: int = 1
    searches: int = 0
    is_open: bool = False

    def plus(self, other: "_More") -> "_More":
        output = self.output + other.output if self.output is not None and other.output is not None else None
        choices, searches = max(self.choices, other.choices), max(self.searches, other.searches)
        return _More(output, choices, searches, self.is_open or other.is_open)


def _more(fields: Mapping[str, object], depth: int = 0) -> _More:
    """Judged by field names: an upstream may read such fields instead of the contract's, beside them, or not at all."""
    total = _More()
    for name, value in fields.items():
        if any(part in name for part in _SEARCHES):
            total = total.plus(_More(searches=MAX_SEARCHES))
        if any(part in name for part in _ELSEWHERE):
            total = total.plus(_More(is_open=True))
        if isinstance(value, dict) and depth < _MAX_DEPTH:
            total = total.plus(_more(value, depth + 1))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            total = total.plus(_counted(name, int(value)))
    return total


def _counted(name: str, value: int) -> _More:
    if name in _CHOICES:
        return _More(choices=max(1, value))
    lower = name.lower()
    if any(part in lower for part in _OUTPUT) and not any(part in lower for part in _INPUT):
        return _More(output=value if value >= 0 else None)
    return _More()


def _beyond_text(part: object) -> int | None:
    """The tokens of a part instead of its bytes; None if only the model limits them, 0 for a text."""
    if isinstance(part, models.ChatCompletionRequestMessageContentPartImage):
        url = part.image_url.url
        if not url.startswith("data:"):
            return PER_IMAGE
        return PER_IMAGE - len(url) if url.startswith("data:image/") else None
    if isinstance(part, models.ChatCompletionRequestMessageContentPartAudio):
        data = part.input_audio.data
        return len(data) // _SOUND_BYTES_PER_TOKEN - len(data) if _has_its_bytes(data) else None
    return None if isinstance(part, models.ChatCompletionRequestMessageContentPartFile) else 0


def _has_its_bytes(data: str) -> bool:
    """Whether base64 is sound of at least so many bytes a second: MP3, or a WAV of uncompressed samples."""
    try:
        head = b64decode(data[:48])
    except ValueError:
        return False
    if head[:4] == b"RIFF" and head[8:16] == b"WAVEfmt " and len(head) == _WAV_HEAD:
        form, rate, block = (int.from_bytes(head[at:end], "little") for at, end in ((20, 22), (24, 28), (32, 34)))
        return form in _SAMPLES and rate * block >= _SOUND_BYTES_A_SECOND
    return head[:3] == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0)

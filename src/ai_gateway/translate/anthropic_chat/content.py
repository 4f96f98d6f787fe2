"""Blocks of the Messages API as parts of OpenAI's messages: text, images, documents, search results."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_json

from ai_gateway.errors import UnsupportedValue
from ai_gateway.translate.anthropic_chat.kept import is_ours, read_again
from ai_gateway.translate.anthropic_chat.open_kinds import KNOWN_BLOCKS, UnknownBlock
from ai_gateway.translate.carriers import ERROR_PREFIX
from gateway_contract.anthropic import models as anthropic
from gateway_contract.openai import models as openai

type Part = (
    openai.ChatCompletionRequestMessageContentPartText
    | openai.ChatCompletionRequestMessageContentPartImage
    | openai.ChatCompletionRequestMessageContentPartFile
)
_PDF = "document.pdf"  # files require a name, documents may lack a title
# Blocks that only Anthropic's service can read.
_OPAQUE = frozenset({"encrypted_content", "encrypted_index", "encrypted_stdout"})
# Blocks of betas without content for a model: changes of tools, and the answering model.
_ABOUT_TOOLS = frozenset({"tool_addition", "tool_removal", "mcp_tool_listing", "fallback"})
_SOURCED = frozenset({"image", "document"})


def parts_of(blocks: str | Sequence[BaseModel], path: str, dropped: set[str]) -> list[Part]:
    """The parts of a user's content. `path` is the parameter path for errors; `dropped` collects dropped fields."""
    if isinstance(blocks, str):
        return [text(blocks)]
    return [part for at, block in enumerate(blocks) for part in block_parts(block, f"{path}[{at}]", dropped)]


def text(words: str) -> openai.ChatCompletionRequestMessageContentPartText:
    """A text part."""
    return openai.ChatCompletionRequestMessageContentPartText(type="text", text=words)


def block_parts(block: BaseModel, path: str, dropped: set[str]) -> list[Part]:
    """The parts of one block. Raises UnsupportedValue for data that only Anthropic's own service has."""
    match block:
        case anthropic.AnthropicRequestTextBlock():
            if any(not is_ours(each) for each in block.citations or ()):
                dropped.add("messages.content.citations")
            parts: list[Part] = [text(block.text)]
        case anthropic.AnthropicRequestImageBlock():
            parts = [_image(block)]
        case anthropic.AnthropicRequestDocumentBlock():
            parts = _document(block, path, dropped)
        case anthropic.AnthropicRequestContainerUploadBlock():
            dropped.add("messages.content.container_upload")
            parts = [text(f"(A file, {block.file_id}, is in a container that cannot be reached from here.)")]
        case UnknownBlock():
            parts = _unknown(block, path, dropped)
        case _:
            parts = [text(_as_text(block, dropped))]
    return _cached(parts, block)


def _unknown(block: UnknownBlock, path: str, dropped: set[str]) -> list[Part]:
    """A block beyond the contract. Raises UnsupportedValue if dropping it would change the question."""
    summary_text = summary(block)
    if summary_text or block.type in _ABOUT_TOOLS or block.type == "compaction":
        if not summary_text:
            dropped.add(f"messages.content.{block.type}")
        return [text(summary_text)] if summary_text else []
    if block.type == "browser_state":
        return [text(to_json(block.model_extra).decode())]
    source = block.value_of("source")
    if block.type in _SOURCED and isinstance(source, dict) and source.get("type") == "file":
        raise UnsupportedValue(
            "Another provider than Anthropic answers this model, and has none of its files: send it as base64.",
            param=f"{path}.source",
        )
    if block.type in KNOWN_BLOCKS:
        raise block.fault
    raise UnsupportedValue(
        f"Another provider than Anthropic answers this model, and knows no blocks of type '{block.type[:64]}': "
        "leave the block out, or say as text what it says.",
        param=path,
    )


def summary(block: UnknownBlock) -> str:
    """The summary of a compacted conversation, if the block is one."""
    content = block.value_of("content") if block.type == "compaction" else None
    return content if isinstance(content, str) else ""


def _as_text(block: BaseModel, dropped: set[str]) -> str:
    """Any other block, as text."""
    match block:
        case anthropic.AnthropicRequestSearchResultBlock():
            if block.citations is not None and block.citations.enabled:
                dropped.add("messages.content.citations")
            found = "\n".join(each.text for each in block.content)
            return f"{block.title}\n{block.source}\n\n{found}"
        case anthropic.AnthropicRequestMidConvSystemBlock():
            return reminder("\n\n".join(each.text for each in block.content))
        case anthropic.AnthropicRequestToolReferenceBlock():
            return block.tool_name
        case _:  # results of server tools
            return result_text(block, dropped)


def reminder(words: str) -> str:
    """A later system message as a part of the user's turn: its place matters more than its role."""
    return f"<system-reminder>\n{words}\n</system-reminder>"


def result_text(block: BaseModel, dropped: set[str]) -> str:
    """The result of a server tool: the text that the model read here, its own texts, or JSON."""
    returned = getattr(block, "content", None)
    if isinstance(block, anthropic.AnthropicRequestMcpToolResultBlock):
        text_of = returned if isinstance(returned, str) else "".join(each.text for each in returned or ())
        return f"{ERROR_PREFIX}{text_of}" if block.is_error else text_of
    if isinstance(block, anthropic.AnthropicRequestWebSearchToolResultBlock) and isinstance(returned, list):
        again = read_again(returned)
        if again is not None:
            return again
    content = block.model_dump(by_alias=True, exclude_unset=True).get("content")
    if isinstance(block, UnknownBlock):  # such as results of MCP servers
        words = _words(content)
        if words is not None:
            return f"{ERROR_PREFIX}{words}" if block.value_of("is_error") is True else words
    return to_json(_readable(content, dropped)).decode()


def _words(content: object) -> str | None:
    if isinstance(content, str):
        return content
    texts = [each.get("text") for each in content if isinstance(each, dict)] if isinstance(content, list) else [None]
    known = [each for each in texts if isinstance(each, str)]
    return "\n\n".join(known) if len(known) == len(texts) else None


def _readable(value: Any, dropped: set[str]) -> Any:  # noqa: ANN401 - any JSON value in, the same kind out
    if isinstance(value, list):
        return [_readable(each, dropped) for each in value]
    if not isinstance(value, dict):
        return value
    if _OPAQUE & value.keys():
        dropped.update(f"messages.content.{name}" for name in _OPAQUE & value.keys())
    return {name: _readable(each, dropped) for name, each in value.items() if name not in _OPAQUE}


def _image(block: anthropic.AnthropicRequestImageBlock) -> openai.ChatCompletionRequestMessageContentPartImage:
    source = block.source
    url = (
        f"data:{source.media_type};base64,{source.data}"
        if isinstance(source, anthropic.AnthropicBase64ImageSource)
        else source.url
    )
    return openai.ChatCompletionRequestMessageContentPartImage(
        type="image_url", image_url=openai.ChatCompletionRequestMessageContentPartImageImageUrl(url=url)
    )


def _document(block: anthropic.AnthropicRequestDocumentBlock, path: str, dropped: set[str]) -> list[Part]:
    if block.citations is not None and block.citations.enabled:
        dropped.add("messages.content.citations")
    source = block.source
    head = "\n".join(filter(None, (block.title, block.context)))
    match source:
        case anthropic.AnthropicBase64PDFSource():
            file = openai.ChatCompletionRequestMessageContentPartFileFile(
                filename=block.title or _PDF, file_data=f"data:{source.media_type};base64,{source.data}"
            )
            pdf = openai.ChatCompletionRequestMessageContentPartFile(type="file", file=file)
            return [*([text(block.context)] if block.context else []), pdf]
        case anthropic.AnthropicPlainTextSource():
            return [text(f"{head}\n\n{source.data}" if head else source.data)]
        case anthropic.AnthropicContentBlockSource():
            inner = parts_of(source.content, f"{path}.source.content", dropped)
            return [*([text(head)] if head else []), *inner]
        case _:
            raise UnsupportedValue(
                "Another provider than Anthropic answers this model, and fetches no documents: send it as base64.",
                param=f"{path}.source",
            )


def _cached(parts: list[Part], block: BaseModel) -> list[Part]:
    """The parts, with the block's cache breakpoint on the last one."""
    own = cache_control(block)
    if own and parts and parts[-1].__pydantic_extra__ is not None:
        parts[-1].__pydantic_extra__["cache_control"] = own
    return parts


def cache_control(block: BaseModel) -> dict[str, object] | None:
    """The cache breakpoint of a block or a tool, as JSON."""
    own = getattr(block, "cache_control", None)
    return own.model_dump(exclude_none=True) if isinstance(own, BaseModel) else None

"""Turns of the Messages API as OpenAI's messages.

Tool results are blocks of a user's turn there, in any order; here they are messages, in the order of the calls and
before the turn's other content (https://platform.openai.com/docs/guides/function-calling).
"""

from collections.abc import Iterator, Mapping, Sequence

from pydantic import BaseModel
from pydantic_core import to_json

from ai_gateway.translate.anthropic_chat.content import block_parts, cache_control, parts_of, result_text, summary, text
from ai_gateway.translate.anthropic_chat.ids import ToolNames
from ai_gateway.translate.anthropic_chat.open_kinds import UnknownBlock
from ai_gateway.translate.anthropic_chat.seal import unsealed
from ai_gateway.translate.carriers import SEALED_FIELDS
from ai_gateway.translate.chat_request import Message, text_message, unchecked
from gateway_contract.anthropic import models as anthropic
from gateway_contract.openai import models as openai

type Fields = dict[str, object]
type Content = str | Sequence[BaseModel]
# The billing line of Claude Code's system prompt (copilot-api, issue 174): it differs from version to version, which
# would invalidate an upstream's prompt cache, and is of no use to other upstreams.
BILLING = "x-anthropic-billing-header:"
_THOUGHTS = (anthropic.AnthropicRequestThinkingBlock, anthropic.AnthropicRequestRedactedThinkingBlock)


def conversation(
    system: str | Sequence[anthropic.AnthropicRequestTextBlock] | None,
    messages: Sequence[anthropic.AnthropicInputMessage],
    names: ToolNames,
    dropped: set[str],
) -> list[Message]:
    """The system prompt and the turns as messages; `dropped` collects dropped fields.

    A system message that only applies until the user's next turn is left out after it. Carriers (translate/carriers.py)
    keep fields that only some providers take. Raises UnsupportedValue for data that only Anthropic has.
    """
    turns = _Turns(names, dropped)
    turns.add_system(system or [])
    last = max((at for at, message in enumerate(messages) if message.role == "user"), default=-1)
    for at, message in enumerate(messages):
        if not (at < last and message.role == "system" and message.clear_at == "next_user_message"):
            turns.add(message, f"messages[{at}].content")
    turns.finish()
    return turns.messages


class _Turns:
    """Adds turns to a conversation. `_waiting` are the calls without a result, by id, with their path."""

    def __init__(self, names: ToolNames, dropped: set[str]) -> None:
        self.messages: list[Message] = []
        self._names = names
        self._dropped = dropped
        self._waiting: dict[str, int] = {}
        self._late: list[Message] = []

    def add_system(self, system: Content) -> None:
        """The system prompt, as one message."""
        blocks = self._unbilled(system) if isinstance(system, str) else [*self._unbilled_blocks(system)]
        if blocks:
            self.messages.append(_system(blocks, "system", self._dropped))

    def _unbilled_blocks(self, blocks: Sequence[BaseModel]) -> Iterator[BaseModel]:
        for block in blocks:
            if not isinstance(block, anthropic.AnthropicRequestTextBlock) or not block.text.startswith(BILLING):
                yield block
            elif rest := self._unbilled(block.text):
                yield block.model_copy(update={"text": rest})

    def _unbilled(self, words: str) -> str:
        """The system prompt without its billing line."""
        if not words.startswith(BILLING):
            return words
        self._dropped.add(f"system.{BILLING.rstrip(':')}")
        return words.partition("\n")[2].lstrip("\n")

    def add(self, message: anthropic.AnthropicInputMessage, path: str) -> None:
        if message.role == "assistant":
            self.finish()
            self._assistant(message.content, path)
        elif message.role == "user":
            self._user(message.content, path)
        elif message.content:
            system = _system(message.content, path, self._dropped)
            # Calls and their results must be adjacent.
            (self._late if self._waiting else self.messages).append(system)

    def finish(self) -> None:
        """Check that every call has a result."""
        self.messages += self._late
        self._late, self._waiting = [], {}

    def _user(self, content: Content, path: str) -> None:
        if isinstance(content, str):
            self.finish()
            self.messages.append(text_message("user", content))
            return
        placed = [(block, f"{path}[{at}]") for at, block in enumerate(content)]
        results = [(block, at) for block, at in placed if isinstance(block, anthropic.AnthropicRequestToolResultBlock)]
        results.sort(key=lambda pair: self._waiting.get(pair[0].tool_use_id, len(self._waiting)))
        self.messages += [self._result(block, at) for block, at in results]
        self.finish()
        parts = [
            part
            for block, at in placed
            if not isinstance(block, anthropic.AnthropicRequestToolResultBlock)
            for part in block_parts(block, at, self._dropped)
        ]
        if parts or not results:
            self.messages.append(_built(openai.ChatCompletionRequestUserMessage, role="user", content=parts or ""))

    def _result(
        self, block: anthropic.AnthropicRequestToolResultBlock, path: str
    ) -> openai.ChatCompletionRequestToolMessage:
        content: object = block.content or ""
        if isinstance(block.content, list):
            content = parts_of(block.content, f"{path}.content", self._dropped) or ""
        carried: Fields = ({"is_error": True} if block.is_error else {}) | _cached(block)
        return _built(
            openai.ChatCompletionRequestToolMessage,
            role="tool",
            content=content,
            tool_call_id=block.tool_use_id,
            carried=carried,
        )

    def _assistant(self, content: Content, path: str) -> None:
        if isinstance(content, str):
            self.messages.append(openai.ChatCompletionRequestAssistantMessage(role="assistant", content=content))
            return
        message, waiting = _AssistantMessage(), set[str]()
        results = {
            call: at for at, block in enumerate(content) if isinstance(call := getattr(block, "tool_use_id", None), str)
        }
        for at, block in enumerate(content):
            ident = getattr(block, "id", None)
            if _is_server_call(block) and not (isinstance(ident, str) and results.get(ident, -1) > at):
                self._dropped.add(f"messages.content.{getattr(block, 'type', 'server_tool_use')}")
                continue  # a server tool call without a result, which clients cannot give
            served = (
                block.value_of("tool_use_id")
                if isinstance(block, UnknownBlock)
                else getattr(block, "tool_use_id", None)
            )
            if isinstance(served, str):
                self._served(message, block, served, waiting)
                message = _AssistantMessage()
            else:
                self._add_block(message, block, f"{path}[{at}]")
        if not message.is_empty or not content:
            self.messages.append(message.message())

    def _add_block(self, message: "_AssistantMessage", block: BaseModel, path: str) -> None:
        match block:
            case anthropic.AnthropicRequestRedactedThinkingBlock() if (fields := unsealed(block.data)) is not None:
                message.sealed.append(fields)
            case anthropic.AnthropicRequestThinkingBlock() | anthropic.AnthropicRequestRedactedThinkingBlock():
                message.thoughts.append(block)
            case anthropic.AnthropicRequestToolUseBlock():
                message.calls.append(self._call(block))
                self._waiting[block.id] = len(self._waiting)
            case anthropic.AnthropicRequestServerToolUseBlock() | anthropic.AnthropicRequestMcpToolUseBlock():
                message.calls.append(self._server_call(block))
            case UnknownBlock() if not summary(block):
                self._add_unknown(message, block)
            case anthropic.AnthropicRequestContainerUploadBlock():  # a file that a server has made
                self._dropped.add("messages.content.container_upload")
            case _:
                message.parts += block_parts(block, path, self._dropped)

    def _add_unknown(self, message: "_AssistantMessage", block: UnknownBlock) -> None:
        """An unknown block of an earlier reply: kept if it is a server tool call, else dropped."""
        ident, name, value, words = (block.value_of(each) for each in ("id", "name", "input", "text"))
        if isinstance(ident, str) and isinstance(name, str) and isinstance(value, dict):
            message.calls.append(self._called(ident, name, value, {}))
        else:
            if isinstance(words, str) and words:
                message.parts.append(text(words))
            self._dropped.add(f"messages.content.{block.type}")

    def _call(self, block: anthropic.AnthropicRequestToolUseBlock) -> openai.ChatCompletionMessageToolCall:
        carried = _cached(block)
        if isinstance(block.caller, BaseModel) and not isinstance(block.caller, anthropic.AnthropicDirectCaller):
            carried["caller"] = block.caller.model_dump(exclude_none=True)
        return self._called(block.id, block.name, block.input, carried)

    def _server_call(
        self, block: anthropic.AnthropicRequestServerToolUseBlock | anthropic.AnthropicRequestMcpToolUseBlock
    ) -> openai.ChatCompletionMessageToolCall:
        name = self._names.served(block.name)
        if isinstance(block, anthropic.AnthropicRequestMcpToolUseBlock):
            name = self._names.served_by(block.server_name, block.name)
        return self._called(block.id, name, block.input, _cached(block))

    def _called(
        self, identifier: str, name: str, value: Mapping[str, object], carried: Fields
    ) -> openai.ChatCompletionMessageToolCall:
        function = openai.ChatCompletionMessageToolCallFunction(
            name=self._names.to_chat(name), arguments=to_json(value).decode()
        )
        return _built(
            openai.ChatCompletionMessageToolCall, id=identifier, type="function", function=function, carried=carried
        )

    def _served(self, message: "_AssistantMessage", block: BaseModel, call: str, waiting: set[str]) -> None:
        """The result of a server tool within the turn, as a tool message before the turn goes on.

        `waiting` has the calls without a result so far: concurrent calls precede their results.
        """
        made = {each.id for each in message.calls}
        if call in made or (message.is_empty and call in waiting):
            if made:
                self.messages.append(message.message())
            waiting |= made
            waiting.discard(call)
            result = result_text(block, self._dropped)
            self.messages.append(
                _built(
                    openai.ChatCompletionRequestToolMessage,
                    role="tool",
                    content=result,
                    tool_call_id=call,
                    carried=_cached(block),
                )
            )
        else:
            part = text(result_text(block, self._dropped))
            if part.__pydantic_extra__ is not None:
                part.__pydantic_extra__.update(_cached(block))
            message.parts.append(part)
            self.messages.append(message.message())


class _AssistantMessage:
    """The content of one assistant message."""

    def __init__(self) -> None:
        self.parts: list[BaseModel] = []
        self.calls: list[openai.ChatCompletionMessageToolCall] = []
        self.thoughts: list[BaseModel] = []
        self.sealed: list[object] = []

    @property
    def is_empty(self) -> bool:
        return not (self.parts or self.calls or self.thoughts)

    def message(self) -> openai.ChatCompletionRequestAssistantMessage:
        content: object = self.parts
        if len(self.parts) == 1 and not self.parts[0].model_extra:
            content = getattr(self.parts[0], "text", self.parts)
        fields: Fields = {"content": content or (None if self.calls else "")}
        if self.calls:
            fields["tool_calls"] = self.calls
        carried: Fields = {}
        if self.thoughts:
            carried["thinking_blocks"] = [block.model_dump(exclude_none=True) for block in self.thoughts]
        words = [block.thinking for block in self.thoughts if isinstance(block, _THOUGHTS[0])]
        if reasoning := "\n\n".join(filter(None, words)):
            carried["reasoning_content"] = reasoning
        if self.sealed:
            carried[SEALED_FIELDS] = self.sealed
        return _built(openai.ChatCompletionRequestAssistantMessage, role="assistant", **fields, carried=carried)


def _cached(block: BaseModel) -> Fields:
    return {"cache_control": own} if (own := cache_control(block)) else {}


def _is_server_call(block: BaseModel) -> bool:
    """Whether a block is a server tool call of any kind."""
    return isinstance(getattr(block, "input", None), dict) and not isinstance(
        block, anthropic.AnthropicRequestToolUseBlock
    )


def _system(content: Content, path: str, dropped: set[str]) -> openai.ChatCompletionRequestSystemMessage:
    parts: object = content if isinstance(content, str) else parts_of(content, path, dropped)
    return _built(openai.ChatCompletionRequestSystemMessage, role="system", content=parts)


def _built[Model: BaseModel](model: type[Model], *, carried: Fields | None = None, **fields: object) -> Model:
    """The message, not validated, since carriers are beyond the contract."""
    made = unchecked(model, fields)
    if carried and made.__pydantic_extra__ is not None:
        made.__pydantic_extra__.update(carried)
        made.__pydantic_fields_set__.update(carried)
    return made

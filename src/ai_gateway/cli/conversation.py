"""A conversation with a model, on a terminal or between pipes."""

import asyncio
import secrets
import sys
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing

import typer

from ai_gateway.app.application import Application
from ai_gateway.app.build import build
from ai_gateway.app.configuration import configure
from ai_gateway.cli.problems import print_problems
from ai_gateway.cli.starting import built
from ai_gateway.config.problems import SettingsError
from ai_gateway.config.settings import Settings
from ai_gateway.config.sources import Sources
from ai_gateway.contract.call import Call
from ai_gateway.contract.framing import SSE
from ai_gateway.contract.stream import Continued, Framed, Item, Stream, Together, Verbatim
from ai_gateway.errors import GatewayError
from ai_gateway.gateway import Gateway
from ai_gateway.observability.printable import printable_lines
from ai_gateway.redaction import redact, remember
from gateway_contract.openai.models import CreateChatCompletionRequest, CreateChatCompletionStreamResponse

_REMOTE = "remote"
_STOPPED = 130  # 128 and SIGINT, as shells have it

type _Chunk = CreateChatCompletionStreamResponse
type _Messages = list[Mapping[str, str]]


def converse(model: str, prompt: str | None, system: str | None, url: str | None, key: str | None) -> int:
    """Send the prompt with piped input, or what is typed. Returns the exit code."""
    application = built(log_level="error") if url is None else _remote(url, key)
    messages: _Messages = [] if system is None else [{"role": "system", "content": system}]
    interactive = sys.stdin.isatty()
    with asyncio.Runner() as runner:
        talk = _Talk(application, model, url, messages)
        try:
            if prompt is None and interactive:
                return _typed(runner, talk)
            parts = [prompt, None if interactive else sys.stdin.buffer.read().decode("utf-8", "replace").strip()]
            text = "\n\n".join(filter(None, parts))
            if not text:
                print_problems(["chat needs a prompt: give one after the model, or pipe one in"])
                return 2
            return 0 if runner.run(talk.send(text)) else 1
        except KeyboardInterrupt:
            typer.echo()
            return _STOPPED
        finally:
            runner.run(talk.aclose())


def _remote(url: str, key: str | None) -> Application:
    """An application with this server as its only upstream."""
    address = url.rstrip("/")
    if "/" not in address.partition("://")[2]:
        address = "/".join([address, "v1"])
    remember(key or "")
    environment = {f"PROVIDER_{_REMOTE.upper()}_BASE_URL": address}
    if key:
        environment[f"PROVIDER_{_REMOTE.upper()}_API_KEY"] = key
    settings = Settings.model_validate(
        {"service_port": 0, "custom_provider": False, "store_url": "off", "log_level": "error"}
    )
    try:
        return build(configure(settings, Sources(environment)))
    except SettingsError as error:
        problems = (problem.replace(f"PROVIDER_{_REMOTE.upper()}_BASE_URL", "--url") for problem in error.problems)
        print_problems(problem.replace(f"PROVIDER_{_REMOTE.upper()}_API_KEY", "--key") for problem in problems)
        raise typer.Exit(2) from None


def _typed(runner: asyncio.Runner, talk: "_Talk") -> int:
    """Interactive mode, until Ctrl-D or Ctrl-C; during an answer, Ctrl-C only stops the answer."""
    typer.echo("Ctrl-D ends the conversation, Ctrl-C an answer.", err=True)
    while True:
        try:
            typer.echo("> ", nl=False)
            runner.run(_typing())
            line = input().strip()
        except EOFError:
            typer.echo()
            return 0
        if not line:
            continue
        try:
            runner.run(talk.send(line))
        except KeyboardInterrupt:
            typer.echo()


async def _typing() -> None:
    """Wait for a typed line, or Ctrl-D.

    The loop is woken by a signal whenever it comes. `input` blocks on one that comes just before its read: CPython
    looks for signals before it and after it.
    """
    typed = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, typed.set)
    try:
        await typed.wait()
    finally:
        loop.remove_reader(sys.stdin)


class _Talk:
    """The conversation so far, and its model."""

    def __init__(self, application: Application, model: str, url: str | None, messages: _Messages) -> None:
        # Without accounts: no limits apply, and no store is opened.
        self._gateway = Gateway(application.gateway.routing, application.gateway.resilience)
        self._application = application
        self._model = model
        self._url = url
        self._messages = messages
        self._began = False

    async def aclose(self) -> None:
        """Close every connection."""
        if (feed := self._application.parts.model_list) is not None:
            await feed.aclose()
        await self._gateway.aclose()

    async def send(self, text: str) -> bool:
        """Print the answer while it streams. Returns whether there was one."""
        if not self._began and (feed := self._application.parts.model_list) is not None:
            await feed.start()
            self._gateway.routing = self._application.gateway.routing
        self._began = True
        messages: _Messages = [*self._messages, {"role": "user", "content": text}]
        answer: list[str] = []
        try:
            async with aclosing(self._pieces(messages)) as pieces:
                async for piece in pieces:
                    answer.append(piece)
                    # Control characters of a model must not reach the terminal.
                    typer.echo(printable_lines(piece.replace("\r\n", "\n").replace("\t", "    ")), nl=False)
                    sys.stdout.flush()
        except GatewayError as error:
            typer.echo("\n" if answer else "", nl=False)
            message = error.message if self._url is None else error.message.replace(f"Provider {_REMOTE!r}", self._url)
            print_problems([redact(message)])
            return False
        typer.echo()
        self._messages = [*messages, {"role": "assistant", "content": "".join(answer)}]
        return True

    async def _pieces(self, messages: _Messages) -> AsyncGenerator[str]:
        body = CreateChatCompletionRequest.model_validate(
            {"model": self._model, "messages": messages, "stream": True}, by_alias=True, by_name=True
        )
        call = Call(
            "createChatCompletion", f"cli-{secrets.token_hex(8)}", provider=None if self._url is None else _REMOTE
        )
        reply = await self._gateway.chat(call, body)
        if not isinstance(reply, Stream):  # never: a stream was requested
            return
        try:
            async with aclosing(reply.items) as items:
                async for item in items:
                    for text in _texts(item):
                        yield text
        finally:
            for callback in call.at_end:
                callback()


def _texts(item: _Chunk | Item[_Chunk] | Verbatim | Continued | Framed | Together) -> Iterator[str]:
    """The texts of an item's chunks, or the finish reason if there is none."""
    if isinstance(item, Continued | Framed):  # only for callers of other wires
        return
    if isinstance(item, Together):
        for each in item.items:
            yield from _texts(each)
        return
    if isinstance(item, Verbatim):
        items = [raw.removeprefix(SSE.before) for raw in item.items] if item.are_framed else item.items
        chunks = [CreateChatCompletionStreamResponse.model_validate_json(raw) for raw in items]
    else:
        chunks = [item.model if isinstance(item, Item) else item]
    for chunk in chunks:
        for choice in chunk.choices:
            if text := choice.delta.content or choice.delta.refusal:
                yield text

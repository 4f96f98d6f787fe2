"""`ai-gateway`: the command line."""

import asyncio
import socket
from collections.abc import Iterable
from contextlib import aclosing
from functools import partial
from typing import Annotated

import typer

from ai_gateway.api.access import is_loopback
from ai_gateway.app.application import Application
from ai_gateway.app.build import build
from ai_gateway.app.configuration import configure, read_configuration
from ai_gateway.config.constants import VERSION
from ai_gateway.config.problems import SettingsError, attempt
from ai_gateway.config.settings import Settings
from ai_gateway.config.sources import read_settings, read_sources
from ai_gateway.contract.call import Call
from ai_gateway.contract.stream import Item
from ai_gateway.observability.output import Output
from ai_gateway.observability.printable import printable_text
from ai_gateway.routing.registry import BUILT_IN
from ai_gateway.server.run import bind, run
from gateway_contract.openai.models import ListModelsResponse

app = typer.Typer(
    name="ai-gateway",
    help="OpenAI's API in front of any LLM provider. Without configuration it serves a built-in, offline provider.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(VERSION)
        raise typer.Exit


@app.callback()
def root(
    *, version: Annotated[bool, typer.Option("--version", callback=_print_version, help="Print the version.")] = False
) -> None:
    """OpenAI's API in front of any LLM provider."""


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on [SERVICE_HOST, default 127.0.0.1].")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on, 0 for any [SERVICE_PORT, default 9000].")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error [LOG_LEVEL].")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that serve [WORKERS, default 1].")] = None,
) -> None:
    """Start the gateway. Settings come from the environment, .env and gateway.toml: see docs/configuration.md."""
    values = {"service_host": host, "service_port": port, "log_level": log_level, "workers": workers}
    options = {name: value for name, value in values.items() if value is not None}
    sources = read_sources(**options)
    problems: list[str] = []
    settings = attempt(problems, lambda: read_settings(sources))
    configuration = attempt(problems, lambda: configure(settings or Settings(), sources))
    sock = attempt(problems, lambda: _bind(settings)) if settings else None
    application = None
    if configuration and not problems:
        application = attempt(problems, lambda: build(configuration, partial(read_configuration, **options)))
    if application is None or sock is None:
        _print_problems(problems)
        raise typer.Exit(2)
    run(application, sock, partial(_banner, application))


@app.command()
def probe(  # noqa: PLR0913 - a command has as many parameters as options
    url: Annotated[str | None, typer.Argument(help="Base address, such as http://127.0.0.1:9000/custom/v1.")] = None,
    *,
    key: Annotated[str | None, typer.Option(envvar="PROBE_API_KEY", help="Sent as Authorization: Bearer.")] = None,
    model: Annotated[str | None, typer.Option(help="Model to ask [default: the first listed].")] = None,
    embedding_model: Annotated[
        str | None, typer.Option(help="Model for embeddings [default: the first with 'embed' in its name].")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="GROUP", help="Only this group (repeatable).")] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for each check.")] = 30,
    parallel: Annotated[int, typer.Option(min=1, max=32, help="Checks at a time.")] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="Print the checks and stop.")] = False,
) -> None:
    """Check any OpenAI-compatible server against the contract: see docs/probe.md.

    Exit code 0: no check failed. 1: some did. 2: the arguments or the URL cannot be used.
    """
    from ai_gateway.probe import command, target  # noqa: PLC0415 - the start of the gateway must not pay for it

    if listed:
        raise typer.Exit(command.show_list(only or [], as_json=as_json))
    if url is None:
        typer.echo("ai-gateway: probe needs a URL, such as http://127.0.0.1:9000/custom/v1", err=True)
        raise typer.Exit(2)
    aim = target.Target(url, key, model, embedding_model, timeout)
    raise typer.Exit(command.probe(aim, only or [], parallel=parallel, as_json=as_json))


@app.command()
def models(*, as_json: Annotated[bool, typer.Option("--json", help="Print what /v1/models answers.")] = False) -> None:
    """Print the models that a gateway with this configuration shows at /v1, and who answers for each.

    Exit code 0: every provider listed its models. 1: some did not. 2: the configuration cannot be used.
    """
    try:
        application = build(read_configuration())
    except SettingsError as error:
        _print_problems(error.problems)
        raise typer.Exit(2) from None
    models, missing = asyncio.run(_list_models(application))
    width = max((len(model.id) for model in models.data), default=0)
    lines = (f"{model.id:{width}}  {model.owned_by}" for model in models.data)
    shown = [models.model_dump_json(exclude_unset=True)] if as_json else lines
    typer.echo("\n".join(map(printable_text, shown)))  # the names are what upstreams say they are
    if missing:
        typer.echo(f"ai-gateway: could not be asked: {missing}", err=True)
        raise typer.Exit(1)


async def _list_models(application: Application) -> tuple[ListModelsResponse, str]:
    """What `/v1/models` answers, and the names of the providers that are missing in it."""
    call = Call(operation="listModels", request_id="cli")
    async with aclosing(application):
        await application.start()
        listed = await application.gateway.list_models(call)
    return listed.model if isinstance(listed, Item) else listed, ",".join(call.notes.missing)


@app.command()
def reload(
    port: Annotated[int | None, typer.Option(help="Port of the gateway, if several run.")] = None,
) -> None:
    """Have a running gateway read its configuration again, say what came of it; streams go on.

    Exit code 0: taken over. 1: no gateway of yours runs there, or it did not answer. 2: its configuration cannot be
    used, and it goes on with what it has.
    """
    from ai_gateway.server import reload_command  # noqa: PLC0415 - the start of the gateway must not pay for it

    raise typer.Exit(reload_command.reload(port))


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(VERSION)


def _print_problems(problems: Iterable[str]) -> None:
    for problem in problems:
        typer.echo(f"ai-gateway: {printable_text(problem)}", err=True)


def _bind(settings: Settings) -> socket.socket:
    """Listen. Without keys, only this machine may reach the gateway, unless its operator says otherwise."""
    if not (settings.allowed_api_keys or settings.allow_anonymous or is_loopback(settings.service_host)):
        raise SettingsError(
            [
                f"ALLOWED_API_KEYS: needed to listen on {settings.service_host}, which others can reach: "
                "set it, or ALLOW_ANONYMOUS=true, or listen on 127.0.0.1"
            ]
        )
    return bind(settings)


def _banner(application: Application, port: int) -> None:
    settings = application.settings
    host = settings.service_host if ":" not in settings.service_host else f"[{settings.service_host}]"
    url = f"http://{'127.0.0.1' if host in {'0.0.0.0', '[::]'} else host}:{port}"  # noqa: S104 - shown, not bound
    registry = application.gateway.registry
    names = [f"{name} ({'built in' if name == BUILT_IN else 'configured'})" for name in registry.names]
    keys = len(settings.allowed_api_keys)
    auth = ["-H 'Authorization: Bearer <key>'"] if keys else []
    body = '{"model": "custom-chat", "messages": [{"role": "user", "content": "Hello"}]}'
    curl = " ".join(
        ["curl", f"{url}/custom/v1/chat/completions", *auth, "-H 'Content-Type: application/json'", f"-d '{body}'"]
    )
    lines = [
        f"Universal AI Gateway {VERSION}",
        f"  listening  {url} (on {settings.service_host})",
        f"  docs       {url}/docs" if settings.enable_docs else "  docs       off",
        f"  providers  {', '.join(names) or 'none: set a key or a base URL'}",
        *([f"  workers    {settings.workers}"] if settings.workers > 1 else []),
        f"  keys       {f'required ({keys} configured)' if keys else _no_keys(settings)}",
        *([f"  try        {curl}"] if BUILT_IN in registry else []),
    ]
    Output(1).add("".join([f"{line}\n" for line in lines]).encode())  # to say so must not be what ends or stops it


def _no_keys(settings: Settings) -> str:
    where = "this machine only" if is_loopback(settings.service_host) else "anybody who can reach this address"
    return f"not required: open to {where}"


def main() -> None:
    """Entry point of the console script."""
    app()

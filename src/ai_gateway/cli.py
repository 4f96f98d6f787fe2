"""`ai-gateway`: the command line."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated

import typer
from fastapi import FastAPI

from ai_gateway.api.access import is_loopback
from ai_gateway.app.build import get_app
from ai_gateway.config.constants import VERSION
from ai_gateway.config.settings import Settings, SettingsError, environment, load
from ai_gateway.contract.call import Call
from ai_gateway.providers.config.upstreams import configured_upstreams
from ai_gateway.routing.registry import BUILT_IN
from ai_gateway.routing.rules import read_rules
from ai_gateway.server.pid_file import pid_path, running_pid
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
    options = {"service_host": host, "service_port": port, "log_level": log_level, "workers": workers}
    given = {name: value for name, value in options.items() if value is not None}
    problems: list[str] = []
    settings = _checked(problems, given)
    sock = _attempt(problems, lambda: _bind(settings)) if settings else None
    fresh = partial(load, **given)
    gateway = _attempt(problems, lambda: get_app(settings, read=fresh)) if settings and sock and not problems else None
    for problem in problems:
        typer.echo(f"ai-gateway: {problem}", err=True)
    if gateway is None or sock is None:
        raise typer.Exit(2)
    run(gateway, sock, lambda bound: _banner(gateway, bound))


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

    Exit code 0: every provider said what it has. 1: some could not be asked. 2: the configuration cannot be used.
    """
    problems: list[str] = []
    settings = _attempt(problems, load)
    gateway = _attempt(problems, lambda: get_app(settings)) if settings else None
    for problem in problems:
        typer.echo(f"ai-gateway: {problem}", err=True)
    if gateway is None:
        raise typer.Exit(2)
    found, missing = asyncio.run(_models(gateway))
    width = max((len(model.id) for model in found.data), default=0)
    lines = (f"{model.id:{width}}  {model.owned_by}" for model in found.data)
    typer.echo(found.model_dump_json(exclude_unset=True) if as_json else "\n".join(lines))
    if missing:
        typer.echo(f"ai-gateway: could not be asked: {missing}", err=True)
        raise typer.Exit(1)


async def _models(gateway: FastAPI) -> tuple[ListModelsResponse, str]:
    """What `/v1/models` answers, and the names of the providers that are missing in it."""
    call = Call(operation="listModels", request_id="cli")
    async with gateway.router.lifespan_context(gateway):
        found: ListModelsResponse = await gateway.state.gateway.list_models(call)
    return found, ",".join(call.notes.missing)


@app.command()
def reload(
    port: Annotated[int | None, typer.Option(help="Port of the gateway [SERVICE_PORT, default 9000].")] = None,
) -> None:
    """Have the gateway that runs on this port read its configuration again; streams go on.

    Exit code 0: it was told to. 1: no gateway of yours runs there. 2: the configuration cannot be used, so it was not.
    """
    problems: list[str] = []
    given = {} if port is None else {"service_port": port}
    settings = _checked(problems, given)
    for problem in problems:
        typer.echo(f"ai-gateway: {problem}", err=True)
    if settings is None or problems:
        typer.echo("ai-gateway: not reloaded: the gateway goes on with what it has", err=True)
        raise typer.Exit(2)
    pid = running_pid(pid_path(settings.service_port))
    if pid is None:
        typer.echo(
            f"ai-gateway: no gateway of this user runs on port {settings.service_port}: start one with "
            "`ai-gateway serve`, name its --port, or send SIGHUP to it yourself",
            err=True,
        )
        raise typer.Exit(1)
    os.kill(pid, signal.SIGHUP)
    typer.echo(f"reloading (process {pid}): its log says what came of it")


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(VERSION)


def _checked(problems: list[str], given: Mapping[str, object]) -> Settings | None:
    """The settings, with whatever is wrong with them or with what they configure added to the problems."""
    settings = _attempt(problems, lambda: load(**given))
    upstreams = _attempt(problems, lambda: configured_upstreams(settings.providers if settings else {}, environment()))
    if settings is not None and upstreams is not None:  # rules name providers, so they are judged by those there are
        _attempt(problems, lambda: read_rules(settings, [*(upstream.name for upstream in upstreams), BUILT_IN]))
    return settings


def _attempt[Result](problems: list[str], step: Callable[[], Result]) -> Result | None:
    """Take a step of the start; what is wrong is collected, so that all of it is told at once."""
    try:
        return step()
    except SettingsError as error:
        problems += error.problems
        return None


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


def _banner(gateway: FastAPI, port: int) -> None:
    settings: Settings = gateway.state.settings
    host = settings.service_host if ":" not in settings.service_host else f"[{settings.service_host}]"
    url = f"http://{'127.0.0.1' if host in {'0.0.0.0', '[::]'} else host}:{port}"  # noqa: S104 - shown, not bound
    names = gateway.state.gateway.registry.names
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
        f"  providers  {', '.join(f'{name} (built in)' if name == 'custom' else f'{name} (ready)' for name in names)}",
        *([f"  workers    {settings.workers}"] if settings.workers > 1 else []),
        f"  keys       {f'required ({keys} configured)' if keys else _no_keys(settings)}",
        f"  try        {curl}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _no_keys(settings: Settings) -> str:
    where = "this machine only" if is_loopback(settings.service_host) else "anybody who can reach this address"
    return f"not required: open to {where}"


def main() -> None:
    """Entry point of the console script."""
    app()

"""The commands without a group: what each of them does is imported when it runs."""

from typing import Annotated

import typer

from ai_gateway.cli.options import Host, LogLevel, Port, Workers


def serve(host: Host = None, port: Port = None, log_level: LogLevel = None, workers: Workers = None) -> None:
    """Start the gateway, set up by the environment, .env and gateway.toml: see `ai-gateway docs configuration`."""
    from ai_gateway.cli.starting import start  # noqa: PLC0415

    start(host=host, port=port, log_level=log_level, workers=workers)


def check(
    host: Host = None,
    port: Port = None,
    log_level: LogLevel = None,
    workers: Workers = None,
    *,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no provider.")] = False,
) -> None:
    """Print what `serve` would start with and where each setting comes from, and check each provider's list of models.

    Exit code 0: all is well. 1: a provider did not answer. 2: the configuration cannot be used.
    """
    from ai_gateway.cli import report  # noqa: PLC0415

    report.check(host=host, port=port, log_level=log_level, workers=workers, offline=offline)


def init(
    *, force: Annotated[bool, typer.Option("--force", help="Replace files that are there already.")] = False
) -> None:
    """Write a commented gateway.toml and .env into this directory. As they are, they change nothing.

    Exit code 0: written. 1: one of them is there already, or cannot be written.
    """
    from ai_gateway.cli.first_files import write_first_files  # noqa: PLC0415

    write_first_files(force=force)


def chat(
    model: Annotated[str, typer.Argument(help="A model, an alias or a route, as callers name it.")],
    prompt: Annotated[str | None, typer.Argument(help="What to say. Without it, a conversation begins.")] = None,
    *,
    system: Annotated[str | None, typer.Option(help="Instructions that come first.")] = None,
    url: Annotated[
        str | None,
        typer.Option(help="Address of a running gateway, or of any server of OpenAI's API; else this configuration."),
    ] = None,
    key: Annotated[
        str | None, typer.Option(envvar="GATEWAY_API_KEY", show_envvar=True, help="A caller's key, for --url.")
    ] = None,
) -> None:
    """Chat with a model, by the gateway's own routing. What is piped in is a part of the prompt.

    Without --url no gateway has to run: this calls the provider itself, and nothing is limited or recorded. Exit code
    0: it answered. 1: it did not. 2: the configuration cannot be used. 130: stopped by Ctrl-C.
    """
    from ai_gateway.cli.conversation import converse  # noqa: PLC0415

    raise typer.Exit(converse(model, prompt, system, url, key))


def models(*, as_json: Annotated[bool, typer.Option("--json", help="Print what /v1/models answers.")] = False) -> None:
    """Print the models that a gateway with this configuration shows at /v1, and who answers for each.

    Exit code 0: every provider listed its models. 1: some did not. 2: the configuration cannot be used.
    """
    from ai_gateway.cli.listed_models import print_models  # noqa: PLC0415

    print_models(as_json=as_json)


def routes(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Print the aliases and routes of this configuration, their targets, and which of those are configured here.

    Exit code 0: printed. 2: the configuration cannot be used.
    """
    from ai_gateway.cli.targets import print_targets  # noqa: PLC0415

    print_targets(as_json=as_json)


def reload(
    port: Annotated[int | None, typer.Option(help="Port of the gateway, if several run.")] = None,
    host: Annotated[
        str | None, typer.Option(help="Address it listens on, or path of its socket, if several have one port.")
    ] = None,
) -> None:
    """Have a running gateway read its configuration again, say what came of it; streams go on.

    Exit code 0: taken over. 1: no gateway of yours runs there, or it did not answer. 2: its configuration cannot be
    used, and it goes on with what it has.
    """
    from ai_gateway.server import reload_command  # noqa: PLC0415

    raise typer.Exit(reload_command.reload(port, host))


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
    """Check any OpenAI-compatible server against the contract: see `ai-gateway docs probe`.

    Exit code 0: no check failed. 1: some did. 2: the arguments or the URL cannot be used.
    """
    from ai_gateway.probe import command, target  # noqa: PLC0415

    if listed:
        raise typer.Exit(command.show_list(only or [], as_json=as_json))
    if url is None:
        typer.echo("ai-gateway: probe needs a URL, such as http://127.0.0.1:9000/custom/v1", err=True)
        raise typer.Exit(2)
    aim = target.Target(url, key, model, embedding_model, timeout)
    raise typer.Exit(command.probe(aim, only or [], parallel=parallel, as_json=as_json))

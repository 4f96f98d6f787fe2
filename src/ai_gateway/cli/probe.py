"""`probe`: check a server against the contract."""

from typing import Annotated

import typer


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
    from ai_gateway.probe import command, target  # noqa: PLC0415 - the start of the gateway must not pay for it

    if listed:
        raise typer.Exit(command.show_list(only or [], as_json=as_json))
    if url is None:
        typer.echo("ai-gateway: probe needs a URL, such as http://127.0.0.1:9000/custom/v1", err=True)
        raise typer.Exit(2)
    aim = target.Target(url, key, model, embedding_model, timeout)
    raise typer.Exit(command.probe(aim, only or [], parallel=parallel, as_json=as_json))

"""`chat`: talk to a model from the terminal."""

from typing import Annotated

import typer


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
    from ai_gateway.cli.conversation import converse  # noqa: PLC0415 - the start of the gateway must not pay for it

    raise typer.Exit(converse(model, prompt, system, url, key))

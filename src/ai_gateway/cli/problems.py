"""How a command says why it cannot go on."""

from collections.abc import Iterable

import typer

from ai_gateway.observability.printable import printable_text


def print_problems(problems: Iterable[str]) -> None:
    """Print what stops a command, a line each, as this program's."""
    for problem in problems:
        typer.echo(f"ai-gateway: {printable_text(problem)}", err=True)

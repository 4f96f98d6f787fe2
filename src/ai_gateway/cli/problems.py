"""Error messages of commands."""

from collections.abc import Iterable

import typer

from ai_gateway.observability.printable import printable_text


def print_problems(problems: Iterable[str]) -> None:
    """Print problems to standard error, one line each, with the program's name."""
    for problem in problems:
        typer.echo(f"ai-gateway: {printable_text(problem)}", err=True)

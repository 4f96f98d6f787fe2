"""`docs`: the pages of the documentation, which every installation has."""

import difflib
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated

import typer


def docs(
    page: Annotated[str | None, typer.Argument(help="Its name, such as configuration. Without one: all names.")] = None,
) -> None:
    """Print a page of the documentation, or the names of all."""
    pages = _pages()
    if page is None:
        typer.echo("\n".join(pages))
        return
    name = page.removeprefix("docs/").removesuffix(".md")
    if name not in pages:
        near = difflib.get_close_matches(name, pages, n=1)
        hint = f"did you mean {near[0]}?" if near else "`ai-gateway docs` lists them"
        typer.echo(f"ai-gateway: there is no page '{name}': {hint}", err=True)
        raise typer.Exit(2)
    typer.echo(pages[name].read_text("utf-8"), nl=False)


def _pages() -> dict[str, Traversable]:
    packaged = files("ai_gateway") / "documentation"
    # In a working tree they are in docs/.
    folder = packaged if packaged.is_dir() else Path(__file__).parents[3] / "docs"
    return dict(sorted(_below(folder, "")))


def _below(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for path in folder.iterdir():
        if path.is_dir():
            yield from _below(path, f"{prefix}{path.name}/")
        elif path.name.endswith(".md"):
            yield prefix + path.name.removesuffix(".md"), path

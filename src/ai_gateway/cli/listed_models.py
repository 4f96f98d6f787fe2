"""What `models` prints: the models at `/v1`, with who answers for each."""

import asyncio
from contextlib import aclosing

import typer

from ai_gateway.app.application import Application
from ai_gateway.cli.starting import built
from ai_gateway.contract.call import Call
from ai_gateway.contract.stream import Item
from ai_gateway.observability.printable import printable_text
from gateway_contract.openai.models import ListModelsResponse


def print_models(*, as_json: bool) -> None:
    """Print them. Raises typer.Exit if some provider did not list its own."""
    application = built()
    models, missing = asyncio.run(_list_models(application))
    width = max((len(model.id) for model in models.data), default=0)
    lines = (f"{model.id:{width}}  {model.owned_by}" for model in models.data)
    shown = [models.model_dump_json(exclude_unset=True)] if as_json else lines
    typer.echo("\n".join(map(printable_text, shown)))  # names are the upstreams'
    if missing:
        typer.echo(f"ai-gateway: unavailable: {missing}", err=True)
        raise typer.Exit(1)


async def _list_models(application: Application) -> tuple[ListModelsResponse, str]:
    """The models of `/v1/models`, and the names of missing providers."""
    call = Call(operation="listModels", request_id="cli")
    async with aclosing(application):
        await application.start()
        listed = await application.gateway.list_models(call)
    return listed.model if isinstance(listed, Item) else listed, ",".join(call.notes.missing)

"""`models`: the models of a gateway with this configuration."""

import asyncio
from contextlib import aclosing
from typing import Annotated

import typer

from ai_gateway.app.application import Application
from ai_gateway.cli.starting import built
from ai_gateway.contract.call import Call
from ai_gateway.contract.stream import Item
from ai_gateway.observability.printable import printable_text
from gateway_contract.openai.models import ListModelsResponse


def models(*, as_json: Annotated[bool, typer.Option("--json", help="Print what /v1/models answers.")] = False) -> None:
    """Print the models that a gateway with this configuration shows at /v1, and who answers for each.

    Exit code 0: every provider listed its models. 1: some did not. 2: the configuration cannot be used.
    """
    application = built()
    models, missing = asyncio.run(_list_models(application))
    width = max((len(model.id) for model in models.data), default=0)
    lines = (f"{model.id:{width}}  {model.owned_by}" for model in models.data)
    shown = [models.model_dump_json(exclude_unset=True)] if as_json else lines
    typer.echo("\n".join(map(printable_text, shown)))  # names are the upstreams'
    if missing:
        typer.echo(f"ai-gateway: could not be asked: {missing}", err=True)
        raise typer.Exit(1)


async def _list_models(application: Application) -> tuple[ListModelsResponse, str]:
    """The models of `/v1/models`, and the names of missing providers."""
    call = Call(operation="listModels", request_id="cli")
    async with aclosing(application):
        await application.start()
        listed = await application.gateway.list_models(call)
    return listed.model if isinstance(listed, Item) else listed, ",".join(call.notes.missing)

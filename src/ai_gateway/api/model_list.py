"""The models that a caller sees: those that its key, its project and the organization let it use."""

from collections.abc import Sequence

from ai_gateway.accounts.limits import Scope
from ai_gateway.accounts.refusals import model_not_allowed
from ai_gateway.contract.call import Call
from ai_gateway.contract.stream import Item
from ai_gateway.errors import ModelNotFound
from ai_gateway.gateway import Gateway
from ai_gateway.routing.resolver import Resolution
from gateway_contract.openai import models


async def listed_models(gateway: Gateway, call: Call) -> Item[models.ListModelsResponse] | models.ListModelsResponse:
    """What `Gateway.list_models` gives, without models that a call would be refused for."""
    found = await gateway.list_models(call)
    scopes = _restricting(call)
    if not scopes:
        return found
    listing = found.model if isinstance(found, Item) else found
    kept = [model for model in listing.data if _refusing(gateway, call, model.id, scopes) is None]
    return found if len(kept) == len(listing.data) else listing.model_copy(update={"data": kept})


async def retrieved_model(
    gateway: Gateway, call: Call, name: str, resolved: tuple[str, Resolution] | None = None
) -> Item[models.Model] | models.Model:
    """What `Gateway.retrieve_model` gives. Raises ModelNotAllowed, as a call would."""
    if scopes := _restricting(call):
        model, resolution = resolved = resolved or await gateway.resolve(call, name)
        for scope in scopes:
            if not scope.allows(model, _names(resolution)):
                raise model_not_allowed(scope, model)
    return await gateway.retrieve_model(call, name, resolved)


def _restricting(call: Call) -> list[Scope]:
    """The scopes of the caller that allow or deny models."""
    return [scope for scope in call.caller.scopes if isinstance(scope, Scope) and scope.permissions is not None]


def _refusing(gateway: Gateway, call: Call, model: str, scopes: Sequence[Scope]) -> Scope | None:
    """The scope that does not allow a listed model."""
    routing = gateway.routing
    try:
        resolution = routing.find(model) if call.provider is None else routing.at(call.provider, model)
    except ModelNotFound:
        resolution = None
    names = _names(resolution) if resolution is not None else [()]
    return next((scope for scope in scopes if not scope.allows(model, names)), None)


def _names(resolution: Resolution) -> list[tuple[str, ...]]:
    """The names of each target's model in permissions."""
    return [(target.model, f"{target.provider.name}/{target.model}") for target in resolution.targets]

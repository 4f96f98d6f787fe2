"""From a configured upstream to the provider that speaks its wire, imported only now."""

from pkgutil import resolve_name

from ai_gateway.config.problems import SettingsError
from ai_gateway.providers.base import Provider
from ai_gateway.providers.config.plugins import one_line
from ai_gateway.providers.upstream import Upstream
from gateway_contract.openai.parameters import OPERATION_OF


def load_provider(upstream: Upstream) -> Provider:
    """The adapter that the row names, made for this upstream. Raises SettingsError where that cannot be."""
    try:
        provider = _checked(resolve_name(upstream.row.adapter)(upstream))
    except (Exception, SystemExit) as error:  # the class may be anybody's
        raise _unusable(upstream, one_line(error, *upstream.secrets)) from error
    provider.deadline_s = upstream.timeouts.request
    return provider


def _checked(provider: object) -> Provider:
    """The provider, if it is one and whole. Raises TypeError."""
    if not isinstance(provider, Provider):
        raise TypeError(f"it makes an object of type {type(provider).__name__}, which is no Provider")
    if undecided := sorted(_undecided(provider)):
        raise TypeError(f"it has not decided what becomes of {', '.join(undecided)}")
    return provider


def _unusable(upstream: Upstream, reason: str) -> SettingsError:
    return SettingsError([f"provider '{upstream.name}': its adapter {upstream.row.adapter} cannot be used: {reason}"])


def _undecided(provider: Provider) -> set[str]:
    """Fields of the contract without a policy, which an adapter made for an older contract can have."""
    decided = provider.parameters
    return {
        f"{operation}.{field}"
        for model, operation in OPERATION_OF.items()
        for field in model.model_fields
        if operation not in decided.operations or field not in decided.policies(operation)
    }

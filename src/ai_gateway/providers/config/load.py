"""Creates the provider of a configured upstream; its class is imported here and not before."""

from pkgutil import resolve_name

from ai_gateway.config.problems import SettingsError
from ai_gateway.providers.base import Provider
from ai_gateway.providers.config.plugins import one_line
from ai_gateway.providers.upstream import Upstream
from gateway_contract.openai.parameters import OPERATION_OF


def load_provider(upstream: Upstream) -> Provider:
    """An instance of the row's adapter for this upstream. Raises SettingsError if it cannot be created."""
    try:
        provider = _checked(resolve_name(upstream.row.adapter)(upstream))
    except (Exception, SystemExit) as error:  # third-party code can raise anything
        raise _unusable(upstream, one_line(error)) from error
    provider.deadline_s = upstream.timeouts.request
    if (upstream.base_url or upstream.row.base_url).startswith("https:"):
        provider.certificates_checked = upstream.network.tls.verify
    return provider


def _checked(provider: object) -> Provider:
    """The provider, if it is valid. Raises TypeError."""
    if not isinstance(provider, Provider):
        raise TypeError(f"it makes an object of type {type(provider).__name__}, which is no Provider")
    if missing := sorted(_fields_without_policy(provider)):
        raise TypeError(f"it has not decided what becomes of {', '.join(missing)}")
    return provider


def _unusable(upstream: Upstream, reason: str) -> SettingsError:
    return SettingsError([f"provider '{upstream.name}': its adapter {upstream.row.adapter} cannot be used: {reason}"])


def _fields_without_policy(provider: Provider) -> set[str]:
    """Fields of the contract without a policy, as in an adapter for an older contract."""
    parameters = provider.parameters
    return {
        f"{operation}.{field}"
        for model, operation in OPERATION_OF.items()
        for field in model.model_fields
        if operation not in parameters.operations or field not in parameters.policies(operation)
    }

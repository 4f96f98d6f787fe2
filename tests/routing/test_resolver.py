"""From a model id to who answers it."""

import pytest

from ai_gateway.errors import ModelNotFound, ProviderNotFound
from ai_gateway.providers.base import Provider
from ai_gateway.providers.same_wire import SAME_WIRE
from ai_gateway.routing.registry import Registry
from ai_gateway.routing.resolver import Resolver


def resolver(*names: str) -> Resolver:
    return Resolver(Registry([Provider(name, SAME_WIRE) for name in (*names, "custom")]))


@pytest.mark.parametrize(
    ("configured", "provider", "model", "expected"),
    [
        ((), "custom", "any/model:1", ("custom", "any/model:1")),
        (("openai",), "openai", "openai/gpt", ("openai", "openai/gpt")),
        (("openai",), None, "openai/gpt", ("openai", "gpt")),
        (("openrouter",), None, "openrouter/meta/llama:free", ("openrouter", "meta/llama:free")),
        (("openai",), None, "custom/x", ("custom", "x")),
        ((), None, "gpt-4o", ("custom", "gpt-4o")),
        ((), None, "meta-llama/Llama", ("custom", "meta-llama/Llama")),
        ((), None, "custom/", ("custom", "custom/")),
        ((), None, "", ("custom", "")),
    ],
)
def test_the_path_decides_then_the_prefix_then_the_fallback(
    configured: tuple[str, ...], provider: str | None, model: str, expected: tuple[str, str]
) -> None:
    route = resolver(*configured).resolve(provider, model)
    assert (route.provider.name, route.model) == expected


def test_the_built_in_provider_stands_in_for_nobody_once_a_real_one_is_configured() -> None:
    with pytest.raises(ModelNotFound, match=r"openai/\.\.\., custom/\.\.\."):
        resolver("openai").resolve(None, "gpt-4o")


def test_an_unknown_provider_is_told_what_there_is() -> None:
    with pytest.raises(ProviderNotFound, match=r"did you mean 'openai'\? Known: custom, openai\."):
        resolver("openai").resolve("opnai", "m")


def test_a_known_provider_that_is_not_configured_is_told_what_to_set() -> None:
    with pytest.raises(ProviderNotFound, match="set GROQ_API_KEY"):
        resolver().resolve("groq", "m")

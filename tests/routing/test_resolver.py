"""From a model id to who answers it."""

import contextlib
from collections.abc import Iterable, Mapping
from typing import override

import pytest
from hypothesis import given, settings, strategies as st

from ai_gateway.config.settings import RouteSettings, Settings
from ai_gateway.contract.call import Attempt
from ai_gateway.errors import ModelNotFound, ProviderNotFound
from ai_gateway.providers.base import Provider
from ai_gateway.providers.custom import CustomProvider
from ai_gateway.providers.openai.policies import SAME_WIRE
from ai_gateway.routing.aliases import Aliases
from ai_gateway.routing.model_list.parse import ListedModel, ModelList
from ai_gateway.routing.provider_models import Catalogue
from ai_gateway.routing.public_models import PublicModels, public_model
from ai_gateway.routing.registry import Registry
from ai_gateway.routing.resolver import Routing
from ai_gateway.routing.route import Route
from ai_gateway.routing.rules import Rules, read_rules
from gateway_contract.openai import models

pytestmark = pytest.mark.anyio


class Lister(Provider):
    """A provider that lists models, and counts how often it was asked."""

    def __init__(self, name: str, *ids: str) -> None:
        super().__init__(name, SAME_WIRE)
        self.ids = ids
        self.asked = 0

    @override
    async def list_models(self, attempt: Attempt) -> models.ListModelsResponse:
        self.asked += 1
        data = [models.Model(id=id_, object="model", created=7, owned_by=f"{self.name}-inc") for id_ in self.ids]
        return models.ListModelsResponse(object="list", data=data)


def routing(
    providers: Mapping[str, Iterable[str]],
    *,
    aliases: Mapping[str, str] | None = None,
    routes: Mapping[str, list[str]] | None = None,
    listed: Iterable[tuple[str, str]] = (),
) -> Routing:
    registry = Registry([Lister(name, *ids) for name, ids in {**providers, "custom": ()}.items()])
    tables = {name: RouteSettings(targets=targets) for name, targets in (routes or {}).items()}
    rules = read_rules(Settings(aliases=dict(aliases or {}), routes=tables), registry.names)
    entries = tuple(ListedModel(model, provider) for model, provider in listed)
    return Routing(registry, Catalogue(registry), rules).with_list(ModelList(entries))


async def led(where: Routing, model: str, provider: str | None = None) -> tuple[str, str]:
    route = (await where.resolve(provider, model)).targets[0]
    return route.provider.name, route.model


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
async def test_the_path_decides_then_the_prefix_then_the_fallback(
    configured: tuple[str, ...], provider: str | None, model: str, expected: tuple[str, str]
) -> None:
    assert await led(routing(dict.fromkeys(configured, ())), model, provider) == expected


async def test_each_step_comes_before_those_after_it() -> None:
    """One id that every step knows; taking the steps away one by one shows the next."""
    everybody = {"openai": ["a/b"], "groq": ["a/b"], "a": ["x"]}
    listed = [("a/b", "groq")]
    assert await led(routing(everybody, aliases={"a/b": "openai/alias"}, listed=listed), "a/b") == ("openai", "alias")
    assert await led(routing(everybody, routes={"a/b": ["openai/route"]}, listed=listed), "a/b") == ("openai", "route")
    assert await led(routing(everybody, listed=listed), "a/b") == ("a", "b")
    del everybody["a"]
    assert await led(routing(everybody, listed=listed), "a/b") == ("groq", "a/b")
    assert await led(routing(everybody), "a/b") == ("openai", "a/b")


async def test_of_several_providers_that_list_a_model_the_first_configured_one_has_it() -> None:
    assert await led(routing({"groq": ["m"], "openai": ["m"]}), "m") == ("groq", "m")


async def test_the_path_knows_no_aliases() -> None:
    assert await led(routing({"openai": []}, aliases={"fast": "custom/x"}), "fast", "openai") == ("openai", "fast")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("fast", ("openai", "gpt-4o-mini")),
        ("faster", ("openai", "gpt-4o-mini")),
        ("gpt-4o", ("openai", "gpt-4o-2024")),
        ("gpt-3.5-turbo", ("openai", "gpt-4o-mini")),
        ("claude-opus:v1/x", ("groq", "claude-opus:v1/x-here")),
        ("listed-by-name", ("groq", "plain")),
        ("groq/gpt-4o", ("groq", "gpt-4o")),
        ("ha-tail", ("groq", "ha")),
        ("to-route", ("openai", "first")),
    ],
)
async def test_aliases_lead_on_until_a_provider_or_a_plain_model_is_reached(
    asked: str, expected: tuple[str, str]
) -> None:
    aliases = {
        "fast": "openai/gpt-4o-mini",
        "faster": "fast",
        "gpt-*": "fast",
        "gpt-4*": "openai/gpt-4*-2024",
        "claude-*": "groq/claude-*-here",
        "*-tail": "groq/*",
        "listed-by-name": "plain",
        "to-route": "pair",
    }
    where = routing(
        {"openai": [], "groq": ["plain"]}, aliases=aliases, routes={"pair": ["openai/first", "groq/second"]}
    )
    assert await led(where, asked) == expected


async def test_the_built_in_provider_stands_in_for_nobody_once_a_real_one_is_configured() -> None:
    with pytest.raises(ModelNotFound, match=r"openai/\.\.\., custom/\.\.\."):
        await led(routing({"openai": []}), "gpt-4o")


async def test_an_unknown_model_is_told_what_looks_like_it_and_what_there_is() -> None:
    where = routing({"openai": ["gpt-4o", *(f"other-{at}" for at in range(20))]}, aliases={"fast": "openai/gpt-4o"})
    with pytest.raises(ModelNotFound) as caught:
        await led(where, "gpt4o")
    assert caught.value.param == "model"
    assert "Did you mean 'openai/gpt-4o'" in caught.value.message
    assert "Available: fast, openai/gpt-4o, openai/other-0" in caught.value.message
    assert "and 12 more." in caught.value.message


async def test_the_name_that_was_asked_for_is_cut_and_costs_nothing_however_long() -> None:
    with pytest.raises(ModelNotFound) as caught:
        await led(routing({"openai": ["gpt-4o"]}), "zebra" * 1_000_000)
    assert caught.value.message.count("zebra") == 20


async def test_a_model_of_a_provider_that_is_not_configured_says_what_to_set() -> None:
    with pytest.raises(ModelNotFound, match=r"'groq/llama' .* provider 'groq' is not configured: set GROQ_API_KEY"):
        await led(routing({"openai": []}), "groq/llama")


async def test_a_listed_model_of_a_provider_that_is_not_configured_says_which() -> None:
    where = routing({"openai": ["lost"]}, listed=[("lost", "groq"), ("odd", "nobody")])
    with pytest.raises(ModelNotFound, match=r"'lost' .* needs provider 'groq', which is not configured: set GROQ"):
        await led(where, "lost")
    with pytest.raises(ModelNotFound, match=r"'odd' .* needs provider 'nobody', which is not configured\."):
        await led(where, "odd")


async def test_an_unknown_provider_is_told_what_there_is() -> None:
    with pytest.raises(ProviderNotFound, match=r"did you mean 'openai'\? Known: custom, openai\."):
        await led(routing({"openai": []}), "m", "opnai")


async def test_a_known_provider_that_is_not_configured_is_told_what_to_set() -> None:
    with pytest.raises(ProviderNotFound, match="set GROQ_API_KEY"):
        await led(routing({}), "m", "groq")


async def test_providers_are_asked_only_when_nothing_else_knows_the_model_and_then_once() -> None:
    where = routing({"openai": ["m"]}, aliases={"fast": "openai/m"}, listed=[("of-list", "openai")])
    (openai, _) = where.registry
    assert isinstance(openai, Lister)
    for model in ("fast", "openai/m", "of-list"):
        await led(where, model)
    assert openai.asked == 0
    for _ in range(3):
        await led(where, "m")
        with pytest.raises(ModelNotFound):
            await led(where, "unknown")
    assert openai.asked == 1


async def test_a_snapshot_keeps_its_list_when_another_takes_its_place() -> None:
    old = routing({"openai": []}, listed=[("m", "openai")])
    new = old.with_list(ModelList((ListedModel("n", "openai"),)))
    assert await led(old, "m") == ("openai", "m")
    assert await led(new, "n") == ("openai", "n")
    with pytest.raises(ModelNotFound):
        await led(new, "m")


# --- every id that is shown leads back to the model it is shown for ---------------------------------------------------

NAMES = st.sampled_from(["openai", "groq", "custom", "a", "v1"])
IDS = st.one_of(
    st.sampled_from(["gpt-4o", "a/b", "openai/gpt-4o", "custom/x", "accounts/f/models/l:1", "fast", "fast/x"]),
    st.text(min_size=1, max_size=12),
)


@settings(max_examples=200, deadline=None)
@given(
    providers=st.dictionaries(st.sampled_from(["openai", "groq", "a"]), st.lists(IDS, max_size=4), max_size=3),
    listed=st.lists(st.tuples(IDS, NAMES), max_size=5),
    aliases=st.dictionaries(st.sampled_from(["fast", "fast/x", "gpt-4o", "a/b", "gp*"]), NAMES, max_size=3),
    asked=IDS,
)
def test_every_id_that_is_shown_leads_somewhere_and_nothing_that_is_asked_breaks(
    providers: dict[str, list[str]], listed: list[tuple[str, str]], aliases: dict[str, str], asked: str
) -> None:
    import anyio

    targets = {name: f"{target}/t" for name, target in aliases.items() if target in {*providers, "custom"}}
    where = routing(providers, aliases=targets, listed=listed)

    async def check() -> None:
        shown, silent = await PublicModels().read(where)
        assert silent == []
        ids = [model.id for model in shown]
        assert len(ids) == len(set(ids))
        for model in shown:
            assert public_model(where, model.id) == model
            provider, name = await led(where, model.id)
            assert provider in model.owned_by
            assert model.id in {name, f"{provider}/{name}"} or where.rules.aliases.follow(model.id) != model.id
        if asked in ids:
            await led(where, asked)
        else:
            with contextlib.suppress(ModelNotFound):  # the only failure there is
                await led(where, asked)

    anyio.run(check)


@pytest.mark.parametrize("name", ["openai/gpt-4o-mini", "OpenAI/gpt-4o-mini", "nick", "anthropic/x", "sure"])
async def test_the_built_in_provider_never_answers_for_one_that_is_known(name: str) -> None:
    aliases = Aliases({"nick": "openai/gpt-4o"}, ["openai"])
    rules = Rules(aliases, {"sure": Route((), None, ("openai", "groq"))})
    where = Routing(Registry([CustomProvider("custom", "forward")]), Catalogue([]), rules)
    with pytest.raises(
        ModelNotFound, match=r"(?i)does not exist here: it needs provider .*: set [A-Z]+_API_KEY"
    ) as reported:
        await where.resolve(None, name)
    assert repr(name) in reported.value.message
    assert (await where.resolve(None, "someone/else")).targets[0].provider.name == "custom"


def test_only_so_many_resolutions_are_kept_and_none_of_long_names() -> None:
    routing = Routing(Registry([CustomProvider()]), Catalogue([]))
    for number in range(1_000):
        resolution = routing.at("custom", f"m-{number}")
        assert resolution.targets[0].model == f"m-{number}"
        assert routing.at("custom", f"m-{number}") is resolution
        assert routing.at("custom", "m" * 300).targets[0].model == "m" * 300
    assert 0 < len(routing._at) <= 256
    with pytest.raises(ProviderNotFound):
        routing.at("other", "m-1")

"""The rows of vendors and servers: where each is called, with which header, and what is missing where it cannot be."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from ai_gateway.config.problems import SettingsError
from ai_gateway.config.settings import Settings
from ai_gateway.errors import UpstreamAuthError
from ai_gateway.providers.catalog import ROWS
from ai_gateway.providers.config.upstreams import configured_upstreams
from ai_gateway.providers.http.rotating_key import RotatingKey
from ai_gateway.providers.upstream import KeySource, Upstream
from tests.support.client import CHAT, ask, get
from tests.support.gateway import ONE_ATTEMPT, SharedGateways
from tests.support.upstream import Upstream as Server

BEARER = {"authorization": "Bearer k"}
GOOGLE = "aiplatform.googleapis.com/v1/projects/p/locations"
# What an operator sets, where calls go, and how the key travels.
KNOWN: dict[str, tuple[dict[str, str], str, dict[str, str]]] = {
    "gemini": ({"GEMINI_API_KEY": "k"}, "https://generativelanguage.googleapis.com/v1beta/openai", BEARER),
    "azure": (
        {"AZURE_OPENAI_API_KEY": "k", "AZURE_OPENAI_RESOURCE": "res"},
        "https://res.openai.azure.com/openai/v1",
        {"api-key": "k"},
    ),
    "bedrock": (
        {"AWS_BEARER_TOKEN_BEDROCK": "k", "AWS_REGION": "eu-west-1"},
        "https://bedrock-runtime.eu-west-1.amazonaws.com/openai/v1",
        BEARER,
    ),
    "vertex": (
        {"VERTEX_TOKEN": "k", "VERTEX_PROJECT": "p"},
        f"https://{GOOGLE}/global/endpoints/openapi",
        BEARER,
    ),
    "xai": ({"XAI_API_KEY": "k"}, "https://api.x.ai/v1", BEARER),
    "cohere": ({"COHERE_API_KEY": "k"}, "https://api.cohere.ai/compatibility/v1", BEARER),
    "perplexity": ({"PERPLEXITY_API_KEY": "k"}, "https://api.perplexity.ai", BEARER),
    "nvidia": ({"NVIDIA_API_KEY": "k"}, "https://integrate.api.nvidia.com/v1", BEARER),
    "sambanova": ({"SAMBANOVA_API_KEY": "k"}, "https://api.sambanova.ai/v1", BEARER),
    "huggingface": ({"HUGGINGFACE_API_KEY": "k"}, "https://router.huggingface.co/v1", BEARER),
    "github": ({"GITHUB_MODELS_API_KEY": "k"}, "https://models.github.ai/inference", BEARER),
    "cloudflare": (
        {"CLOUDFLARE_API_KEY": "k", "CLOUDFLARE_ACCOUNT_ID": "0af"},
        "https://api.cloudflare.com/client/v4/accounts/0af/ai/v1",
        BEARER,
    ),
    "databricks": (
        {"DATABRICKS_API_KEY": "k", "DATABRICKS_HOST": "https://adb-1.2.azuredatabricks.net/"},
        "https://adb-1.2.azuredatabricks.net/serving-endpoints",
        BEARER,
    ),
    "moonshot": ({"MOONSHOT_API_KEY": "k"}, "https://api.moonshot.ai/v1", BEARER),
    "zai": ({"ZAI_API_KEY": "k"}, "https://api.z.ai/api/paas/v4", BEARER),
    "minimax": ({"MINIMAX_API_KEY": "k"}, "https://api.minimax.io/v1", BEARER),
    "dashscope": ({"DASHSCOPE_API_KEY": "k"}, "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", BEARER),
    "hyperbolic": ({"HYPERBOLIC_API_KEY": "k"}, "https://api.hyperbolic.xyz/v1", BEARER),
    "nebius": ({"NEBIUS_API_KEY": "k"}, "https://api.tokenfactory.nebius.com/v1", BEARER),
    "scaleway": ({"SCW_SECRET_KEY": "k"}, "https://api.scaleway.ai/v1", BEARER),
    "sglang": ({"SGLANG_API_KEY": "k"}, "http://127.0.0.1:30000/v1", BEARER),
    "localai": ({"LOCALAI_BASE_URL": "http://gpu:8080/v1"}, "http://gpu:8080/v1", {}),
    "jan": ({"JAN_API_KEY": "k"}, "http://127.0.0.1:1337/v1", BEARER),
    "tgi": ({"TGI_API_KEY": "k"}, "http://127.0.0.1:3000/v1", BEARER),
    "infinity": ({"INFINITY_API_KEY": "k"}, "http://127.0.0.1:7997", BEARER),
}


def configured(env: dict[str, str]) -> Upstream:
    (upstream,) = configured_upstreams(Settings(), env).upstreams
    return upstream


@pytest.mark.parametrize("name", KNOWN)
def test_a_row_says_where_an_upstream_is_and_how_it_takes_the_key(name: str) -> None:
    env, base_url, headers = KNOWN[name]
    upstream = configured(env)
    assert (upstream.name, upstream.base_url, upstream.sent_headers) == (name, base_url, headers)


@pytest.mark.parametrize(
    ("env", "base_url"),
    [
        ({"AZURE_OPENAI_ENDPOINT": "https://res.openai.azure.com/"}, "https://res.openai.azure.com/openai/v1"),
        ({"AZURE_OPENAI_ENDPOINT": "https://r.services.ai.azure.com"}, "https://r.services.ai.azure.com/openai/v1"),
        ({"AZURE_BASE_URL": "https://proxy.example/openai/v1/"}, "https://proxy.example/openai/v1"),
        ({"AZURE_BASE_URL": "https://b/v1", "AZURE_OPENAI_ENDPOINT": "https://e", "AZURE_OPENAI_RESOURCE": "r"}, "https://b/v1"),
        ({"VERTEX_PROJECT": "p", "VERTEX_LOCATION": "us-central1"}, f"https://us-central1-{GOOGLE}/us-central1/endpoints/openapi"),
        ({"DATABRICKS_BASE_URL": "https://dbc-1.cloud.databricks.com"}, "https://dbc-1.cloud.databricks.com/serving-endpoints"),
        ({"DATABRICKS_BASE_URL": "https://h/ai-gateway/mlflow/v1"}, "https://h/ai-gateway/mlflow/v1"),
    ],
)  # fmt: skip
def test_an_accounts_address_is_read_in_the_forms_that_it_is_shown_in(env: dict[str, str], base_url: str) -> None:
    key = next(row.key_env for row in ROWS if {*row.base_url_envs, *row.url_variables} & env.keys())
    assert configured({key: "k", **env}).base_url == base_url


@pytest.mark.parametrize(
    ("env", "complaint"),
    [
        ({"AZURE_OPENAI_API_KEY": "k"}, "AZURE_OPENAI_RESOURCE: needed .* 'azure': set it, or AZURE_BASE_URL"),
        ({"AWS_BEARER_TOKEN_BEDROCK": "k"}, "AWS_REGION: needed for the base URL of provider 'bedrock'"),
        ({"VERTEX_TOKEN": "k"}, "VERTEX_PROJECT: needed for the base URL of provider 'vertex'"),
        ({"CLOUDFLARE_API_KEY": "k"}, "CLOUDFLARE_ACCOUNT_ID: needed for the base URL of provider 'cloudflare'"),
        ({"DATABRICKS_API_KEY": "k"}, "DATABRICKS_HOST: needed for the base URL of provider 'databricks'"),
        ({"AWS_BEARER_TOKEN_BEDROCK": "k", "AWS_REGION": "a/../b"}, "AWS_REGION: 'a/../b' is no part of a URL"),
        ({"AWS_BEARER_TOKEN_BEDROCK": "k", "AWS_REGION": "x@evil.example"}, "AWS_REGION: .* is no part of a URL"),
        ({"AZURE_OPENAI_ENDPOINT": "https://res.openai.azure.com"}, "AZURE_OPENAI_API_KEY is missing"),
        ({"VERTEX_TOKEN": "k", "VERTEX_TOKEN_COMMAND": "x", "VERTEX_PROJECT": "p"}, "both set"),
        ({"VERTEX_TOKEN_COMMAND": "'", "VERTEX_PROJECT": "p"}, "VERTEX_TOKEN_COMMAND: cannot be read as a command"),
        ({"VERTEX_TOKEN_FILE": "/nowhere", "VERTEX_PROJECT": "p"}, "VERTEX_TOKEN_FILE: '/nowhere' cannot be read"),
    ],
)
def test_what_an_account_lacks_is_named(env: dict[str, str], complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        configured(env)


def test_region_and_host_alone_configure_nothing() -> None:
    shared = {"AWS_REGION": "eu-west-1", "DATABRICKS_HOST": "h", "CLOUDFLARE_ACCOUNT_ID": "a", "VERTEX_PROJECT": "p"}
    assert not configured_upstreams(Settings(), shared).upstreams


def test_azures_models_get_the_token_limit_that_they_all_take() -> None:
    for more in ({"AZURE_OPENAI_RESOURCE": "r"}, {"AZURE_OPENAI_ENDPOINT": "https://r.openai.azure.com"}):
        assert configured({"AZURE_OPENAI_API_KEY": "k", **more}).row.quirks.max_completion_tokens_only


def test_a_call_goes_out_as_its_row_says(gateway_for: SharedGateways, shared_upstream: Server) -> None:
    url = shared_upstream.url
    env = {"AZURE_OPENAI_API_KEY": "azure-key-1", "AZURE_BASE_URL": url, "PERPLEXITY_API_KEY": "pplx-key-1"}
    live = gateway_for(**env, PERPLEXITY_BASE_URL=url, **ONE_ATTEMPT)
    assert ask(live, "good#azure", CHAT, provider="azure").status_code == 200
    seen = shared_upstream.last("good#azure")
    assert (seen.header("api-key"), seen.header("authorization")) == ("azure-key-1", None)
    assert ask(live, "good#pplx", CHAT, provider="perplexity").status_code == 200
    assert shared_upstream.last("good#pplx").header("authorization") == "Bearer pplx-key-1"
    listed = get(live, "/v1/models")
    assert "x-gateway-models-missing" not in listed.headers
    assert get(live, "/perplexity/v1/models").json()["error"]["code"] == "unsupported_operation"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_token_that_others_renew_is_read_for_calls(
    gateway_for: SharedGateways, shared_upstream: Server, tmp_path_factory: Any, *, stream: bool
) -> None:
    token = tmp_path_factory.mktemp("vertex") / "token"
    token.write_text("ya29.token-one\n", encoding="utf-8")
    command = f"{sys.executable} -c \"print(open(r'{token}').read())\""
    live = gateway_for(VERTEX_TOKEN_COMMAND=command, VERTEX_BASE_URL=shared_upstream.url, **ONE_ATTEMPT)
    model = f"good#vertex-{stream}"
    assert ask(live, model, CHAT, provider="vertex", stream=stream).status_code == 200
    assert shared_upstream.last(model).header("authorization") == "Bearer ya29.token-one"
    token.write_text("ya29.token-two\n", encoding="utf-8")
    assert ask(live, "status-401", CHAT, provider="vertex", stream=stream).status_code == 502
    assert ask(live, f"{model}-2", CHAT, provider="vertex", stream=stream).status_code == 200
    assert shared_upstream.last(f"{model}-2").header("authorization") == "Bearer ya29.token-two"


def rotating(source: KeySource, clock: list[float]) -> RotatingKey:
    return RotatingKey("vertex", source, lambda: clock[0])


def test_a_file_is_read_again_after_a_while_and_what_is_no_key_is_told(tmp_path: Path) -> None:
    file, clock = tmp_path / "token", [0.0]
    key = rotating(KeySource("VERTEX_TOKEN_FILE", file=file), clock)

    async def read(content: str, after: float) -> str:
        file.write_text(content, encoding="utf-8")
        clock[0] += after
        return await key.read()

    assert asyncio.run(read("one", 0)) == "one"
    assert asyncio.run(read("two", 1)) == "one"
    assert asyncio.run(read("two", 10)) == "two"
    for content in ("", "two words"):
        with pytest.raises(UpstreamAuthError, match="VERTEX_TOKEN_FILE"):
            asyncio.run(read(content, 10))


@pytest.mark.parametrize(
    ("command", "detail"),
    [
        (("/nowhere/gcloud",), "No such file"),
        ((sys.executable, "-c", "raise SystemExit(3)"), "ended with 3"),
        ((sys.executable, "-c", ""), "printed nothing"),
        ((sys.executable, "-c", "while True: print('token')"), "prints more than 64 KiB"),
    ],
)
def test_a_command_that_fails_is_told_to_the_operator_alone(command: tuple[str, ...], detail: str) -> None:
    with pytest.raises(UpstreamAuthError, match="its operator has to check VERTEX_TOKEN_COMMAND") as reported:
        asyncio.run(rotating(KeySource("VERTEX_TOKEN_COMMAND", command=command), [0.0]).read())
    assert detail in str(reported.value.detail)
    assert "nowhere" not in reported.value.message


def test_those_who_wait_for_a_command_wait_for_one(tmp_path: Path) -> None:
    count = tmp_path / "count"
    script = f"open(r'{count}', 'a').write('x'); print('token')"
    key = rotating(KeySource("C", command=(sys.executable, "-c", script)), [0.0])

    async def together() -> list[str]:
        return await asyncio.gather(*(key.read() for _ in range(8)))

    assert asyncio.run(together()) == ["token"] * 8
    assert count.read_text() == "x"

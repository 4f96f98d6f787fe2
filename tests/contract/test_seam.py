"""The seam between contract and code: change `spec/`, generate, and mypy names every line of `src/` that has to follow.

Each test works on a copy of the tree, with the real command line and the real mypy.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.contract.documents import Json, read, resolve, schema_ref, to_yaml

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

REPOSITORY = Path(__file__).resolve().parents[2]
NEEDED = ("src", "generated", "spec", "scripts", "pyproject.toml")
HANDLERS = Path("src", "ai_gateway", "api", "openai", "handlers.py")
DECISIONS = (
    Path("src", "ai_gateway", "providers", "openai", "policies.py"),
    Path("src", "ai_gateway", "providers", "custom", "parameters.py"),
    Path("src", "ai_gateway", "providers", "ollama", "policies.py"),
    Path("src", "ai_gateway", "providers", "anthropic", "policies.py"),
)
ROUTES = Path("generated", "gateway_contract", "openai", "routes.py")

# Written for this test; the official schemas are others.
MODERATION: Json = {
    "CreateModerationRequest": {
        "type": "object",
        "required": ["input"],
        "properties": {
            "input": {"oneOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": {"type": "string"}}]},
            "model": {"type": "string", "nullable": True},
        },
    },
    "CreateModerationResponse": {
        "type": "object",
        "required": ["id", "model", "results"],
        "properties": {
            "id": {"type": "string"},
            "model": {"type": "string"},
            "results": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["flagged"],
                    "properties": {"flagged": {"type": "boolean"}},
                },
            },
        },
    },
}
CREATE_MODERATION: Json = {
    "operationId": "createModeration",
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": schema_ref("CreateModerationRequest")}},
    },
    "responses": {"200": {"content": {"application/json": {"schema": schema_ref("CreateModerationResponse")}}}},
}
BOUND = """
    @override
    async def create_moderation(
        self, call: Call, body: models.CreateModerationRequest
    ) -> Reply[models.CreateModerationResponse]:
        flagged = models.CreateModerationResponseResult(flagged=not body.input)
        return models.CreateModerationResponse(id="modr-1", model=body.model or "none", results=[flagged])
"""


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree on which mypy is content, with mypy's cache of it: at best that of `make type`."""
    root = tmp_path_factory.mktemp("seam")
    for name in NEEDED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, root / name)
    if (known := REPOSITORY / ".mypy_cache").exists():
        shutil.copytree(known, root / ".mypy_cache")
    assert typed(root) == ""
    return root


@pytest.fixture
def tree(warm: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(warm, tmp_path / "tree"))


def python(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MYPY")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def contract(root: Path, *arguments: str) -> str:
    done = python(root, "-m", "scripts.contract", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def typed(root: Path) -> str:
    """What mypy has to say of the API and all it stands on; nothing if it is content."""
    done = python(root, "-m", "mypy", "--cache-dir", ".mypy_cache", "--no-error-summary", "src/ai_gateway/api")
    assert done.returncode in {0, 1}, done.stderr
    assert (done.returncode == 0) == (done.stdout == "")
    return done.stdout


def change(root: Path, name: str, alter: Callable[[Json], None]) -> None:
    path = root / "spec" / name
    document = read(path)
    alter(document)
    path.write_text(to_yaml(document), encoding="utf-8")


def published(root: Path, path: Path) -> Path:
    """The official document of the day after: what is vendored, and moderations."""
    document = read(root / "spec" / "openai" / "facts.yaml")
    document["paths"]["/moderations"] = {"post": CREATE_MODERATION}
    document["components"]["schemas"] |= MODERATION
    path.write_text(to_yaml(document), encoding="utf-8")
    return path


def test_a_new_operation_arrives_as_a_stub_and_mypy_is_red_until_its_handler_is_bound(
    tree: Path, tmp_path: Path
) -> None:
    newer = published(tree, tmp_path / "newer.yaml")
    report = contract(tree, "update", str(newer), "--add", "post /moderations").splitlines()
    assert "+ operation post /moderations: bind its handler, and decide in every adapter" in report
    assert not [line for line in report if line.startswith(("-", "~"))], "what is vendored must come back as it was"

    contract(tree, "gen")
    routes = (tree / ROUTES).read_text(encoding="utf-8")
    assert '@router.operation("POST", "/{provider}/v1/moderations", "createModeration")' in routes
    assert '@router.operation("POST", "/v1/moderations", "createModeration")' in routes

    red = typed(tree)
    assert 'Cannot instantiate abstract class "OpenAIHandlers"' in red
    assert '"create_moderation"' in red

    handlers = tree / HANDLERS
    handlers.write_text(handlers.read_text(encoding="utf-8") + BOUND, encoding="utf-8")
    undecided = typed(tree).splitlines()
    assert {line.split(":")[0] for line in undecided} == {str(path) for path in DECISIONS}
    assert all('Missing key "createModeration"' in line for line in undecided)

    for path in DECISIONS:
        decide(tree / path, "}\n", '    "createModeration": {"input": "forwarded", "model": "mapped"},\n}\n')
    assert typed(tree) == ""


def test_a_new_request_field_is_red_in_every_adapter_until_each_has_decided(tree: Path) -> None:
    def invent(document: Json) -> None:
        body = resolve(document, "#/components/schemas/CreateEmbeddingRequest")
        body["properties"]["x-late"] = {"type": "string"}

    change(tree, "openai/facts.yaml", invent)
    contract(tree, "gen")
    undecided = typed(tree).splitlines()
    assert {line.split(":")[0] for line in undecided} == {str(path) for path in DECISIONS}
    assert all('Missing key "x-late"' in line for line in undecided)

    for path, policy in zip(DECISIONS, ("forwarded", "lost", "dropped", "refused"), strict=True):
        decide(tree / path, "    },\n}\n", f'        "x-late": "{policy}",\n    }},\n}}\n')
    red = typed(tree)
    assert "src/ai_gateway/providers/openai/policies.py" not in red
    assert "has type \"Literal['lost']\"" in red, "a decision is one of four"


def decide(path: Path, end: str, decision: str) -> None:
    """Write a decision where an adapter's table ends."""
    text = path.read_text(encoding="utf-8")
    assert text.endswith(end)
    path.write_text(text.removesuffix(end) + decision, encoding="utf-8")


@pytest.fixture(scope="module")
def drifted(warm: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What mypy says after one day on which much has changed, none of it where another change is."""
    tree = Path(shutil.copytree(warm, tmp_path_factory.mktemp("drifted") / "tree"))
    change(tree, "openai/facts.yaml", lambda document: document["paths"].pop("/embeddings"))
    for overlay in (tree / "spec" / "overlay").glob("openai-*.yaml"):
        change(tree, f"overlay/{overlay.name}", forget_embeddings)
    change(tree, "openai/facts.yaml", rename_the_retrieval_of_models)
    change(tree, "openai/facts.yaml", retype_the_list_of_models)
    change(tree, "openai/facts.yaml", retype_the_model)
    change(tree, "overlay/openai-streams.yaml", no_longer_stream)
    change(tree, "ollama/facts.yaml", add_and_retype_fields_of_ollama)
    contract(tree, "gen")
    assert "embedding" not in (tree / ROUTES).read_text(encoding="utf-8").replace("CreateEmbeddingResponse", "")
    return typed(tree)


def forget_embeddings(overlay: Json) -> None:
    """What an editor does when a correction's target is gone: narrow it, or take it out."""
    for action in overlay["actions"]:
        action["target"] = action["target"].replace(",'/embeddings'", "")
    overlay["actions"] = [action for action in overlay["actions"] if "/embeddings" not in action["target"]]


def test_an_operation_that_is_gone_leaves_its_handler_red(drifted: str) -> None:
    assert f"{HANDLERS}:" in drifted
    assert 'Method "create_embedding" is marked as an override, but no base method was found' in drifted


def rename_the_retrieval_of_models(document: Json) -> None:
    document["paths"]["/models/{model}"]["get"]["operationId"] = "fetchModel"


def test_a_renamed_operation_makes_its_handler_red(drifted: str) -> None:
    assert 'Method "retrieve_model" is marked as an override, but no base method was found' in drifted
    assert 'abstract attribute "fetch_model"' in drifted


def retype_the_list_of_models(document: Json) -> None:
    reply = document["paths"]["/models"]["get"]["responses"]["200"]["content"]["application/json"]
    reply["schema"] = schema_ref("CreateEmbeddingResponse")


def test_a_reply_of_another_schema_makes_its_handler_red(drifted: str) -> None:
    assert 'Return type "Coroutine[Any, Any, ListModelsResponse | Item[ListModelsResponse]]"' in drifted
    assert 'with return type "Coroutine[Any, Any, CreateEmbeddingResponse | Item[CreateEmbeddingResponse]]"' in drifted


def no_longer_stream(overlay: Json) -> None:
    overlay["actions"] = [each for each in overlay["actions"] if "['/completions']" not in each["target"]]


def test_a_reply_that_no_longer_streams_makes_its_handler_red(drifted: str) -> None:
    whole = "CreateCompletionResponse | Item[CreateCompletionResponse]"
    assert f'of "create_completion" incompatible with return type "Coroutine[Any, Any, {whole}]"' in drifted


def retype_the_model(document: Json) -> None:
    resolve(document, "#/components/schemas/CreateChatCompletionRequest")["properties"]["model"] = {"type": "integer"}


def test_a_field_of_another_type_makes_what_reads_it_red(drifted: str) -> None:
    assert any(
        line.startswith("src/ai_gateway/gateway.py:") and 'has incompatible type "int | str"; expected "str"' in line
        for line in drifted.splitlines()
    )


def add_and_retype_fields_of_ollama(document: Json) -> None:
    schemas = document["components"]["schemas"]
    schemas["ChatRequest"]["properties"]["tomorrow"] = {"type": "boolean"}
    schemas["EmbedRequest"]["properties"]["input"] = {"type": "integer"}


def test_a_field_of_ollamas_wire_owes_a_policy_and_its_type_binds_the_handler(drifted: str) -> None:
    assert "ollama_chat/policies.py:" in drifted
    assert 'Missing key "tomorrow" for TypedDict "OllamaChatParameters"' in drifted
    assert any(
        line.startswith("src/ai_gateway/api/ollama/handlers.py:") and 'has incompatible type "int | str"' in line
        for line in drifted.splitlines()
    )

"""The generated models and the contract's schemas say the same, in both directions, about the same JSON.

The oracle is jsonschema-rs. Every case is a JSON text: generated to fit a schema, generated not to, or one of those
with a small change. A model that takes what the schema refuses is as wrong as one that refuses what it takes.
"""

import json
import random
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from pydantic import BaseModel, ValidationError
from schemathesis import GenerationMode

from ai_gateway.contract.body import parse_json
from ai_gateway.errors import InvalidRequest
from gateway_contract.gateway import models as gateway_models
from gateway_contract.ollama import models as ollama_models
from gateway_contract.openai import models as openai_models
from tests.contract.schemas import CONTRACT, validator
from tests.fuzz.examples import EXAMPLES

pytestmark = pytest.mark.slow

SCHEMAS = {
    name: getattr(openai_models, name)
    for name in (
        "CreateChatCompletionRequest",
        "CreateCompletionRequest",
        "CreateEmbeddingRequest",
        "CreateChatCompletionResponse",
        "CreateChatCompletionStreamResponse",
        "CreateCompletionResponse",
        "CreateCompletionStreamResponse",
        "CreateEmbeddingResponse",
        "ListModelsResponse",
        "ErrorResponse",
    )
} | {name: getattr(gateway_models, name) for name in ("ServiceInfo", "HealthReport", "VersionInfo")}
SCHEMAS |= {
    name: getattr(ollama_models, name)
    for name in (
        "OllamaChatRequest",
        "OllamaGenerateRequest",
        "OllamaEmbedRequest",
        "OllamaEmbeddingsRequest",
        "OllamaShowRequest",
        "OllamaChatResponse",
        "OllamaChatStreamEvent",
        "OllamaGenerateResponse",
        "OllamaGenerateStreamEvent",
        "OllamaEmbedResponse",
        "OllamaEmbeddingsResponse",
        "OllamaListResponse",
        "OllamaShowResponse",
        "OllamaErrorResponse",
    )
}
NAMES = {"[]"}.union(*(schema.get("properties", ()) for schema in CONTRACT["components"]["schemas"].values()))
TIMES = min(max(EXAMPLES // 300, 1), 10)
"""As many values as in every test run; `make fuzz` makes more."""
GENERATED, MUTATIONS = 40, 30
"""Values for each schema, and changed copies of each: a value takes as long to make as a hundred changes."""
LARGE = {
    "CreateChatCompletionRequest": (20, 100),
    "CreateChatCompletionResponse": (8, 200),
    "CreateChatCompletionStreamResponse": (8, 200),
    "OllamaChatRequest": (20, 80),
}
"""The same for schemas whose values have hundreds of places to change, and take a hundred times as long to make."""
CASES_EACH = 1_000
"""At least. 27 schemas make 27,000 cases and more."""


@cache
def document() -> Any:
    """A document of our own, which poses each schema as a request body."""
    paths = {
        f"/{name}": {
            "post": {
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}},
                },
                "responses": {"200": {"description": "ok"}},
            }
        }
        for name in SCHEMAS
    }
    components = {"schemas": CONTRACT["components"]["schemas"]}
    info = {"title": "agreement", "version": "0"}
    return schemathesis.openapi.from_dict({"openapi": "3.1.0", "info": info, "paths": paths, "components": components})


def model_accepts(model: type[BaseModel], raw: bytes) -> bool | None:
    """None for JSON that the strict parser refuses as such, which the schema has no say in."""
    try:
        value = parse_json(raw)
    except InvalidRequest:
        return None
    try:
        model.model_validate(value, strict=True)
    except ValidationError:
        return False
    return True


def mutated(text: str, copies: int, chance: random.Random) -> Iterator[bytes]:
    """What the JSON says, each time with one thing changed: a value swapped for a near miss, or a key dropped or added.

    Each field is as likely as any other, however many objects of a list have it.
    """
    value = json.loads(text)
    spots: dict[str, list[tuple[Any, Any]]] = {}
    for field, container, key in places(value, ""):
        spots.setdefault(field, []).append((container, key))
    fields = list(spots)
    for _ in range(copies):
        if not fields:
            yield json.dumps(chance.choice([None, [], "", 0])).encode()
            continue
        container, key = chance.choice(spots[chance.choice(fields)])
        before = container.copy()
        if isinstance(container, dict) and chance.random() < 0.25:
            del container[key]
        elif isinstance(container, dict) and chance.random() < 0.1:
            container["unheard_of"] = chance.choice([None, 1, {"a": [1.5]}])
        else:
            container[key] = near_miss(container[key], chance)
        yield json.dumps(value).encode()
        container.clear()
        container.update(before) if isinstance(container, dict) else container.extend(before)


def places(value: Any, within: str) -> Iterator[tuple[str, Any, Any]]:
    """Each value inside of this one, by the path of its field, with what has it; made-up names are all alike."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            name = key if isinstance(value, dict) else "[]"
            field = f"{within}.{name if name in NAMES else '?'}"
            yield field, value, key
            yield from places(value[key], field)


def near_miss(value: Any, chance: random.Random) -> Any:
    misses: list[Any] = [None, "", 0, 1.0, -1, 1.5, True, [], {}, [value], str(value), "user", "text", "auto", 10**19]
    if isinstance(value, int | float) and not isinstance(value, bool):
        misses += [float(value), -value, value + 0.5, bool(value)]
    return chance.choice(misses)


@pytest.mark.parametrize("name", SCHEMAS)
def test_model_and_schema_agree(name: str) -> None:
    seen: Counter[bool | None] = Counter()
    generated, mutations = LARGE.get(name, (GENERATED, MUTATIONS))
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        for raw in cases(name, mode, generated * TIMES // 2, mutations):
            accepted = model_accepts(SCHEMAS[name], raw)
            seen[accepted] += 1
            if accepted is not None:
                assert accepted == validator(name).is_valid(json.loads(raw)), raw.decode()
    assert sum(seen.values()) >= CASES_EACH
    assert seen[True] > 100, "too few valid cases to prove anything"
    assert seen[False] > 100, "too few invalid cases to prove anything"


def cases(name: str, mode: GenerationMode, examples: int, mutations: int) -> list[bytes]:
    """Generated bodies as JSON texts, each with its changed copies."""
    found: list[bytes] = []
    chance = random.Random(f"{name} {mode}")

    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(document()[f"/{name}"]["POST"].as_strategy(generation_mode=mode))
    def collect(case: schemathesis.Case[Any]) -> None:
        try:
            text = json.dumps(case.body, allow_nan=False)
            found.append(text.encode())
            found.extend(mutated(text, mutations, chance))
        except (TypeError, ValueError):  # not JSON: a binary body, or no number
            found.append(b"null")

    for number in range(1, 6):  # generation may run dry early, which depends on the order of sets in this process
        seed(number)(collect)()
        if len(found) >= examples * (1 + mutations):
            break
    return found[: examples * (1 + mutations)]

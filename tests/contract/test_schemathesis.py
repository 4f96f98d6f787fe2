"""The live gateway holds to its contract, under schemathesis with every check on, and while it streams."""

import json
import re
from importlib.resources import files
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, seed, settings
from schemathesis import GenerationMode

from scripts.fuzz.__main__ import PARTS, SETTINGS, fuzz
from scripts.fuzz.refusals import is_refused_by_custom
from tests.support.client import frames_of, post
from tests.support.gateway import LiveGateway, running_gateway

pytestmark = pytest.mark.slow

STREAMED = 100
COVERAGE_ONE_OF = 4
CONTRACT = json.loads(files("gateway_contract").joinpath("openapi.json").read_text("utf-8"))


# What is generated is the same in each run. For inference, as many examples an operation find the faults of the
# self-test, and `make fuzz` has more. Of bodies of messages, and of administration, what can be wrong with them, the
# phase Coverage goes through one by one: here a quarter of it, drawn at random, and in `make fuzz` all. Where a path
# names the provider, or what is counted or made shorter has the body of what is made, `make fuzz` does so, since the
# bodies are the same.
BY_MODEL = ("--exclude-path-regex", r"^/v1/(organization|gateway)/|/v1/responses|/v1/messages|^/\{provider\}/")
BY_PROVIDER = ("--include-path-regex", r"^/\{provider\}/", "--phases", "examples,fuzzing,stateful")

RESPONSES = ("--include-path-regex", "^/v1/responses", "--exclude-path-regex", "/(input_tokens|compact)$")
ALIKE = ("--include-path-regex", "^/v1/(responses/(input_tokens|compact)$|messages/)", "--phases", "examples,fuzzing")


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("options", "operations", "examples", "least"),
    [
        pytest.param(BY_MODEL, 34, 25, 1_000, id="inference"),
        pytest.param(RESPONSES, 5, 5, 1_500, id="responses"),
        pytest.param(("--include-path-regex", "^/v1/messages$"), 1, 3, 1_500, id="messages"),
        pytest.param(ALIKE, 3, 5, 10, id="like these"),
        pytest.param(BY_PROVIDER, 14, 4, 50, id="by provider"),
        pytest.param(PARTS["administration"], 65, 5, 1_200, id="administration"),
    ],
)
def test_schemathesis_finds_nothing(options: tuple[str, ...], operations: int, examples: int, least: int) -> None:
    with running_gateway(**SETTINGS) as gateway:
        ran = fuzz(gateway.base_url, examples, *options, quiet=True, coverage_one_of=COVERAGE_ONE_OF)
    assert ran.returncode == 0, ran.stdout
    assert f"Operations:       {operations} selected / 122 total" in ran.stdout, ran.stdout
    generated = re.search(r"(\d+) generated", ran.stdout)
    assert generated, ran.stdout
    assert int(generated[1]) > least, "too few cases to prove anything"


def oracle(name: str) -> jsonschema_rs.Draft202012Validator:
    schema = {"$ref": f"#/components/schemas/{name}", "components": CONTRACT["components"]}
    return jsonschema_rs.Draft202012Validator(schema)


@pytest.mark.parametrize(
    ("path", "chunk"),
    [
        ("/chat/completions", "CreateChatCompletionStreamResponse"),
        ("/completions", "CreateCompletionStreamResponse"),
    ],
)
def test_every_valid_request_streams_legally(gateway: LiveGateway, path: str, chunk: str) -> None:
    document = schemathesis.openapi.from_dict(CONTRACT)
    operation = document["/v1" + path]["POST"]
    valid = oracle(chunk)
    streamed = 0

    @seed(1)
    @settings(
        max_examples=STREAMED,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
    def stream(case: schemathesis.Case[Any]) -> None:
        nonlocal streamed
        body: dict[str, Any] = {**case.body, "stream": True}  # type: ignore[dict-item] # a body here is an object
        assume(not is_refused_by_custom(body))
        reply = post(gateway, f"/v1{path}", body)
        assert reply.status_code == 200, reply.text
        assert_legal(reply.text, body, valid)
        streamed += 1

    stream()
    assert streamed > STREAMED * 0.8


def assert_legal(text: str, body: dict[str, Any], valid: jsonschema_rs.Draft202012Validator) -> None:
    events = frames_of(text)
    assert events.pop() == "", "the last event is complete"
    assert events.pop() == "data: [DONE]"
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    for each in chunks:
        valid.validate(each)
    assert len({(each["id"], each["model"], each["created"]) for each in chunks}) == 1
    choices = [choice for each in chunks for choice in each["choices"]]
    finished = [choice["index"] for choice in choices if choice["finish_reason"] is not None]
    assert sorted(finished) == sorted({choice["index"] for choice in choices}), "one finish reason for each choice"
    wanted = bool((body.get("stream_options") or {}).get("include_usage"))
    assert [bool(each.get("usage")) for each in chunks] == [False] * (len(chunks) - 1) + [wanted]

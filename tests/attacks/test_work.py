"""Small requests that ask for much: the work for each is bounded, and refused by name where it is more."""

import json
import sys
from typing import Any

import httpx2
import psutil
import pytest

from tests.support.client import client_of, get, post
from tests.support.gateway import LiveGateway, SharedGateways

pytestmark = pytest.mark.live

CHAT, LEGACY, EMBED = "/custom/v1/chat/completions", "/custom/v1/completions", "/custom/v1/embeddings"
MAX_CPU_S = 5.0  # several times what any takes; each took from five seconds to minutes
MAX_REPLY = 20 * 2**20


def said(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **fields}


def tool(name: str, parameters: Any = None) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **({"parameters": parameters} if parameters else {})}}


def schema(value: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "s", "schema": value}}


def allowed(count: int) -> dict[str, Any]:
    tools = [{"type": "function", "function": {"name": f"tool-{at}"}} for at in range(count)]
    return {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": tools}}


BIG = {"list": [f"value {at}" for at in range(20_000)]}
# What is asked, and the parameter that is named where it is too much; None where there is an answer.
ASKED: dict[str, tuple[str, dict[str, Any], str | None]] = {
    "prompts times n": (LEGACY, {"model": "m", "prompt": ["x"] * 2048, "n": 128}, "prompt"),
    "prompts times n times logprobs": (
        LEGACY,
        {"model": "m", "prompt": ["x"] * 100, "n": 128, "logprobs": 5},
        "prompt",
    ),
    "many prompts": (LEGACY, {"model": "m", "prompt": ["x"] * 80_000, "logprobs": 5}, "prompt"),
    "an echo times n": (LEGACY, {"model": "m", "prompt": " " * 400_000, "n": 128, "echo": True}, "prompt"),
    "logprobs of an echo": (LEGACY, {"model": "m", "prompt": "a " * 50_000, "echo": True, "logprobs": 5}, "prompt"),
    "choices times logprobs": (CHAT, said("x", n=128, logprobs=True, top_logprobs=20), "top_logprobs"),
    "tools times a long message": (CHAT, said("b " * 500_000, tools=[tool(f"a-{at}") for at in range(2_000)]), "tools"),
    "a name that nearly fits": (
        CHAT,
        said("a-bx" * 250_000, tools=[tool(f"a-b{'' * at}") for at in range(50)]),
        "tools",
    ),
    "words times tools": (CHAT, said("word " * 400_000, tools=[tool(f"t{at}") for at in range(5_000)]), None),
    "allowed tools times tools": (
        CHAT,
        said("x", tools=[tool(f"tool-{at}") for at in range(10_000)], tool_choice=allowed(10_000)),
        None,
    ),
    "calls times choices": (
        CHAT,
        said(
            "x",
            n=128,
            tools=[tool("t", {"type": "object", "required": [f"f{at}" for at in range(60)]})],
            tool_choice="required",
        ),
        "tools",
    ),
    "a constant that must not be": (
        CHAT,
        said("x", response_format=schema({"const": BIG, "not": {"const": BIG}})),
        "response_format",
    ),
    "unique items of few values": (
        CHAT,
        said(
            "x",
            response_format=schema(
                {"type": "array", "uniqueItems": True, "minItems": 64, "items": {"enum": [BIG, {**BIG, "x": 1}]}}
            ),
        ),
        "response_format",
    ),
    "half a million required names": (
        CHAT,
        said(
            "x",
            response_format=schema(
                {"type": "object", "required": [f"f{at}" for at in range(500_000)], "properties": {"a": {"$ref": "#"}}}
            ),
        ),
        "response_format",
    ),
    "half a million alternatives": (
        CHAT,
        said("x", response_format=schema({"anyOf": [False] * 300_000})),
        "response_format",
    ),
    "references that double": (
        CHAT,
        said(
            "x",
            response_format=schema(
                {
                    "$ref": "#/$defs/n0",
                    "$defs": {
                        f"n{at}": {"allOf": [{"$ref": f"#/$defs/n{at + 1}"}] * 2, "not": {"const": at}}
                        for at in range(60)
                    },
                }
            ),
        ),
        None,
    ),
    "patterns times names": (
        CHAT,
        said(
            "x",
            response_format=schema(
                {"patternProperties": {f"(a+)+{at}": {"not": {}} for at in range(5_000)}, "minProperties": 64}
            ),
        ),
        "response_format",
    ),
    "a pattern of many ranges": (
        CHAT,
        said(
            "x",
            response_format=schema(
                {
                    "type": "string",
                    "minLength": 4000,
                    "allOf": [{"pattern": f"[{'a-bc-d' * 300}]{{{at},}}z"} for at in range(60)],
                }
            ),
        ),
        "response_format",
    ),
    "words times embeddings": (
        EMBED,
        {"model": "m", "input": [f"{'word ' * 400}{at}" for at in range(2_048)]},
        "input",
    ),
    "one embedding of a long text": (EMBED, {"model": "m", "input": "letters " * 1_000_000}, "input"),
    "large vectors": (EMBED, {"model": "m", "input": ["x"] * 2048, "dimensions": 4096}, "dimensions"),
}


def cpu_s(live: LiveGateway) -> float:
    times = psutil.Process(live.process.pid).cpu_times()
    return float(times.user + times.system)


def reply_size(http: httpx2.Client, path: str, body: dict[str, Any]) -> tuple[int, int, bytes]:
    """Status, size and beginning of a reply, which is read as it comes."""
    size, beginning = 0, b""
    with http.stream("POST", path, json=body) as reply:
        for part in reply.iter_raw():
            size += len(part)
            beginning += part if len(beginning) < 2**16 else b""
        return reply.status_code, size, beginning


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", ASKED)
def test_the_built_in_provider_does_bounded_work(gateway: LiveGateway, name: str, *, stream: bool) -> None:
    path, body, refused = ASKED[name]
    if stream and path == EMBED:
        body = {**body, "encoding_format": "base64"}
    elif stream:
        body = {**body, "stream": True}
    before = cpu_s(gateway)
    with client_of(gateway) as http:
        status, size, beginning = reply_size(http, path, body)
    spent = cpu_s(gateway) - before
    sys.stdout.write(f"{name}: {len(json.dumps(body)):,} bytes, {spent:.2f} s of CPU, {status}, {size:,} bytes\n")
    assert spent < MAX_CPU_S
    assert size < MAX_REPLY
    if refused is None:
        assert status in {200, 400}
    else:
        assert status == 400
        error = json.loads(beginning)["error"]
        assert error["param"] == refused
        assert error["code"] == "unsupported_value"


def test_switched_off_the_built_in_provider_answers_nobody(gateway_for: SharedGateways) -> None:
    live = gateway_for(CUSTOM_PROVIDER="off")
    for path, body in (
        (CHAT, said("x")),
        (LEGACY, {"model": "m", "prompt": "x"}),
        (EMBED, {"model": "m", "input": "x"}),
    ):
        refused = post(live, path, body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "provider_not_found")
        assert "CUSTOM_PROVIDER" in refused.json()["error"]["message"]
        assert post(live, path.removeprefix("/custom"), {**body, "model": "custom/m"}).status_code == 404
    assert get(live, "/custom/v1/models").status_code == 404
    assert get(live, "/custom/v1/models/custom-chat").status_code == 404
    assert get(live, "/v1/models").json()["data"] == []
    assert post(live, "/api/chat", {"model": "custom/m", "messages": []}).status_code == 404
    assert "custom" not in live.log().partition("docs")[2].partition("keys")[0]

"""Code execution, memory and MCP as clients have them: through the loop, by key, beside each other, until the end."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.administration import ADMIN_KEY, Administrator
from tests.support.client import eventually, get, post
from tests.support.command import run_command
from tests.support.gateway import TEST_KEY, LiveGateway, running_gateway
from tests.support.processes import children, is_alive
from tests.tools.asking import added_up, message_of
from tests.tools.test_mcp import running_server

pytestmark = pytest.mark.live

PATH = "/custom/v1/chat/completions"
OTHER_KEY = "sk-gw-test-other-0123456789abcdef"
CODE, MEMORY, MCP = ({"type": f"gateway:{name}"} for name in ("code_execution", "memory", "mcp"))


@pytest.fixture(scope="module")
def lab() -> Iterator[str]:
    with running_server() as (url, _):
        yield url


@pytest.fixture(scope="module")
def live(lab: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    config = tmp_path_factory.mktemp("hosted") / "gateway.toml"
    config.write_text(f'[mcp.lab]\nurl = "{lab}"\nallowed_tools = ["add", "echo", "slow"]\n')
    with running_gateway(**environment(config), CUSTOM_PACE_MS="0") as running:
        yield running


def environment(config: Path, **more: str) -> dict[str, str]:
    return {
        "GATEWAY_CONFIG": str(config),
        "ALLOWED_API_KEYS": f"{TEST_KEY},{OTHER_KEY}",
        "ADMIN_API_KEY": ADMIN_KEY,
        "STORE_URL": "memory",
        "TOOL_CODE_EXECUTION": "monty",
        "TOOL_CODE_TIMEOUT_S": "10",
        "TOOL_MEMORY": "true",
        **more,
    }


def body_of(prompt: str, *tools: dict[str, Any], **fields: Any) -> dict[str, Any]:
    message = {"role": "user", "content": prompt}
    return {"model": "custom-chat", "messages": [message], "tools": list(tools), **fields}


def call_of(function: str, **arguments: Any) -> str:
    return f"gateway_{function} {json.dumps(arguments)}"


def chunks_of(text: str) -> list[dict[str, Any]]:
    """The chunks of a whole stream. A slow machine has signs of life between them."""
    payloads = [frame.removeprefix("data: ") for frame in text.split("\n\n") if frame.startswith("data: ")]
    assert payloads[-1] == "[DONE]"
    return [json.loads(payload) for payload in payloads[:-1]]


def results(
    live: LiveGateway, prompt: str, *tools: dict[str, Any], key: str = TEST_KEY, stream: bool = False
) -> list[str]:
    """What the tools have answered that the prompt has the model call."""
    response = post(live, PATH, body_of(prompt, *tools, stream=stream), key=key)
    assert response.status_code == 200, response.text
    reply = added_up(chunks_of(response.text)) if stream else response.json()
    return [each["result"]["content"] for each in message_of(reply).get("gateway_tool_calls", ())]


def memories(answer: str) -> list[str]:
    return [each["content"] for each in json.loads(answer)["memories"]]


def test_the_list_of_tools_has_every_function(live: LiveGateway) -> None:
    listed = {each["type"]: each for each in get(live, "/v1/gateway/tools").json()["data"]}
    names = {kind: [function["name"] for function in each["functions"]] for kind, each in listed.items()}
    assert names["gateway:code_execution"] == ["gateway_code_execution"]
    assert names["gateway:memory"] == [f"gateway_memory_{each}" for each in ("save", "search", "list", "delete")]
    assert names["gateway:mcp"] == [f"gateway_mcp_lab_{each}" for each in ("add", "slow", "echo")]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_variables_stay_between_the_calls_of_a_request_and_no_longer(live: LiveGateway, stream: bool) -> None:
    first = call_of("code_execution", code="x = 20\nx * 2")
    second = call_of("code_execution", code="x + 2")
    assert results(live, f"{first} afterwards {second}", CODE, stream=stream) == ["40", "22"]
    assert "NameError" in results(live, second, CODE, stream=stream)[0]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_tools_of_a_server_are_called(live: LiveGateway, stream: bool) -> None:
    calls = call_of("mcp_lab_add", a=1, b=2), call_of("mcp_lab_echo", text="hello")
    assert results(live, " afterwards ".join(calls), MCP, stream=stream) == ["3", "hello"]


def test_memories_are_of_a_key_and_a_subject_and_administrators_delete_them(live: LiveGateway) -> None:
    admin = Administrator(live)
    project = admin.project()
    keys = [str(admin.account(project)["api_key"]["value"]) for _ in range(2)]
    for_ann = {**MEMORY, "subject": "ann"}
    results(live, call_of("memory_save", content="likes tea"), MEMORY, key=keys[0])
    results(live, call_of("memory_save", content="ann likes milk"), for_ann, key=keys[0])
    listing = call_of("memory_list")
    assert memories(results(live, listing, MEMORY, key=keys[0])[0]) == ["likes tea"]
    assert memories(results(live, listing, for_ann, key=keys[0])[0]) == ["ann likes milk"]
    assert memories(results(live, listing, MEMORY, key=keys[1])[0]) == []
    kept = get(live, f"/v1/gateway/memories?project_id={project}", key=ADMIN_KEY).json()["data"]
    assert [(each["subject"], each["content"]) for each in kept] == [(None, "likes tea"), ("ann", "ann likes milk")]
    deleted = admin.send("DELETE", "../gateway/memories", subject="ann", project_id=project)
    assert deleted.json()["deleted"] == 1
    assert memories(results(live, listing, for_ann, key=keys[0])[0]) == []
    assert memories(results(live, listing, MEMORY, key=keys[0])[0]) == ["likes tea"]


def test_where_nothing_may_be_kept_there_is_no_memory(live: LiveGateway) -> None:
    admin = Administrator(live)
    project = admin.project()
    key = str(admin.account(project)["api_key"]["value"])
    body = body_of(call_of("memory_save", content="x"), MEMORY)
    assert post(live, PATH, body, key=key).status_code == 200
    admin.post(f"projects/{project}/data_retention", {"retention_type": "zero_data_retention"})

    def is_refused() -> bool:
        return bool(post(live, PATH, body, key=key).status_code == 400)

    eventually(is_refused)
    assert "data retention" in post(live, PATH, body, key=key).json()["error"]["message"]
    admin.post(f"projects/{project}/data_retention", {"retention_type": "organization_default"})
    eventually(lambda: not is_refused())


def test_a_project_has_the_tools_that_its_administrator_names(live: LiveGateway) -> None:
    admin = Administrator(live)
    project = admin.project()
    key = str(admin.account(project)["api_key"]["value"])
    admin.post(f"projects/{project}/hosted_tool_permissions", {"code_interpreter": {"enabled": False}})
    body = body_of(call_of("code_execution", code="1"), CODE)
    eventually(lambda: post(live, PATH, body, key=key).status_code == 403)
    admin.post(f"projects/{project}/hosted_tool_permissions", {"code_interpreter": {"enabled": True}})
    eventually(lambda: post(live, PATH, body, key=key).status_code == 200)


@pytest.mark.parametrize(
    "tool",
    [
        {**CODE, "network": True},
        {**CODE, "timeout_s": -1},
        {**MEMORY, "subject": ""},
        {**MEMORY, "key_id": "x"},
        {**MCP, "servers": ["other"]},
        {**MCP, "server_url": "http://127.0.0.1:1/"},
        {**MCP, "command": ["sh"]},
    ],
)
def test_options_that_there_are_none_of_are_a_400(live: LiveGateway, tool: dict[str, Any]) -> None:
    refused = post(live, PATH, body_of("hello", tool))
    assert refused.status_code == 400, refused.text


def test_two_hundred_conversations_with_three_tools_each_do_not_see_each_other(live: LiveGateway) -> None:
    def conversation(number: int) -> list[str]:
        key = (TEST_KEY, OTHER_KEY)[number % 2]
        memory = {**MEMORY, "subject": f"subject-{number}"}
        calls = (
            call_of("code_execution", code=f"mine = {number}"),
            call_of("memory_save", content=f"I am number {number}"),
            call_of("mcp_lab_echo", text=f"echo {number}"),
            f"{call_of('code_execution', code='mine')} {call_of('memory_list')}",
        )
        return results(live, " afterwards ".join(calls), CODE, memory, MCP, key=key, stream=number % 3 == 0)

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(conversation, range(200)))
    for number, (_, _, echo, *last) in enumerate(answers):
        assert echo == f"echo {number}"
        assert str(number) in last
        assert [f"I am number {number}"] in [memories(each) for each in last if each.startswith("{")]


def test_the_metrics_count_calls_by_tool_and_end(live: LiveGateway) -> None:
    results(live, call_of("code_execution", code="1/0"), CODE)
    text = get(live, "/metrics").text
    assert 'ai_gateway_tool_calls_total{outcome="failed",tool="code_execution"}' in text
    assert 'ai_gateway_tool_seconds_count{tool="code_execution"}' in text


def sandboxes(live: LiveGateway) -> list[psutil.Process]:
    return children(live.process.pid, lambda each: each.name() == "monty")


def test_a_sandbox_that_is_killed_fails_the_call_and_not_the_request(live: LiveGateway) -> None:
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(results, live, call_of("code_execution", code="while True: pass"), CODE)
        eventually(lambda: bool(sandboxes(live)))
        sandboxes(live)[0].kill()
        assert "its process has ended" in running.result()[0]
    assert results(live, call_of("code_execution", code="1 + 1"), CODE) == ["2"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_sandbox_outlives_the_gateway(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "gateway.toml").write_text("")
    with running_gateway(**environment(tmp_path / "gateway.toml", TOOL_CODE_TIMEOUT_S="1", GRACE_PERIOD_S="5")) as live:
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(post, live, PATH, body_of(call_of("code_execution", code="while True: pass"), CODE))
            eventually(lambda: bool(sandboxes(live)))
            found = sandboxes(live)
            psutil.Process(live.process.pid).send_signal(number)
            running.exception()
        eventually(lambda: not any(is_alive(each) for each in found))
        live.process.wait()


def test_a_reload_takes_servers_away(lab: str, tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(f'[mcp.lab]\nurl = "{lab}"\n')
    with running_gateway(**environment(config)) as live:
        assert results(live, call_of("mcp_lab_add", a=1, b=2), MCP) == ["3"]
        config.write_text("")
        psutil.Process(live.process.pid).send_signal(signal.SIGHUP)
        eventually(lambda: post(live, PATH, body_of("hello", MCP)).status_code == 400)
        assert results(live, call_of("code_execution", code="1"), CODE) == ["1"]


CONFIGURATIONS = [
    ("TOOL_CODE_EXECUTION=monty", "", "pydantic_monty", "pip install 'universal-ai-gateway[code]'"),
    ("", '[mcp.lab]\nurl = "http://127.0.0.1:9/mcp"\n', "mcp", "pip install 'universal-ai-gateway[mcp]'"),
    ("TOOL_MEMORY=true STORE_URL=off", "", "", "TOOL_MEMORY: memories need a store"),
    ("", '[mcp.Lab_1]\nurl = "http://127.0.0.1:9/mcp"\n', "", "small letters, digits and dashes"),
    ("", '[mcp.lab]\nurl = "file:///etc/passwd"\n', "", "must look like https://host"),
    ("", '[mcp.lab]\ncommand = "sh"\nurl = "http://127.0.0.1:9"\n', "", "mcp.lab: unknown setting command"),
    ("", '[mcp.lab]\nurl = "http://127.0.0.1:9"\napi_key_env = "NOWHERE"\n', "", "'NOWHERE' is not set"),
    ("", '[mcp.lab]\nurl = "http://127.0.0.1:9"\napi_key = "a"\napi_key_env = "B"\n', "", "are both set"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("variables", "table", "missing", "problem"), CONFIGURATIONS)
def test_what_cannot_work_is_told_at_the_start(
    variables: str, table: str, missing: str, problem: str, tmp_path: Path
) -> None:
    (tmp_path / "gateway.toml").write_text(table)
    env = {"GATEWAY_CONFIG": str(tmp_path / "gateway.toml"), **dict(each.split("=") for each in variables.split())}
    if missing:
        program = f"import sys; sys.modules[{missing!r}] = None; from ai_gateway.__main__ import main; main()"
        command = [sys.executable, "-c", program, "check", "--offline"]
        env["HOME"] = str(tmp_path)
        ran = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        code, reported = ran.returncode, ran.stderr
    else:
        checked = run_command("check", "--offline", **env)
        code, reported = checked.returncode, checked.stderr
    assert code == 2, reported
    assert problem in reported

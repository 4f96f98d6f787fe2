"""The tool `mcp`, against a real server that the official SDK makes, and against servers that are none."""

import asyncio
import gc
import json
import subprocess
import sys
import time
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
from pydantic import JsonValue

from ai_gateway.contract.call import Caller
from ai_gateway.errors import InvalidRequest, Unavailable
from ai_gateway.tools.mcp.server import McpServer
from ai_gateway.tools.mcp.tool import McpTool, function_name
from ai_gateway.tools.tool import Function, Result, Use
from tests.support.processes import children
from tests.support.upstream import Exchange, running_upstream

CALLER = Caller(key_id="k")
TOKEN = "mcp-token-0123456789abcdef"
SLOW_MACHINE_S = 20.0
LOADED_S = 600.0  # the 600 calls of 200 conversations take 12 s of CPU time


@contextmanager
def running_server(token: str | None = None) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of a server in a process of its own, and the process."""
    command = [sys.executable, "-m", "tests.tools.mcp_program", *([token] if token else [])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/mcp", process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_server() as (url, _):
        yield url


def is_in(caller: Caller, projects: frozenset[str]) -> bool:
    return caller.project_id in projects


@asynccontextmanager
async def tool_of(*servers: McpServer, **bounds: int) -> AsyncIterator[McpTool]:
    before = asyncio.all_tasks()
    tool = McpTool(servers, is_in, **bounds)
    try:
        yield tool
    finally:
        await tool.close()
        assert asyncio.all_tasks() <= before, "a task is left"
        with warnings.catch_warnings():  # anyio loses a connection whose request is cancelled just as it is made
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


def lab(url: str, **changes: object) -> McpServer:
    fields: dict[str, object] = {"name": "lab", "url": url, "seconds": 10.0, "size": 100_000, **changes}
    return McpServer(**fields)  # type: ignore[arg-type]


async def functions_of(tool: McpTool, caller: Caller = CALLER, /, **options: JsonValue) -> dict[str, Function]:
    return {each.name: each for each in await tool.functions(caller, options)}


async def called(
    tool: McpTool,
    name: str,
    *,
    caller: Caller = CALLER,
    session: str = "s",
    seconds: float = 30,
    **given: JsonValue,
) -> Result:
    functions = await functions_of(tool, caller)
    return await functions[f"mcp_lab_{name}"].run(Use(caller, "call", session, given, {}, seconds))


async def test_the_tools_of_a_server_are_functions_of_a_model(url: str) -> None:
    async with tool_of(lab(url)) as tool:
        functions = await functions_of(tool)
        add = functions["mcp_lab_add"]
        assert add.description == "Add two numbers"
        assert add.parameters["required"] == ["a", "b"]
        assert await called(tool, "add", a=1, b=2) == Result("3")
        assert all(len(name) <= 56 and name.replace("-", "_").isidentifier() for name in functions)


async def test_only_what_is_allowed_is_offered_and_a_request_can_only_narrow_it(url: str) -> None:
    servers = (
        lab(url, tools=frozenset({"add", "echo"})),
        lab(url, name="theirs", projects=frozenset({"proj_b"}), tools=frozenset({"slow"})),
    )
    async with tool_of(*servers) as tool:
        a, b = Caller(key_id="k", project_id="proj_a"), Caller(key_id="k", project_id="proj_b")
        assert (await functions_of(tool, a)).keys() == {"mcp_lab_add", "mcp_lab_echo"}
        assert "mcp_theirs_slow" in await functions_of(tool, b)
        assert (await functions_of(tool, b, servers=["theirs"])).keys() == {"mcp_theirs_slow"}
        assert (await functions_of(tool, a, allowed_tools=["add", "huge"])).keys() == {"mcp_lab_add"}
        with pytest.raises(InvalidRequest, match=r"no MCP server 'theirs' for this key\. There is: lab"):
            await functions_of(tool, a, servers=["theirs"])


@pytest.mark.parametrize(
    "options",
    [
        {"servers": []},
        {"servers": "lab"},
        {"servers": [1]},
        {"allowed_tools": {}},
        {"server_url": "http://127.0.0.1:1/"},
        {"command": "sh", "args": ["-c", "touch x"]},
        {"servers": ["stdio:sh"]},
        {"servers": ["http://127.0.0.1:1/mcp"]},
    ],
)
async def test_options_that_are_wrong_are_refused_and_start_nothing(url: str, options: dict[str, JsonValue]) -> None:
    before = set(children(None, lambda _: True))
    async with tool_of(lab(url)) as tool:
        with pytest.raises(InvalidRequest):
            await functions_of(tool, **options)
    assert set(children(None, lambda _: True)) <= before


async def test_failures_of_a_tool_are_results(url: str) -> None:
    async with tool_of(lab(url)) as tool:
        failed = await called(tool, "failing")
        assert failed.failed
        assert failed.text == "Error executing tool failing"
        wrong = await called(tool, "add", a="x")
        assert wrong.failed
        assert (await called(tool, "picture")).text == "[image/png: not shown]"
        assert await called(tool, "add", a=1, b=2) == Result("3")


async def test_a_slow_tool_ends_at_its_time_and_the_session_goes_on(url: str) -> None:
    async with tool_of(lab(url)) as tool:
        began = time.monotonic()
        functions = await functions_of(tool)
        caller = Caller(key_id="k")
        late = await functions["mcp_lab_slow"].run(Use(caller, "c", "s", {"seconds": 60}, {}, 0.3))
        assert late == Result("The server 'lab' did not answer in time.", failed=True)
        assert time.monotonic() - began < SLOW_MACHINE_S
        assert await called(tool, "echo", text="on") == Result("on")


async def test_a_reply_that_is_too_large_is_a_failed_result_and_the_next_call_works(url: str) -> None:
    async with tool_of(lab(url)) as tool:
        huge = await called(tool, "huge", size=5_000_000)
        assert huge.failed
        assert huge.text == "The server 'lab' sent too much: more than 100000 bytes."
        assert len((await called(tool, "huge", size=30_000)).text) == 30_000
        assert await called(tool, "echo", text="on") == Result("on")


async def test_replies_have_no_more_memory_together_than_there_is(url: str) -> None:
    async with tool_of(lab(url)) as tool:
        assert await called(tool, "echo", text="on") == Result("on")
        tool._replies.limit = 70_000  # a text is there twice in such a reply
        assert (await called(tool, "huge", size=40_000)).text == (
            "The server 'lab' sent too much: more than there is memory for now."
        )
        texts = await asyncio.gather(*(called(tool, "huge", size=30_000, session=f"s{at}") for at in range(4)))
        assert {len(result.text) for result in texts if not result.failed} <= {30_000}
        assert len((await called(tool, "huge", size=30_000)).text) == 30_000
        assert tool._replies.used == 0


async def test_a_bearer_is_sent_and_never_shown() -> None:
    with running_server(TOKEN) as (url, _):
        async with tool_of(lab(url, token=TOKEN)) as tool:
            reported = await called(tool, "reported")
            assert not reported.failed
            assert TOKEN not in reported.text
            assert "[key]" in reported.text
            assert TOKEN not in repr(lab(url, token=TOKEN))
        async with tool_of(lab(url)) as tool:
            with pytest.raises(Unavailable):
                await functions_of(tool)


async def test_a_list_that_changes_is_read_again_when_a_call_fails(url: str) -> None:
    with running_server() as (own, _):
        async with tool_of(lab(own)) as tool:
            await called(tool, "grow")
            assert "mcp_lab_grown" not in await functions_of(tool), "the list is kept for a while"
            old = await functions_of(tool)
            await called(tool, "shrink")
            gone = await old["mcp_lab_add"].run(Use(Caller(key_id="k"), "c", "s", {"a": 1, "b": 2}, {}, 10))
            assert gone.failed
            tool.expire_lists()
            names = (await functions_of(tool)).keys()
            assert "mcp_lab_grown" in names
            assert "mcp_lab_add" not in names


async def test_a_server_that_is_gone_is_a_failed_result_and_one_that_is_back_works() -> None:
    with running_server() as (url, process):
        async with tool_of(lab(url, seconds=3.0)) as tool:
            functions = await functions_of(tool)
            assert await called(tool, "echo", text="a") == Result("a")
            process.kill()
            process.wait()
            use = Use(Caller(key_id="k"), "c", "s", {"text": "b"}, {}, 10)
            gone = await functions["mcp_lab_echo"].run(use)
            assert gone.failed
            tool.expire_lists()
            assert (await functions_of(tool)).keys() == functions.keys(), "what it last offered"
            assert (await functions["mcp_lab_echo"].run(use)).failed


async def test_one_of_two_servers_is_enough(url: str) -> None:
    async with tool_of(lab("http://127.0.0.1:9/mcp", name="dead", seconds=2.0), lab(url)) as tool:
        assert "mcp_lab_add" in await functions_of(tool)
        with pytest.raises(Unavailable, match="'dead'"):
            await functions_of(tool, servers=["dead"])


async def test_each_of_two_hundred_open_conversations_gets_its_own_answers(url: str) -> None:
    # All 600 calls at once hold up the event loop for seconds on a busy machine, whose connections then are too old.
    at_once = asyncio.Semaphore(20)
    async with tool_of(lab(url, seconds=LOADED_S)) as tool:
        functions = await functions_of(tool)

        async def conversation(number: int) -> list[str]:
            caller = Caller(key_id=f"k{number % 7}")
            texts = [f"{number}-{part}" for part in range(3)]
            uses = [Use(caller, text, f"s{number}", {"text": text, "seconds": 0.01}, {}, LOADED_S) for text in texts]
            async with at_once:
                results = await asyncio.gather(*(functions["mcp_lab_echo"].run(use) for use in uses))
            return [result.text for result in results]

        answers = await asyncio.gather(*map(conversation, range(200)))
        assert answers == [[f"{number}-{part}" for part in range(3)] for number in range(200)]


async def test_a_call_that_is_cancelled_leaves_the_others_alone(url: str) -> None:
    async with tool_of(lab(url)) as tool:
        functions = await functions_of(tool)
        caller = Caller(key_id="k")
        slow = asyncio.ensure_future(functions["mcp_lab_slow"].run(Use(caller, "c", "s", {"seconds": 60}, {}, 60)))
        await asyncio.sleep(0.2)
        other = asyncio.create_task(called(tool, "echo", text="x", seconds=30))
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        assert await other == Result("x")


REPLIES: dict[str, tuple[bytes, ...]] = {
    "nothing": (b"",),
    "no JSON": (b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 3\r\n\r\n<p>",),
    "a page": (b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 3\r\n\r\n<p>",),
    "a failure": (b"HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n",),
    "a refusal": (b"HTTP/1.1 401 x\r\ncontent-length: 0\r\n\r\n",),
    "not found": (b"HTTP/1.1 404 x\r\ncontent-length: 0\r\n\r\n",),
    "a redirect to another host": (
        b"HTTP/1.1 307 x\r\nlocation: http://127.0.0.2:1/internal\r\ncontent-length: 0\r\n\r\n",
    ),
    "a redirect to a file": (b"HTTP/1.1 302 x\r\nlocation: file:///etc/passwd\r\ncontent-length: 0\r\n\r\n",),
    "a circle": (b"HTTP/1.1 307 x\r\nlocation: /mcp\r\ncontent-length: 0\r\n\r\n",),
    "an endless body": (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n",
        *([b"[" * 60_000] * 40),
    ),
    "an endless event": (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: ",
        *([b"x" * 60_000] * 40),
    ),
    "many events": (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n",
        *([b": x\n\n" * 10_000] * 40),
    ),
    "what is compressed": (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\n"
        b"content-length: 2\r\n\r\n\x1f\x8b",
    ),
    "half a reply": (b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{",),
    "garbage": (b"\x00\xff\r\n\r\n",),
}


@pytest.mark.parametrize("name", REPLIES)
async def test_a_server_that_is_none_is_unavailable_in_time(name: str) -> None:
    async def behave(exchange: Exchange) -> None:
        await exchange.raw(*REPLIES[name])
        exchange.writer.close()

    with running_upstream(behave) as upstream:
        began = time.monotonic()
        async with tool_of(lab(upstream.url.removesuffix("/v1") + "/mcp", seconds=3.0)) as tool:
            with pytest.raises(Unavailable) as refused:
                await functions_of(tool)
        assert "'lab'" in refused.value.message
        assert time.monotonic() - began < SLOW_MACHINE_S


async def test_a_server_that_says_nothing_is_not_waited_for_long() -> None:
    async def behave(exchange: Exchange) -> None:
        await asyncio.sleep(600)

    with running_upstream(behave) as upstream:
        began = time.monotonic()
        async with tool_of(lab(upstream.url, seconds=0.5)) as tool:
            with pytest.raises(Unavailable, match="did not answer in time"):
                await functions_of(tool)
        assert time.monotonic() - began < SLOW_MACHINE_S


NAMES = ("x", "X", "x.y", "x_y", "x y", "ü", "x" * 80, "x" * 81)


def test_no_two_tools_have_one_name() -> None:
    names = [(server, tool) for server in ("a", "a-b") for tool in NAMES]
    made = [function_name(server, tool) for server, tool in names]
    assert len(set(made)) == len(names)
    assert all(len(name) <= 56 for name in made)


def test_nothing_of_it_is_loaded_before_it_is_used() -> None:
    code = "import sys, ai_gateway.tools.mcp.tool; print(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", f"import json; {code}"], capture_output=True, text=True, check=True)
    assert not [name for name in json.loads(ran.stdout) if name.split(".")[0] in {"mcp", "mcp_types", "httpx2"}]

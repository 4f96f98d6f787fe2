"""Code in a real Python, which the kernel holds: the same attempts as on Monty, and what only a real one can try."""

import asyncio
import os
import signal
import sys
import textwrap
import time
from collections.abc import Iterator

import psutil
import pytest

from ai_gateway.contract.call import Caller
from ai_gateway.tools.code_execution import CodeExecution
from ai_gateway.tools.process_sandbox import ProcessSandbox, unsupported
from ai_gateway.tools.sandbox import CodeLimits
from ai_gateway.tools.tool import Result, Use
from tests.support import processes
from tests.support.command import run_command
from tests.tools.hostile_code import BOUNDED, Bait, generated
from tests.tools.test_code_execution import SLOW_MACHINE_S, bait

__all__ = ["bait"]
LIMITS = CodeLimits(seconds=0.4, output=4_000, workers=3)
PATIENT = CodeLimits(seconds=20.0, output=4_000, workers=4)

pytestmark = [pytest.mark.live, pytest.mark.skipif(unsupported() is not None, reason="not on this platform")]


async def ran(code: str, limits: CodeLimits = PATIENT) -> Result:
    tool = CodeExecution(ProcessSandbox(limits), limits)
    return await tool.run(Use(Caller(key_id="k"), "call", "session", {"code": code}, {}, 60))


def children(of: int | None = None) -> list[psutil.Process]:
    return processes.children(of, lambda each: "sandbox_child.py" in str(each.cmdline()))


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    for _ in range(3_000):
        if not children():
            return
        time.sleep(0.01)
    pytest.fail("a process of the sandbox is left")


async def test_it_is_a_real_python() -> None:
    code = "import statistics\ndef numbers():\n    yield 1\n    yield 2\nprint('hi')\nstatistics.mean(numbers())"
    assert await ran(code) == Result("hi\n1.5")
    failed = await ran("def f():\n    return 1 / 0\nf()")
    assert failed.failed
    assert failed.text == "ZeroDivisionError: division by zero\n  line 3, in <module>\n  line 2, in f"
    assert (await ran("x = (")).text.startswith("SyntaxError")


async def test_each_run_begins_anew_and_says_so() -> None:
    tool = CodeExecution(ProcessSandbox(PATIENT), PATIENT)
    (function,) = await tool.functions(Caller(), {})
    assert "Each call begins anew." in function.description
    await ran("x = 1")
    assert "NameError" in (await ran("x")).text


KERNEL = {
    "files": "open('/etc/passwd').read()",
    "directories": "import os\nos.listdir('/')",
    "other processes": "import os\nos.kill(1, 9)",
    "forks": "import os\nos.fork()",
    "programs": "import os\nos.execv('/bin/sh', ['sh'])",
    "sockets": "import _socket\n_socket.socket()",
    "signals": "import _signal\n_signal.raise_signal(9)",
    "more limits": "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))",
    "mounts": ("import gc\n[each for each in gc.get_objects() if 'CDLL' in str(type(each))][0].umount2(b'/', 2)"),
    "the way up": "import os\nos.chdir('..')\nos.open('.', 0)",
    "descriptors": "import os\nos.write(3, b'x')",
    "another stdin": "import os\nos.dup(0)",
}


@pytest.mark.parametrize("name", KERNEL)
async def test_the_kernel_refuses_whatever_is_no_computing(name: str) -> None:
    result = await ran(KERNEL[name])
    assert result.failed
    errors = ("PermissionError", "ModuleNotFoundError", "OSError", "ValueError", "AttributeError", "IndexError")
    assert result.text.startswith(errors), result.text


async def test_the_environment_is_empty() -> None:
    code = "import os\nsorted(name for name in os.environ if name != 'LC_CTYPE'), os.getpid()"
    assert (await ran(code)).text == "([], 1)"


async def test_a_hundred_hostile_programs_reach_nothing(bait: Bait) -> None:
    programs = list(generated(bait, 110))
    results = await asyncio.gather(*map(ran, programs))
    for code, result in zip(programs, results, strict=True):
        assert bait.secret not in result.text, code
        assert "PATH" not in result.text, code


@pytest.mark.slow
@pytest.mark.parametrize("name", BOUNDED)
async def test_time_memory_and_output_are_bounded(name: str) -> None:
    began = time.monotonic()
    result = await ran(BOUNDED[name], LIMITS)
    assert time.monotonic() - began < SLOW_MACHINE_S
    assert len(result.text) < 2 * 4_000 + 2_500


@pytest.mark.parametrize(
    "code",
    [
        "import os\nwhile True:\n    os.write(1, b'x' * 1000)",
        "import os\nos.write(1, b'{\"printed\": 1}')\nos._exit(0)",
        "import os\nos.write(1, b'[' * 100000)\nos._exit(0)",
        "import os\nos._exit(0)",
        "import os\nos.close(1)",
    ],
)
async def test_what_is_written_in_place_of_a_result_is_bounded_and_no_result(code: str) -> None:
    result = await ran(code, LIMITS)
    assert result.failed
    assert len(result.text) < 200


async def test_a_call_that_is_cancelled_leaves_no_process() -> None:
    running = asyncio.create_task(ran("while True: pass"))
    for _ in range(3_000):
        if len(children()) == 2:
            break
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


_PROGRAM = """
    import asyncio
    from ai_gateway.tools.process_sandbox import ProcessSandbox
    from ai_gateway.tools.sandbox import CodeLimits

    asyncio.run(ProcessSandbox(CodeLimits(seconds=60)).run("while True: pass", None, 60))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_no_process_outlives_a_gateway_that_is_killed(number: signal.Signals) -> None:
    gateway = await asyncio.create_subprocess_exec(sys.executable, "-c", textwrap.dedent(_PROGRAM))
    found: list[psutil.Process] = []
    for _ in range(3_000):
        found = children(gateway.pid)
        if len(found) == 2:
            break
        await asyncio.sleep(0.01)
    assert len(found) == 2
    gateway.send_signal(number)
    await gateway.wait()
    for _ in range(3_000):
        if not any(processes.is_alive(each) for each in found):
            return
        await asyncio.sleep(0.01)
    pytest.fail("a process of the sandbox is left")


def test_the_operator_is_warned_of_it() -> None:
    checked = run_command("check", "--offline", TOOL_CODE_EXECUTION="process", HOME=os.environ["HOME"])
    assert checked.returncode == 0, checked.stderr
    assert "CODE OF STRANGERS RUNS IN A REAL PYTHON" in checked.stdout + checked.stderr

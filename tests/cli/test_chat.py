"""`ai-gateway chat`: on a terminal, between pipes, by itself and through a gateway that runs."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.behaviours import TEXT
from tests.support.gateway import HOST, STARTUP_S, TEST_KEY, LiveGateway, clean_environment, run_forked
from tests.support.upstream import Upstream

pytestmark = pytest.mark.live

ODD = r"a\u001b[31mred\u0007\u009b2J\r\u202eb\ud800\tc\r\nd"
SHOWN = r"a\u001b[31mred\u0007\u009b2J\r\u202eb�    c"


def chat(home: Path, *arguments: str, said: str = "", **env: str) -> subprocess.CompletedProcess[bytes]:
    return run_forked(["chat", *arguments], clean_environment(str(home), env), home, said.encode("latin-1"))


def of(upstream: Upstream) -> dict[str, str]:
    return {"OPENAI_BASE_URL": upstream.url, "OPENAI_API_KEY": "sk-canary-12345678", "MAX_RETRIES": "0"}


def programmed(upstream: Upstream, model: str, text: str) -> None:
    """Have a model answer with this text, as it stands in JSON."""
    chunk = (
        '{"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, '
        '"delta": {"role": "assistant", "content": "%s"}, "finish_reason": %s}]}'
    )
    events = "".join(f"data: {each}\n\n" for each in (chunk % (text, "null"), chunk % ("", '"stop"'), "[DONE]"))
    upstream.program(model, b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n", events.encode())


def test_a_prompt_is_answered_through_the_gateways_routing(tmp_path: Path, upstream: Upstream) -> None:
    (tmp_path / "gateway.toml").write_text('[aliases]\nquick = "openai/m"\n')
    ended = chat(tmp_path, "quick", "Hello", "--system", "Be brief", said="and \xff this\n", **of(upstream))
    assert (ended.returncode, ended.stdout.decode()) == (0, f"{TEXT}\n"), ended.stderr
    assert upstream.last("m").json["messages"] == [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": "Hello\n\nand \ufffd this"},
    ]
    assert ended.stderr == b""


def test_nothing_that_a_model_says_acts_on_the_terminal(tmp_path: Path, upstream: Upstream) -> None:
    programmed(upstream, "odd", ODD)
    ended = chat(tmp_path, "openai/odd", said="Hello", **of(upstream))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.decode() == f"{SHOWN}\nd\n"


@pytest.mark.parametrize("behaviour", ["status-401", "stream-cut", "status-500"])
def test_a_failure_is_one_line_and_code_1(tmp_path: Path, upstream: Upstream, behaviour: str) -> None:
    ended = chat(tmp_path, f"openai/{behaviour}", "Hello", **of(upstream))
    assert ended.returncode == 1
    assert b"Traceback" not in ended.stderr
    assert ended.stderr.startswith(b"ai-gateway: ")
    assert b"canary" not in ended.stderr + ended.stdout


def test_a_running_gateway_answers_and_refuses_by_its_keys(tmp_path: Path, gateway: LiveGateway) -> None:
    answered = chat(tmp_path, "custom-chat", "Hello", "--url", gateway.base_url, GATEWAY_API_KEY=TEST_KEY)
    assert (answered.returncode, answered.stderr) == (0, b"")
    assert b"test double" in answered.stdout
    refused = chat(tmp_path, "custom-chat", "Hello", "--url", f"{gateway.base_url}/v1", "--key", "sk-canary-12345678")
    assert refused.returncode == 1
    assert b"canary" not in refused.stderr
    assert chat(tmp_path, "custom-chat", "Hello", "--url", "nonsense").returncode == 2
    nobody = f"http://{HOST}:1/v1"
    assert nobody.encode() in chat(tmp_path, "custom-chat", "Hello", "--url", nobody).stderr
    assert chat(tmp_path, "custom-chat").returncode == 2


# --- on a terminal ---------------------------------------------------------------------------------------------------


class Terminal:
    """A chat on a terminal of its own."""

    def __init__(self, process: subprocess.Popen[bytes], leader: int) -> None:
        self.process = process
        self._leader = leader
        self.shown = b""
        self._read_on = 0

    def type(self, text: bytes) -> None:
        os.write(self._leader, text)

    def until(self, text: bytes) -> None:
        """Read until this is there, after what was read before."""
        deadline = time.monotonic() + STARTUP_S
        while (found := self.shown.find(text, self._read_on)) < 0:
            assert time.monotonic() < deadline, self.shown
            if select.select([self._leader], [], [], 0.2)[0]:
                self.shown += self._read()
        self._read_on = found + len(text)

    def _read(self) -> bytes:
        try:
            return os.read(self._leader, 4096)
        except OSError:  # the other side is closed
            raise AssertionError(self.shown) from None


@contextmanager
def on_a_terminal(home: Path, *arguments: str, **env: str) -> Iterator[Terminal]:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "ai_gateway", "chat", *arguments],
        stdin=follower, stdout=follower, stderr=follower, cwd=home, start_new_session=True,
        env=clean_environment(str(home), {"TERM": "dumb", **env}),
    )  # fmt: skip
    os.close(follower)
    try:
        yield Terminal(process, leader)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait(STARTUP_S)
        os.close(leader)


def test_a_conversation_goes_on_until_its_end(tmp_path: Path, upstream: Upstream) -> None:
    with on_a_terminal(tmp_path, "openai/m", **of(upstream)) as terminal:
        terminal.until(b"> ")
        terminal.type(b"First\n")
        terminal.until(TEXT.encode())
        terminal.until(b"> ")
        terminal.type(b"Second\n")
        terminal.until(TEXT.encode())
        terminal.until(b"> ")
        terminal.type(b"\x04")
        assert terminal.process.wait(STARTUP_S) == 0
    assert [message["content"] for message in upstream.last("m").json["messages"]] == ["First", TEXT, "Second"]


def test_ctrl_c_ends_an_answer_and_then_the_conversation(tmp_path: Path, upstream: Upstream) -> None:
    with on_a_terminal(tmp_path, "openai/stalled-stream", **of(upstream)) as terminal:
        terminal.until(b"> ")
        terminal.type(b"Hello\n")
        upstream.last("stalled-stream")
        terminal.process.send_signal(signal.SIGINT)
        terminal.until(b"> ")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.process.wait(STARTUP_S) == 130
    assert b"Traceback" not in terminal.shown
    assert upstream.last("stalled-stream").gone.wait(STARTUP_S)


def test_ctrl_c_stops_a_single_answer_with_130(tmp_path: Path, upstream: Upstream) -> None:
    with on_a_terminal(tmp_path, "openai/hang-before-headers", "Hello", **of(upstream)) as terminal:
        upstream.last("hang-before-headers", within=STARTUP_S)
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.process.wait(STARTUP_S) == 130
    assert b"Traceback" not in terminal.shown

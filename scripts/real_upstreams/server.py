"""llama-cpp-python's server: built once in an environment of its own, and run with a generated model."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

HOST = "127.0.0.1"
MODEL = "tiny"
REQUIREMENTS = ("llama-cpp-python[server]==0.3.36", "gguf==0.19.0")
_START_S = 60.0
_STOP_S = 10.0


def installed(directory: Path) -> Path:
    """The Python with the server installed; builds it from source if necessary, which takes minutes."""
    python = directory / "venv" / "bin" / "python"
    stamp = directory / "installed.txt"
    requirements = "\n".join(REQUIREMENTS)
    if python.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == requirements:
        return python
    uv = os.environ.get("UV", "uv")
    print("Building llama-cpp-python's server from source, with one job at a low priority: this takes minutes.")
    environment = {**os.environ, "CMAKE_BUILD_PARALLEL_LEVEL": "1", "CMAKE_ARGS": "-DGGML_NATIVE=OFF"}
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, directory / "venv"], check=True)
    build = ["nice", "-n", "19", uv, "pip", "install", "--quiet", "--python", str(python)]
    source = ["--no-binary", "llama-cpp-python"]
    subprocess.run([*build, *source, *REQUIREMENTS], check=True, env=environment)
    stamp.write_text(requirements, encoding="utf-8")
    return python


def model_file(python: Path, directory: Path) -> Path:
    """The path of the model, which is generated anew."""
    path = directory / f"{MODEL}.gguf"
    subprocess.run([python, Path(__file__).with_name("model.py"), path], check=True)
    return path


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_server(python: Path, model: Path) -> Iterator[str]:
    """Run the server, and yield its base URL."""
    port = free_port()
    options = {"model": model, "model_alias": MODEL, "host": HOST, "port": port, "n_ctx": 1024, "n_threads": 1}
    options |= {"embedding": "true", "verbose": "false"}
    arguments = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    with running([str(python), "-m", "llama_cpp.server", *arguments], model.with_name("server.log")) as process:
        url = f"http://{HOST}:{port}/v1"
        await_ready(process, f"{url}/models")
        yield url


@contextmanager
def running(command: list[str], log: Path, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process with its output in a file, and end it after the block."""
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink, env={**os.environ, **env}, cwd=log.parent)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def await_ready(process: subprocess.Popen[bytes], url: str) -> None:
    """Wait until the URL responds. Raises SystemExit on a timeout."""
    deadline = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            httpx2.get(url, timeout=1, trust_env=False).raise_for_status()
        except httpx2.HTTPError:
            time.sleep(0.2)
        else:
            return
    raise SystemExit(f"Nothing answers at {url}: see the logs beside the model.")

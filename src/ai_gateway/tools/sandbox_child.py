"""The program that `process_sandbox` starts: runs untrusted code in a Python that can only compute.

Before the code runs, the process gets namespaces of its own (no network, no other process, an empty root), no
capabilities, limits, and a seccomp filter that only allows to compute, read the input and write the output. See
unshare(2), pivot_root(2), capabilities(7), seccomp(2).
"""

import ast
import ctypes
import importlib
import io
import json
import os
import platform
import resource
import signal
import struct
import sys
import traceback
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from typing import override

# Modules that code may import: loaded before the file system is removed.
_MODULES = (
    "abc array base64 bisect binascii calendar cmath collections collections.abc contextlib copy csv dataclasses "
    "datetime decimal difflib enum fractions functools hashlib heapq html io itertools json math numbers operator "
    "pprint random re statistics string struct textwrap time typing unicodedata uuid zlib"
)
_NAMESPACES = os.CLONE_NEWUSER | os.CLONE_NEWNS | os.CLONE_NEWNET | os.CLONE_NEWPID | os.CLONE_NEWIPC | os.CLONE_NEWUTS
_PLACES = ("/tmp", "/var/tmp", "/mnt", "/run", "/dev")  # noqa: S108 - a directory to mount over, in a namespace of our own
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT, _MS_BIND = 1, 2, 4, 8, 32, 4096
_MS_REC, _MS_PRIVATE, _MNT_DETACH = 16384, 1 << 18, 2
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 24, 38
_CAPABILITIES = 64
_CAPSET_VERSION = 0x20080522
# The allowed system calls, by the kernel's numbers: for x86-64 as in arch/x86/entry/syscalls/syscall_64.tbl, for arm64
# as in include/uapi/asm-generic/unistd.h.
_CALLS = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "fstat": (5, 80),
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "nanosleep": (35, 101),
    "getpid": (39, 172),
    "exit": (60, 93),
    "gettimeofday": (96, 169),
    "sigaltstack": (131, 132),
    "gettid": (186, 178),
    "futex": (202, 98),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "exit_group": (231, 94),
    "getrandom": (318, 278),
    "rseq": (334, 293),
}
_MACHINES = ("x86_64", "aarch64")
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_CAPSET = {"x86_64": 126, "aarch64": 91}
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050001, 0x80000000  # SECCOMP_RET_*: allow, EPERM, kill the process
_FRAMES, _MAX_PROBLEM_LENGTH = 8, 2_000

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), what)


def _enter_namespaces() -> None:
    user, group = os.getuid(), os.getgid()
    os.unshare(_NAMESPACES)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        _write_file(f"/proc/self/{name}", text.encode())


def _write_file(path: str, content: bytes) -> None:
    file = os.open(path, os.O_WRONLY)
    try:
        os.write(file, content)
    finally:
        os.close(file)


def _pages() -> int:
    """The present address space of the process."""
    file = os.open("/proc/self/statm", os.O_RDONLY)
    try:
        return int(os.read(file, 100).split()[0])
    finally:
        os.close(file)


def _die_with_parent() -> None:
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")


def _leave_files() -> None:
    """Make an empty, read-only directory the root."""
    machine = platform.machine()
    _check(_libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None), "mount")
    place = next(each for each in _PLACES if os.path.isdir(each))
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    _check(_libc.mount(b"tmpfs", place.encode(), b"tmpfs", flags, b"size=4k,mode=0555"), "mount")
    os.chdir(place)
    _check(_libc.syscall(_PIVOT_ROOT[machine], b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", _MNT_DETACH), "umount2")
    os.chdir("/")
    _check(_libc.mount(None, b"/", None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | flags, None), "mount")


def _drop_capabilities() -> None:
    for capability in range(_CAPABILITIES):
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # fails for those that the kernel does not have
    header, none = struct.pack("II", _CAPSET_VERSION, 0), struct.pack("6I", 0, 0, 0, 0, 0, 0)
    _check(_libc.syscall(_CAPSET[platform.machine()], header, none), "capset")


def _limit(seconds: float, memory: int, before: int) -> None:
    for what, most in (
        (resource.RLIMIT_CPU, int(seconds) + 2),
        (resource.RLIMIT_AS, before + memory),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 0),
    ):
        resource.setrlimit(what, (most, most))


def _filter_calls() -> None:
    machine = platform.machine()
    steps = [(0x20, 0, 0, 4), (0x15, 1, 0, _AUDIT_ARCH[machine]), (0x06, 0, 0, _KILL), (0x20, 0, 0, 0)]
    for numbers in _CALLS.values():
        number = numbers[_MACHINES.index(machine)]
        steps += [(0x15, 0, 1, number), (0x06, 0, 0, _ALLOW)]
    steps.append((0x06, 0, 0, _REFUSE))
    program = b"".join(struct.pack("HBBI", *step) for step in steps)
    kept = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(kept)))
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    _check(_libc.prctl(_PR_SET_SECCOMP, 2, header, 0, 0), "seccomp")


class _Bounded(io.StringIO):
    """Collects output, up to so many characters."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._left = most

    @override
    def write(self, text: str) -> int:
        kept = text[: self._left]
        self._left -= len(kept)
        super().write(kept)
        if len(kept) < len(text):
            raise MemoryError("too much was printed")
        return len(text)


def _run(code: str, most: int) -> dict[str, str]:
    printed, value, problem = _Bounded(most), "", ""
    names: dict[str, object] = {"__name__": "__main__"}
    try:
        tree = ast.parse(code, "<code>")
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        with redirect_stdout(printed), redirect_stderr(printed):
            exec(compile(tree, "<code>", "exec"), names)  # noqa: S102 - what all of this is for
            if isinstance(last, ast.Expr):
                made = eval(compile(ast.Expression(last.value), "<code>", "eval"), names)  # noqa: S307
                value = "" if made is None else repr(made)[:most]
    except BaseException as error:  # including SystemExit
        problem = _error_text(error)
    return {"printed": printed.getvalue(), "value": value, "problem": problem}


def _error_text(error: BaseException) -> str:
    message = traceback.format_exception_only(error)[-1].strip()[:_MAX_PROBLEM_LENGTH]
    frames = [each for each in traceback.extract_tb(error.__traceback__) if each.filename == "<code>"][-_FRAMES:]
    return "\n".join((message, *(f"  line {frame.lineno}, in {frame.name}" for frame in frames)))


def _inside(request: dict[str, object]) -> None:
    """Run in the process of the code, the first one of its namespace."""
    _die_with_parent()
    pages = _pages()
    _leave_files()
    _drop_capabilities()
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    os.closerange(3, 4096)
    sys.path[:] = []
    sys.path_hooks[:] = []
    sys.modules.pop("ctypes")
    seconds, memory, most = float(str(request["seconds"])), int(str(request["memory"])), int(str(request["output"]))
    _limit(seconds, memory, pages * resource.getpagesize())
    _filter_calls()
    os.write(1, b"\n")
    ended = _run(str(request["code"]), most)
    _write_all(json.dumps(ended).encode("ascii"))
    os._exit(0)


def _write_all(content: bytes) -> None:
    while content:
        content = content[os.write(1, content) :]


def main(arguments: Sequence[str]) -> int:
    """Read the request from standard input; write an empty line when the code starts, and then the result."""
    _die_with_parent()
    request = json.loads(sys.stdin.buffer.read())
    for name in _MODULES.split():
        importlib.import_module(name)
    try:
        _enter_namespaces()
    except OSError as error:
        _write_all(json.dumps({"sandbox": f"no namespaces: {error}"}).encode())
        return 1
    child = os.fork()
    if child == 0:
        try:
            _inside(request)
        except BaseException as error:  # the code has not run, or has finished
            with suppress(OSError):
                _write_all(json.dumps({"sandbox": str(error)}).encode())
        os._exit(1)
    os.waitpid(child, 0)
    return len(arguments) - 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))

"""What figures were taken on: a ratio holds for one kind of machine and one build of the interpreter."""

import os
import platform
import sysconfig
from pathlib import Path
from typing import Final

_CPU_INFO: Final = Path("/proc/cpuinfo")
_QUIET = 0.5


def interpreter() -> dict[str, object]:
    """The version, and whether it was built with profile-guided and link-time optimisation: a tenth of CPU time."""
    options = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
    return {
        "implementation": platform.python_implementation(),
        "version": platform.python_version(),
        "pgo": "--enable-optimizations" in options,
        "lto": "--with-lto" in options and "--with-lto=no" not in options,
    }


def hardware() -> dict[str, object]:
    """The kind of machine."""
    return {"system": f"{platform.system()} {platform.machine()}", "cpu": _cpu(), "cpus": os.cpu_count()}


def _cpu() -> str:
    if _CPU_INFO.exists():
        for line in _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def disturbance() -> str | None:
    """What to say of a machine that has other work to do."""
    load = os.getloadavg()[0]
    if load < _QUIET:
        return None
    return f"The machine was busy before (load {load:.1f}): times are disturbed, instructions are not"


def sentence() -> str:
    """Interpreter and machine in a line."""
    python, machine = interpreter(), hardware()
    built = ", ".join(f"{name.upper()} {'yes' if python[name] else 'no'}" for name in ("pgo", "lto"))
    return (
        f"{python['implementation']} {python['version']} ({built}) on {machine['system']}, "
        f"{machine['cpus']} x {machine['cpu'] or 'unknown CPU'}"
    )

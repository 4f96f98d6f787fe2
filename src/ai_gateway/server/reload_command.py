"""`ai-gateway reload`: signals a running gateway, waits for the outcome of its reload, and prints it.

The gateway reads its own environment and files; this command's environment is not used.
"""

import os
import signal
import time

import typer

from ai_gateway.server.pid_file import Reload, Running, reloads_since, running

_PATIENCE_S = 30.0
_POLL_S = 0.05


def reload(port: int | None, host: str | None) -> int:
    """The exit code: 0 if every worker loaded its configuration, 2 if one cannot use it, 1 for anything else."""
    gateway = _chosen(port, host)
    if gateway is None:
        return 1
    before = gateway.reloads.stat().st_size if gateway.reloads.exists() else 0
    os.kill(gateway.pid, signal.SIGHUP)
    done = _wait(gateway, before)
    problems = list(dict.fromkeys(problem for each in done for problem in each.problems))
    for problem in problems:
        typer.echo(f"ai-gateway: {problem}", err=True)
    if problems:
        typer.echo("ai-gateway: not reloaded: the gateway goes on with what it has", err=True)
        return 2
    if len(done) < gateway.workers:
        heard = f"{len(done)} of {gateway.workers} workers have" if done else "it has not"
        typer.echo(f"ai-gateway: {heard} answered within {_PATIENCE_S:.0f} s: see the log of the gateway", err=True)
        return 1
    for warning in done[-1].warnings:
        typer.echo(f"ai-gateway: warning: {warning}", err=True)
    restart = ", ".join(done[-1].takes_a_restart)
    rest = f"; not before a restart: {restart}" if restart else ""
    typer.echo(f"reloaded (process {gateway.pid}, port {gateway.address.port} of {gateway.address.host}){rest}")
    return 0


def _chosen(port: int | None, host: str | None) -> Running | None:
    """The gateway that listens there, or the only one; None, after printing what to do, if there is none."""
    found = [gateway for gateway in running() if port in {None, gateway.address.port}]
    match = [gateway for gateway in found if host in {None, gateway.address.host}]
    if len(match) == 1:
        return match[0]
    if match:
        addresses = ", ".join(sorted(str(gateway.address) for gateway in match))
        option = "--host" if len({gateway.address.port for gateway in match}) == 1 else "--port"
        typer.echo(f"ai-gateway: several gateways run, on {addresses}: name one with {option}", err=True)
        return None
    where = "" if port is None else f" on port {port}"
    where += "" if host is None else f" of {host}"
    typer.echo(
        f"ai-gateway: no gateway of this user runs{where}: start one with `ai-gateway serve`, run this where it runs, "
        "such as in its container, or send SIGHUP to it yourself",
        err=True,
    )
    return None


def _wait(gateway: Running, before: int) -> list[Reload]:
    """The outcomes of all workers or, after a timeout, of some."""
    until = time.monotonic() + _PATIENCE_S
    while len(done := reloads_since(gateway.reloads, before)) < gateway.workers and time.monotonic() < until:
        time.sleep(_POLL_S)
    return done

"""One cell, one target, one slice of time: what it cost, and how long it took."""

import asyncio
import gc
import http.client
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from statistics import median

import uvloop

from scripts.bench.cells import Cell
from scripts.bench.load import Job, Tally, chat_job, connected
from scripts.bench.processes import HOST, KEY, BenchFailed, Program, Running, cpu_seconds

_WARM_UP_S = 0.2


@dataclass(frozen=True, slots=True)
class Sample:
    """One cell of one target. Times are in the unit that their name says; a stream counts as one request.

    `slices` has the CPU microseconds per request of each round: those of two targets in one round belong together.
    """

    cell: str
    target: str
    requests: int
    rps: float
    slices: tuple[float, ...]
    p50_ms: float
    p99_ms: float
    first_p50_ms: float
    errors: dict[str, int] = field(default_factory=dict)

    @property
    def cpu_us(self) -> float:
        """CPU microseconds per request."""
        return median(self.slices)


def job_for(program: Program, cell: Cell) -> Job:
    """The request of a cell, as it is sent to this program."""
    return chat_job(program, events=cell.events, gap_ms=cell.gap_ms, body=cell.body, door=cell.door)


def measure_load(target: Running, cell: Cell, seconds: float) -> Sample:
    """Keep the target busy for so long. Its CPU time is read while no request is under way, so counts are exact."""
    tally, cpu = in_loop(_busy(target, cell, seconds))
    requests = len(tally.latencies)
    return Sample(
        cell=cell.name,
        target=target.program.name,
        requests=requests,
        rps=requests / tally.seconds,
        slices=(cpu * 1e6 / max(1, requests),),
        p50_ms=_quantile(tally.latencies, 0.5) * 1e3,
        p99_ms=_quantile(tally.latencies, 0.99) * 1e3,
        first_p50_ms=_quantile(tally.first_bytes, 0.5) * 1e3,
        errors=dict(tally.errors),
    )


async def _busy(target: Running, cell: Cell, seconds: float) -> tuple[Tally, float]:
    program = target.program
    async with connected(program.port, cell.concurrency) as load:
        # Whole replies open the connections to the upstream too, at less expense than a stream that takes its time.
        warm = await load.run(chat_job(program), min(_WARM_UP_S, seconds))
        before = cpu_seconds(target.pid)
        with _without_collector():
            # Paced streams begin one after the other: in step, all their events would come in one wake-up.
            tally = await load.run(job_for(program, cell), seconds, ramp=cell.gap_ms / 1e3)
        cpu = cpu_seconds(target.pid) - before
    tally.errors += warm.errors
    return tally, cpu


def ask_once(program: Program) -> None:
    """One whole chat reply. Raises BenchFailed if it is refused."""
    connection = http.client.HTTPConnection(HOST, program.port, timeout=program.start_s)
    try:
        _, _, body = chat_job(program).request.partition(b"\r\n\r\n")
        headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
        connection.request("POST", program.path, body, headers)
        reply = connection.getresponse()
        text = reply.read()
        if reply.status != 200:
            raise BenchFailed(f"{program.name} answered {reply.status}: {text[:300].decode('utf-8', 'replace')}")
    except http.client.HTTPException as error:
        raise BenchFailed(f"{program.name} did not answer: {error!r}") from error
    finally:
        connection.close()


def in_loop[Result](work: Coroutine[None, None, Result]) -> Result:
    """Run it in an event loop of its own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


@contextmanager
def _without_collector() -> Iterator[None]:
    """The load generator's own collections would be taken for latency."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _quantile(values: list[float], share: float) -> float:
    if not values:
        return 0.0
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def merged(samples: list[Sample]) -> Sample:
    """The medians of one cell's rounds, with the errors of all."""
    errors: Counter[str] = Counter()
    for sample in samples:
        errors.update(sample.errors)
    return replace(
        samples[0],
        requests=sum(sample.requests for sample in samples),
        rps=median(sample.rps for sample in samples),
        slices=tuple(cpu_us for sample in samples for cpu_us in sample.slices),
        p50_ms=median(sample.p50_ms for sample in samples),
        p99_ms=median(sample.p99_ms for sample in samples),
        first_p50_ms=median(sample.first_p50_ms for sample in samples),
        errors=dict(errors),
    )

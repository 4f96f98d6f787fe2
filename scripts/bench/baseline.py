"""The committed baseline: what the gateway took beside the bare relay and nginx, and whether it takes more now."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from scripts.bench.cells import CELLS, GATEWAY, NGINX, RELAY, cell
from scripts.bench.machine import hardware, interpreter
from scripts.bench.results import Results

FILE: Final = Path(__file__).with_name("baseline.json")
MARGIN: Final = 1.15


class Ratio(BaseModel):
    """The gateway's CPU time or instructions in one cell as a multiple of the yardstick's in the same run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cell: str
    of: Literal["time", "instructions"]
    yardstick: str
    value: float

    @property
    def figure(self) -> str:
        """What it is called in a table."""
        return f"{cell(self.cell).title}: {'CPU' if self.of == 'time' else 'instructions'} x {self.yardstick}"

    @property
    def portable(self) -> bool:
        """Whether it says something on another kind of machine."""
        return self.of == "instructions" or (self.yardstick == RELAY and cell(self.cell).portable)


class Baseline(BaseModel):
    """Ratios, and the interpreter and machine that they were taken on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    interpreter: dict[str, object]
    machine: dict[str, object]
    ratios: list[Ratio]

    @property
    def taken_here(self) -> bool:
        """Whether this is that kind of machine and that build of the interpreter, but for its patch level."""
        return (_minor(self.interpreter), self.machine) == (_minor(interpreter()), hardware())


def _minor(build: dict[str, object]) -> dict[str, object]:
    return {**build, "version": str(build.get("version")).rpartition(".")[0]}


@dataclass(frozen=True, slots=True)
class Comparison:
    """A ratio of this run beside the baseline's."""

    now: Ratio
    before: Ratio

    @property
    def change(self) -> float:
        """How many times the baseline it is."""
        return self.now.value / self.before.value

    @property
    def regressed(self) -> bool:
        """Whether it is beyond what a run varies by."""
        return self.change > MARGIN


def ratios(results: Results) -> list[Ratio]:
    """Everything of a run that belongs in a baseline."""
    return [*_of_time(results.ratio), *_of_instructions(results)]


def _of_time(ratio: Callable[[str, str, str], float | None]) -> Iterator[Ratio]:
    for kept in CELLS:
        for yardstick in (RELAY, NGINX) if kept.kept else ():
            value = ratio(kept.name, GATEWAY, yardstick)
            if value is not None:
                yield Ratio(cell=kept.name, of="time", yardstick=yardstick, value=round(value, 3))


def _of_instructions(results: Results) -> Iterator[Ratio]:
    for kept in CELLS:
        mine = results.kilo_instructions(kept.name, GATEWAY)
        its = results.kilo_instructions(kept.name, RELAY)
        if mine is not None and its:
            yield Ratio(cell=kept.name, of="instructions", yardstick=RELAY, value=round(mine / its, 3))


def compared(now: Iterable[Ratio], before: Iterable[Ratio], *, portable_only: bool) -> list[Comparison]:
    """The ratios that both have, without those that another kind of machine says nothing about."""
    known = {(each.cell, each.of, each.yardstick): each for each in before}
    pairs = ((each, known.get((each.cell, each.of, each.yardstick))) for each in now)
    return [Comparison(each, its) for each, its in pairs if its is not None and (each.portable or not portable_only)]


def check(results: Results, baseline: Baseline) -> list[Comparison]:
    """This run beside the baseline, as far as they can be compared: by what most of its rounds were above."""
    now = [*_of_time(results.undisturbed_ratio), *_of_instructions(results)]
    return compared(now, baseline.ratios, portable_only=not baseline.taken_here)


def suspects(results: Results, baseline: Baseline) -> set[str]:
    """The cells whose CPU time has regressed, to be measured again: instructions repeat, time may not."""
    return {each.now.cell for each in check(results, baseline) if each.regressed and each.now.of == "time"}


def load(file: Path = FILE) -> Baseline:
    """Read it. Raises OSError or ValueError."""
    return Baseline.model_validate_json(file.read_bytes())


def save(results: Results, file: Path = FILE) -> None:
    """Write this run as the baseline."""
    baseline = Baseline(interpreter=interpreter(), machine=hardware(), ratios=ratios(results))
    file.write_text(json.dumps(baseline.model_dump(), indent=2) + "\n", encoding="utf-8")

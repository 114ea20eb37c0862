"""What a run is going to do, in the few lines that are said before it starts."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TypedDict

import torch

from gptfl_bench.cells.cell import Context
from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.core.errors import UsageError
from gptfl_bench.runs import naming
from gptfl_bench.runs.forecast.calibration import free_share
from gptfl_bench.runs.forecast.forecast import CellForecast, Forecast, forecast
from gptfl_bench.runs.launchers import Launcher
from gptfl_bench.runs.processes import processes_for
from gptfl_bench.synthesis.generator import Placed

LONG = 3600.0
"""Seconds above which shorter ways are named."""
SHORT = 600.0
"""Seconds that a preset is looked for that takes about as long."""
_BUSY = 0.9
"""Part of a core below which it is said that others use it, too."""


@dataclass(frozen=True)
class Way:
    """How long the same would take otherwise.

    Attributes:
        option: What to add to the command.
        seconds: How long it would take.
    """

    option: str
    seconds: float


@dataclass(frozen=True)
class Outlook:
    """A run about to start.

    Attributes:
        forecast: What its cells are going to take.
        processes: How many of them run at once.
        share: Part of a core that each gets, less than 1 on a machine with other work.
        ways: Shorter ways, where it is going to be long.
    """

    forecast: Forecast
    processes: int
    share: float = 1.0
    ways: tuple[Way, ...] = ()

    @property
    def cells(self) -> tuple[CellSpec, ...]:
        """The cells in the order they run."""
        return tuple(cell.spec for cell in self.forecast.cells)

    @property
    def seconds(self) -> float:
        """How long the run is going to take."""
        return self.forecast.in_processes(self.processes) / self.share


def look_ahead(
    cells: Sequence[CellSpec],
    context: Context,
    launcher: Launcher,
    others: Mapping[str, Callable[[], Sequence[CellSpec]]] = MappingProxyType({}),
) -> Outlook:
    """Return what a run is going to take, and if that is long, how it could be short.

    Args:
        cells: Its cells, which were checked, in the order they run.
        context: What they are given.
        launcher: Where they run.
        others: The same cells by other presets.
    """
    most = processes_for(cells, context.processes)
    found = forecast(cells, context)
    share = free_share() if found.to_run and not torch.cuda.is_available() else 1.0
    ahead = Outlook(found, 1 if launcher == "basic" else most, share)
    if ahead.seconds <= LONG:
        return ahead
    ways = []
    for preset, planned in others.items():
        # What was set for one preset need not fit another.
        with suppress(UsageError):
            there = replace(ahead, forecast=forecast(planned(), context))
            ways.append(Way(f"--preset {preset}", there.seconds))
    ways = sorted(
        (way for way in ways if 0 < way.seconds < ahead.seconds),
        key=lambda way: abs(math.log(way.seconds / SHORT)),
    )[:1]
    if launcher == "basic" and most > 1:
        ways.append(Way("--launcher joblib", replace(ahead, processes=most).seconds))
    return replace(ahead, ways=tuple(ways))


def lines(ahead: Outlook, preset: str) -> list[str]:
    """Return what a run is going to do.

    Args:
        ahead: The run.
        preset: Its preset, and why.
    """
    sent = ahead.forecast.nbytes
    return [
        f"cells: {_cells(ahead.forecast)}",
        f"data: {_data(ahead.cells)}",
        f"preset: {preset}",
        *synthetic_data(ahead.cells),
        *([f"traffic: {_bytes(sent)} of models down and up, counted"] if sent else []),
        *([f"time: {_time(ahead)}"] if ahead.forecast.to_run else []),
        *(f"shorter: {way.option} takes about {in_words(way.seconds)}" for way in ahead.ways),
    ]


def synthetic_data(specs: Sequence[CellSpec]) -> list[str]:
    """Return what makes the cells' synthetic data and what that downloads; nothing if none do."""
    made = {}
    for spec in specs:
        if spec.uses_synthetic and not spec.uses_generator:
            made["real"] = "real samples that no client holds"
        elif spec.uses_synthetic:
            part = None if spec.no_generator else spec.generator()
            due = part.to_fetch if isinstance(part, Placed) else 0
            words = f" ({_bytes(due)} to download)" if due else ""
            name = spec.settings.synthetic.generator
            made[name] = spec.no_generator or f"by the generator {name}{words}"
    return [f"synthetic data: {'; '.join(made.values())}"] if made else []


def listed(ahead: Outlook) -> list[str]:
    """Return a line for each cell: its id, what it is, and its time or what became of it."""
    names = naming.titles(ahead.cells)
    width = max((len(run_id) for run_id in names), default=0)
    return [
        f"{cell.spec.run_id:<{width}}  {names[cell.spec.run_id]}: {_fate(cell, ahead.share)}"
        for cell in ahead.forecast.cells
    ]


class Planned(TypedDict):
    """A cell of ``run --plan --format json``.

    Attributes:
        run_id: What ``--cell`` takes, and the name of its folder.
        method: The method's name.
        dataset: The data set's name.
        seed: Root of its randomness.
        title: How it is called in tables, with the settings that set it apart.
        seconds: About how long it takes on this machine; 0 if nothing is left to do.
        status: ``to run``, or what became of it already.
        refused: Why it will be refused; empty if it won't, as far as can be told.
    """

    run_id: str
    method: str
    dataset: str
    seed: int
    title: str
    seconds: float
    status: str
    refused: str


def as_rows(ahead: Outlook) -> list[Planned]:
    """Return what :func:`listed` tells, for programs."""
    names = naming.titles(ahead.cells)
    return [
        {
            "run_id": cell.spec.run_id,
            "method": cell.spec.name,
            "dataset": cell.spec.dataset_name,
            "seed": cell.spec.seed,
            "title": names[cell.spec.run_id],
            "seconds": round(cell.seconds / ahead.share, 3),
            "status": cell.ended or "to run",
            "refused": cell.refused,
        }
        for cell in ahead.forecast.cells
    ]


def in_words(seconds: float) -> str:
    """Return a length of time.

    >>> in_words(0.4), in_words(75), in_words(600), in_words(9000), in_words(4e5)
    ('1 s', '75 s', '10 min', '2.5 h', '4.6 days')
    """
    for most, unit, name in ((100, 1, "s"), (6000, 60, "min")):
        if seconds < most:
            return f"{max(round(seconds / unit), 1)} {name}"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


def _fate(cell: CellForecast, share: float) -> str:
    if cell.refused:
        return f"refused: {cell.refused}"
    return cell.ended or f"about {in_words(cell.seconds / share)}"


def _cells(ahead: Forecast) -> str:
    specs = [cell.spec for cell in ahead.cells]
    names, seeds = {spec.name for spec in specs}, {spec.seed for spec in specs}
    tasks = {repr((spec.dataset_name, spec.settings)) for spec in specs}
    parts = [_count(len(names), "method"), _count(len(seeds), "seed")]
    parts += [_count(len(tasks), "setting")] if len(tasks) > 1 else []
    words = f"{len(specs):,} ({' x '.join(parts)})"
    ended = sum(bool(cell.ended) for cell in ahead.cells)
    refused = Counter(cell.spec.name for cell in ahead.cells if cell.refused)
    if ended:
        words += f", {ended:,} of them there already"
    if refused:
        words += f"; {', '.join(sorted(refused))} will be refused"
    return words


def _data(specs: Sequence[CellSpec]) -> str:
    words = []
    for spec in {spec.dataset_name: spec for spec in specs}.values():
        task = spec.load_task()
        read = f", read from {task.read}" if task.read else ""
        words.append(f"{task.name}, {len(task.train):,} + {len(task.test):,} samples{read}")
    return "; ".join(words)


def _time(ahead: Outlook) -> str:
    words = f"about {in_words(ahead.seconds)} on this machine"
    if ahead.processes > 1:
        words += f", {ahead.processes} cells at once"
    if ahead.share < _BUSY:
        words += f", on which a process gets {100 * ahead.share:.0f} % of a core now"
    unknown = ahead.forecast.unknown
    return words + "".join(f"; {what} not counted, its pace is not known yet" for what in unknown)


def _bytes(count: int) -> str:
    for size, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if count >= size:
            return f"about {count / size:.3g} {name}"
    return f"about {count / 1e3:.3g} kB"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"

"""What a run is going to do, in the few lines that are said before it starts."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import MappingProxyType

from gptfl_bench.cells.cell import Context
from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.core.errors import UsageError
from gptfl_bench.runs import naming
from gptfl_bench.runs.forecast.forecast import CellForecast, Forecast, forecast
from gptfl_bench.runs.launchers import Launcher, processes_for

LONG = 3600.0
"""Seconds above which shorter ways are named."""
SHORT = 600.0
"""Seconds that a preset is looked for that takes about as long."""


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
        ways: Shorter ways, where it is going to be long.
    """

    forecast: Forecast
    processes: int
    ways: tuple[Way, ...] = ()

    @property
    def cells(self) -> tuple[CellSpec, ...]:
        """The cells in the order they run."""
        return tuple(cell.spec for cell in self.forecast.cells)

    @property
    def seconds(self) -> float:
        """How long the run is going to take."""
        return self.forecast.in_processes(self.processes)


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
    most = processes_for(cells)
    ahead = Outlook(forecast(cells, context), most if launcher == "joblib" else 1)
    if ahead.seconds <= LONG:
        return ahead
    ways = []
    for preset, planned in others.items():
        # What was set for one preset need not fit another.
        with suppress(UsageError):
            there = forecast(planned(), context).in_processes(ahead.processes)
            ways.append(Way(f"--preset {preset}", there))
    ways = sorted(
        (way for way in ways if 0 < way.seconds < ahead.seconds),
        key=lambda way: abs(math.log(way.seconds / SHORT)),
    )[:1]
    if launcher == "basic" and most > 1:
        ways.append(Way("--launcher joblib", ahead.forecast.in_processes(most)))
    return replace(ahead, ways=tuple(ways))


def lines(ahead: Outlook, preset: str) -> list[str]:
    """Return what a run is going to do.

    Args:
        ahead: The run.
        preset: Its preset, and why.
    """
    made, sent = _generators(ahead.cells), ahead.forecast.nbytes
    return [
        f"cells: {_cells(ahead.forecast)}",
        f"data: {_data(ahead.cells)}",
        f"preset: {preset}",
        *([f"synthetic data: {made}"] if made else []),
        *([f"traffic: {_bytes(sent)} of models down and up, counted"] if sent else []),
        *([f"time: {_time(ahead)}"] if ahead.forecast.to_run else []),
        *(f"shorter: {way.option} takes about {in_words(way.seconds)}" for way in ahead.ways),
    ]


def listed(ahead: Outlook) -> list[str]:
    """Return a line for each cell: its id, what it is, and its time or what became of it."""
    names = naming.titles(ahead.cells)
    width = max((len(run_id) for run_id in names), default=0)
    return [
        f"{cell.spec.run_id:<{width}}  {names[cell.spec.run_id]}: {_fate(cell)}"
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


def _fate(cell: CellForecast) -> str:
    if cell.refused:
        return f"refused: {cell.refused}"
    return cell.ended or f"about {in_words(cell.seconds)}"


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


def _generators(specs: Sequence[CellSpec]) -> str:
    names = {s.settings.synthetic.generator: None for s in specs if s.uses_synthetic}
    return " and ".join(f"by the generator {name}" for name in names)


def _time(ahead: Outlook) -> str:
    words = f"about {in_words(ahead.seconds)} on this machine"
    if ahead.processes > 1:
        words += f", {ahead.processes} cells at once"
    unknown = ahead.forecast.unknown
    return words + "".join(f"; {what} not counted, its pace is not known yet" for what in unknown)


def _bytes(count: int) -> str:
    for size, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if count >= size:
            return f"about {count / size:.3g} {name}"
    return f"about {count / 1e3:.3g} kB"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"

"""A grid of tasks: settings with several values, each combination planned before anything runs.

Values are given as Hydra's sweeps are: ``partition.alpha=0.1,0.5 cohort_size=choice(1,10)
rounds=range(5,20,5)``. A comma in quotes or brackets is part of one value.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Transformer
from hydra.errors import HydraException

from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.core.errors import UsageError, unknown
from gptfl_bench.core.randomness import Seeds
from gptfl_bench.data.access import Access
from gptfl_bench.data.task import Task
from gptfl_bench.engine.handed import Handed
from gptfl_bench.engine.method import Method, methods
from gptfl_bench.runs import config, experiment
from gptfl_bench.runs.experiment import RunPlan

MOST = 1000
"""Combinations of a grid at most."""


@dataclass(frozen=True)
class Point:
    """One combination of values.

    Attributes:
        settings: What sets it apart, as ``key=value``; empty where nothing is swept.
        plan: Its cells.
    """

    settings: tuple[str, ...]
    plan: RunPlan


@dataclass(frozen=True)
class Grid:
    """All combinations, the last setting's values taking turns first."""

    points: tuple[Point, ...]

    @cached_property
    def cells(self) -> tuple[CellSpec, ...]:
        """The cells by point, method and seed; one that two points share once.

        Raises:
            UsageError: If cells' data, which tell cells apart, are not there or damaged.
        """
        return distinct([cell for point in self.points for cell in point.plan.cells])

    def only(self, run_ids: Sequence[str]) -> tuple[CellSpec, ...]:
        """Return the cells of these ids.

        Raises:
            UsageError: If an id is none of the grid's.
        """
        known = {cell.run_id: cell for cell in self.cells}
        for run_id in run_ids:
            if run_id not in known:
                raise unknown("cell of this run", run_id, known)
        return tuple(known[run_id] for run_id in dict.fromkeys(run_ids))


def plan(
    methods_asked: Sequence[str | Method],
    dataset: str | Task,
    preset: str,
    seeds: Seeds,
    overrides: Sequence[str] = (),
    network: Handed | None = None,
    access: Access | None = None,
) -> Grid:
    """Return the cells of all combinations of values; nothing is loaded or written.

    Args:
        methods_asked: Names or method objects, as :func:`~gptfl_bench.runs.experiment.plan`.
        dataset: Name of a data set, or a task.
        preset: Name of the preset.
        seeds: Roots of randomness.
        overrides: ``key=value`` settings, each with one value or several.
        network: A network in place of the one the settings name, or what makes one.
        access: Where data sets may be looked for.

    Raises:
        UsageError: If any name or value of any combination does not fit.
    """
    points = []
    for settings, apart in _combinations(overrides):
        planned = experiment.plan(methods_asked, dataset, preset, seeds, settings, network, access)
        points.append(Point(apart, planned))
    return Grid(tuple(points))


def distinct(cells: Sequence[CellSpec]) -> tuple[CellSpec, ...]:
    """Return cells without repeats."""
    return tuple({cell.run_id: cell for cell in reversed(cells)}.values())[::-1]


def in_turn(cells: Sequence[CellSpec]) -> tuple[CellSpec, ...]:
    """Return cells in the order that serves a reader: a whole comparison after each seed.

    Seed by seed, and within a seed first a wrapper, such as GPT-FL, and what it wraps, then the
    other methods, each on all tasks.
    """
    wrappers = config.wrappers()
    first = [*(methods.get(name).wraps for name in wrappers), *wrappers]
    seeds = list(dict.fromkeys(cell.seed for cell in cells))
    names = list(dict.fromkeys(cell.name for cell in cells))

    def place(cell: CellSpec) -> tuple[int, int, int]:
        rank = first.index(cell.name) if cell.name in first else len(first)
        return seeds.index(cell.seed), rank, names.index(cell.name)

    return tuple(sorted(cells, key=place))


def _combinations(overrides: Sequence[str]) -> list[tuple[list[str], tuple[str, ...]]]:
    """Return for each combination all settings, and those that set it apart."""
    choices: list[list[str]] = []
    swept: list[bool] = []
    for text in overrides:
        values = _values(text)
        choices.append(values)
        swept.append(len(values) > 1)
    if math.prod(map(len, choices)) > MOST:
        raise UsageError(
            f"a grid has at most {MOST:,} combinations of settings; give fewer values to each."
        )
    return [
        (list(point), tuple(text for text, several in zip(point, swept, strict=True) if several))
        for point in itertools.product(*choices)
    ]


def _values(text: str) -> list[str]:
    """Return a setting once for each of its values; what Hydra can't read stays as it is."""
    try:
        override = OverridesParser.create().parse_override(config.quoted(text))
        if not override.is_sweep_override():
            return [text]
        found = override.sweep_iterator(Transformer.encode)
        # A range may have any number of values.
        values = list(itertools.islice(found, MOST + 1))
    except HydraException:
        # The configuration says what is wrong with it.
        return [text]
    key, added = override.key_or_group, _prefix(override)
    return list(dict.fromkeys(f"{added}{key}={value}" for value in values))


def _prefix(override: Override) -> str:
    if override.is_force_add():
        return "++"
    return "+" if override.is_add() else ""

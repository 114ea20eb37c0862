"""One setting varied, all else equal: clients a round, synthetic data, epochs on them, or skew.

The first two are the paper's Figures 4 and 7. Cells that differ in nothing but seed and the setting
form a line; a task of the leaderboard holds cohort and partition equal, so it takes several.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gptfl_reports.numbers.averaged import averaged
from gptfl_reports.numbers.board import Leaderboard
from gptfl_reports.numbers.spread import Spread, spread
from gptfl_reports.numbers.standings import whole
from gptfl_reports.numbers.tasks import (
    LOCAL_BUDGET,
    QUICK,
    clients,
    cohort,
    data_title,
    flat,
    metric_words,
    plan_of,
    settings,
    sharing_settings,
)
from gptfl_reports.numbers.variants import differences
from gptfl_reports.records.cells import Cell
from gptfl_reports.records.schema import RunRecord, describe
from gptfl_reports.tables import units
from gptfl_reports.tables.table import csv_text


@dataclass(frozen=True)
class Sweep:
    """A setting that is varied.

    Attributes:
        setting: Its name in the configuration.
        words: What it is, as people say it.
        value: Its value in a cell; None if it has no say in it.
        starts: Whether the value before the first round is shown, too.
    """

    setting: str
    words: str
    value: Callable[[Cell], float | None]
    starts: bool


@dataclass(frozen=True)
class Dot:
    """The finished cells with one value of the setting.

    Attributes:
        at: The setting's value.
        end: Mean of the last evaluations.
        start: Value at round 0; None where it is not shown.
    """

    at: float
    end: Spread
    start: Spread | None


@dataclass(frozen=True)
class SweepLine:
    """One method with all other settings equal, at two or more values, ascending."""

    label: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class SweepPanel:
    """The lines of one setting on otherwise one task; ``averaged`` is over how many evaluations."""

    title: str
    stamp: str
    metric: str
    averaged: str
    sweep: Sweep
    lines: tuple[SweepLine, ...]


def panels(board: Leaderboard) -> tuple[SweepPanel, ...]:
    """Return what was varied, where a method has two or more values of it."""
    entrants = [standing.entrant for ranking in board.rankings for standing in whole(ranking)]
    cells = [cell for entrant in entrants for cell in entrant.finished if cell.trained_values]
    return tuple(panel for sweep in SWEEPS for panel in _panels(cells, sweep))


def sweeps_csv(drawn: Sequence[SweepPanel]) -> str:
    """Return the figure's numbers, one line for each method and value of the setting."""
    return csv_text(
        ("setting", "method", "task", "at", "n", "value", "value_sd", "start", "start_sd"),
        [
            (
                panel.sweep.setting,
                line.label,
                panel.title,
                units.exact_count(dot.at),
                dot.end.n,
                *_with_sd(dot.end),
                *_with_sd(dot.start),
            )
            for panel in drawn
            for line in panel.lines
            for dot in line.dots
        ],
    )


def _with_sd(value: Spread | None) -> tuple[str, str]:
    return (units.exact(value.mean), units.exact(value.sd)) if value else ("", "")


def _multiplier(cell: Cell) -> float | None:
    return _told(cell, "synthetic.multiplier") if cell.synthetic else None


def _pretraining(cell: Cell) -> float | None:
    return _told(cell, "method.pretrain.epochs")


def _told(cell: Cell, setting: str) -> float | None:
    text = flat(cell.record["config"]).get(setting, "null")
    return None if text == "null" else float(text)


def _alpha(cell: Cell) -> float | None:
    alpha = cell.record["partition"]["settings"].get("alpha")
    return None if alpha is None else float(alpha)


SWEEPS = (
    Sweep("cohort_size", "clients a round", lambda cell: float(cell.record["cohort_size"]), False),
    Sweep("synthetic.multiplier", "synthetic samples for each real one", _multiplier, True),
    Sweep("method.pretrain.epochs", "epochs on synthetic samples", _pretraining, True),
    Sweep("partition.alpha", "Dirichlet alpha, smaller is more skewed", _alpha, False),
)
"""What figures show, in this order."""


def _panels(cells: Iterable[Cell], sweep: Sweep) -> list[SweepPanel]:
    tasks: dict[str, list[Cell]] = {}
    for cell in cells:
        if sweep.value(cell) is not None:
            tasks.setdefault(_task_key(cell.record, sweep), []).append(cell)
    found: list[SweepPanel] = []
    for _, members in sorted(tasks.items()):
        lines = _lines(members, sweep)
        if lines:
            record = members[0].record
            stamp = QUICK if record["preset"]["quick"] else ""
            metric = metric_words(record["metric"])
            title, count = _title(members, sweep), averaged(members)
            found.append(SweepPanel(title, stamp, metric, count, sweep, lines))
    return found


def _lines(cells: Iterable[Cell], sweep: Sweep) -> tuple[SweepLine, ...]:
    variants: dict[str, list[Cell]] = {}
    for cell in sorted(cells, key=lambda c: (c.record["seed"], c.record["run_id"])):
        key = json.dumps([cell.record["method"], _others(cell.record, sweep)], sort_keys=True)
        # Cells that share seed and settings but not the id must not be averaged as if repeated.
        while any(_same_place(cell, other, sweep) for other in variants.get(key, [])):
            key += "'"
        variants.setdefault(key, []).append(cell)
    kept = [(members, dots) for members in variants.values() if (dots := _dots(members, sweep))]
    lines: list[SweepLine] = []
    for method in sorted({members[0].record["method"] for members, _ in kept}):
        own = [(m, dots) for m, dots in kept if m[0].record["method"] == method]
        apart = differences([_others(members[0].record, sweep) for members, _ in own])
        for text, (members, dots) in zip(apart, own, strict=True):
            label = f"{method} ({text})" if text else method
            if apart.count(text) > 1:
                label = f"{method} (run {members[0].record['run_id']})"
            lines.append(SweepLine(label, dots))
    return tuple(lines)


def _same_place(one: Cell, other: Cell, sweep: Sweep) -> bool:
    same_seed = one.record["seed"] == other.record["seed"]
    return same_seed and sweep.value(one) == sweep.value(other)


def _dots(cells: Iterable[Cell], sweep: Sweep) -> tuple[Dot, ...]:
    """Return a line's points; none if there is only one."""
    by_value: dict[float, list[Cell]] = {}
    for cell in cells:
        at = sweep.value(cell)
        if at is not None:
            by_value.setdefault(at, []).append(cell)
    if len(by_value) < 2:
        return ()
    return tuple(_dot(at, members, sweep) for at, members in sorted(by_value.items()))


def _dot(at: float, cells: Sequence[Cell], sweep: Sweep) -> Dot:
    ends = [value for cell in cells if (value := cell.row()["value_mean_last"]) is not None]
    starts = [
        cell.value(event)
        for cell in cells
        for event in cell.evaluations
        if event.round == 0 and sweep.starts and cell.record["rounds"]
    ]
    return Dot(at, Spread.of(ends), spread(starts))


def _others(record: RunRecord, sweep: Sweep) -> dict[str, str]:
    return {key: value for key, value in settings(record).items() if key != sweep.setting}


def _task_key(record: RunRecord, sweep: Sweep) -> str:
    """Return what must be equal in all lines of a panel, as in a task of the leaderboard."""
    data, preset, plan = record["dataset"], record["preset"], plan_of(record)
    return json.dumps(
        [
            [data[key] for key in ("name", "version", "note", "evaluated_on", "sha256")],
            _shared(record, sweep),
            [record["model"][key] for key in ("name", "parameters", "buffers")],
            [record["rounds"], clients(record)],
            "" if sweep.setting == "cohort_size" else record["cohort_size"],
            [plan.get(key) for key in LOCAL_BUDGET],
            [record["metric"], preset["name"], preset["quick"]],
        ]
    )


def _shared(record: RunRecord, sweep: Sweep) -> str:
    """Return how clients share the data, without what is varied."""
    settings, varied = sharing_settings(record), sweep.setting.removeprefix("partition.")
    told = {key: value for key, value in settings.items() if key != varied}
    return describe(record["partition"]["recipe"], told)


def _title(cells: Sequence[Cell], sweep: Sweep) -> str:
    record = cells[0].record
    of = clients(record)
    everyone = "clients as the data have them" if of is None else f"{of} clients"
    in_a_round = f", {everyone}" if sweep.setting == "cohort_size" else f" of {cohort(record)}"
    parts = (
        data_title([cell.record for cell in cells]),
        _shared(record, sweep),
        record["model"]["name"],
        f"{record['rounds']} rounds{in_a_round}",
    )
    return " · ".join(parts)

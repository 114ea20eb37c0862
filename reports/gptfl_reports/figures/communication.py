"""What it costs to reach the target: scalars and bytes sent by entrant (GPT-FL, Figures 2 and 3).

Means are over the finished seeds that reached the target. A seed that never did has no cost to
it, only what it spent in vain, which is shown apart: leaving it out would flatter its method.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gptfl_reports.drawing.figure import COLORS, INK
from gptfl_reports.drawing.panels import SMALL, Canvas, Family, lines, row_height
from gptfl_reports.numbers.board import Leaderboard
from gptfl_reports.numbers.spread import Spread, spread
from gptfl_reports.numbers.standings import Ranking, federated
from gptfl_reports.numbers.tasks import Entrant, fate
from gptfl_reports.records.cells import Cell
from gptfl_reports.records.events import TrafficCounted
from gptfl_reports.tables import units
from gptfl_reports.tables.table import csv_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_UNITS = ("scalars", "bytes")
_TEXT_SHARE = 0.46
"""Share of a panel's width that is kept for the text behind the longest bar."""


@dataclass(frozen=True)
class Cost:
    """What an entrant sent, in scalars or in bytes of tensors, over the whole cohort.

    Attributes:
        down: Server to clients until the target, over the seeds that reached it; None if none.
        up: Clients to server, likewise.
        total: Both directions, likewise.
        in_vain: Both directions in all rounds, over the finished seeds that never reached it.
    """

    down: Spread | None
    up: Spread | None
    total: Spread | None
    in_vain: Spread | None


@dataclass(frozen=True)
class Bar:
    """One entrant's way to the target.

    Attributes:
        label: The entrant.
        cells: Number of its cells, whatever became of them.
        reached: Number of its finished cells that reached the target.
        fate: What became of its cells if none finished; empty otherwise.
        scalars: Cost in scalars.
        bytes: Cost in bytes.
    """

    label: str
    cells: int
    reached: int
    fate: str
    scalars: Cost
    bytes: Cost


@dataclass(frozen=True)
class CostPanel:
    """The bars of one task, the cheapest in bytes first, then those that never got there."""

    title: str
    stamp: str
    metric: str
    target: float
    bars: tuple[Bar, ...]


def panels(board: Leaderboard) -> tuple[CostPanel, ...]:
    """Return the costs of every task that has a target and a cell that sent something."""
    return tuple(panel for ranking in board.rankings if (panel := _panel(ranking)))


def communication_csv(drawn: Sequence[CostPanel]) -> str:
    """Return the figure's numbers, one line for each entrant and unit."""
    means = ("down", "up", "total", "total_sd", "in_vain", "in_vain_sd")
    return csv_text(
        ("method", "task", "target", "unit", "cells", "reached", *means),
        [
            (
                bar.label,
                panel.title,
                units.exact(panel.target),
                unit,
                bar.cells,
                bar.reached,
                *(units.exact_count(s.mean if s else None) for s in (cost.down, cost.up)),
                *_with_sd(cost.total),
                *_with_sd(cost.in_vain),
            )
            for panel in drawn
            for bar in panel.bars
            for unit, cost in ((unit, _cost(bar, unit)) for unit in _UNITS)
        ],
    )


def _panel(ranking: Ranking) -> CostPanel | None:
    task = ranking.task
    target = task.cells[0].record["target"]
    if target is None:
        return None
    bars = [_bar(standing.entrant) for standing in federated(ranking)]
    if not any(bar.bytes.total or bar.bytes.in_vain for bar in bars):
        return None
    bars.sort(key=_order)
    return CostPanel(task.title, task.stamp, task.metric, target, tuple(bars))


def _bar(entrant: Entrant) -> Bar:
    ways = [(cell, cell.row()["rounds_to_target"]) for cell in entrant.finished]
    fates = {fate(cell.ending.status) for cell in entrant.cells}

    def cost(unit: Callable[[TrafficCounted], int]) -> Cost:
        there = [(cell, end) for cell, end in ways if end is not None]
        down = [_sent(cell, unit, ("down",), end) for cell, end in there]
        up = [_sent(cell, unit, ("up",), end) for cell, end in there]
        both = [d + u for d, u in zip(down, up, strict=True)]
        lost = [_sent(cell, unit, ("down", "up"), math.inf) for cell, end in ways if end is None]
        return Cost(spread(down), spread(up), spread(both), spread(lost))

    return Bar(
        label=entrant.label,
        cells=len(entrant.cells),
        reached=sum(end is not None for _, end in ways),
        fate="" if ways else ", ".join(sorted(fates)),
        scalars=cost(lambda event: event.scalars),
        bytes=cost(lambda event: event.nbytes),
    )


def _sent(
    cell: Cell, unit: Callable[[TrafficCounted], int], directions: Iterable[str], end: float
) -> int:
    return sum(unit(t) for t in cell.traffic if t.direction in directions and t.round <= end)


def _order(bar: Bar) -> tuple[int, float, str]:
    if bar.bytes.total:
        return 0, bar.bytes.total.mean, bar.label
    return (1, bar.bytes.in_vain.mean, bar.label) if bar.bytes.in_vain else (2, 0.0, bar.label)


def _cost(bar: Bar, unit: str) -> Cost:
    return bar.scalars if unit == "scalars" else bar.bytes


def _with_sd(value: Spread | None) -> tuple[str, str]:
    return (units.exact_count(value.mean), units.exact(value.sd)) if value else ("", "")


def _caption(panel: CostPanel) -> str:
    return (
        f"Communication until {100 * panel.target:g} % {panel.metric}, log scale, whole cohort, "
        "mean over the seeds that got there; "
        "▾ server to clients, ▴ clients to server; hatched: sent without getting there"
    )


def _height(panel: CostPanel) -> float:
    return row_height(bar.label for bar in panel.bars) * len(panel.bars) + 0.65


def _draw(canvas: Canvas, panel: CostPanel) -> None:
    wide, gap = 2.5, 0.26
    for place, unit in enumerate(_UNITS):
        left = 1.78 + place * (wide + gap)
        axis = canvas.axes(left, wide, 0.5, canvas.height - 0.6)
        _draw_unit(axis, panel, unit)
        if not place:
            names = [lines(bar.label) for bar in panel.bars]
            axis.set_yticks(range(len(names)), names, fontsize=SMALL)


def _draw_unit(axis: "Axes", panel: CostPanel, unit: str) -> None:
    from matplotlib.ticker import NullLocator

    costs = [_cost(bar, unit) for bar in panel.bars]
    spreads = [s for c in costs for s in (c.down, c.up, c.total, c.in_vain) if s and s.mean > 0]
    low = 10.0 ** math.floor(math.log10(min((s.mean for s in spreads), default=1.0)) - 0.01)
    high = max((s.mean for s in spreads), default=10.0)
    axis.set_xscale("log")
    # The bars end where the text behind the longest one still fits.
    axis.set_xlim(low, low * (high / low) ** (1 / (1 - _TEXT_SHARE)))
    axis.set_ylim(len(costs) - 0.4, -0.6)
    axis.set_yticks([])
    letter = "B" if unit == "bytes" else ""
    # No ticks behind the bars, where the axis only makes room for words.
    ticks = [low * 10**power for power in range(1 + int(math.log10(high / low)))]
    axis.set_xticks(ticks, [units.power(tick, letter) for tick in ticks])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.tick_params(axis="x", labelsize=SMALL)
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel(unit, fontsize=SMALL)
    axis.grid(axis="x", alpha=0.15, linewidth=0.6)
    for y, (bar, cost) in enumerate(zip(panel.bars, costs, strict=True)):
        _draw_bar(axis, y, cost, low)
        ends = [s.mean for s in (cost.total, cost.in_vain) if s]
        text = _words(bar, cost, letter)
        axis.annotate(
            text,
            (max([low, *ends]), y),
            (4, 0),
            textcoords="offset points",
            va="center_baseline",
            fontsize=SMALL - 0.5,
        )


def _draw_bar(axis: "Axes", y: int, cost: Cost, low: float) -> None:
    if cost.in_vain and cost.in_vain.mean > 0:
        axis.barh(
            y,
            cost.in_vain.mean - low,
            0.66,
            left=low,
            facecolor="none",
            edgecolor=COLORS[-1],
            hatch="/////",
            linewidth=0.8,
        )
    if cost.total and cost.total.mean > 0:
        axis.barh(y, cost.total.mean - low, 0.66, left=low, color=COLORS[5])
        for value, marker, rise in ((cost.down, "v", -0.16), (cost.up, "^", 0.16)):
            if value and value.mean > 0:
                axis.plot(value.mean, y + rise, marker, color=INK, markersize=2.6, linewidth=0)


def _words(bar: Bar, cost: Cost, letter: str) -> str:
    """Return what stands behind a bar."""
    if bar.fate:
        return bar.fate
    if cost.total is None:
        spent = units.scaled(cost.in_vain.mean, letter) if cost.in_vain else ""
        return f"not reached ({spent})"
    cheap = units.scaled(cost.total.mean, letter)
    return cheap if bar.reached == bar.cells else f"{cheap}, {bar.reached} of {bar.cells} seeds"


FAMILY = Family("communication", communication_csv, _caption, _height, _draw)
"""The figure ``communication``."""

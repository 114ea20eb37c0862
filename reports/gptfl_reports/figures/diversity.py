"""Gradient diversity by round: how far clients' updates differ (GPT-FL, Figure 8).

It is sum_i ||d_i||^2 / ||sum_i d_i||^2 over a cohort's updates (Yin et al. 2018), 1 / m where all m
are the same. The mean over the finished seeds is drawn as it is, thin, and smoothed. A method
stands beside the same one started by GPT-FL, as in the paper.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gptfl_reports.drawing.figure import COLORS
from gptfl_reports.drawing.labels import DASHES
from gptfl_reports.drawing.panels import SMALL, Canvas, Family, short
from gptfl_reports.numbers.board import Leaderboard
from gptfl_reports.numbers.spread import Spread
from gptfl_reports.numbers.standings import whole
from gptfl_reports.numbers.tasks import Entrant
from gptfl_reports.records.events import RoundAggregated
from gptfl_reports.tables import units
from gptfl_reports.tables.table import csv_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 3
_AXES = (1.95, 1.25)
"""Width and height of one method's axes in inches."""
_NAME = 0.13
"""Height of a line's name above its axes in inches."""
REACH = 5
"""A smoothed value is the mean of the rounds at most so many before or after it; fewer if a run has
fewer than ten times as many rounds."""


@dataclass(frozen=True)
class Line:
    """One entrant's gradient diversity.

    Attributes:
        label: The entrant.
        base: The method that its rounds follow, whatever the start.
        rounds: Rounds in which any finished cell's diversity is known, ascending.
        values: Mean and spread over the finished cells at these rounds.
        smooth: Running means of these means.
    """

    label: str
    base: str
    rounds: tuple[int, ...]
    values: tuple[Spread, ...]
    smooth: tuple[float, ...]


@dataclass(frozen=True)
class DiversityPanel:
    """The lines of one task by name, each method's own before those that start by GPT-FL.

    Attributes:
        title: The task.
        stamp: The warning that goes on it.
        reach: How many rounds before and after a round its smoothed value averages.
        lines: The lines.
    """

    title: str
    stamp: str
    reach: int
    lines: tuple[Line, ...]

    @property
    def groups(self) -> list[list[Line]]:
        """The lines by the method that they follow."""
        found: dict[str, list[Line]] = {}
        for line in self.lines:
            found.setdefault(line.base, []).append(line)
        return [lines for _, lines in sorted(found.items())]


def panels(board: Leaderboard) -> tuple[DiversityPanel, ...]:
    """Return the lines of every task that has any."""
    found: list[DiversityPanel] = []
    for ranking in board.rankings:
        reach = min(REACH, ranking.task.cells[0].record["rounds"] // 10)
        lines = [line for s in whole(ranking) if (line := _line(s.entrant, reach))]
        lines.sort(key=lambda line: (_starts(line.label), line.label))
        if lines:
            task = ranking.task
            found.append(DiversityPanel(task.title, task.stamp, reach, tuple(lines)))
    return tuple(found)


def smoothed(values: Mapping[int, float], reach: int) -> tuple[float, ...]:
    """Return running means in the order of rounds.

    Args:
        values: A value by round; rounds may be missing.
        reach: How many rounds before and after each it averages, fewer at both ends.
    """
    return tuple(
        Spread.of([value for other, value in values.items() if abs(other - at) <= reach]).mean
        for at in sorted(values)
    )


def diversity_csv(drawn: Sequence[DiversityPanel]) -> str:
    """Return the figure's numbers, one line for each entrant and round."""
    return csv_text(
        ("method", "task", "round", "n", "mean", "sd", "smoothed"),
        [
            (line.label, panel.title, at, v.n, *map(units.exact, (v.mean, v.sd, smooth)))
            for panel in drawn
            for line in panel.lines
            for at, v, smooth in zip(line.rounds, line.values, line.smooth, strict=True)
        ],
    )


def _line(entrant: Entrant, reach: int) -> Line | None:
    by_round: dict[int, list[float]] = {}
    for cell in entrant.finished:
        for event in cell.events:
            if isinstance(event, RoundAggregated) and _known(event.gradient_diversity):
                by_round.setdefault(event.round, []).append(event.gradient_diversity or 0.0)
    if not by_round:
        return None
    rounds = tuple(sorted(by_round))
    values = tuple(Spread.of(by_round[at]) for at in rounds)
    means = {at: value.mean for at, value in zip(rounds, values, strict=True)}
    method = entrant.method.removeprefix("gptfl+")
    base = "fedavg" if method == "gptfl" else method
    return Line(entrant.label, base, rounds, values, smoothed(means, reach))


def _starts(label: str) -> bool:
    return label.startswith("gptfl")


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _caption(panel: DiversityPanel) -> str:
    if panel.reach:
        smooth = f"bold: mean of {2 * panel.reach + 1} rounds, {panel.reach} before and after"
    else:
        smooth = "too few rounds to smooth"
    return (
        "Gradient diversity of a cohort's updates, mean over the finished seeds, with and "
        f"without GPT-FL's start; thin: as it is, high peaks cut off, {smooth}"
    )


def _rows(panel: DiversityPanel) -> list[list[list[Line]]]:
    """Return the groups that stand side by side, row by row."""
    groups = panel.groups
    return [groups[at : at + _COLUMNS] for at in range(0, len(groups), _COLUMNS)]


def _row_height(row: Sequence[Sequence[Line]]) -> float:
    return _AXES[1] + _NAME * max(map(len, row)) + 0.4


def _height(panel: DiversityPanel) -> float:
    return sum(map(_row_height, _rows(panel))) + 0.2


def _draw(canvas: Canvas, panel: DiversityPanel) -> None:
    # A mean of few seeds has peaks that would press all else down; those are cut off.
    top = 1.3 * max(max(line.smooth) for line in panel.lines) or 1.0
    first = min(line.rounds[0] for line in panel.lines)
    last = max(line.rounds[-1] for line in panel.lines)
    bottom = canvas.height
    for row in _rows(panel):
        bottom -= _row_height(row)
        for column, lines in enumerate(row):
            left = 0.45 + column * (_AXES[0] + 0.35)
            axis = canvas.axes(left, _AXES[0], bottom + 0.25, _AXES[1])
            _draw_lines(axis, lines)
            axis.set_xlim(first, max(last, first + 1))
            axis.set_ylim(0, top)
            if bottom < 0.3:
                axis.set_xlabel("round", fontsize=SMALL)


def _draw_lines(axis: "Axes", lines: Sequence[Line]) -> None:
    from matplotlib.ticker import MaxNLocator

    for place, line in enumerate(lines):
        color = COLORS[place % len(COLORS)]
        dash = DASHES[place % len(DASHES)]
        raw = [value.mean for value in line.values]
        axis.plot(line.rounds, raw, color=color, linewidth=0.5, alpha=0.5)
        axis.plot(
            line.rounds,
            line.smooth,
            color=color,
            linestyle=dash,
            linewidth=1.5,
            marker="o" if len(raw) == 1 else None,
            markersize=4,
            label=short(line.label, 29),
        )
    axis.legend(
        loc="lower left",
        bbox_to_anchor=(-0.03, 0.98),
        frameon=False,
        fontsize=SMALL,
        borderpad=0.1,
        labelspacing=0.15,
        handlelength=2.2,
    )
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axis.yaxis.set_major_locator(MaxNLocator(4))
    axis.tick_params(labelsize=SMALL - 0.5)
    axis.grid(axis="y", alpha=0.15, linewidth=0.6)


FAMILY = Family("diversity", diversity_csv, _caption, _height, _draw)
"""The figure ``diversity``."""

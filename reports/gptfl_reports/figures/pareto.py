"""What accuracy costs: mean of the last evaluations against bytes sent, one point an entrant.

A point is dominated if another one is at least as good for no more bytes, and better in one of
the two. The others form the front.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gptfl_reports.drawing.figure import COLORS
from gptfl_reports.drawing.labels import Mark, grouped
from gptfl_reports.drawing.panels import SMALL, Canvas, Family, lines, row_height
from gptfl_reports.numbers.averaged import averaged, evaluations
from gptfl_reports.numbers.board import Leaderboard
from gptfl_reports.numbers.spread import Spread, spread
from gptfl_reports.numbers.standings import Ranking, Standing, federated
from gptfl_reports.tables import units
from gptfl_reports.tables.table import csv_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAMES_WIDTH = 1.85
"""Inches that a name and its line to the point take."""
_AXES_WIDTH = 6.4


@dataclass(frozen=True)
class Point:
    """One entrant.

    Attributes:
        label: The entrant.
        n: Number of finished cells that both means are over.
        nbytes: Tensor bytes in both directions, whole cohort, all rounds.
        value: Mean of the last evaluations.
        front: Whether no other point dominates it.
    """

    label: str
    n: int
    nbytes: Spread
    value: Spread
    front: bool


@dataclass(frozen=True)
class ParetoPanel:
    """The points of one task, fewest bytes first; ``averaged`` is over how many evaluations."""

    title: str
    stamp: str
    metric: str
    averaged: str
    points: tuple[Point, ...]


def panels(board: Leaderboard) -> tuple[ParetoPanel, ...]:
    """Return the points of every task in which any cell finished."""
    return tuple(panel for ranking in board.rankings if (panel := _panel(ranking)))


def pareto_csv(drawn: Sequence[ParetoPanel]) -> str:
    """Return the figure's numbers, one line for each entrant."""
    return csv_text(
        ("method", "task", "n", "bytes", "bytes_sd", "value", "value_sd", "front"),
        [
            (
                point.label,
                panel.title,
                point.n,
                units.exact_count(point.nbytes.mean),
                units.exact(point.nbytes.sd),
                units.exact(point.value.mean),
                units.exact(point.value.sd),
                point.front,
            )
            for panel in drawn
            for point in panel.points
        ],
    )


def front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Return for each (cost, value) whether no other has as much value for as little cost.

    Of two equal points neither dominates the other.
    """
    return [
        not any(c <= cost and v >= value and (c, v) != (cost, value) for c, v in points)
        for cost, value in points
    ]


def _panel(ranking: Ranking) -> ParetoPanel | None:
    found = [
        (standing, nbytes, standing.mean_last)
        for standing in federated(ranking)
        if standing.mean_last and (nbytes := _sent(standing))
    ]
    if not found:
        return None
    ahead = front([(nbytes.mean, value.mean) for _, nbytes, value in found])
    points = [
        Point(standing.entrant.label, standing.n, nbytes, value, best)
        for (standing, nbytes, value), best in zip(found, ahead, strict=True)
    ]
    points.sort(key=lambda point: (point.nbytes.mean, point.value.mean, point.label))
    task = ranking.task
    return ParetoPanel(task.title, task.stamp, task.metric, averaged(task.cells), tuple(points))


def _sent(standing: Standing) -> Spread | None:
    rows = [cell.row() for cell in standing.entrant.finished]
    return spread([float(row["bytes_down"] + row["bytes_up"]) for row in rows])


def _caption(panel: ParetoPanel) -> str:
    return (
        f"{panel.metric[0].upper()}{panel.metric[1:]} (mean of "
        f"{evaluations(panel.averaged)}) against bytes sent in both directions, means over the "
        "finished seeds; both scales log, upwards of what is missing to 100 %; filled and joined: "
        "nothing is better for as few bytes"
    )


def _height(panel: ParetoPanel) -> float:
    return max(3.6, _name_height(panel) * len(panel.points) + 0.9)


def _draw(canvas: Canvas, panel: ParetoPanel) -> None:
    high = canvas.height - 0.65
    axis = canvas.axes(0.6, _AXES_WIDTH, 0.5, high)
    scale = _Scale.of(panel.points)
    axis.set_xlim(0, _AXES_WIDTH)
    gap = _name_height(panel) / high
    axis.set_ylim(-0.8 * gap, 1)
    sent = scale.ticks_sent()
    axis.set_xticks([scale.x(tick) for tick in sent], [units.power(tick, "B") for tick in sent])
    values = scale.ticks_value(0.32 / high)
    axis.set_yticks([scale.y(tick) for tick in values], [f"{100 * tick:g} %" for tick in values])
    axis.tick_params(labelsize=SMALL)
    axis.grid(alpha=0.12, linewidth=0.6)
    axis.set_xlabel("bytes sent", fontsize=SMALL)
    marks = [
        Mark(_name(one), one.front, scale.x(one.nbytes.mean), scale.y(one.value.mean))
        for one in panel.points
    ]
    ahead = [mark for mark in marks if mark.strong]
    axis.plot(
        [mark.x for mark in ahead],
        [mark.y for mark in ahead],
        color=COLORS[0],
        linewidth=1.0,
        zorder=1.5,
    )
    for group in grouped(marks, _NAMES_WIDTH, gap):
        for mark in group:
            _draw_mark(axis, mark)


def _name(point: Point) -> str:
    sent = "" if point.nbytes.mean else " (0 B)"
    return f"{lines(point.label, 21)} {100 * point.value.mean:.1f}{sent}"


def _name_height(panel: ParetoPanel) -> float:
    """Return the least distance of two names in inches."""
    return row_height((point.label for point in panel.points), 21) - 0.03


@dataclass(frozen=True)
class _Scale:
    """Where values lie: inches across, a share of the height upwards.

    Attributes:
        sent: Logarithms of the bytes at the left edge and at the last point.
        missing: Logarithms of what is missing to 1 at the lower and at the upper edge.
    """

    sent: tuple[float, float]
    missing: tuple[float, float]

    @classmethod
    def of(cls, points: Sequence[Point]) -> "_Scale":
        sent = [math.log(p.nbytes.mean) for p in points if p.nbytes.mean > 0] or [0.0]
        missing = [_missing(p.value.mean) for p in points]
        pad = 0.06 * (max(missing) - min(missing)) + 0.02
        span = max(sent) - min(sent)
        return cls(
            # Wide enough for a round count.
            (min(sent) - max(0.1 * span + 0.2, 1.0 - span), max(sent)),
            (min(max(missing) + pad, 0.0), min(missing) - pad),
        )

    def x(self, nbytes: float) -> float:
        """Return inches from the left edge, where nothing sent lies, too."""
        if nbytes <= 0:
            return 0.0
        low, high = self.sent
        return (math.log(nbytes) - low) / (high - low) * (_AXES_WIDTH - _NAMES_WIDTH)

    def y(self, value: float) -> float:
        low, high = self.missing
        return (_missing(value) - low) / (high - low)

    def ticks_sent(self) -> list[float]:
        """Return round counts up to the last point."""
        low, high = (math.exp(edge) for edge in self.sent)
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        round_ones = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
        return [tick for tick in round_ones if low <= tick <= 1.1 * high]

    def ticks_value(self, gap: float) -> list[float]:
        """Return round fractions at least ``gap`` of the height apart, the roundest first."""
        found: list[float] = []
        for parts in (10, 20, 50, 100, 200, 1000):
            if parts > 200 and len(found) > 2:
                break
            for tick in (part / parts for part in range(parts)):
                inside = 0 <= self.y(tick) <= 1
                if inside and all(abs(self.y(tick) - self.y(other)) >= gap for other in found):
                    found.append(tick)
        return sorted(found)


def _missing(value: float) -> float:
    """Return the logarithm of what is missing to 1; a perfect value is drawn as 99.95 %."""
    return math.log(max(1.0 - value, 0.0005))


def _draw_mark(axis: "Axes", mark: Mark) -> None:
    color = COLORS[0] if mark.strong else COLORS[-1]
    axis.plot([mark.x, mark.column], [mark.y, mark.row], color=color, linewidth=0.5, zorder=1)
    axis.plot(
        mark.x,
        mark.y,
        "o",
        markersize=5,
        markerfacecolor=color if mark.strong else "none",
        markeredgecolor=color,
        clip_on=False,
    )
    axis.text(
        mark.column + 0.03,
        mark.row,
        mark.name,
        va="center",
        fontsize=SMALL,
        fontweight="bold" if mark.strong else "normal",
    )


FAMILY = Family("pareto", pareto_csv, _caption, _height, _draw)
"""The figure ``pareto``."""

"""Learning curves: mean and band over seeds by method, one panel a task, with their numbers.

A curve averages what the table averages, the finished cells; there is no other smoothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from math import ceil
from textwrap import wrap
from typing import TYPE_CHECKING

from gptfl_reports.drawing.figure import COLORS, INK, to_png, to_svg
from gptfl_reports.drawing.labels import DASHES, End, Style, label_ends
from gptfl_reports.drawing.panels import short
from gptfl_reports.numbers.board import Leaderboard
from gptfl_reports.numbers.spread import Spread
from gptfl_reports.numbers.standings import whole
from gptfl_reports.numbers.tasks import Entrant, TaskGroup
from gptfl_reports.tables import units
from gptfl_reports.tables.table import csv_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL = (7.2, 4.4)
"""Width and height of a panel in inches."""
_GAP = 0.045
"""Least distance of two labels, as a share of a panel's height."""


@dataclass(frozen=True)
class Curve:
    """One entrant's mean by round.

    Attributes:
        label: The entrant.
        rounds: Rounds at which any finished cell was evaluated, ascending.
        values: Mean and spread over the finished cells at these rounds.
    """

    label: str
    rounds: tuple[int, ...]
    values: tuple[Spread, ...]


@dataclass(frozen=True)
class Panel:
    """The curves of one task, in the leaderboard's order."""

    task: TaskGroup
    curves: tuple[Curve, ...]


def panels(board: Leaderboard) -> tuple[Panel, ...]:
    """Return the curves of every task that has any, without ablated methods beside whole ones."""
    found: list[Panel] = []
    for ranking in board.rankings:
        curves = [c for standing in whole(ranking) if (c := curve_of(standing.entrant))]
        if curves:
            found.append(Panel(ranking.task, tuple(curves)))
    return tuple(found)


def curve_of(entrant: Entrant) -> Curve | None:
    """Return an entrant's curve; None if none of its cells finished."""
    by_round: dict[int, list[float]] = {}
    for cell in entrant.finished:
        for event in cell.evaluations:
            by_round.setdefault(event.round, []).append(cell.value(event))
    rounds = tuple(sorted(by_round))
    values = tuple(Spread.of(by_round[r]) for r in rounds)
    return Curve(entrant.label, rounds, values) if rounds else None


def curves_csv(drawn: Sequence[Panel]) -> str:
    """Return the figure's numbers: ``method, task, round, n, mean, sd``, as fractions."""
    return csv_text(
        ("method", "task", "round", "n", "mean", "sd"),
        [
            (curve.label, panel.task.title, r, v.n, units.exact(v.mean), units.exact(v.sd))
            for panel in drawn
            for curve in panel.curves
            for r, v in zip(curve.rounds, curve.values, strict=True)
        ],
    )


def styles(drawn: Sequence[Panel]) -> dict[str, Style]:
    """Return colour and dashes of each entrant, the same in all panels of a report."""
    labels = sorted({curve.label for panel in drawn for curve in panel.curves})
    looks = [(color, dash) for dash in DASHES for color in COLORS]
    return dict(zip(labels, islice(cycle(looks), len(labels)), strict=True))


def svg(drawn: Sequence[Panel], style: Mapping[str, Style], ink: str = INK) -> str:
    """Return the figure as SVG, the same text for the same numbers.

    Args:
        drawn: Its panels, at least one.
        style: Look of each entrant.
        ink: Colour of text and axes; ``currentColor`` follows the page, on no background.
    """
    return to_svg(lambda: _figure(drawn, style), drawn[0].task.title, ink)


def png(drawn: Sequence[Panel], style: Mapping[str, Style]) -> bytes:
    """Return the figure as PNG at 150 dots an inch."""
    return to_png(lambda: _figure(drawn, style))


def _figure(drawn: Sequence[Panel], style: Mapping[str, Style]) -> "Figure":
    from matplotlib.figure import Figure

    width, height = _PANEL
    figure = Figure(figsize=(width, height * len(drawn)), facecolor="white")
    for place, panel in enumerate(drawn):
        bottom = (len(drawn) - 1 - place + 0.13) / len(drawn)
        axis = figure.add_axes((0.075, bottom, 0.665, 0.68 / len(drawn)))
        draw(axis, panel, style)
        axis.set_title(heading(panel), loc="left", x=-0.08, fontsize=8.5)
        _label(axis, panel, style)
    return figure


def draw(axis: "Axes", panel: Panel, style: Mapping[str, Style]) -> None:
    """Draw a task's curves and bands on axes, which they scale and name."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    for curve in panel.curves:
        color, dash = style[curve.label]
        means = [value.mean for value in curve.values]
        axis.plot(
            curve.rounds,
            means,
            color=color,
            linestyle=dash,
            linewidth=1.6,
            marker="o" if len(means) == 1 else None,
            markersize=4,
            label=curve.label,
        )
        if any(value.sd is not None for value in curve.values):
            low = [v.mean - (v.sd or 0.0) for v in curve.values]
            high = [v.mean + (v.sd or 0.0) for v in curve.values]
            axis.fill_between(curve.rounds, low, high, color=color, alpha=0.14, linewidth=0)
    axis.set_xlim(0, _end(panel))
    axis.set_ylim(0, _top(panel))
    axis.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(axis="y", alpha=0.15, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_xlabel("round")


def heading(panel: Panel, width: int = 104) -> str:
    """Return what stands above a panel: the warning, the task, and what is drawn.

    Args:
        panel: What is drawn.
        width: Characters in a line.
    """
    subtitle = f"{panel.task.metric}, mean and ±1 sample standard deviation"
    title = [panel.task.stamp, *wrap(panel.task.title, width), subtitle]
    return "\n".join(line for line in title if line)


def _end(panel: Panel) -> int:
    return max(1, *(curve.rounds[-1] for curve in panel.curves))


def _top(panel: Panel) -> float:
    highest = max(v.mean + (v.sd or 0.0) for curve in panel.curves for v in curve.values)
    return min(1.0, max(0.1, ceil(10 * highest - 1e-9) / 10))


def _label(axis: "Axes", panel: Panel, style: Mapping[str, Style]) -> None:
    """Write each curve's name and last mean at its end."""
    ends = [
        End(
            f"{short(curve.label)} {100 * curve.values[-1].mean:.1f}",
            curve.rounds[-1] / _end(panel),
            curve.values[-1].mean / _top(panel),
            style[curve.label],
        )
        for curve in panel.curves
    ]
    label_ends(axis, ends, _GAP)

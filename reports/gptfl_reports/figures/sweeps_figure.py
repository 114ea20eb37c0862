"""Accuracy against a setting that was varied, as a figure: lines with error bars."""

import math
from typing import TYPE_CHECKING

from gptfl_reports.drawing.figure import COLORS
from gptfl_reports.drawing.labels import DASHES, End, Style, label_ends
from gptfl_reports.drawing.panels import SMALL, Canvas, Family, short
from gptfl_reports.figures.sweeps import SweepLine, SweepPanel, sweeps_csv
from gptfl_reports.numbers.averaged import evaluations

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKERS = "osD^v"


def _caption(panel: SweepPanel) -> str:
    starts = any(dot.start for line in panel.lines for dot in line.dots)
    before = "; thin and hollow: before the first round" if starts else ""
    return (
        f"{panel.metric[0].upper()}{panel.metric[1:]} (mean of "
        f"{evaluations(panel.averaged)}) against {panel.sweep.words}, all else equal, mean and "
        f"±1 sample standard deviation{before}"
    )


def _height(panel: SweepPanel) -> float:
    return max(3.4, 0.17 * len(panel.lines) + 0.8)


def _draw(canvas: Canvas, panel: SweepPanel) -> None:
    high = canvas.height - 0.65
    axis = canvas.axes(0.55, 4.75, 0.5, high)
    _scale(axis, panel)
    for place, line in enumerate(panel.lines):
        _draw_line(axis, line, place)
    ends = [
        End(
            f"{short(line.label)} {100 * line.dots[-1].end.mean:.1f}",
            *_share(axis, line.dots[-1].at, line.dots[-1].end.mean),
            _look(place),
        )
        for place, line in enumerate(panel.lines)
    ]
    label_ends(axis, ends, 0.165 / high)


def _scale(axis: "Axes", panel: SweepPanel) -> None:
    from matplotlib.ticker import NullLocator, PercentFormatter

    dots = [dot for line in panel.lines for dot in line.dots]
    ats = sorted({dot.at for dot in dots})
    first, last = ats[0], ats[-1]
    # Values that grow by factors stand evenly.
    if first > 0 and last / first >= 8:
        axis.set_xscale("log")
        axis.set_xlim(first / (last / first) ** 0.04, last * (last / first) ** 0.04)
    else:
        axis.set_xlim(first - 0.04 * (last - first), last + 0.04 * (last - first))
    axis.set_xticks(ats, [f"{at:g}" for at in ats])
    axis.xaxis.set_minor_locator(NullLocator())
    values = [value for dot in dots for value in (dot.end, dot.start) if value]
    low = min(value.mean - (value.sd or 0.0) for value in values)
    high = max(value.mean + (value.sd or 0.0) for value in values)
    bottom = max(0.0, math.floor(10 * low) / 10)
    axis.set_ylim(bottom, max(min(1.0, math.ceil(10 * high - 1e-9) / 10), bottom + 0.1))
    axis.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    axis.tick_params(labelsize=SMALL)
    axis.grid(axis="y", alpha=0.15, linewidth=0.6)
    axis.set_xlabel(panel.sweep.words, fontsize=SMALL)


def _share(axis: "Axes", at: float, value: float) -> tuple[float, float]:
    """Return where a point lies as shares of the axes."""
    x, y = axis.transAxes.inverted().transform(axis.transData.transform((at, value)))
    return float(x), float(y)


def _look(place: int) -> Style:
    return COLORS[place % len(COLORS)], DASHES[place % len(DASHES)]


def _draw_line(axis: "Axes", line: SweepLine, place: int) -> None:
    color, dash = _look(place)
    marker = _MARKERS[place % len(_MARKERS)]
    axis.errorbar(
        [dot.at for dot in line.dots],
        [dot.end.mean for dot in line.dots],
        [dot.end.sd or 0.0 for dot in line.dots],
        color=color,
        linestyle=dash,
        linewidth=1.6,
        marker=marker,
        markersize=5,
        elinewidth=0.9,
        capsize=2,
    )
    starts = [(dot.at, dot.start.mean) for dot in line.dots if dot.start]
    axis.plot(
        [at for at, _ in starts],
        [mean for _, mean in starts],
        color=color,
        linestyle=dash,
        linewidth=0.8,
        marker=marker,
        markersize=4.5,
        markerfacecolor="none",
    )


FAMILY = Family("sweeps", sweeps_csv, _caption, _height, _draw)
"""The figure ``sweeps``."""

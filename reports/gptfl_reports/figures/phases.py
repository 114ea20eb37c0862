"""Where the time goes: seconds of work by phase and entrant.

A cell's phases add up to its time in the leaderboard. Cells share what they make, so the first
one pays for synthetic data and pre-training that the others find made.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gptfl_reports.drawing.figure import COLORS
from gptfl_reports.drawing.panels import SMALL, Canvas, Family, lines, row_height
from gptfl_reports.numbers.board import Leaderboard
from gptfl_reports.numbers.spread import Spread
from gptfl_reports.numbers.standings import whole
from gptfl_reports.numbers.tasks import Entrant
from gptfl_reports.records.cells import Cell
from gptfl_reports.records.events import (
    PhaseFinished,
    Pretrained,
    RoundAggregated,
    RoundEvaluated,
    RoundLost,
    SyntheticReady,
)
from gptfl_reports.records.schema import QUALITY_PHASE
from gptfl_reports.tables import units
from gptfl_reports.tables.table import csv_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOOKS = {
    "synthetic data": (COLORS[4], "////"),
    "pre-training": (COLORS[1], "xxxx"),
    "other preparation": (COLORS[6], "||||"),
    "rounds": (COLORS[0], ""),
    "evaluation": (COLORS[5], "\\\\\\\\"),
}
_UNITS = ((5997, 3600, "hours"), (99.95, 60, "minutes"), (0, 1, "seconds"))
"""From how many seconds on an axis is in which unit, as in `units.duration`."""
_LABELS_WIDTH = 1.78
_LEGEND = 0.22


@dataclass(frozen=True)
class Bar:
    """One entrant's time.

    Attributes:
        label: The entrant.
        seconds: Seconds by phase, over the finished cells, in the order of the work.
    """

    label: str
    seconds: dict[str, Spread]

    @property
    def total(self) -> float:
        """Mean seconds of work of a cell."""
        return sum(part.mean for part in self.seconds.values())


@dataclass(frozen=True)
class PhasePanel:
    """The bars of one task, the quickest first."""

    title: str
    stamp: str
    bars: tuple[Bar, ...]


def panels(board: Leaderboard) -> tuple[PhasePanel, ...]:
    """Return the times of every task in which a finished cell took any."""
    found: list[PhasePanel] = []
    for ranking in board.rankings:
        bars = [_bar(s.entrant) for s in whole(ranking) if s.entrant.finished]
        if any(bar.total for bar in bars):
            bars.sort(key=lambda bar: (bar.total, bar.label))
            found.append(PhasePanel(ranking.task.title, ranking.task.stamp, tuple(bars)))
    return tuple(found)


def by_phase(cell: Cell) -> dict[str, float]:
    """Return a cell's seconds of work by phase, in the order of the work.

    Making synthetic data and pre-training on them are parts of the preparation; the rest of it is
    ``other preparation``. Looking at synthetic data for the reader is no work of the cell.
    """

    def total(kind: type[SyntheticReady | Pretrained | RoundEvaluated]) -> float:
        return sum(event.seconds for event in cell.events if isinstance(event, kind))

    prepared = sum(
        event.seconds
        for event in cell.events
        if isinstance(event, PhaseFinished) and event.phase != QUALITY_PHASE
    )
    rounds = [e for e in cell.events if isinstance(e, RoundAggregated | RoundLost)]
    made, trained = total(SyntheticReady), total(Pretrained)
    return {
        "synthetic data": made,
        "pre-training": trained,
        # The clocks of the parts and of the whole may differ by a little.
        "other preparation": max(prepared - made - trained, 0.0),
        "rounds": sum(event.seconds for event in rounds),
        "evaluation": total(RoundEvaluated),
    }


def phases_csv(drawn: Sequence[PhasePanel]) -> str:
    """Return the figure's numbers, one line for each entrant and phase."""
    return csv_text(
        ("method", "task", "phase", "n", "seconds", "seconds_sd"),
        [
            (bar.label, panel.title, phase, s.n, units.exact(s.mean), units.exact(s.sd))
            for panel in drawn
            for bar in panel.bars
            for phase, s in bar.seconds.items()
        ],
    )


def _bar(entrant: Entrant) -> Bar:
    cells = [by_phase(cell) for cell in entrant.finished]
    return Bar(entrant.label, {name: Spread.of([cell[name] for cell in cells]) for name in _LOOKS})


def _caption(_: PhasePanel) -> str:
    return (
        "Time of a cell by phase, mean over the finished seeds; what an earlier cell had made is "
        "not made again; compare only within a machine"
    )


def _height(panel: PhasePanel) -> float:
    return row_height(bar.label for bar in panel.bars) * len(panel.bars) + 0.65 + _LEGEND


def _draw(canvas: Canvas, panel: PhasePanel) -> None:
    axis = canvas.axes(_LABELS_WIDTH, 5.2, 0.5, canvas.height - 0.6 - _LEGEND)
    most = max(bar.total for bar in panel.bars)
    scale, unit = next((s, u) for least, s, u in _UNITS if most >= least)
    for y, bar in enumerate(panel.bars):
        _draw_bar(axis, y, bar, scale)
    for name, (color, hatch) in _LOOKS.items():
        axis.barh(0, 0, color=color, edgecolor="white", linewidth=0, hatch=hatch, label=name)
    axis.legend(
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=len(_LOOKS),
        frameon=False,
        fontsize=SMALL,
        borderpad=0.1,
        handlelength=1.6,
        columnspacing=1.2,
    )
    # Room for the text behind the longest bar.
    axis.set_xlim(0, 1.13 * most / scale)
    axis.set_ylim(len(panel.bars) - 0.4, -0.6)
    axis.set_yticks(
        range(len(panel.bars)), [lines(bar.label) for bar in panel.bars], fontsize=SMALL
    )
    axis.tick_params(axis="y", length=0)
    axis.tick_params(axis="x", labelsize=SMALL)
    axis.set_xlabel(unit, fontsize=SMALL)
    axis.grid(axis="x", alpha=0.15, linewidth=0.6)


def _draw_bar(axis: "Axes", y: int, bar: Bar, scale: float) -> None:
    left = 0.0
    for name, (color, hatch) in _LOOKS.items():
        width = bar.seconds[name].mean / scale
        if width > 0:
            axis.barh(
                y, width, 0.66, left, color=color, edgecolor="white", linewidth=0, hatch=hatch
            )
        left += width
    axis.annotate(
        units.duration(bar.total),
        (left, y),
        (4, 0),
        textcoords="offset points",
        va="center_baseline",
        fontsize=SMALL - 0.5,
    )


FAMILY = Family("phases", phases_csv, _caption, _height, _draw)
"""The figure ``phases``."""

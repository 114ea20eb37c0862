"""The figure of label discovery: how often a table is read whole, by how full it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gptfl_reports.drawing.figure import COLORS, to_png, to_svg
from gptfl_reports.records.files import write_files
from gptfl_reports.tables import units
from gptfl_reports.tables.table import csv_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class DecodeRate:
    """How often all names were read.

    Attributes:
        capacity: Distinct names the table is made for.
        distinct: Distinct names in it.
        whole: Trials in which all of them were read.
        trials: Trials, each with other hash functions.
    """

    capacity: int
    distinct: int
    whole: int
    trials: int

    @property
    def load(self) -> float:
        """Names in the table as a share of its capacity."""
        return self.distinct / self.capacity


EARLIER = tuple(
    DecodeRate(capacity, distinct, whole, 60)
    for capacity, distinct, whole in (
        (50, 10, 60),
        (50, 50, 57),
        (50, 60, 56),
        (50, 70, 46),
        (50, 80, 6),
        (50, 100, 0),
        (100, 100, 57),
        (128, 102, 60),
    )
)
"""Measured by another implementation with three repetitions, before this one was written."""


def write(rates: Sequence[DecodeRate], out: Path) -> list[Path]:
    """Write the figure and its numbers, and return the files.

    Args:
        rates: What was measured, of one capacity, by number of names; at least one.
        out: The folder; made if missing.

    Raises:
        UsageError: If the folder can't be written to.
    """
    stem = f"decode-rates-{rates[0].capacity}"
    return write_files(
        out,
        {
            f"{stem}.svg": to_svg(lambda: _figure(rates), stem).encode(),
            f"{stem}.png": to_png(lambda: _figure(rates)),
            f"{stem}.csv": _csv(rates).encode(),
        },
    )


def _csv(rates: Sequence[DecodeRate]) -> str:
    return csv_text(
        ("measured", "capacity", "distinct", "load", "whole", "trials"),
        [
            (
                measured,
                rate.capacity,
                rate.distinct,
                units.exact(rate.load),
                rate.whole,
                rate.trials,
            )
            for measured, some in (("here", rates), ("earlier", EARLIER))
            for rate in some
        ],
    )


def _figure(rates: Sequence[DecodeRate]) -> "Figure":
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(7.2, 3.6), facecolor="white")
    axis = figure.add_axes((0.09, 0.15, 0.86, 0.7))
    axis.plot(
        [rate.load for rate in rates],
        [rate.whole / rate.trials for rate in rates],
        color=COLORS[0],
        marker=".",
        linewidth=1.6,
        label=f"here, capacity {rates[0].capacity:,}, {rates[0].trials} trials",
    )
    axis.plot(
        [rate.load for rate in EARLIER],
        [rate.whole / rate.trials for rate in EARLIER],
        color=COLORS[1],
        marker="x",
        linestyle="",
        label="another implementation, capacities 50, 100 and 128, 60 trials",
    )
    axis.set_ylim(-0.03, 1.03)
    axis.set_xlim(left=0)
    axis.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    axis.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    axis.grid(axis="y", alpha=0.15, linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_xlabel("distinct label names as a share of the table's capacity")
    axis.set_title("Tables that were read whole", loc="left", fontsize=8.5)
    axis.legend(frameon=False, fontsize=8, loc="lower left")
    return figure

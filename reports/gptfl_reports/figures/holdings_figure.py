"""The figure of who holds what: a map of classes by clients, above sizes and class numbers."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

from gptfl_reports.drawing.figure import COLORS, INK, to_png, to_svg
from gptfl_reports.figures.holdings import Holdings, holdings_csv
from gptfl_reports.records.files import write_files

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _RIGHT, _STRIP, _GAP, _BOTTOM = 7.2, 0.85, 0.8, 0.14, 0.5
"""Inches of a figure: all of it, right margin, each strip below the map, gaps, bottom margin."""
_NAMED_CLASSES, _NAMED_CLIENTS, _NAME = 50, 25, 18
"""How many classes and clients have their own ticks, and how many characters a name has."""
_COLUMNS = 750
"""Columns a map has pixels for; more clients are averaged, for else some would not show."""


def draw(holdings: Holdings) -> "Figure":
    """Return the figure: samples by class and client, largest client first; below, by client.

    The map's colour goes with the square root of a count, so that few samples still show beside
    many; white is none at all. Where there are more clients than pixels, a column is their mean.
    """
    from matplotlib.figure import Figure

    sizes, effective = holdings.sizes, holdings.effective_classes
    order = sorted(range(len(sizes)), key=lambda k: (-sizes[k], k))
    each = -(-len(order) // _COLUMNS)
    subtitle = "samples by class and client"
    subtitle += f", a column is the mean of {each} clients" if each > 1 else ""
    title = [line for line in (holdings.stamp, *wrap(holdings.title, 104), subtitle) if line]
    named = len(holdings.classes) <= _NAMED_CLASSES
    left = 1.35 if named else 0.75
    height = max(1.5, 0.13 * len(holdings.classes)) if named else 5.0
    total = _BOTTOM + 2 * (_STRIP + _GAP) + height + 0.16 * len(title) + 0.12
    figure = Figure(figsize=(_WIDTH, total), facecolor="white")

    def axes(bottom: float, tall: float, start: float, wide: float) -> "Axes":
        place = (start / _WIDTH, bottom / total, wide / _WIDTH, tall / total)
        return figure.add_axes(place)

    wide = _WIDTH - left - _RIGHT
    bottom = _BOTTOM + 2 * (_STRIP + _GAP)
    share = axes(bottom, height, left, wide)
    _map(share, axes(bottom, min(height, 2.5), _WIDTH - 0.75, 0.12), holdings, order, each)
    share.set_title("\n".join(title), loc="left", x=(0.1 - left) / wide, fontsize=8.5)
    size = axes(_BOTTOM + _STRIP + _GAP, _STRIP, left, wide)
    _strip(size, [sizes[k] for k in order], "samples")
    classes = axes(_BOTTOM, _STRIP, left, wide)
    _strip(classes, [effective[k] for k in order], "effective\nclasses")
    few = len(order) <= _NAMED_CLIENTS
    for axis in (share, size, classes):
        axis.set_xlim(-0.5, len(order) - 0.5)
        axis.set_xticks(range(len(order)) if few else [], labels=[])
    if few:
        classes.set_xticks(range(len(order)), labels=[str(k) for k in order], fontsize=7)
    clients = "client" if few else f"{len(order):,} clients"
    classes.set_xlabel(f"{clients}, largest first", fontsize=8)
    figure.align_ylabels([size, classes])
    return figure


def _map(axis: "Axes", bar: "Axes", holdings: Holdings, order: Sequence[int], each: int) -> None:
    """Draw the map with its scale; a column is the mean of ``each`` clients."""
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap, PowerNorm
    from matplotlib.ticker import MaxNLocator

    counts = np.array([holdings.counts[k] for k in order]).T
    starts = np.arange(0, len(order), each)
    shown = np.add.reduceat(counts, starts, axis=1) / np.diff([*starts, len(order)])
    # Without its palest blues, which can't be told from none.
    colors = ListedColormap(colormaps["Blues"](np.linspace(0.12, 1, 256)))
    image = axis.imshow(
        np.ma.masked_equal(shown, 0),
        cmap=colors.with_extremes(bad="white"),
        norm=PowerNorm(0.5, vmin=0, vmax=max(1, shown.max())),
        aspect="auto",
        interpolation="none",
        extent=(-0.5, len(order) - 0.5, len(counts) - 0.5, -0.5),
    )
    names = [n if len(n) <= _NAME else f"{n[: _NAME - 1]}…" for n in holdings.classes]
    if len(names) <= _NAMED_CLASSES:
        axis.set_yticks(range(len(names)), labels=names, fontsize=7)
    else:
        axis.set_yticks([])
        axis.set_ylabel(f"{len(names):,} classes", fontsize=8)
    axis.tick_params(length=0)
    scale = axis.figure.colorbar(image, cax=bar, ticks=MaxNLocator(5, integer=True))
    scale.outline.set_visible(False)
    for steps in bar.collections:
        steps.set_rasterized(True)  # else they are 256 paths
    bar.set_ylim(bottom=0.5)
    bar.tick_params(labelsize=7, length=2)


def _strip(axis: "Axes", values: Sequence[float], label: str) -> None:
    from matplotlib.ticker import MaxNLocator

    edges = [k - 0.5 for k in range(len(values) + 1)]
    axis.stairs(values, edges, fill=True, color=COLORS[0])
    axis.set_ylim(0, max(1.0, 1.08 * max(values)))
    axis.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axis.grid(axis="y", alpha=0.15, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=7, length=2)
    axis.set_ylabel(label, fontsize=8)


FILES = "holdings-*.*"
"""Pattern of the files' names in a report."""


def files(holdings: Holdings, stem: str) -> dict[str, bytes]:
    """Return the figure as SVG and PNG, and its numbers as CSV, by file name."""
    return {
        f"{stem}.svg": svg(holdings).encode(),
        f"{stem}.png": to_png(lambda: draw(holdings)),
        f"{stem}.csv": holdings_csv(holdings).encode(),
    }


def write(holdings: Holdings, folder: Path, stem: str) -> list[Path]:
    """Write ``stem.svg``, ``stem.png`` and ``stem.csv`` to a folder, and return their paths.

    Raises:
        UsageError: If the folder can't be written to.
    """
    return write_files(folder, files(holdings, stem))


def svg(holdings: Holdings, ink: str = INK) -> str:
    """Return the figure as SVG, the same text for the same numbers.

    Args:
        holdings: What to show.
        ink: Colour of text and axes; ``currentColor`` follows the page, on no background.
    """
    return to_svg(lambda: draw(holdings), holdings.title, ink)

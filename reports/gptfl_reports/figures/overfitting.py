"""How far pre-training over-fits to synthetic data: both scores after each epoch, in a figure.

What a network scores on synthetic samples that it was not trained on may rise while its score on
real ones does not (GPT-FL, section 3.4): the distance of the two curves is what it learned about
the generator alone. The real score is for the reader; only the synthetic one may end training.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from textwrap import wrap
from typing import TYPE_CHECKING

from gptfl_reports.drawing.figure import COLORS, INK, to_png, to_svg
from gptfl_reports.numbers.board import Leaderboard
from gptfl_reports.numbers.spread import Spread, spread
from gptfl_reports.numbers.tasks import TaskGroup
from gptfl_reports.records.cells import Cell
from gptfl_reports.records.events import PretrainEpoch
from gptfl_reports.tables import units
from gptfl_reports.tables.table import csv_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _HEIGHT = 7.2, 3.6
"""Width and height of a panel in inches."""
_GAP = 0.06
"""Least distance of two labels, as a share of a panel's height."""


@dataclass(frozen=True)
class Epoch:
    """An epoch's mean over the seeds that came to it.

    Attributes:
        number: The epoch, from 1.
        loss: Mean training loss.
        synthetic: Accuracy on synthetic samples not trained on; None if there were none.
        real: Accuracy on real test samples; None if nobody looked.
    """

    number: int
    loss: Spread | None
    synthetic: Spread | None
    real: Spread | None


@dataclass(frozen=True)
class Pretraining:
    """One network's training on one synthetic data set, over its seeds.

    Attributes:
        task: What it is a start for.
        labels: The entrants that start from it.
        epochs: Its epochs, ascending.
        kept: Number of the epoch whose weights are kept, by seed.
    """

    task: TaskGroup
    labels: tuple[str, ...]
    epochs: tuple[Epoch, ...]
    kept: tuple[int, ...]


def pretrainings(board: Leaderboard) -> tuple[Pretraining, ...]:
    """Return each distinct pre-training of each task; entrants with the same one share it."""
    found: list[Pretraining] = []
    for ranking in board.rankings:
        seen: dict[tuple[object, ...], Pretraining] = {}
        for standing in ranking.standings:
            cells = [cell for cell in standing.entrant.cells if _epochs(cell)]
            if not cells:
                continue
            label = standing.entrant.label
            # What is not a number differs from itself.
            key = tuple(sorted((c.record["seed"], repr(_epochs(c))) for c in cells))
            known = seen.get(key)
            seen[key] = (
                replace(known, labels=(*known.labels, label))
                if known
                else Pretraining(ranking.task, (label,), _means(cells), _kept(cells))
            )
        found += seen.values()
    return tuple(found)


def overfitting_csv(drawn: Sequence[Pretraining]) -> str:
    """Return the figure's numbers, one epoch a line; accuracies are fractions."""
    columns = ("methods", "task", "epoch", "n", "loss", "synthetic", "synthetic_sd")
    return csv_text(
        (*columns, "real", "real_sd"),
        [
            (
                " ".join(one.labels),
                one.task.title,
                epoch.number,
                epoch.loss.n if epoch.loss else 0,
                units.exact(epoch.loss.mean if epoch.loss else None),
                *_with_sd(epoch.synthetic),
                *_with_sd(epoch.real),
            )
            for one in drawn
            for epoch in one.epochs
        ],
    )


def svg(drawn: Sequence[Pretraining], ink: str = INK) -> str:
    """Return the figure as SVG, the same text for the same numbers.

    Args:
        drawn: Its panels, at least one.
        ink: Colour of text and axes; ``currentColor`` follows the page, on no background.
    """
    salt = "overfitting" + "".join(one.task.title + one.labels[0] for one in drawn)
    return to_svg(lambda: _figure(drawn), salt, ink)


def png(drawn: Sequence[Pretraining]) -> bytes:
    """Return the figure as PNG at 150 dots an inch."""
    return to_png(lambda: _figure(drawn))


def _epochs(cell: Cell) -> list[PretrainEpoch]:
    """Return the epochs of the task's own network."""
    return [e for e in cell.events if isinstance(e, PretrainEpoch) and not e.architecture]


def _kept(cells: Sequence[Cell]) -> tuple[int, ...]:
    return tuple(cell.pretrained.kept_epoch for cell in cells if cell.pretrained)


def _means(cells: Sequence[Cell]) -> tuple[Epoch, ...]:
    by_number: dict[int, list[PretrainEpoch]] = {}
    for cell in cells:
        for epoch in _epochs(cell):
            by_number.setdefault(epoch.epoch, []).append(epoch)
    return tuple(
        Epoch(
            number,
            _known([epoch.loss for epoch in epochs]),
            _known([epoch.validation_accuracy for epoch in epochs]),
            _known([epoch.test_accuracy for epoch in epochs]),
        )
        for number, epochs in sorted(by_number.items())
    )


def _known(values: Sequence[float]) -> Spread | None:
    return spread([value for value in values if math.isfinite(value)])


def _with_sd(value: Spread | None) -> tuple[str, str]:
    return (units.exact(value.mean), units.exact(value.sd)) if value else ("", "")


def _figure(drawn: Sequence[Pretraining]) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, _HEIGHT * len(drawn)), facecolor="white")
    for place, one in enumerate(drawn):
        bottom = (len(drawn) - 1 - place + 0.15) / len(drawn)
        _draw(figure.add_axes((0.075, bottom, 0.665, 0.62 / len(drawn))), one)
    return figure


def _draw(axis: "Axes", one: Pretraining) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    numbers = [epoch.number for epoch in one.epochs]
    last = [value.mean for value in (one.epochs[-1].synthetic, one.epochs[-1].real) if value]
    # Where both end close together, their labels are moved apart.
    middle = sum(last) / len(last) if last and max(last) - min(last) < _GAP else None
    for name, color, dash, values in (
        ("synthetic, held out", COLORS[1], "--", [e.synthetic for e in one.epochs]),
        ("real test", COLORS[0], "-", [e.real for e in one.epochs]),
    ):
        there = [(n, value) for n, value in zip(numbers, values, strict=True) if value]
        if not there:
            continue
        x, y = [n for n, _ in there], [value.mean for _, value in there]
        axis.plot(
            x,
            y,
            color=color,
            linestyle=dash,
            linewidth=1.6,
            marker="o" if len(x) == 1 else None,
            markersize=4,
        )
        low = [value.mean - (value.sd or 0.0) for _, value in there]
        high = [value.mean + (value.sd or 0.0) for _, value in there]
        axis.fill_between(x, low, high, color=color, alpha=0.14, linewidth=0)
        axis.annotate(
            f"{name} {100 * y[-1]:.1f}",
            (x[-1], y[-1]),
            (6, 0 if middle is None else math.copysign(5, y[-1] - middle)),
            textcoords="offset points",
            va="center",
            fontsize=8,
            annotation_clip=False,
        )
    for kept in set(one.kept):
        axis.axvline(kept, color=COLORS[-1], linewidth=0.8, linestyle=":")
    axis.set_xlim(min(1, numbers[0]), max(numbers[-1], 2))
    axis.set_ylim(0, 1)
    axis.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(axis="y", alpha=0.15, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_xlabel("epoch of pre-training; dotted: kept")
    subtitle = f"{', '.join(one.labels)}: accuracy, mean and ±1 sample standard deviation"
    title = [one.task.stamp, *wrap(one.task.title, 104), *wrap(subtitle, 104)]
    axis.set_title("\n".join(line for line in title if line), loc="left", x=-0.08, fontsize=8.5)

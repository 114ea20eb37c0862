"""The figure that README.md and RESULTS.md begin with: GPT-FL and the methods beside it, by round.

The report's own learning curves have each arm and reference in a colour of its own, which is too
much for a first look. Here a few methods are named, the others are grey lines, and references and
GPT-FL around other methods are left out.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gptfl_reports.drawing.figure import COLORS, to_svg
from gptfl_reports.drawing.labels import DASHES, End, Style, label_ends
from gptfl_reports.figures import curves
from gptfl_reports.figures.curves import Panel
from gptfl_reports.numbers.standings import Ranking, federated

_NAMED: dict[str, tuple[str, Style]] = {
    "gptfl": ("GPT-FL", (COLORS[1], DASHES[0])),
    "dynafed": ("DynaFed", (COLORS[2], DASHES[1])),
    "scaffold": ("SCAFFOLD", (COLORS[0], DASHES[3])),
    "fedopt": ("FedOpt", (COLORS[3], DASHES[2])),
    "fedavg": ("FedAvg", ("#444444", DASHES[0])),
}
"""How methods are called and drawn."""
_TITLES = {
    "cifar10": "CIFAR-10, 10 of 100 uneven clients a round",
    "speech_commands": "Speech Commands, 20 speakers a round",
}
_GREY = "#c4c4c4"
_PANEL = (4.5, 3.1)
_GAP = 0.06


def svg(rankings: Sequence[Ranking]) -> str:
    """Return the figure as SVG, the same text for the same numbers.

    Args:
        rankings: The methods on each data set, at least one.
    """
    return to_svg(lambda: _figure(rankings), "headline")


def _figure(rankings: Sequence[Ranking]) -> Figure:
    width, height = _PANEL
    figure = Figure(figsize=(width * len(rankings), height), facecolor="white")
    for place, ranking in enumerate(rankings):
        left = (place + 0.11) / len(rankings)
        axis = figure.add_axes((left, 0.14, 0.65 / len(rankings), 0.72))
        _draw(axis, ranking)
    return figure


def _draw(axis: Axes, ranking: Ranking) -> None:
    methods = [s.entrant for s in federated(ranking) if "+" not in s.entrant.label]
    drawn = [curve for entrant in methods if (curve := curves.curve_of(entrant))]
    named = tuple(curve for curve in drawn if curve.label in _NAMED)
    panel = Panel(ranking.task, named)
    curves.draw(axis, panel, {label: style for label, (_, style) in _NAMED.items()})
    for curve in drawn:
        if curve not in named:
            means = [value.mean for value in curve.values]
            axis.plot(curve.rounds, means, color=_GREY, linewidth=0.9, zorder=1)
    task = ranking.task
    dataset = task.cells[0].record["dataset"]["name"]
    axis.set_title(f"{_TITLES[dataset]}\n{task.metric}", loc="left", fontsize=9)
    (_, end), (_, top) = axis.get_xlim(), axis.get_ylim()
    ends = [
        End(name, curve.rounds[-1] / end, curve.values[-1].mean / top, style)
        for curve in named
        for name, style in [_NAMED[curve.label]]
    ]
    label_ends(axis, ends, _GAP)

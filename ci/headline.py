"""The figure that README.md and RESULTS.md begin with: GPT-FL and the methods beside it, by round.

The report's own learning curves have each arm and reference in a colour of its own, which is too
much for a first look. Here a few methods are named, the others are grey lines, and references and
GPT-FL around other methods are left out.
"""

from collections.abc import Sequence
from dataclasses import replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gptfl_reports.drawing.figure import to_svg
from gptfl_reports.drawing.labels import End, Style, label_ends
from gptfl_reports.figures import curves
from gptfl_reports.figures.curves import Panel

_NAMED: dict[str, tuple[str, Style]] = {
    "gptfl": ("GPT-FL", ("#d55e00", "solid")),
    "dynafed": ("DynaFed", ("#009e73", (0, (4, 1.5)))),
    "scaffold": ("SCAFFOLD", ("#0072b2", (0, (5, 1, 1, 1)))),
    "fedopt": ("FedOpt", ("#cc79a7", (0, (1, 1.2)))),
    "fedavg": ("FedAvg", ("#444444", "solid")),
}
"""How methods are called and drawn."""
_TITLES = {
    "cifar10": "CIFAR-10, 10 of 100 uneven clients a round",
    "speech_commands": "Speech Commands, 20 speakers a round",
}
_LEFT_OUT = ("+", "central", "local")
_GREY = "#c4c4c4"
_PANEL = (4.5, 3.1)
_GAP = 0.06


def svg(drawn: Sequence[Panel]) -> str:
    """Return the figure as SVG, the same text for the same numbers.

    Args:
        drawn: The learning curves of each data set, at least one.
    """
    return to_svg(lambda: _figure(drawn), "headline")


def _figure(drawn: Sequence[Panel]) -> Figure:
    width, height = _PANEL
    figure = Figure(figsize=(width * len(drawn), height), facecolor="white")
    for place, panel in enumerate(drawn):
        left = (place + 0.11) / len(drawn)
        axis = figure.add_axes((left, 0.14, 0.65 / len(drawn), 0.72))
        _draw(axis, panel)
    return figure


def _draw(axis: Axes, panel: Panel) -> None:
    methods = [c for c in panel.curves if not any(word in c.label for word in _LEFT_OUT)]
    named = replace(panel, curves=tuple(c for c in methods if c.label in _NAMED))
    curves.draw(axis, named, {label: style for label, (_, style) in _NAMED.items()})
    for curve in methods:
        if curve not in named.curves:
            means = [value.mean for value in curve.values]
            axis.plot(curve.rounds, means, color=_GREY, linewidth=0.9, zorder=1)
    dataset = panel.task.cells[0].record["dataset"]["name"]
    axis.set_title(f"{_TITLES[dataset]}\n{panel.task.metric}", loc="left", fontsize=9)
    (_, end), (_, top) = axis.get_xlim(), axis.get_ylim()
    ends = [
        End(name, curve.rounds[-1] / end, curve.values[-1].mean / top, style)
        for curve in named.curves
        for name, style in [_NAMED[curve.label]]
    ]
    label_ends(axis, ends, _GAP)

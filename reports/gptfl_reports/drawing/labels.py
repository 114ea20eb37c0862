"""Names beside lines and points, moved so that none covers another."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Style = tuple[str, str | tuple[int, tuple[float, ...]]]
"""Colour and dashes of a line."""
DASHES: tuple[str | tuple[int, tuple[float, ...]], ...] = (
    "solid",
    (0, (4, 1.5)),
    (0, (1, 1.2)),
    (0, (5, 1, 1, 1)),
)
_MARK = 0.08
"""Half a marker's width in inches, with some room."""


def apart(heights: Sequence[float], gap: float) -> list[float]:
    """Return ascending heights in [0, 1], moved as little as needed to be ``gap`` apart."""
    # Labels that touch form a group, which is spread around the mean of where they belong.
    groups: list[list[float]] = []
    for height in heights:
        groups.append([height])
        while len(groups) > 1 and _low(groups[-1], gap) - _high(groups[-2], gap) < gap:
            groups[-2:] = [groups[-2] + groups[-1]]
    return [_low(group, gap) + i * gap for group in groups for i in range(len(group))]


def _low(group: Sequence[float], gap: float) -> float:
    extent = gap * (len(group) - 1)
    return max(0.0, min(sum(group) / len(group) - extent / 2, 1.0 - extent))


def _high(group: Sequence[float], gap: float) -> float:
    return _low(group, gap) + gap * (len(group) - 1)


@dataclass(frozen=True)
class End:
    """The end of a line, to be named beside the axes.

    Attributes:
        text: What is written.
        x: Where the line ends, as a share of the axes' width.
        y: Likewise, of their height.
        style: The line's look.
    """

    text: str
    x: float
    y: float
    style: Style


def label_ends(axis: "Axes", ends: Iterable[End], gap: float) -> None:
    """Write each line's name at its end, moved apart where ends are close.

    Args:
        axis: Where the lines are.
        ends: Their ends.
        gap: Least distance of two names, as a share of the axes' height.
    """
    ordered = sorted(ends, key=lambda end: (end.y, end.text))
    for end, place in zip(ordered, apart([end.y for end in ordered], gap), strict=True):
        color, dash = end.style
        axis.plot(
            [end.x, 1.025, 1.04, 1.085],
            [end.y, place, place, place],
            transform=axis.transAxes,
            color=color,
            linestyle=dash,
            linewidth=1.6 if end.x == 1 else 0.8,
            clip_on=False,
        )
        axis.text(1.095, place, end.text, transform=axis.transAxes, va="center", fontsize=8)


@dataclass(frozen=True)
class Mark:
    """A point where it is drawn, and where its name stands.

    Attributes:
        name: What is written.
        strong: Whether it lies on the line that is drawn, which rises to the right.
        x: Inches from the left edge.
        y: Share of the height.
        column: Where its name begins, in inches from the left edge.
        row: Height of its name's middle, as a share.
    """

    name: str
    strong: bool
    x: float
    y: float
    column: float = 0.0
    row: float = 0.0

    def meets(self, other: "Mark", width: float, gap: float) -> bool:
        """Return whether this one's name would touch the other one's name or marker."""
        within = -_MARK < other.x - self.column < width and abs(other.y - self.row) < gap
        names = abs(other.column - self.column) < width and abs(other.row - self.row) < gap
        return within or names


def grouped(marks: Sequence[Mark], width: float, gap: float) -> list[list[Mark]]:
    """Return the marks with places for their names, in groups that share a column of names.

    Args:
        marks: In the order of ``x``.
        width: What a name takes in inches.
        gap: Least distance of two names, as a share of the height.
    """
    groups: list[list[Mark]] = []
    for mark in marks:
        groups.append(_named([mark], gap))
        while touched := [g for g in groups[:-1] if _touch(g, groups[-1], width, gap)]:
            first = groups.index(touched[0])
            groups[first:] = [_named([mark for group in groups[first:] for mark in group], gap)]
    return groups


def _named(marks: Sequence[Mark], gap: float) -> list[Mark]:
    """Return the marks with their names in a column right of the last, in order of height."""
    ordered = sorted(marks, key=lambda mark: (mark.y, mark.name))
    column = max(mark.x for mark in marks) + 0.17
    # Else the line from the uppermost point on would cross names.
    down = 0.6 * gap if ordered[-1].strong else 0.0
    rows = apart([mark.y - down for mark in ordered], gap)
    return [replace(m, column=column, row=row) for m, row in zip(ordered, rows, strict=True)]


def _touch(left: Sequence[Mark], right: Sequence[Mark], width: float, gap: float) -> bool:
    return any(a.meets(b, width, gap) or b.meets(a, width, gap) for a in left for b in right)

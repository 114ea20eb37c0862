"""Figures of one panel a task: a heading each, sizes in inches, as SVG, PNG and CSV.

A family of figures is its numbers, how they are drawn and how they are written; this is the part
that all families share.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

from gptfl_reports.drawing.figure import INK, to_png, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 7.2
"""Width of a figure in inches."""
SMALL = 7.5
"""Size of the texts within a panel in points."""
_HEADING = 8.5
_LINE = _HEADING * 1.25 / 72
_TITLE_WIDTH = 104


class Shown(NamedTuple):
    """A figure of one panel to stand in a page.

    Attributes:
        title: The task's title.
        svg: The figure as SVG, in the page's own text colour.
        caption: What it shows, as plain text.
    """

    title: str
    svg: str
    caption: str


class Panel(Protocol):
    """What any panel has: the task it is about, and the warning that goes on it."""

    @property
    def title(self) -> str:
        """The task in a line."""
        ...

    @property
    def stamp(self) -> str:
        """The warning; empty for none."""
        ...


P = TypeVar("P", bound=Panel)


@dataclass(frozen=True)
class Canvas:
    """A panel's place in a figure; lengths are inches from its lower left corner.

    Attributes:
        figure: The whole figure.
        bottom: Where the place begins in the figure.
        height: Its height without the heading.
    """

    figure: "Figure"
    bottom: float
    height: float

    def axes(self, left: float, width: float, bottom: float, height: float) -> "Axes":
        """Return new axes without upper and right frame."""
        wide, high = self.figure.get_size_inches()
        box = (left / wide, (self.bottom + bottom) / high, width / wide, height / high)
        axis = self.figure.add_axes(box)
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_axisbelow(True)
        return axis


@dataclass(frozen=True)
class Family(Generic[P]):
    """A figure with one panel a task.

    Attributes:
        name: Stem of its files.
        numbers: Writes the numbers of its panels as CSV.
        caption: What a panel shows, as plain text without its final full stop.
        height: Height of a panel's body in inches.
        draw: Draws a panel's body.
    """

    name: str
    numbers: Callable[[Sequence[P]], str]
    caption: Callable[[P], str]
    height: Callable[[P], float]
    draw: Callable[[Canvas, P], None]

    def svg(self, panels: Sequence[P], ink: str = INK) -> str:
        """Return the figure as SVG, the same text for the same numbers.

        Args:
            panels: Its panels, at least one.
            ink: Colour of text and axes; ``currentColor`` follows the page, on no background.
        """
        salt = self.name + "".join(panel.title for panel in panels)
        return to_svg(lambda: self._figure(panels), salt, ink)

    def png(self, panels: Sequence[P]) -> bytes:
        """Return the figure as PNG at 150 dots an inch."""
        return to_png(lambda: self._figure(panels))

    def files(self, panels: Sequence[P]) -> dict[str, bytes]:
        """Return the figure's files by name, each empty where there is no panel."""
        return {
            f"{self.name}.csv": self.numbers(panels).encode() if panels else b"",
            f"{self.name}.svg": self.svg(panels).encode() if panels else b"",
            f"{self.name}.png": self.png(panels) if panels else b"",
        }

    def shown(self, panels: Sequence[P]) -> list[Shown]:
        """Return a figure for each panel, to stand in a page."""
        return [
            Shown(one.title, self.svg([one], "currentColor"), f"{self.caption(one)}.")
            for one in panels
        ]

    def _figure(self, panels: Sequence[P]) -> "Figure":
        from matplotlib.figure import Figure

        headings = [self._heading(panel) for panel in panels]
        bodies = [self.height(panel) for panel in panels]
        above = [_LINE * (heading.count("\n") + 1.5) for heading in headings]
        height = bottom = sum(bodies) + sum(above)
        figure = Figure(figsize=(_WIDTH, height), facecolor="white")
        for panel, heading, body, head in zip(panels, headings, bodies, above, strict=True):
            bottom -= body + head
            self.draw(Canvas(figure, bottom, body), panel)
            place = 0.12 / _WIDTH, (bottom + body) / height
            figure.text(*place, heading, fontsize=_HEADING, va="bottom")
        return figure

    def _heading(self, panel: P) -> str:
        texts = (panel.stamp, panel.title, self.caption(panel))
        return "\n".join(line for text in texts for line in wrap(text, _TITLE_WIDTH))


def lines(label: str, width: int = 26) -> str:
    """Return a name in at most two lines of ``width`` characters, cut with an ellipsis."""
    found = wrap(label, width, max_lines=2, placeholder="…")
    return "\n".join(found) or label


def short(label: str, most: int = 26) -> str:
    """Return a name with at most ``most`` characters."""
    return label if len(label) <= most else f"{label[: most - 1]}…"


def row_height(labels: Iterable[str], width: int = 26) -> float:
    """Return the height in inches of rows that bear such names, all the same."""
    return 0.3 if any("\n" in lines(label, width) for label in labels) else 0.2

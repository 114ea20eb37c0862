"""Figures of one panel a task: a heading each, sizes in inches, as SVG, PNG and CSV.

A family of figures is its numbers, how they are drawn and how they are written; this is the part
that all families share.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

from gptfl_reports import figures
from gptfl_reports.standings import Ranking, Standing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 7.2
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
        caption: What a panel shows, as plain text without its final full stop.
        height: Height of a panel's body in inches.
        draw: Draws a panel's body.
        width: Width of the figure in inches.
    """

    name: str
    caption: Callable[[P], str]
    height: Callable[[P], float]
    draw: Callable[[Canvas, P], None]
    width: float = WIDTH

    def svg(self, panels: Sequence[P], ink: str = figures.INK) -> str:
        """Return the figure as SVG, the same text for the same numbers.

        Args:
            panels: Its panels, at least one.
            ink: Colour of text and axes; ``currentColor`` follows the page, on no background.
        """
        salt = self.name + "".join(panel.title for panel in panels)
        return figures.svg(lambda: self._figure(panels), salt, ink)

    def png(self, panels: Sequence[P]) -> bytes:
        """Return the figure as PNG at 150 dots an inch."""
        return figures.png(lambda: self._figure(panels))

    def files(self, panels: Sequence[P], numbers: str) -> dict[str, bytes]:
        """Return the figure's files by name, each empty where there is no panel.

        Args:
            panels: Its panels.
            numbers: Its numbers as CSV.
        """
        return {
            f"{self.name}.csv": numbers.encode() if panels else b"",
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
        above = [_LINE * (len(lines) + 0.5) for lines in headings]
        left = sum(bodies) + sum(above)
        figure = Figure(figsize=(self.width, left), facecolor="white")
        for panel, lines, body, head in zip(panels, headings, bodies, above, strict=True):
            left -= body + head
            self.draw(Canvas(figure, left, body), panel)
            height = figure.get_size_inches()[1]
            figure.text(
                0.12 / self.width,
                (left + body) / height,
                "\n".join(lines),
                fontsize=_HEADING,
                va="bottom",
            )
        return figure

    def _heading(self, panel: P) -> list[str]:
        wide = round(_TITLE_WIDTH * self.width / WIDTH)
        lines = [panel.stamp, *wrap(panel.title, wide), *wrap(self.caption(panel), wide)]
        return [line for line in lines if line]


def whole(ranking: Ranking) -> list[Standing]:
    """Return a task's rows without ablated methods, which are not drawn beside whole ones."""
    found = [s for s in ranking.standings if not s.entrant.ablated]
    return found or list(ranking.standings)


def lines(label: str, width: int = 26, most: int = 2) -> str:
    """Return a name in at most ``most`` lines of ``width`` characters, cut with an ellipsis."""
    found = wrap(label, width, max_lines=most, placeholder="…")
    return "\n".join(found) or label


def short(label: str, most: int = 26) -> str:
    """Return a name with at most ``most`` characters."""
    return label if len(label) <= most else f"{label[: most - 1]}…"


def row_height(labels: Iterable[str], width: int = 26) -> float:
    """Return the height in inches of rows that bear such names, all the same."""
    return 0.3 if any("\n" in lines(label, width) for label in labels) else 0.2

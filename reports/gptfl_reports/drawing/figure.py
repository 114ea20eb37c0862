"""A figure as SVG and PNG: the same bytes for the same numbers, whatever the reader has set."""

import io
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#222222"
"""Colour of text and axes on white."""
# Okabe and Ito's palette without black and yellow, which vanish on one of the two backgrounds.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c8c8c")
_ANY_INK = "#123457"
"""Stands for the text colour until a figure is written, for pages follow the reader's theme."""
_DPI = 150


def to_svg(draw: Callable[[], "Figure"], salt: str, ink: str = INK) -> str:
    """Return a figure as SVG, the same text for the same numbers.

    Args:
        draw: Makes the figure, in the colours and fonts that are set while it is called.
        salt: Sets the ids within the figure apart from those of other figures.
        ink: Colour of text and axes; ``currentColor`` follows the page, on no background.
    """
    out = io.StringIO()
    with _look(_ANY_INK, salt):
        draw().savefig(
            out,
            format="svg",
            dpi=_DPI,  # of pictures within it
            transparent=ink == "currentColor",
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    lines = out.getvalue().replace(_ANY_INK, ink).splitlines()
    return "\n".join(line.rstrip() for line in lines) + "\n"


def to_png(draw: Callable[[], "Figure"]) -> bytes:
    """Return a figure as PNG at 150 dots an inch.

    Args:
        draw: Makes the figure, in the colours and fonts that are set while it is called.
    """
    out = io.BytesIO()
    with _look(INK):
        draw().savefig(out, format="png", dpi=_DPI, metadata={"Software": None})
    return out.getvalue()


def inline(svg: str, name: str, label: str) -> str:
    """Return the ``<svg>`` element alone, to stand in a page that sizes it.

    Args:
        svg: The figure's text.
        name: Goes before every id in it, for each may stand only once in a page.
        label: What the figure shows, for those who can't see it.
    """
    element = svg[svg.index("<svg") :]
    head, rest = element.split(">", 1)
    kept = [part for part in head.split() if not part.startswith(("width=", "height="))]
    rest = re.sub(
        r"<[^>]*>", lambda tag: re.sub(r'(\bid="|href="#|\(#)', rf"\g<1>{name}-", tag[0]), rest
    )
    return f'{" ".join(kept)} role="img" aria-label="{label}">{rest}'


def _look(ink: str, salt: str = "") -> AbstractContextManager[None]:
    """Return a context with matplotlib's own defaults, whatever the reader has set, and ours."""
    from matplotlib import style

    ours = {
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 9.0,
        "text.color": ink,
        "axes.edgecolor": ink,
        "axes.labelcolor": ink,
        "xtick.color": ink,
        "ytick.color": ink,
        "grid.color": ink,
        "text.parse_math": False,
        "image.composite_image": False,  # else an SVG holds pictures resampled
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
    }
    return style.context(["default", ours])

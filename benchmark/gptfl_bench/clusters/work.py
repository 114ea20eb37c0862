"""What a launcher is given to run cells with, and what it gives back."""

from collections.abc import Callable, Iterator

from gptfl_bench.cells.cell import Context
from gptfl_bench.cells.spec import CellSpec
from gptfl_reports.records.cells import Cell

Tried = Iterator[tuple[CellSpec, Cell | None]]
"""Cells as they ended; None for one that another run holds."""

Work = Callable[[CellSpec, Context], Cell | None]
"""Runs a cell, wherever it is sent to; None if another run holds it."""

Stopped = Callable[[CellSpec, Context, str], Cell | None]
"""Returns a cell that was stopped from outside, which goes on later, with the reason."""


def in_a_line(error: BaseException) -> str:
    """Return an error of somebody else's program without its further lines and its full stop."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")

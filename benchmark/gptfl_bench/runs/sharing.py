"""Several runs on one folder: a cell that another run holds is passed over and seen to at the end.

Its result is taken if the other run brings it to an end, and the cell is gone on with if that run
is killed. Who holds a cell is told by a lock that the system lets go of with its process.
"""

import time
from collections.abc import Callable, Iterator, Sequence

from gptfl_bench.cells.cell import Context, ended, is_held
from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.clusters.work import Tried
from gptfl_bench.core.progress import Progress
from gptfl_reports.records.cells import Cell

POLL = 0.5
"""Seconds between two looks at cells that another run holds."""


def share(
    cells: Sequence[CellSpec],
    context: Context,
    progress: Progress,
    run: Callable[[Sequence[CellSpec]], Tried],
) -> Iterator[tuple[CellSpec, Cell]]:
    """Run cells, and see to those that other runs hold; yield each once it has ended.

    Args:
        cells: The cells.
        context: What they are given.
        progress: Is told of what is waited for.
        run: Runs some of them.
    """
    due, held = list(cells), []
    while due:
        for spec, cell in run(due):
            if cell is None:
                held.append(spec)
            else:
                yield spec, cell
        due = []
        while held and not due:
            number = len(cells) - len(held) + 1
            progress.cell(number, len(cells), f"waiting for {_count(held)} that another run holds")
            for spec in _freed(held, context):
                held.remove(spec)
                cell = ended(spec, context)
                if cell is None:
                    due.append(spec)
                else:
                    yield spec, cell


def _freed(held: Sequence[CellSpec], context: Context) -> list[CellSpec]:
    """Wait until another run lets go of some cells, and return these."""
    while not (freed := [spec for spec in held if not is_held(spec, context)]):
        time.sleep(POLL)
    return freed


def _count(held: Sequence[CellSpec]) -> str:
    return "1 cell" if len(held) == 1 else f"{len(held)} cells"

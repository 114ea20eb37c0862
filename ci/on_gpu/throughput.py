"""How much several processes on one GPU train together, from the records of their cells."""

from dataclasses import dataclass
from pathlib import Path

from gptfl_reports.records.cells import Cell, read_cells
from gptfl_reports.records.events import RoundAggregated, RoundEvaluated


@dataclass(frozen=True)
class Throughput:
    """What so many cells at once came to.

    Attributes:
        processes: Cells at once.
        steps: Local steps a second, of all cells together.
        hour: Cells an hour, of so many rounds as a whole one has.
    """

    processes: int
    steps: float
    hour: float


def of(folder: Path, processes: int, rounds: int) -> Throughput | None:
    """Return what cells in a run folder came to that ran all at once; None if not all did.

    Counted are the seconds of rounds and tests, not the start of a process.

    Args:
        folder: The run folder.
        processes: Cells that ran at once.
        rounds: Rounds of a whole cell.
    """
    cells = [cell for cell in read_cells(folder) if cell.ending.status == "finished"]
    if len(cells) < processes:
        return None
    speeds, a_round = zip(*map(_speed, cells), strict=True)
    steps = sum(speeds)
    return Throughput(processes, steps, 3600 * steps / (rounds * sum(a_round) / len(a_round)))


def _speed(cell: Cell) -> tuple[float, float]:
    """Return a cell's local steps a second, and in a round; its first round is warm-up."""
    trained = [event for event in cell.events if isinstance(event, RoundAggregated)][1:]
    tested = [e for e in cell.events if isinstance(e, RoundEvaluated) and e.round > 1]
    seconds = sum(e.seconds for e in trained) + sum(e.seconds for e in tested)
    steps = sum(event.steps for event in trained)
    return steps / seconds, steps / len(trained)

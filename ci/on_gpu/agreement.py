"""Whether cells on a GPU come to what they come to on the CPU, method by method."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gptfl_reports.records.cells import Cell, read_cells
from gptfl_reports.records.events import RoundAggregated, RoundEvaluated

ROUNDS = 3
"""Rounds that the bounds hold for; rounding grows with every step of training."""
ACCURACY = 0.02
"""Highest difference of accuracies."""
LOSS = 0.02
"""Highest difference of a loss, of test or training, beside the CPU's and 1 together."""


@dataclass(frozen=True)
class Agreement:
    """How far a method's two cells lie apart in the rounds that count.

    Attributes:
        method: The method.
        rounds: The last round that was compared.
        accuracy: Highest difference of accuracies.
        loss: Highest difference of losses, each over one plus the CPU's.
        note: What else there is to say; empty if nothing.
    """

    method: str
    rounds: int
    accuracy: float
    loss: float
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether both lie within the bounds."""
        return not self.note and self.accuracy <= ACCURACY and self.loss <= LOSS


def compare(cpu: Path, gpu: Path) -> list[Agreement]:
    """Return how far the cells of two run folders lie apart."""
    here, there = (
        {cell.record["method"]: cell for cell in read_cells(folder)} for folder in (cpu, gpu)
    )
    return [_compared(method, here, there) for method in sorted(here.keys() | there.keys())]


def _compared(method: str, here: Mapping[str, Cell], there: Mapping[str, Cell]) -> Agreement:
    if method not in here or method not in there:
        return Agreement(method, 0, 0.0, 0.0, "one of the two did not run")
    endings = [cells[method].ending for cells in (here, there)]
    if endings[0].status != endings[1].status or endings[0].status in ("failed", "running"):
        words = (f"{ending.status} {ending.reason}".strip() for ending in endings)
        return Agreement(method, 0, 0.0, 0.0, " / ".join(words))
    own, other = (_values(cells[method]) for cells in (here, there))
    known = sorted(own.keys() & other.keys())
    accuracy = [abs(own[at][0] - other[at][0]) for at in known if at[1] == "test"]
    loss = [abs(own[at][1] - other[at][1]) / (1 + abs(own[at][1])) for at in known]
    rounds = max((at[0] for at in known), default=0)
    note = "" if known else f"nothing to compare: {endings[0].reason}"
    return Agreement(method, rounds, max(accuracy, default=0.0), max(loss, default=0.0), note)


def _values(cell: Cell) -> dict[tuple[int, str], tuple[float, float]]:
    """Return accuracy and loss of each round, of the test and of local training."""
    found = {}
    for event in cell.events:
        if isinstance(event, RoundEvaluated) and event.round <= ROUNDS:
            found[event.round, "test"] = event.accuracy, event.loss
        elif isinstance(event, RoundAggregated) and event.round <= ROUNDS:
            found[event.round, "train"] = 0.0, event.train_loss
    return found

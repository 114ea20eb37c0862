"""What is measured in which order, and how long each step may take."""

import time
from collections.abc import Callable
from dataclasses import dataclass

RESERVE = 20.0
"""Seconds at the end that no step gets: records are packed in them."""


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        minutes: What the shares were made for; less time cuts steps short.
        compare: Arguments of the run that CPU and GPU are compared by.
        visits: How many of the cases of visits.
        networks: Networks whose engine is timed.
        pairs: Rounds of each, the warm-up included.
        processes: Cells at once.
        cell: Arguments of the cells that are run at once.
        full: Rounds of the cell that cells an hour are counted of.
        course: Arguments of the run that takes what time is left.
    """

    minutes: float
    compare: tuple[str, ...]
    visits: int
    networks: tuple[str, ...]
    pairs: int
    processes: tuple[int, ...]
    cell: tuple[str, ...]
    full: int
    course: tuple[str, ...]


_QUICK = ("--preset", "quick", "--seeds", "0")
_CIFAR = ("--dataset", "cifar10", "--preset", "default")
FULL = Size(
    minutes=9,
    compare=(*_QUICK, "--methods", "all", "--launcher", "joblib"),
    visits=4,
    networks=("convnet", "linear", "cnn_mcmahan"),
    pairs=6,
    processes=(1, 2, 4, 8, 16),
    cell=(*_CIFAR, "--methods", "fedavg", "rounds=10", "evaluation.every=10"),
    full=100,
    course=(*_CIFAR, "--methods", "all", "--seeds", "0"),
)
SMALL = Size(
    minutes=2,
    compare=(*_QUICK, "--methods", "fedavg,moon", "rounds=2"),
    visits=1,
    networks=("linear",),
    pairs=2,
    processes=(1, 2),
    cell=("--preset", "quick", "--methods", "fedavg", "rounds=2"),
    full=50,
    course=(*_QUICK, "--methods", "fedavg,fedprox"),
)
"""For a machine without a GPU: the same steps in little."""


@dataclass(frozen=True)
class Step:
    """A part of the measurement.

    Attributes:
        name: What the command line calls it.
        share: Part of the whole time that it may take at most; the last one takes what is left.
        least: Seconds without which it is not begun.
    """

    name: str
    share: float
    least: float


STEPS = (
    Step("compare", 0.20, 20),
    Step("visits", 0.08, 5),
    Step("engine", 0.10, 5),
    Step("processes", 0.27, 15),
    Step("course", 1.0, 15),
)
"""In their order."""


@dataclass
class Budget:
    """The time that is left, for all and for the step under way.

    Attributes:
        minutes: The whole time.
        now: Tells seconds.
    """

    minutes: float
    now: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        """Begin to count."""
        self.ends = self.now() + 60 * self.minutes - RESERVE
        self._step_ends = self.ends

    def begin(self, step: Step) -> bool:
        """Return whether there is time for a step, whose own time begins then."""
        self._step_ends = min(self.now() + 60 * self.minutes * step.share, self.ends)
        return self.left >= min(step.least, 60 * self.minutes * step.share / 2)

    @property
    def left(self) -> float:
        """Seconds that the step under way has left; 0 or more."""
        return max(self._step_ends - self.now(), 0.0)

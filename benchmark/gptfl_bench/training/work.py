"""How much a method computes, in units that can be timed apart: training steps and predictions.

For estimates of time alone; nothing here has a part in any result.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from gptfl_bench.training.fit import Plan


@dataclass(frozen=True)
class Work:
    """Batches of one size through one network, over a whole cell.

    Attributes:
        kind: ``train`` for steps (forward, backward, optimizer), ``predict`` for forward passes.
        batch_size: Samples in a batch.
        batches: How many; a part of one counts as that part.
        network: A registered network in place of the method's own.
        shared: Whether all cells of the seed and the network have it from one another.
    """

    kind: Literal["train", "predict"]
    batch_size: int
    batches: float
    network: str = ""
    shared: bool = False


@dataclass(frozen=True)
class Amounts:
    """What a cell gives a method to work on.

    Attributes:
        rounds: Rounds.
        cohort: Clients in a round.
        visited: How many visits of all rounds go to clients of how many samples.
        public: Public samples; 0 if the method has none.
        synthetic: Labelled synthetic samples at the server; 0 if the method asks for none.
        num_classes: Number of classes C.
        at_once: Samples in a batch of predictions.
    """

    rounds: int
    cohort: int
    visited: Mapping[int, int]
    public: int
    synthetic: int
    num_classes: int
    at_once: int = 1000

    @property
    def visits(self) -> int:
        """Clients' visits of all rounds."""
        return sum(self.visited.values())

    def at_clients(self, plan: Plan, networks: Iterable[str] = ("",)) -> tuple[Work, ...]:
        """Return local training in all visits, which networks share evenly."""
        names = list(networks)
        sizes: defaultdict[int, float] = defaultdict(float)
        for samples, visits in self.visited.items():
            for work in train(plan, samples, visits):
                sizes[work.batch_size] += work.batches
        return tuple(
            Work("train", size, batches / len(names), name)
            for name in names
            for size, batches in sorted(sizes.items())
        )

    def at_server(self, plan: Plan, samples: int) -> tuple[Work, ...]:
        """Return training of the server's network in all rounds."""
        return train(plan, samples, self.rounds)

    def looked_at(
        self, samples: int, times: float, networks: Iterable[str] = ("",)
    ) -> tuple[Work, ...]:
        """Return predictions of ``samples``, so many times, which networks share evenly."""
        names, size = list(networks), min(samples, self.at_once)
        batches = samples * times / max(size, 1) / len(names)
        return tuple(Work("predict", size, batches, name) for name in names if size)


def train(plan: Plan, samples: int, times: float = 1) -> tuple[Work, ...]:
    """Return training on ``samples``, so many times: whole batches, and the last of each pass."""
    if not samples:
        return ()
    passes = times * plan.total_steps(samples) / plan.batches(samples)
    whole, rest = divmod(samples, plan.batch_size)
    sizes = ((plan.batch_size, whole), (rest, 1 if rest else 0))
    return tuple(Work("train", size, passes * count) for size, count in sizes if passes * count)

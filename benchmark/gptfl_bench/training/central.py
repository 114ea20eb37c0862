"""Downstream training at the server: central, on synthetic data, ended by synthetic data alone.

Synthetic data are regular, so a network over-fits to them (GPT-FL, section 3.4): what it scores on
synthetic samples it was not trained on keeps rising while its score on real ones does not. Both are
logged after each epoch. Only the first may end training; the second is for readers.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gptfl_bench.core import groups as g
from gptfl_bench.core.cache import digest
from gptfl_bench.core.groups import Groups
from gptfl_bench.core.randomness import torch_rng
from gptfl_bench.data.samples import Samples
from gptfl_bench.training.evaluate import Score, evaluate
from gptfl_bench.training.fit import FitResult, Plan, fit
from gptfl_reports.records.events import PretrainEpoch


@dataclass(frozen=True)
class EarlyStop:
    """When central training ends before its plan does.

    Attributes:
        share: Part of the data that is kept from training and that each epoch is validated on, in
            [0, 1); 0 for none.
        patience: Epochs without a lower validation loss after which training ends. The weights of
            the epoch with the lowest are kept; null trains to the plan's end and keeps the last.
    """

    share: float = 0.1
    patience: int | None = 5

    def __post_init__(self) -> None:
        """Refuse impossible values.

        Raises:
            ValueError: Naming the field, its value and what is allowed.
        """
        if not 0 <= self.share < 1:
            raise ValueError(f"share={self.share} must be in [0, 1)")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience={self.patience} must be 1 or more, or null")
        if self.patience is not None and not self.share:
            raise ValueError(
                f"patience={self.patience} needs data to validate on: set share above 0"
            )


class Watch:
    """Real test samples that training is looked at with; what it sees goes to the log alone.

    Args:
        data: The test samples.
        most: Most of them that are used, a fixed random part; None for all.
    """

    def __init__(self, data: Samples, most: int | None = None) -> None:
        if most is not None and most < len(data):
            order = torch.randperm(len(data), generator=torch_rng(0, "watch"))
            data = data.select(order[:most].sort().values)
        self._data = data

    @property
    def key(self) -> str:
        """What determines the result beside the network."""
        return digest({"samples": self._data.checksum(), "form": self._data.form})

    def __call__(self, model: nn.Module) -> Score:
        """Return the network's score on the test samples."""
        return evaluate(model, self._data)


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Attributes:
        groups: The weights that are kept.
        kept: Number of the epoch they are from, from 1; 0 without an epoch.
        result: What was done, epochs after the kept one included.
        epochs: What each epoch came to.
    """

    groups: Groups
    kept: int
    result: FitResult
    epochs: tuple[PretrainEpoch, ...]


def train_centrally(
    model: nn.Module,
    data: Samples,
    plan: Plan,
    stop: EarlyStop,
    seed: int,
    watch: Watch | None = None,
    on_epoch: Callable[[int, int], None] = lambda done, due: None,
) -> Trained:
    """Train ``model`` in place and return what is kept of it.

    Args:
        model: The network.
        data: Labelled samples at the server.
        plan: How long and by which optimizer.
        stop: When to end earlier.
        seed: Seed of batch order, augmentation and held-out part.
        watch: Looks at the network after each epoch.
        on_epoch: Called after each epoch with the number of epochs done and due.
    """
    validation, training = _split(data, stop.share, seed)
    due = -(-plan.total_steps(len(training)) // plan.batches(len(training)))
    epochs: list[PretrainEpoch] = []
    best: tuple[float, int, Groups] = (math.inf, 0, {})

    def look(epoch: int, loss: float) -> bool:
        nonlocal best
        model.eval()
        own = evaluate(model, validation) if len(validation) else None
        real = watch(model) if watch else None
        model.train()
        epochs.append(
            PretrainEpoch(
                epoch,
                loss,
                own.loss if own else math.nan,
                own.accuracy if own else math.nan,
                real.accuracy if real else math.nan,
                real.examples if real else 0,
            )
        )
        on_epoch(epoch, due)
        if stop.patience is None or own is None:
            return False
        if own.loss < best[0]:
            best = (own.loss, epoch, g.model_groups(model))
        return epoch - best[1] >= stop.patience

    result = fit(model, training, plan, torch_rng(seed, "pretrain", "batches"), after_epoch=look)
    _, kept, groups = best
    if not kept:
        kept, groups = len(epochs), g.model_groups(model)
    return Trained(groups, kept, result, tuple(epochs))


def to_tensor(epochs: tuple[PretrainEpoch, ...]) -> Tensor:
    """Return epochs as float64 (E, 6), one a row, to be kept with the weights."""
    rows = [
        (
            e.epoch,
            e.loss,
            e.validation_loss,
            e.validation_accuracy,
            e.test_accuracy,
            e.test_examples,
        )
        for e in epochs
    ]
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 6)


def from_tensor(table: Tensor, architecture: str) -> list[PretrainEpoch]:
    """Return the epochs that :func:`to_tensor` wrote, of a network called ``architecture``."""
    return [
        PretrainEpoch(int(epoch), loss, own_loss, own, real, int(examples), architecture)
        for epoch, loss, own_loss, own, real, examples in table.tolist()
    ]


def _split(data: Samples, share: float, seed: int) -> tuple[Samples, Samples]:
    """Return the part to validate on, empty if it would be less than a sample, and the rest."""
    held_out = int(share * len(data))
    if not held_out:
        return data.select(torch.arange(0)), data
    order = torch.randperm(len(data), generator=torch_rng(seed, "pretrain", "validation"))
    return data.select(order[:held_out]), data.select(order[held_out:])

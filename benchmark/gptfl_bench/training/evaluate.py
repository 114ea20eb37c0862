"""Metrics as sums that merge, so that batch size and sharding can't change a score."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gptfl_bench.data.samples import Samples


@dataclass(frozen=True)
class Score:
    """Counts from which all metrics follow.

    Attributes:
        confusion: Number of samples of class i predicted as j, (C, C), int64.
        loss_sum: Sum of cross-entropies over samples.
    """

    confusion: Tensor
    loss_sum: float

    @classmethod
    def of(cls, logits: Tensor, y: Tensor) -> "Score":
        """Return the score of a batch of logits (b, C) and labels (b,)."""
        return cls.read(*_counts(logits, y))

    @classmethod
    def read(cls, confusion: Tensor, loss_sum: Tensor) -> "Score":
        """Return the score of counts that may lie on a GPU, for which this waits."""
        return cls(confusion.cpu(), float(loss_sum))

    def merge(self, other: "Score") -> "Score":
        """Return the score of both sets of samples together."""
        return Score(self.confusion + other.confusion, self.loss_sum + other.loss_sum)

    @property
    def examples(self) -> int:
        """Number of samples."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Share of samples predicted right, in [0, 1]."""
        return int(self.confusion.trace()) / max(self.examples, 1)

    @property
    def macro_f1(self) -> float:
        """Mean F1 over classes that occur or are predicted; a class never met counts nowhere."""
        right = self.confusion.diagonal().double()
        occur = self.confusion.sum(1) + self.confusion.sum(0)
        f1 = 2 * right / occur.clamp(min=1)
        return float(f1[occur > 0].mean()) if bool((occur > 0).any()) else 0.0

    @property
    def loss(self) -> float:
        """Mean cross-entropy."""
        return self.loss_sum / max(self.examples, 1)


@torch.no_grad()
def evaluate(
    predict: Callable[[Tensor], Tensor], data: Samples, batch_size: int | None = None
) -> Score:
    """Return the score of a network on all samples.

    Args:
        predict: Maps inputs (b, ...) to logits (b, C).
        data: The samples, 1 or more.
        batch_size: Samples at a time; None for :attr:`Samples.at_once`.

    Raises:
        ValueError: If there are no samples.
    """
    if len(data) == 0:
        raise ValueError("there are no samples to evaluate on")
    parts = []
    for rows in data.in_order(batch_size):
        x, y = data.stored(rows)
        parts.append(_counts(predict(x), y))
    # Read once, at the end: a GPU is never waited for in between.
    first, *others = parts
    confusion, loss_sum = first
    for more, further in others:
        confusion, loss_sum = confusion + more, loss_sum + further
    return Score.read(confusion, loss_sum)


def _counts(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return confusion (C, C) and sum of cross-entropies of a batch, where it lies."""
    classes = logits.shape[1]
    pairs = y * classes + logits.argmax(1)
    # Not bincount, for which a GPU is asked how large the numbers are.
    confusion = torch.zeros(classes * classes, dtype=torch.int64, device=y.device)
    confusion.index_add_(0, pairs, torch.ones_like(pairs))
    loss_sum = F.cross_entropy(logits.double(), y, reduction="sum")
    return confusion.reshape(classes, classes), loss_sum

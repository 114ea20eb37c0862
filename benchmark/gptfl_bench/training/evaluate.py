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
        classes = logits.shape[1]
        pairs = y * classes + logits.argmax(1)
        confusion = torch.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
        return cls(confusion, float(F.cross_entropy(logits.double(), y, reduction="sum")))

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
def evaluate(predict: Callable[[Tensor], Tensor], data: Samples, batch_size: int = 1000) -> Score:
    """Return the score of ``predict``, which maps inputs (b, ...) to logits (b, C)."""
    if len(data) == 0:
        raise ValueError("there are no samples to evaluate on")
    score: Score | None = None
    for rows in torch.split(data.rows(torch.arange(len(data))), batch_size):
        x, y = data.stored(rows)
        part = Score.of(predict(x), y)
        score = part if score is None else score.merge(part)
    assert score is not None
    return score

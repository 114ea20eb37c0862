"""Distillation: train a network towards soft targets on unlabelled samples."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gptfl_bench.data.samples import Samples
from gptfl_bench.training.fit import FitResult, Plan, fit


def distill(
    student: nn.Module,
    data: Samples,
    targets: Tensor,
    plan: Plan,
    rng: torch.Generator,
    round: int = 1,
) -> FitResult:
    """Train ``student`` in place by the forward KL divergence from ``targets``.

    The loss is the batch mean of KL(target || softmax(student(x))); targets that sum to one make it
    the cross-entropy up to a constant.

    Args:
        student: Network to logits (b, C).
        data: Unlabelled samples, (N, ...).
        targets: Probabilities of each sample, (N, C).
        plan: How long and by which optimizer.
        rng: Draws batch order.
        round: Round from 1, for ``round_decay``.
    """
    rows = data.with_labels(torch.arange(len(data)))

    def loss(model: nn.Module, x: Tensor, row: Tensor) -> Tensor:
        # "mean" would divide by the number of classes too.
        return F.kl_div(F.log_softmax(model(x), 1), targets[row], reduction="batchmean")

    return fit(student, rows, plan, rng, round=round, loss=loss)


@torch.no_grad()
def outputs(
    predict: Callable[[Tensor], Tensor], data: Samples, batch_size: int | None = None
) -> Tensor:
    """Return what ``predict`` gives for all samples in order, (N, ...)."""
    return torch.cat([predict(data.stored(rows)[0]) for rows in data.in_order(batch_size)])

"""Distillation: train a network towards soft targets on unlabelled samples."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gptfl_bench.tasks.task import Samples
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
    rows = replace_labels(data, torch.arange(len(data)))

    def loss(model: nn.Module, x: Tensor, row: Tensor) -> Tensor:
        # "mean" would divide by the number of classes too.
        return F.kl_div(F.log_softmax(model(x), 1), targets[row], reduction="batchmean")

    return fit(student, rows, plan, rng, round=round, loss=loss)


def replace_labels(data: Samples, labels: Tensor) -> Samples:
    """Return the samples shown by ``data``, in order, with other labels (N,)."""
    x = data.x if data.indices is None else data.x[data.indices]
    return replace(data, x=x, y=labels.to(x.device), indices=None)


@torch.no_grad()
def outputs(predict: Callable[[Tensor], Tensor], data: Samples, batch_size: int = 1000) -> Tensor:
    """Return what ``predict`` gives for all samples in order, (N, ...)."""
    batches = torch.split(torch.arange(len(data)), batch_size)
    return torch.cat([predict(data.batch(indices)[0]) for indices in batches])

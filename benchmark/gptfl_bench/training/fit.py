"""The only training loop: local training at clients and central training at the server."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gptfl_bench.data.samples import Samples
from gptfl_bench.training.descent import AdamW, Descent, Sgd

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]
Hook = Callable[[nn.Module], None]


@dataclass(frozen=True)
class Plan:
    """How long and by which optimizer a network is trained.

    Attributes:
        epochs: Passes over the data; ignored if ``steps`` is set.
        steps: Optimizer steps instead of epochs; passes follow one another as needed.
        batch_size: Samples in a step; a short last batch is kept.
        lr: Step size at the start.
        optimizer: ``sgd``, or ``adamw`` with its decoupled weight decay.
        momentum: Momentum of SGD.
        weight_decay: L2 factor of SGD, or the decoupled decay of AdamW.
        clip_norm: Bound on the gradient's norm; none if null.
        schedule: ``constant``, ``cosine`` to zero over the plan, or ``step``.
        step_every: Epochs between drops of the ``step`` schedule.
        step_factor: Factor of each drop.
        round_decay: Factor on ``lr`` for each finished round.
    """

    epochs: int = 1
    steps: int | None = None
    batch_size: int = 32
    lr: float = 0.1
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float | None = None
    schedule: Literal["constant", "cosine", "step"] = "constant"
    step_every: int = 1
    step_factor: float = 0.1
    round_decay: float = 1.0

    def __post_init__(self) -> None:
        """Refuse values that can't train.

        Raises:
            ValueError: Naming the field, its value and what is allowed.
        """
        allowed = {
            "epochs": (self.epochs >= 0, "0 or more"),
            "steps": (self.steps is None or self.steps >= 0, "0 or more, or null for epochs"),
            "batch_size": (self.batch_size >= 1, "1 or more"),
            "lr": (math.isfinite(self.lr) and self.lr >= 0, "a finite number of 0 or more"),
            "momentum": (0 <= self.momentum < 1, "a number in [0, 1)"),
            "weight_decay": (self.weight_decay >= 0, "0 or more"),
            "clip_norm": (self.clip_norm is None or self.clip_norm > 0, "more than 0, or null"),
            "step_every": (self.step_every >= 1, "1 or more"),
            "step_factor": (0 < self.step_factor <= 1, "a number in (0, 1]"),
            "round_decay": (0 < self.round_decay <= 1, "a number in (0, 1]"),
        }
        for field, (fits, words) in allowed.items():
            if not fits:
                raise ValueError(f"{field}={getattr(self, field)!r} must be {words}")

    def total_steps(self, examples: int) -> int:
        """Return the number of optimizer steps on ``examples`` samples."""
        return self.steps if self.steps is not None else self.epochs * self.batches(examples)

    def batches(self, examples: int) -> int:
        """Return the number of batches in one pass over ``examples`` samples."""
        return math.ceil(examples / self.batch_size)

    def lr_at(self, step: int, examples: int, round: int = 1) -> float:
        """Return the step size of 0-based ``step`` in ``round`` (from 1)."""
        factor = self.round_decay ** max(round - 1, 0)
        if self.schedule == "cosine":
            factor *= 0.5 * (1 + math.cos(math.pi * step / max(self.total_steps(examples), 1)))
        elif self.schedule == "step":
            epoch = step // max(self.batches(examples), 1)
            factor *= self.step_factor ** (epoch // self.step_every)
        return self.lr * factor


@dataclass(frozen=True)
class FitResult:
    """What a training run did.

    Attributes:
        steps: Optimizer steps taken.
        examples: Samples drawn, repeats counted.
        loss: Mean loss over the last pass, or nan without a step.
        lr_sum: Sum of the step sizes that were used, which SCAFFOLD's option II divides by.
    """

    steps: int
    examples: int
    loss: float
    lr_sum: float


def cross_entropy(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return the mean cross-entropy of a batch."""
    return F.cross_entropy(model(x), y)


def fit(
    model: nn.Module,
    data: Samples,
    plan: Plan,
    rng: torch.Generator,
    *,
    round: int = 1,
    loss: Loss = cross_entropy,
    after_backward: Hook | None = None,
    after_epoch: Callable[[int, float], bool | None] | None = None,
) -> FitResult:
    """Train ``model`` in place.

    Args:
        model: The network; left in training mode.
        data: What to train on; without samples nothing happens.
        plan: How long and by which optimizer.
        rng: Draws batch order and augmentations.
        round: Round from 1, for ``round_decay``.
        loss: Loss of a batch.
        after_backward: Called between gradient and step, to correct gradients.
        after_epoch: Called after each pass with its number from 1 and its mean loss; training ends
            if it returns true.

    Returns:
        Steps, samples, last mean loss and the sum of step sizes.
    """
    examples = len(data)
    total = plan.total_steps(examples) if examples else 0
    # Walking through all layers in every step would cost a small network a twentieth of it.
    parameters = list(model.parameters())
    optimizer = _optimizer(parameters, plan)
    _set_to_train(model)
    step, drawn, lr_sum, mean_loss, epoch = 0, 0, 0.0, math.nan, 0
    while step < total:
        # Once a pass: each batch's own would cost a GPU more than it takes to select by them.
        order = data.rows(torch.randperm(examples, generator=rng))
        # Summed as tensors: reading a number after every step would make a GPU wait.
        losses: list[Tensor] = []
        sizes: list[int] = []
        for rows in torch.split(order, plan.batch_size)[: total - step]:
            x, y = data.stored(rows, rng)
            lr = plan.lr_at(step, examples, round)
            optimizer.zero_grad()
            value = loss(model, x, y)
            value.backward()  # type: ignore[no-untyped-call]
            if after_backward is not None:
                after_backward(model)
            if plan.clip_norm is not None:
                nn.utils.clip_grad_norm_(parameters, plan.clip_norm)
            optimizer.step(lr)
            losses.append(value.detach())
            sizes.append(len(y))
            lr_sum += lr
            step += 1
        drawn += sum(sizes)
        epoch += 1
        # Whoever reads a number waits for a GPU: the last pass is enough where nobody looks on.
        if after_epoch is not None or step >= total:
            mean_loss = _mean(losses, sizes)
        if after_epoch is not None and after_epoch(epoch, mean_loss):
            break
    # The last gradients are as large as the network, and nobody reads them.
    optimizer.zero_grad()
    return FitResult(step, drawn, mean_loss, lr_sum)


def _mean(losses: list[Tensor], sizes: list[int]) -> float:
    """Return the mean of batches' losses by their numbers of samples."""
    weights = torch.tensor(sizes, dtype=torch.float64)
    values = torch.stack(losses).double().cpu()
    return float((values * weights).sum() / weights.sum())


def _optimizer(parameters: list[nn.Parameter], plan: Plan) -> Descent:
    if plan.optimizer == "adamw":
        return AdamW(parameters, plan.weight_decay)
    return Sgd(parameters, plan.momentum, plan.weight_decay)


def _set_to_train(model: nn.Module) -> None:
    """Do what ``model.train()`` does, which sets every layer even where nothing is to change."""
    if not all(
        module.training and type(module).train is nn.Module.train for module in model.modules()
    ):
        model.train()

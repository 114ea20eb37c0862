"""Optimizers of a plan: one step for all parameters of a network."""

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd


class Descent(Protocol):
    """Changes parameters by their gradients; what it remembers lasts as long as it does."""

    def zero_grad(self) -> None:
        """Forget all gradients."""

    def step(self, lr: float) -> None:
        """Take a step of size ``lr``."""


class Sgd:
    """SGD by the function that ``torch.optim.SGD`` calls.

    Making that class costs a client's visit as much as a small network's step, and the first one in
    a process another two seconds, in which it loads PyTorch's compiler.

    Args:
        parameters: What is trained.
        momentum: Factor on the step before; 0 for none.
        weight_decay: L2 factor.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], momentum: float = 0.0, weight_decay: float = 0.0
    ) -> None:
        self._parameters = list(parameters)
        self._momentum, self._weight_decay = momentum, weight_decay
        self._velocities: list[Tensor | None] = [None] * len(self._parameters)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Take a step of size ``lr``; parameters without a gradient stay."""
        gradients = {
            n: parameter.grad
            for n, parameter in enumerate(self._parameters)
            if parameter.grad is not None
        }
        velocities = [self._velocities[n] for n in gradients]
        sgd(
            [self._parameters[n] for n in gradients],
            list(gradients.values()),
            velocities,
            has_sparse_grad=any(gradient.is_sparse for gradient in gradients.values()),
            weight_decay=self._weight_decay,
            momentum=self._momentum,
            lr=lr,
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )
        for n, velocity in zip(gradients, velocities, strict=True):
            self._velocities[n] = velocity


class AdamW:
    """Adam with decoupled weight decay, as in PyTorch.

    Args:
        parameters: What is trained.
        weight_decay: Its factor.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], weight_decay: float) -> None:
        self._adamw = torch.optim.AdamW(parameters, weight_decay=weight_decay)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        self._adamw.zero_grad()

    def step(self, lr: float) -> None:
        """Take a step of size ``lr``."""
        for group in self._adamw.param_groups:
            group["lr"] = lr
        self._adamw.step()

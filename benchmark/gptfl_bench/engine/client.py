"""A client for the length of a visit: its samples, its state and what it may do with them."""

from dataclasses import dataclass, field

import torch
from torch import nn

from gptfl_bench.core.groups import Groups
from gptfl_bench.core.randomness import Name, torch_rng
from gptfl_bench.data.samples import Samples
from gptfl_bench.engine.networks import Networks
from gptfl_bench.training.fit import FitResult, Hook, Loss, Plan, cross_entropy, fit


@dataclass
class Client:
    """One client's visit in one round.

    Attributes:
        id: Client id, 0 to K-1.
        round: Round from 1; 0 is preparation.
        data: The client's private samples.
        label_names: Distinct names of the classes it holds, in order.
        num_classes: Number of classes C of the task.
        state: What it keeps between rounds, in groups; never traffic.
        handed: What it was handed at its first visit, in groups; not to be changed.
        fits: Its training runs of this visit, in order.
    """

    id: int
    round: int
    data: Samples
    label_names: tuple[str, ...]
    num_classes: int
    state: Groups
    handed: Groups
    _seed: int
    _networks: Networks
    fits: list[FitResult] = field(default_factory=list)

    def rng(self, *names: Name) -> torch.Generator:
        """Return the generator for a purpose of this client in this round."""
        return torch_rng(self._seed, *names, "round", self.round, "client", self.id)

    def new_model(self, received: Groups, architecture: str | None = None) -> nn.Module:
        """Return a network of its own with what was received loaded.

        Args:
            received: Groups ``model`` and, where there, ``buffers``.
            architecture: A registered network in place of the task's own.
        """
        networks = self._networks
        return (networks.variant(architecture) if architecture else networks).new(received)

    def fit(
        self,
        model: nn.Module,
        plan: Plan,
        *,
        loss: Loss = cross_entropy,
        after_backward: Hook | None = None,
    ) -> FitResult:
        """Train ``model`` on the client's samples; batch order is the same for all methods."""
        result = fit(
            model,
            self.data,
            plan,
            self.rng("batches"),
            round=self.round,
            loss=loss,
            after_backward=after_backward,
        )
        self.fits.append(result)
        return result

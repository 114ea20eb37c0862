"""FedProx: keep clients near the global model by a proximal term.

Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith, "Federated Optimization in Heterogeneous Networks",
MLSys 2020, arXiv 1812.06127.

    client:  minimise f_k(y) + (mu / 2) * ||y - x||^2,  x frozen for the round

Sent: as FedAvg. The term's gradient, mu * (y - x), is added before clipping and momentum; buffers
are left out of it. Differs from the paper: no stragglers with partial work.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from gptfl_bench.core.groups import Groups
from gptfl_bench.core.ranges import at_least
from gptfl_bench.engine.client import Client
from gptfl_bench.engine.method import methods
from gptfl_methods.fedavg import FedAvg


@methods.register(
    "fedprox",
    title="FedAvg with a proximal term",
    source="Li et al., MLSys 2020, arXiv 1812.06127",
    year=2020,
)
@dataclass(frozen=True)
class FedProx(FedAvg):
    """FedAvg with a proximal term.

    Attributes:
        mu: Strength of the proximal term, 0 or more; 0 is FedAvg. The authors tune it over
            0.001, 0.01, 0.1, 0.5 and 1.
    """

    ablation: ClassVar[Mapping[str, object]] = {"mu": 0.0}

    mu: float = 0.01

    def __post_init__(self) -> None:
        """Refuse a negative strength."""
        at_least(self, {"mu": 0})

    def correct_gradients(self, model: nn.Module, received: Groups, client: Client) -> None:
        """Add the gradient of the proximal term."""
        for name, weight in model.named_parameters():
            if weight.grad is not None:
                weight.grad.add_(weight.detach() - received["model"][name], alpha=self.mu)

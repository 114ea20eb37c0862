"""FedOpt: feed the averaged update to a server optimizer (FedAvgM, FedAdagrad, FedAdam, FedYogi).

Reddi, Charles, Zaheer, Garrett, Rush, Konecny, Kumar, McMahan, "Adaptive Federated Optimization",
ICLR 2021, arXiv 2003.00295. With D the mean update of the cohort:

    momentum  m <- beta1 * m + D;                  x <- x + lr * m
    others    m <- beta1 * m + (1 - beta1) * D;    x <- x + lr * m / (sqrt(v) + tau)
    adagrad   v <- v + D^2
    adam      v <- beta2 * v + (1 - beta2) * D^2
    yogi      v <- v - (1 - beta2) * D^2 * sign(v - D^2)

Sent: as FedAvg. The server keeps m and v; buffers are averaged as in FedAvg.

``variant = paper`` starts v at tau^2 without bias correction; ``torch`` is ``torch.optim.Adam`` (v
from zero, bias corrected), which FedML, FedAudio and the code released with GPT-FL use.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from gptfl_bench.core import groups as g
from gptfl_bench.core.groups import Groups
from gptfl_bench.core.ranges import above_zero
from gptfl_bench.engine.cohort import Cohort
from gptfl_bench.engine.method import methods
from gptfl_bench.engine.server import Server
from gptfl_methods.fedavg import FedAvg


@methods.register(
    "fedopt",
    title="Server optimizer on the averaged update",
    source="Reddi et al., ICLR 2021, arXiv 2003.00295",
    year=2021,
)
@dataclass(frozen=True)
class FedOpt(FedAvg):
    """Server optimizer on the averaged update.

    Attributes:
        optimizer: Which server optimizer; ``momentum`` with ``beta1 = 0`` and ``server_lr = 1`` is
            FedAvg.
        server_lr: Its step size, more than 0.
        beta1: Decay of the first moment, in [0, 1).
        beta2: Decay of the second moment, in [0, 1).
        tau: Added to the root, more than 0; the paper finds 1e-3 a good default.
        variant: As in the paper, or as ``torch.optim.Adam`` does.
    """

    ablation: ClassVar[Mapping[str, object]] = {
        "optimizer": "momentum",
        "beta1": 0.0,
        "server_lr": 1.0,
        "variant": "paper",
    }

    optimizer: Literal["momentum", "adagrad", "adam", "yogi"] = "adam"
    server_lr: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.99
    tau: float = 1e-3
    variant: Literal["paper", "torch"] = "paper"

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        above_zero(self, "server_lr", "tau")
        for field in ("beta1", "beta2"):
            if not 0 <= getattr(self, field) < 1:
                raise ValueError(f"{field}={getattr(self, field)!r} must be in [0, 1)")
        if self.variant == "torch" and self.optimizer != "adam":
            raise ValueError(f"variant='torch' exists for adam, not for {self.optimizer!r}")

    def prepare(self, server: Server) -> Groups:
        """Return the start weights and the optimizer's moments."""
        state = super().prepare(server)
        start = 0.0 if self.variant == "torch" else self.tau**2
        zeros = g.zeros_like(state["model"])
        return {**state, "first": zeros, "second": g.combine(lambda z: z + start, zeros)}

    def aggregate(self, state: Groups, cohort: Cohort, server: Server) -> Groups:
        """Return the state after one step of the server optimizer."""
        averaged = super().aggregate(state, cohort, server)
        mean = cohort.mean("delta", self.weighting)
        if self.optimizer == "momentum":
            first = g.combine(lambda m, d: self.beta1 * m + d, state["first"], mean)
            model = g.add(state["model"], first, self.server_lr)
            return {**averaged, "model": model, "first": first}
        first = g.combine(lambda m, d: self.beta1 * m + (1 - self.beta1) * d, state["first"], mean)
        second = g.combine(self._second_moment, state["second"], mean)
        # Only torch's Adam corrects the moments for their start at zero.
        torchs = self.variant == "torch"
        scale1 = 1 - self.beta1**server.round if torchs else 1.0
        scale2 = 1 - self.beta2**server.round if torchs else 1.0
        model = g.combine(
            lambda x, m, v: x + self.server_lr * (m / scale1) / (torch.sqrt(v / scale2) + self.tau),
            state["model"],
            first,
            second,
        )
        return {**averaged, "model": model, "first": first, "second": second}

    def _second_moment(self, v: Tensor, delta: Tensor) -> Tensor:
        square = delta.square()
        if self.optimizer == "adagrad":
            return v + square
        if self.optimizer == "adam":
            return self.beta2 * v + (1 - self.beta2) * square
        return v - (1 - self.beta2) * square * torch.sign(v - square)

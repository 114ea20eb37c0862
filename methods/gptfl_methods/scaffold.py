"""SCAFFOLD: correct each local step by control variates that estimate the client's drift.

Karimireddy, Kale, Mohri, Reddi, Stich, Suresh, "SCAFFOLD: Stochastic Controlled Averaging for
Federated Learning", ICML 2020, arXiv 1910.06378.

    client:  y <- y - lr * (g_k(y) - c_k + c), starting at x
             option I:   c_k+ = g_k(x), the gradient over all its samples
             option II:  c_k+ = c_k - c + (x - y) / (sum of the step sizes)
    server:  x <- x + (eta_g / m) * sum d_k;   c <- c + (1 / K) * sum (c_k+ - c_k)

m is the cohort, K the population. Sent: model and c down, update and change of c_k up, which is
twice FedAvg each way. Clients keep c_k; all control variates start at zero and leave buffers out.

Differs from the paper: the sum of step sizes stands for tau * lr, so schedules are right too.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from gptfl_bench.core import groups as g
from gptfl_bench.core.groups import Groups, Tree
from gptfl_bench.core.ranges import above_zero
from gptfl_bench.engine.client import Client
from gptfl_bench.engine.cohort import Cohort, Weighting
from gptfl_bench.engine.method import methods
from gptfl_bench.engine.server import Server
from gptfl_methods.fedavg import FedAvg


@methods.register(
    "scaffold",
    title="Stochastic controlled averaging",
    source="Karimireddy et al., ICML 2020, arXiv 1910.06378",
    year=2020,
)
@dataclass(frozen=True)
class Scaffold(FedAvg):
    """Stochastic controlled averaging.

    Attributes:
        option: How a client renews its control variate.
        server_lr: eta_g, more than 0.
    """

    option: Literal["I", "II"] = "II"
    server_lr: float = 1.0

    def __post_init__(self) -> None:
        """Refuse local training from whose result option II can't read a mean gradient."""
        above_zero(self, "server_lr")
        plan = self.plan
        plain = plan.optimizer == "sgd" and plan.momentum == 0 and plan.weight_decay == 0
        if self.option == "II" and not plain:
            raise ValueError(
                f"option='II' needs plain SGD, not optimizer={plan.optimizer!r} with "
                f"momentum={plan.momentum} and weight_decay={plan.weight_decay}; use option='I'"
            )

    def weightings(self) -> tuple[Weighting, ...]:
        """All clients count alike."""
        return ("uniform",)

    def prepare(self, server: Server) -> Groups:
        """Return the start weights and a control variate of zero."""
        state = super().prepare(server)
        return {**state, "control": g.zeros_like(state["model"])}

    def downlink(self, state: Groups, client_id: int) -> Groups:
        """Return the global model and its control variate."""
        return {**super().downlink(state, client_id), "control": state["control"]}

    def client_update(self, received: Groups, client: Client) -> Groups:
        """Return the update and the change of the client's control variate."""
        own = client.state.setdefault("control", g.zeros_like(received["control"]))
        model = client.new_model(received)
        result = self.train(model, received, client)
        delta = g.subtract(g.trainable(model), received["model"])
        if self.option == "I":
            renewed = self._full_gradient(received, client)
        elif result.lr_sum > 0:
            drift = g.subtract(own, received["control"])
            renewed = g.add(drift, delta, scale=-1 / result.lr_sum)
        else:
            renewed = own
        client.state["control"] = renewed
        change = g.subtract(renewed, own)
        return {"delta": delta, "control_delta": change, "buffers": g.buffers(model)}

    def correct_gradients(self, model: nn.Module, received: Groups, client: Client) -> None:
        """Add c - c_k to each gradient."""
        grads = {n: w.grad for n, w in model.named_parameters() if w.grad is not None}
        server, own = received["control"], client.state["control"]
        correction = g.subtract({n: server[n] for n in grads}, {n: own[n] for n in grads})
        torch._foreach_add_([*grads.values()], [*correction.values()])

    def aggregate(self, state: Groups, cohort: Cohort, server: Server) -> Groups:
        """Return the state after the server's step; all clients count alike."""
        model = g.add(state["model"], cohort.mean("delta", "uniform"), self.server_lr)
        change = cohort.sum("control_delta")
        control = g.add(state["control"], change, 1 / server.num_clients)
        buffers = cohort.mean("buffers", "uniform") or state.get("buffers", {})
        return {**state, "model": model, "control": control, "buffers": buffers}

    def _full_gradient(self, received: Groups, client: Client) -> Tree:
        """Return the gradient over all of a client's samples at the received model."""
        model = client.new_model(received)
        rows = client.data.rows(torch.arange(len(client.data)))
        for batch in torch.split(rows, self.plan.batch_size):
            x, y = client.data.stored(batch)
            share = len(y) / len(client.data)
            (share * self.loss(model, x, y, received, client)).backward()  # type: ignore[no-untyped-call]
        return {
            name: torch.zeros_like(weight) if weight.grad is None else weight.grad.clone()
            for name, weight in model.named_parameters()
        }

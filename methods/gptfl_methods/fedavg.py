"""FedAvg: average what clients learned from the global model, weighted by their samples.

McMahan, Moore, Ramage, Hampson, Aguera y Arcas, "Communication-Efficient Learning of Deep Networks
from Decentralized Data", AISTATS 2017, arXiv 1602.05629.

    client:  y <- y - lr * grad f_k(y; batch), starting at x, for E epochs;  d_k = y - x
    server:  x <- x + sum_k (n_k / n) d_k,   n = sum over the cohort

Sent: the model down; the update d_k up. Normalised buffers travel as the buffer policy says.

Differs from the paper: clients return the update instead of the weights, which is the same average
(the weights sum to one) and is what server optimizers and secure aggregation need. ``weighting =
uniform`` gives the plain mean of the code released with GPT-FL, FedDF and DynaFed.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from gptfl_bench.core import groups as g
from gptfl_bench.core.groups import Groups
from gptfl_bench.engine.client import Client
from gptfl_bench.engine.cohort import Cohort, Weighting
from gptfl_bench.engine.method import Method, methods
from gptfl_bench.engine.server import Server
from gptfl_bench.training.fit import FitResult, Plan, cross_entropy
from gptfl_bench.training.work import Amounts, Work


@methods.register(
    "fedavg",
    title="Federated averaging",
    source="McMahan et al., AISTATS 2017, arXiv 1602.05629",
    year=2017,
)
@dataclass(frozen=True)
class FedAvg(Method):
    """Federated averaging.

    Attributes:
        plan: Local training of each client.
        weighting: By number of samples, or all clients alike.
    """

    plan: Plan = Plan()
    weighting: Weighting = "examples"

    def weightings(self) -> tuple[Weighting, ...]:
        """Return its one weighting."""
        return (self.weighting,)

    def work(self, amounts: Amounts) -> tuple[Work, ...]:
        """Return local training."""
        return amounts.at_clients(self.plan)

    def prepare(self, server: Server) -> Groups:
        """Return the start weights as the state."""
        return dict(server.start)

    def downlink(self, state: Groups, client_id: int) -> Groups:
        """Return the global model."""
        return {group: state[group] for group in ("model", "buffers") if group in state}

    def client_update(self, received: Groups, client: Client) -> Groups:
        """Return the update after local training."""
        model = client.new_model(received)
        self.train(model, received, client)
        delta = g.subtract(g.trainable(model), received["model"])
        return {"delta": delta, "buffers": g.buffers(model)}

    def train(self, model: nn.Module, received: Groups, client: Client) -> FitResult:
        """Train ``model`` in place on the client's samples."""
        return client.fit(
            model,
            self.plan,
            loss=lambda net, x, y: self.loss(net, x, y, received, client),
            after_backward=lambda net: self.correct_gradients(net, received, client),
        )

    def loss(
        self, model: nn.Module, x: Tensor, y: Tensor, received: Groups, client: Client
    ) -> Tensor:
        """Return the local objective on a batch."""
        return cross_entropy(model, x, y)

    def correct_gradients(self, model: nn.Module, received: Groups, client: Client) -> None:
        """Change gradients in place before a step; nothing to do here."""

    def aggregate(self, state: Groups, cohort: Cohort, server: Server) -> Groups:
        """Return the state with the mean update applied."""
        model = g.add(state["model"], cohort.mean("delta", self.weighting))
        buffers = cohort.mean("buffers", self.weighting) or state.get("buffers", {})
        return {**state, "model": model, "buffers": buffers}

    def predict(self, state: Groups, server: Server, x: Tensor) -> Tensor:
        """Return the logits of the global model."""
        return server.predict(state, x)

"""DS-FL: exchange predictions on shared unlabelled data instead of model weights.

Itahara, Nishio, Koda, Morikura, Yamamoto, "Distillation-Based Semi-Supervised Federated Learning
for Communication-Efficient Collaborative Training with Non-IID Private Data", IEEE Transactions on
Mobile Computing 22(1), 2023, arXiv 2008.06180. Clients and server each have a model of their own.

    client:  distil from q_{t-1} on the open samples of round t - 1; train on private data;
             send p_k = softmax(y_k(u)) for the open samples u of round t
    server:  p = (1 / m) sum_k p_k;  q_t = softmax(p / T), the entropy-reduction aggregation (ERA),
             or q_t = p;  distil its own model from q_t on u

Sent, for o open samples and C classes: down o * C soft labels and 2 * o indices, of the last and of
the next samples (o indices alone in round 1, before which there are no soft labels); up o * C. Each
client is handed the open data and the start model at its first visit, counted apart. Clients keep
their model. The server needs the mean of the soft labels alone.

Differs from the paper: only the cohort receives q, so a client that sits out distils from the
latest q when it returns and misses those between. No official code was found; the order of work
within a visit is a third party's. Normalisation statistics stay with each model, whatever the
policy.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from gptfl_bench.core import groups as g
from gptfl_bench.core.groups import Groups
from gptfl_bench.core.ranges import above_zero, at_least
from gptfl_bench.data.samples import Samples
from gptfl_bench.engine.client import Client
from gptfl_bench.engine.cohort import Cohort, Weighting
from gptfl_bench.engine.method import Need, methods
from gptfl_bench.engine.server import Server
from gptfl_bench.training.distill import distill, outputs
from gptfl_bench.training.fit import Plan
from gptfl_bench.training.work import Amounts, Work, train
from gptfl_methods.fedavg import FedAvg


@methods.register(
    "dsfl",
    title="Distillation from averaged predictions on open data",
    source="Itahara et al., IEEE TMC 2023, arXiv 2008.06180",
    year=2023,
)
@dataclass(frozen=True)
class DsFl(FedAvg):
    """Distillation from averaged predictions on open data.

    Attributes:
        aggregation: ``era``, or the plain ``mean``.
        temperature: T of ERA, applied to probabilities, more than 0. Small ones sharpen; with many
            classes even 0.1 can flatten labels that no class leads clearly.
        open_per_round: Open samples of a round o, 1 or more; all where there are fewer.
        distillation: Distillation at clients and server.
    """

    needs = frozenset({Need.PUBLIC, Need.PUBLIC_AT_CLIENTS})
    ablation: ClassVar[Mapping[str, object]] = {"aggregation": "mean"}

    aggregation: Literal["era", "mean"] = "era"
    temperature: float = 0.1
    open_per_round: int = 1000
    distillation: Plan = Plan(epochs=5, batch_size=50, lr=0.1)

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        above_zero(self, "temperature")
        at_least(self, {"open_per_round": 1})

    def weightings(self) -> tuple[Weighting, ...]:
        """All clients count alike."""
        return ("uniform",)

    def work(self, amounts: Amounts) -> tuple[Work, ...]:
        """Return that of FedAvg, distillation at clients and server, and clients' predictions."""
        opened = min(self.open_per_round, amounts.public)
        distilled = train(self.distillation, opened, amounts.visits + amounts.rounds)
        return super().work(amounts) + distilled + amounts.looked_at(opened, amounts.visits)

    def prepare(self, server: Server) -> Groups:
        """Return the start model, of the server and of clients to come, and no soft labels yet."""
        start = super().prepare(server)
        return {
            **start,
            "start": start["model"],
            "start_buffers": start.get("buffers", {}),
            "teacher": {"probs": torch.empty(0, server.num_classes)},
            "open": {"last": torch.empty(0, dtype=torch.int32), "next": self._draw(server)},
        }

    def once(self, state: Groups, server: Server) -> Groups:
        """Return the start model and the open data."""
        return {
            "model": state["start"],
            "buffers": state.get("start_buffers", {}),
            "open": {"x": server.public().x},
        }

    def downlink(self, state: Groups, client_id: int) -> Groups:
        """Return the last soft labels and the indices of the last and the next open samples."""
        return {group: state[group] for group in ("teacher", "open")}

    def client_update(self, received: Groups, client: Client) -> Groups:
        """Return the soft labels of the next open samples after distillation and training."""
        x = client.handed["open"]["x"]
        data = Samples(x, torch.arange(len(x), device=x.device), transform=client.data.transform)
        model = client.new_model(client.state if "model" in client.state else client.handed)
        last = data.select(received["open"]["last"].long())
        targets, rng = received["teacher"]["probs"], client.rng("distill")
        distill(model, last, targets, self.distillation, rng, round=client.round)
        self.train(model, received, client)
        client.state.update(g.model_groups(model))
        following = data.select(received["open"]["next"].long())
        return {"soft_labels": {"probs": outputs(model.eval(), following).softmax(1)}}

    def aggregate(self, state: Groups, cohort: Cohort, server: Server) -> Groups:
        """Return the state after distilling the aggregated soft labels into the server's model."""
        probs = self.soft_labels(cohort.mean("soft_labels", "uniform")["probs"])
        drawn = state["open"]["next"]
        device, rng = server.device, server.rng("distill")
        model = server.new_model(state)
        data = server.public().select(drawn.long().to(device))
        distill(model, data, probs.to(device), self.distillation, rng, round=server.round)
        return {
            **state,
            **g.stored(model),
            "teacher": {"probs": probs},
            "open": {"last": drawn, "next": self._draw(server)},
        }

    def soft_labels(self, mean: Tensor) -> Tensor:
        """Return what is distilled from mean probabilities (o, C): sharpened, or as they are."""
        return mean if self.aggregation == "mean" else (mean / self.temperature).softmax(1)

    def _draw(self, server: Server) -> Tensor:
        order = torch.randperm(len(server.public()), generator=server.rng("open"))
        # 32 bits are enough for an index and half the traffic.
        return order[: self.open_per_round].sort().values.int()

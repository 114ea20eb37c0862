"""FedDF: distil the clients' models, as an ensemble, into their average on unlabelled data.

Lin, Kong, Stich, Jaggi, "Ensemble Distillation for Robust Model Fusion in Federated Learning",
NeurIPS 2020, arXiv 2006.07242.

    client:  as FedAvg
    server:  x <- (1 / m) sum_k y_k, then steps on batches u of the public data that lower
             KL(softmax(t(u)) || softmax(x(u))),  t(u) = (1 / m) sum_k logits of y_k on u

Sent: as FedAvg. The server runs each client's model, which secure aggregation would hide. Teachers
are in evaluation mode, the student in training mode; no temperature. Only the server holds public
data, and no labels of them.

Differs from the paper: no labelled validation data at the server, so the last student is kept, not
the best, and distillation never stops early; far fewer steps than the authors' 10,000 by default;
the ensemble labels each public sample once a round, without augmentation; one architecture.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from gptfl_bench.core import groups as g
from gptfl_bench.core.groups import Groups
from gptfl_bench.data.samples import Samples
from gptfl_bench.engine.cohort import Cohort, Weighting
from gptfl_bench.engine.method import Need, methods
from gptfl_bench.engine.server import Server
from gptfl_bench.training.distill import distill, outputs
from gptfl_bench.training.fit import Plan
from gptfl_bench.training.work import Amounts, Work
from gptfl_methods.fedavg import FedAvg


@methods.register(
    "feddf",
    title="Ensemble distillation into the average model",
    source="Lin et al., NeurIPS 2020, arXiv 2006.07242",
    year=2020,
)
@dataclass(frozen=True)
class FedDF(FedAvg):
    """Ensemble distillation into the average model.

    Attributes:
        weighting: Of the average the student starts from; the authors' code takes all clients
            alike. The ensemble always does.
        distillation: Training of the student at the server; 0 steps are FedAvg. AdamW without
            weight decay is the authors' Adam.
    """

    needs = frozenset({Need.PUBLIC, Need.REPLIES})
    ablation: ClassVar[Mapping[str, object]] = {"distillation.steps": 0}

    weighting: Weighting = "uniform"
    distillation: Plan = Plan(
        steps=200, batch_size=128, lr=1e-3, optimizer="adamw", clip_norm=5.0, schedule="cosine"
    )

    def work(self, amounts: Amounts) -> tuple[Work, ...]:
        """Return that of FedAvg, the ensemble's predictions and distillation."""
        ensemble = amounts.looked_at(amounts.public, amounts.visits)
        return (
            super().work(amounts) + ensemble + amounts.at_server(self.distillation, amounts.public)
        )

    def aggregate(self, state: Groups, cohort: Cohort, server: Server) -> Groups:
        """Return the state with the distilled average."""
        averaged = super().aggregate(state, cohort, server)
        public = server.public()
        student = server.new_model(averaged)
        targets = self.ensemble(state, cohort, server, public)
        rng = server.rng("distill")
        distill(student, public, targets, self.distillation, rng, round=server.round)
        return {**averaged, **g.stored(student)}

    def ensemble(self, state: Groups, cohort: Cohort, server: Server, public: Samples) -> Tensor:
        """Return the softmax of the clients' mean logits on the public data, (N, C)."""
        logits = torch.zeros(len(public), server.num_classes, device=server.device)
        for reply in cohort.replies:
            teacher = {**state, "model": g.add(state["model"], reply["delta"])}
            if reply.get("buffers"):
                teacher["buffers"] = reply["buffers"]
            logits += outputs(partial(server.predict, teacher), public)
        return (logits / len(cohort.replies)).softmax(1)

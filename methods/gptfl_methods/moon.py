"""MOON: pull a client's representation to the global model's, away from its own previous one's.

Li, He, Song, "Model-Contrastive Federated Learning", CVPR 2021, arXiv 2103.16257.

    client:  minimise CE + mu * mean(-log(e^(cos(z, z_g) / T) / (e^(cos(z, z_g) / T)
             + e^(cos(z, z_p) / T)))), z = projection(encoder(x)) of the model in training,
             z_g of the received one, z_p of the one it ended with when it last took part

Network: encoder -> h, linear -> h, ReLU, linear -> ``projection``, classifier on that. The
projection head is part of the model: trained, sent, averaged and counted with it.

Sent: as FedAvg, with the larger model. Clients keep their last model. The global and the previous
model are in evaluation mode and without gradients; at a first visit there is no previous one and
no term, as in the authors' code in its first round.

Differs from the paper: a client that comes for the first time in a later round skips the term too,
where the authors' code compares with a random network. Only this method has the projection head,
where the authors give it to all they compare; ``projection = 0`` compares the task's own features.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gptfl_bench.architectures.network import Network, has_features
from gptfl_bench.core import groups as g
from gptfl_bench.core.groups import Groups
from gptfl_bench.core.ranges import above_zero, at_least
from gptfl_bench.engine.client import Client
from gptfl_bench.engine.method import Need, methods
from gptfl_bench.training.fit import FitResult
from gptfl_bench.training.work import Amounts, Work
from gptfl_methods.fedavg import FedAvg


@methods.register(
    "moon",
    title="FedAvg with a model-contrastive loss",
    source="Li et al., CVPR 2021, arXiv 2103.16257",
    year=2021,
)
@dataclass(frozen=True)
class Moon(FedAvg):
    """FedAvg with a model-contrastive loss.

    Attributes:
        mu: Strength of the contrastive loss, 0 or more; 0 is FedAvg on the same network. The
            authors tune it over 0.001, 0.01, 0.1, 1, 5 and 10.
        temperature: T, more than 0.
        projection: Outputs of the projection head; 0 leaves the task's network as it is.
    """

    needs = frozenset({Need.FEATURES, Need.IMAGES})
    ablation: ClassVar[Mapping[str, object]] = {"mu": 0.0}

    mu: float = 1.0
    temperature: float = 0.5
    projection: int = 256

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        at_least(self, {"mu": 0, "projection": 0})
        above_zero(self, "temperature")

    def work(self, amounts: Amounts) -> tuple[Work, ...]:
        """Return that of FedAvg, and two frozen models' predictions from second visits on."""
        local = super().work(amounts)
        frozen = [replace(part, kind="predict", batches=2 * part.batches) for part in local]
        return (*local, *(frozen if self.mu else ()))

    def network(self, template: nn.Module) -> nn.Module:
        """Return the task's network with the projection head at the end of its encoder."""
        if not self.projection or not has_features(template):
            return template
        network = cast(Network, template)
        features, classes = network.head.in_features, network.head.out_features
        network.encoder = nn.Sequential(
            network.encoder,
            nn.Linear(features, features),
            nn.ReLU(),
            nn.Linear(features, self.projection),
        )
        network.head = nn.Linear(self.projection, classes)
        return network

    def train(self, model: nn.Module, received: Groups, client: Client) -> FitResult:
        """Train with the contrastive loss, if there is a previous model, and keep the result."""
        previous = {
            "model": client.state.get("previous", {}),
            "buffers": client.state.get("previous_buffers", {}),
        }
        if self.mu and previous["model"]:
            frozen = [
                cast(Network, client.new_model(groups).eval()).encoder
                for groups in (received, previous)
            ]

            def loss(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
                z = cast(Network, net).encoder(x)
                with torch.no_grad():
                    z_global, z_previous = (encoder(x) for encoder in frozen)
                cross_entropy = F.cross_entropy(cast(Network, net).head(z), y)
                return cross_entropy + self.mu * self.contrast(z, z_global, z_previous)

            result = client.fit(model, self.plan, loss=loss)
        else:
            result = super().train(model, received, client)
        kept = g.model_groups(model)
        client.state["previous"] = kept["model"]
        client.state["previous_buffers"] = kept["buffers"]
        return result

    def contrast(self, z: Tensor, z_global: Tensor, z_previous: Tensor) -> Tensor:
        """Return the mean contrastive loss of representations (b, F)."""
        cosines = [F.cosine_similarity(z, other) for other in (z_global, z_previous)]
        first = torch.zeros(len(z), dtype=torch.int64, device=z.device)
        return F.cross_entropy(torch.stack(cosines, 1) / self.temperature, first)

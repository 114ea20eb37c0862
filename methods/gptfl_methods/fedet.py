"""Fed-ET: train a large server model from small client models of several architectures.

Cho, Manoel, Joshi, Sim, Dimitriadis, "Heterogeneous Ensemble Knowledge Transfer for Training Large
Models in Federated Learning", IJCAI 2022, arXiv 2204.12703. Client k owns the small architecture
k mod U; the head, of one shape for all models, is the representation layer. With s_k(x) a client's
logits on public x and v_k their variance over classes:

    up:        the server's head <- mean of the clients'
    distil:    min CE(f(x), y) + lambda * KL(softmax(d) || softmax(f(x))) over the large model f,
               y = argmax of sum_k v_k s_k / sum_k v_k;  d the same mean over {k : argmax s_k != y}
    small:     each encoder <- mean over the cohort's clients that have it, if any
    down:      their head <- the server's

Sent: a small model down, its update up; the server reads single replies. A warm start trains all
models. Differs from the paper: a re-implementation's values; means are by samples by default.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gptfl_bench.core import groups as g
from gptfl_bench.core.errors import Refusal
from gptfl_bench.core.groups import Groups, Tree
from gptfl_bench.core.ranges import at_least
from gptfl_bench.engine.client import Client
from gptfl_bench.engine.cohort import Cohort
from gptfl_bench.engine.method import Need, methods
from gptfl_bench.engine.server import Server
from gptfl_bench.training.distill import outputs
from gptfl_bench.training.fit import Plan, fit
from gptfl_bench.training.work import Amounts, Work
from gptfl_methods.fedavg import FedAvg
from gptfl_methods.parts.consensus import consensus
from gptfl_methods.parts.marks import HEAD, marked, unmarked


@methods.register(
    "fedet",
    title="Ensemble knowledge transfer from small clients to a large server model",
    source="Cho et al., IJCAI 2022, arXiv 2204.12703",
    year=2022,
)
@dataclass(frozen=True)
class FedET(FedAvg):
    """Ensemble knowledge transfer.

    Attributes:
        client_models: Registered small architectures.
        diversity: lambda, 0 or more.
        distillation: Training of the large model in each round.
    """

    needs = frozenset({Need.PUBLIC, Need.REPLIES, Need.FEATURES, Need.SMALL_HEADS})
    ablation: ClassVar[Mapping[str, object]] = {"diversity": 0.0}

    client_models: tuple[str, ...] = ("cnn_tiny", "cnn_narrow")
    diversity: float = 0.05
    distillation: Plan = Plan(steps=128, batch_size=64, lr=0.005, momentum=0.9)

    def __post_init__(self) -> None:
        """Refuse to have no architecture and a negative weight."""
        if not self.client_models:
            raise ValueError("client_models=() must name one registered model or more")
        at_least(self, {"diversity": 0})

    def architectures(self) -> tuple[str, ...]:
        """Return the small architectures."""
        return self.client_models

    def work(self, amounts: Amounts) -> tuple[Work, ...]:
        """Return training of small models, their predictions and distillation."""
        small = amounts.at_clients(self.plan, self.client_models)
        ensemble = amounts.looked_at(amounts.public, amounts.visits, self.client_models)
        return small + ensemble + amounts.at_server(self.distillation, amounts.public)

    def prepare(self, server: Server) -> Groups:
        """Return the large model's start and the small encoders'."""
        state = {**super().prepare(server), "small": Tree(), "small_buffers": Tree()}
        for name in self.client_models:
            start = server.start_of(name)
            own, large = (
                {n: [*t.shape] for n, t in g.part(model, HEAD).items()}
                for model in (start["model"], state["model"])
            )
            if own != large:
                raise Refusal(
                    f"fedet's client_models={name!r} has a head of {own}, the server's network one "
                    f"of {large}; choose small models whose head has the same shape."
                )
            own_names = marked(name, start)
            state["small"] |= g.part(own_names["model"], f"{name}/")
            state["small_buffers"] |= own_names.get("buffers", {})
        return state

    def downlink(self, state: Groups, client_id: int) -> Groups:
        """Return the client's encoder and the server's head."""
        mark = self._architecture(client_id) + "/"
        encoder, buffers = (g.part(state.get(n, {}), mark) for n in ("small", "small_buffers"))
        return {"model": encoder | g.part(state["model"], HEAD), "buffers": buffers}

    def client_update(self, received: Groups, client: Client) -> Groups:
        """Return the update of the small model."""
        name = self._architecture(client.id)
        small = unmarked(name, received)
        model = client.new_model(small, name)
        self.train(model, small, client)
        delta = g.subtract(g.trainable(model), small["model"])
        return marked(name, {"delta": delta, "buffers": g.buffers(model)})

    def aggregate(self, state: Groups, cohort: Cohort, server: Server) -> Groups:
        """Return the state after transfer up, distillation and the encoders' means."""
        mean = cohort.mean("delta", self.weighting)
        head = {name: tensor + mean[name] for name, tensor in g.part(state["model"], HEAD).items()}
        model = server.new_model({**state, "model": state["model"] | head})
        labels, diverse = consensus(self.ensemble(state, cohort, server))

        def loss(net: nn.Module, x: Tensor, row: Tensor) -> Tensor:
            logits = net(x)
            divergence = F.kl_div(logits.log_softmax(1), diverse[row], reduction="batchmean")
            return F.cross_entropy(logits, labels[row]) + self.diversity * divergence

        public, rng = server.public(), server.rng("distill")
        fit(model, public, self.distillation, rng, round=server.round, loss=loss)
        small = {n: t + mean[n] if n in mean else t for n, t in state.get("small", {}).items()}
        buffers = state.get("small_buffers", {}) | cohort.mean("buffers", self.weighting)
        return {**state, **g.stored(model), "small": small, "small_buffers": buffers}

    def ensemble(self, state: Groups, cohort: Cohort, server: Server) -> Tensor:
        """Return the logits of the cohort's models on the public samples, (m, N, C)."""
        logits = []
        for client_id, reply in zip(cohort.clients, cohort.replies, strict=True):
            name, sent = self._architecture(client_id), self.downlink(state, client_id)
            small = {**sent, **reply, "model": g.add(sent["model"], reply["delta"])}
            predict = partial(server.networks.variant(name).apply, unmarked(name, small))
            logits.append(outputs(predict, server.public()))
        return torch.stack(logits)

    def _architecture(self, client_id: int) -> str:
        return self.client_models[client_id % len(self.client_models)]

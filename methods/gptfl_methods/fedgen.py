"""FedGen: guide clients by a generator of features that the server learns from their heads.

Zhu, Hong, Zhou, "Data-Free Knowledge Distillation for Heterogeneous Federated Learning", ICML 2021,
arXiv 2105.10056. With g(eps, y) the generator, h a network's head, t = round - 1:

    client:  CE(h(f(x)), y) + (b_g / b) * a_t * CE(h(g(eps, y')), y')
             + b_t * KL(softmax(h(g(eps, y))) || softmax(h(f(x)))),   y' uniform over all labels
             a_t = max(1e-4, alpha * 0.98^t), b_t likewise; in its first steps, from round 2 on
    server:  min over g of  sum_k mean_b(w[k, y] * CE(h_k(g(eps, y)), y)) + diversity(eps, g)
             w[k, c] = (1 + n_k^c) / sum_j (1 + n_j^c), n_k^c the labels k drew in this round
             y uniform over labels that some client drew; then x as in FedAvg

Sent: model and generator down (its statistics too); update and C label counts up. The server keeps
the generator's Adam. Followed is the released code, whose third client term is not in the paper;
its unused CIFAR entry has noise 64 and hidden 512. It counts drawn labels, not held ones. Differs:
the generator is sent and counted; a factor of 0 stays 0; statistics follow the buffer policy.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gptfl_bench.core import groups as g
from gptfl_bench.core.device import bring
from gptfl_bench.core.groups import Groups
from gptfl_bench.core.ranges import above_zero, at_least
from gptfl_bench.engine.client import Client
from gptfl_bench.engine.cohort import Cohort
from gptfl_bench.engine.method import Generates, Need, methods
from gptfl_bench.engine.server import Server
from gptfl_bench.training.work import Amounts, Work
from gptfl_methods.fedavg import FedAvg
from gptfl_methods.parts import feature_generator as fg
from gptfl_methods.parts.server_generator import fresh, kept, teachers

DECAY = 0.98  # a round, of alpha, beta and the generator's step size


@methods.register(
    "fedgen",
    title="Clients guided by a generator of features",
    source="Zhu et al., ICML 2021, arXiv 2105.10056",
    year=2021,
)
@dataclass(frozen=True)
class FedGen(FedAvg):
    """Clients guided by a generator of features.

    Attributes:
        alpha: Strength of the loss on generated features, 0 or more; FedAvg if beta is 0 too. The
            code's 10, at a step size of 0.01, is as strong as 1 at 0.1.
        beta: Strength of the pull towards predictions on them, 0 or more; 10 or 1 in the code.
        guided_steps: Local steps of a round in which both terms are there.
        noise: Scalars of noise the generator takes.
        hidden: Width of its hidden layer.
        batch_size: Features generated in a step, 2 or more; b_g above.
        generator_steps: Steps of the generator in a round.
        generator_lr: Its step size in round 1, more than 0.
    """

    needs = frozenset({Need.REPLIES, Need.FEATURES, Need.IMAGES})
    generates = (Generates("features of the network", during_fl=True, at="client"),)
    ablation: ClassVar[Mapping[str, object]] = {"alpha": 0.0, "beta": 0.0}

    alpha: float = 1.0
    beta: float = 1.0
    guided_steps: int = 20
    noise: int = 32
    hidden: int = 256
    batch_size: int = 32
    generator_steps: int = 50
    generator_lr: float = 3e-4

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        at_least(self, dict.fromkeys(("alpha", "beta", "guided_steps", "generator_steps"), 0))
        at_least(self, {"noise": 1, "hidden": 1, "batch_size": 2})
        above_zero(self, "generator_lr")

    def work(self, amounts: Amounts) -> tuple[Work, ...]:
        """Return that of FedAvg, and steps of a small generator with each client's head."""
        steps = self.generator_steps * amounts.rounds * (1 + amounts.cohort / 3)
        return (*super().work(amounts), Work("train", self.batch_size, steps, "linear"))

    def prepare(self, server: Server) -> Groups:
        """Return the start weights, a generator and its optimizer's moments."""
        state = super().prepare(server)
        sizes = (self.noise, self.hidden, server.num_classes, fg.feature_count(server, state))
        generator = fresh(lambda: fg.FeatureGenerator(*sizes), server.seed)
        return {**state, "generator": kept(generator), "generator_adam": fg.no_moments(generator)}

    def downlink(self, state: Groups, client_id: int) -> Groups:
        """Return the global model and the generator; its counter of batches is for training."""
        generator = {n: t for n, t in state["generator"].items() if t.is_floating_point()}
        return {**super().downlink(state, client_id), "generator": generator}

    def client_update(self, received: Groups, client: Client) -> Groups:
        """Return the update after guided training, and how often each label was drawn."""
        model, device = client.new_model(received), client.data.y.device
        generator = fg.revived(received["generator"], client.num_classes, device).eval()
        drawn = torch.zeros(generator.num_classes, dtype=torch.int32, device=device)
        alpha, beta = (max(1e-4, s * DECAY ** (client.round - 1)) for s in (self.alpha, self.beta))
        rng, steps = client.rng("generated"), itertools.count()

        def loss(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
            drawn.index_add_(0, y, torch.ones_like(y, dtype=drawn.dtype))
            logits = net(x)
            value = F.cross_entropy(logits, y)
            if client.round == 1 or next(steps) >= self.guided_steps:
                return value
            head = net.get_submodule("head")
            any_y = bring(torch.randint(len(drawn), (self.batch_size,), generator=rng), y.device)
            made, other = (generator.features(labels, rng) for labels in (y, any_y))
            if self.alpha:
                share = self.batch_size / self.plan.batch_size
                value = value + share * alpha * F.cross_entropy(head(other), any_y)
            if self.beta:
                log_p, target = logits.log_softmax(1), head(made).softmax(1).detach()
                value = value + beta * F.kl_div(log_p, target, reduction="batchmean")
            return value

        client.fit(model, self.plan, loss=loss)
        delta = g.subtract(g.trainable(model), received["model"])
        return {"delta": delta, "buffers": g.buffers(model), "labels": {"drawn": drawn}}

    def aggregate(self, state: Groups, cohort: Cohort, server: Server) -> Groups:
        """Return the state with the generator trained and the mean update applied."""
        averaged = super().aggregate(state, cohort, server)
        drawn = torch.stack([reply["labels"]["drawn"] for reply in cohort.replies])
        if not drawn.any():
            return averaged
        generator = fg.revived(state["generator"], server.num_classes, server.device)
        moments = fg.train(
            generator,
            state["generator_adam"],
            [network.get_submodule("head") for network in teachers(state, cohort, server)],
            drawn,
            steps=self.generator_steps,
            batch_size=self.batch_size,
            lr=self.generator_lr * DECAY ** (server.round - 1),
            rng=server.rng("generator"),
        )
        return {**averaged, "generator": kept(generator), "generator_adam": moments}

"""FedFTG: fine-tune the average at the server on images made where it and the clients differ.

Zhang, Shen, Ding, Tao, Duan, "Fine-tuning Global Model via Data-Free Knowledge Distillation for
Non-IID Federated Learning", CVPR 2022, arXiv 2203.09249. With x the average of FedAvg, s its
logits, t_k those of client k's model, n_k^c its samples of class c, a_k^c = n_k^c / sum_j n_j^c:

    I times:     z ~ N(0, 1) and labels y in the proportions of sum_k n_k^c
    generator:   for each client k an Adam step down
                 mean_b(a_k^y * (CE(t_k, y) - mean_c |s - t_k|)) + diversity(z, images) / m
    student x:   I_d steps of SGD down -mean_b mean_c(log_softmax(s) * sum_k a_k^y softmax(t_k))

Sent: the model down; update and C class counts up, each time, though they never change. The
generator stays at the server, which keeps it and makes a new Adam in each round.

Followed is the released code: the gap is L1 of logits (the paper has KL) through the student alone,
the student's loss is a mean over classes too, and made images are standardised by channel.

Differs from the code: its cross-entropy is the batch mean times the mean weight, here each sample
has its own weight as in the paper; sides that four does not divide are met by interpolation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from gptfl_bench.core import groups as g
from gptfl_bench.core.device import bring
from gptfl_bench.core.groups import Groups
from gptfl_bench.core.ranges import above_zero, at_least
from gptfl_bench.data.samples import Samples
from gptfl_bench.engine.client import Client
from gptfl_bench.engine.cohort import Cohort
from gptfl_bench.engine.method import Generates, Need, methods
from gptfl_bench.engine.server import Server
from gptfl_bench.training.distill import distill
from gptfl_bench.training.fit import Plan
from gptfl_bench.training.work import Amounts, Work
from gptfl_methods.fedavg import FedAvg
from gptfl_methods.parts.image_generator import ImageGenerator, sample_labels
from gptfl_methods.parts.server_generator import diversity_loss, fresh, kept, restored, teachers

DECAY = 0.998  # a round, of the generator's step size


@methods.register(
    "fedftg",
    title="Average fine-tuned on images that a generator makes",
    source="Zhang et al., CVPR 2022, arXiv 2203.09249",
    year=2022,
)
@dataclass(frozen=True)
class FedFtg(FedAvg):
    """Average fine-tuned on images that a generator makes.

    Attributes:
        iterations: I, batches of images in a round; 0 is FedAvg.
        passes: Passes of the generator over the clients for each batch.
        student: Training of the average on a batch; ``steps`` is I_d.
        generator_lr: Step size of the generator in round 1, more than 0.
        noise: Scalars of noise the generator takes; the code has 256 for 100 classes.
        width: Feature maps of the generator; its work grows with the square.
        label_weight: Factor of the cross-entropy, 0 or more.
        diversity_weight: Factor of the diversity, 0 or more.
    """

    needs = frozenset({Need.REPLIES, Need.IMAGES, Need.IMAGE_SHAPE})
    generates = (Generates("images", during_fl=True, at="server"),)
    ablation: ClassVar[Mapping[str, object]] = {"iterations": 0}

    iterations: int = 10
    passes: int = 1
    student: Plan = Plan(steps=5, batch_size=50, lr=0.1, weight_decay=1e-3, round_decay=DECAY)
    generator_lr: float = 0.01
    noise: int = 100
    width: int = 64
    label_weight: float = 1.0
    diversity_weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        at_least(self, {"iterations": 0, "passes": 0, "noise": 1, "width": 1})
        at_least(self, {"label_weight": 0, "diversity_weight": 0})
        above_zero(self, "generator_lr")

    def work(self, amounts: Amounts) -> tuple[Work, ...]:
        """Return that of FedAvg, and steps of generator and student on made images."""
        images = amounts.rounds * self.iterations
        # A step of the generator goes through student and teacher, too.
        steps = images * (3 * self.passes * amounts.cohort + self.student.total_steps(1))
        size, looks = self.student.batch_size, images * amounts.cohort
        made = (Work("train", size, steps), Work("predict", size, looks))
        return super().work(amounts) + made

    def prepare(self, server: Server) -> Groups:
        """Return the start weights and a generator."""
        sizes = (self.noise, self.width, server.num_classes, server.input_shape)
        generator = fresh(lambda: ImageGenerator(*sizes), server.seed)
        return {**super().prepare(server), "generator": kept(generator)}

    def client_update(self, received: Groups, client: Client) -> Groups:
        """Return the update and how many samples of each class the client holds."""
        held = torch.bincount(client.data.labels, minlength=client.num_classes)
        return {**super().client_update(received, client), "labels": {"held": held.int()}}

    def aggregate(self, state: Groups, cohort: Cohort, server: Server) -> Groups:
        """Return the state with the mean update applied and fine-tuned."""
        averaged = super().aggregate(state, cohort, server)
        device, rng = server.device, server.rng("generator")
        student = server.new_model(averaged)
        ensemble = teachers(state, cohort, server)
        counts = torch.stack([reply["labels"]["held"] for reply in cohort.replies])
        shares = (counts / (counts.sum(0) + 1e-6)).to(device)
        sizes = (self.noise, self.width, server.num_classes, server.input_shape)
        generator = restored(lambda: ImageGenerator(*sizes), state["generator"], device)
        rate = self.generator_lr * DECAY ** (server.round - 1)
        adam = torch.optim.Adam(generator.parameters(), rate)
        size = self.student.batch_size
        labels = bring(sample_labels(counts.sum(0), self.iterations * size, rng), device)
        for y in labels.reshape(self.iterations, size):
            z = bring(torch.randn(len(y), self.noise, generator=rng), device)
            for _ in range(self.passes):
                for teacher, weight in zip(ensemble, shares[:, y], strict=True):
                    adam.zero_grad()
                    x = generator.train()(z, y)
                    loss = self._pull(student.eval()(x), teacher(x), y, weight)
                    loss = loss + self.diversity_weight / len(ensemble) * diversity_loss(z, x)
                    loss.backward(inputs=list(generator.parameters()))  # type: ignore[no-untyped-call]
                    adam.step()
            with torch.no_grad():
                x = generator.eval()(z, y)
                soft = torch.stack([teacher(x).softmax(1) for teacher in ensemble])
            # A mean over classes too is what targets that sum to 1 / C amount to.
            targets = (shares[:, y, None] * soft).sum(0) / server.num_classes
            distill(student, Samples(x, y), targets, self.student, rng, server.round)
        tuned = g.stored(student)
        if not cohort.sum("buffers"):
            # Where statistics don't travel, the server's stay as the buffer policy has them.
            tuned["buffers"] = averaged["buffers"]
        return {**averaged, **tuned, "generator": kept(generator)}

    def _pull(self, student: Tensor, teacher: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        """Return the loss of logits (b, C) and weights (b,): towards ``y`` and a wide gap."""
        right = F.cross_entropy(teacher, y, reduction="none")
        gap = (student - teacher.detach()).abs().mean(1)
        return (weight * (self.label_weight * right - gap)).mean()

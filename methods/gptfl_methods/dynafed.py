"""DynaFed: distil the global model's early course into images, and fine-tune on them ever after.

Pi, Zhang, Xie, Gao, Wang, Kim, Chen, "DynaFed: Tackling Client Data Heterogeneity with Global
Dynamics", CVPR 2023, arXiv 2211.10878. With w_0 .. w_{L-1} the start and the first L - 1 averages:

    A  uniform FedAvg until L models are known
    B  once: images X, label logits Y and a step size a that minimise
           ||theta - w'||^2 / ||w_s - w'||^2,   theta from w_s by steps of size a on (A(X), Y),
       w' later in the course than w_s, A one random differentiable augmentation a step
    C  every later round: x <- x + (1 / m) sum_k d_k, then Adam on (A(X), softmax(Y))

Sent: as FedAvg; the server uses averages alone. X, Y and a stay in the state as ``synthetic``.

Differs from the authors' code: 5 images a class and 150 outer steps by default, not 15 and 3,000,
and no mirroring (see :class:`~gptfl_methods.parts.matching.Matching`); snapshots are copies; a
stays positive; clients start their optimizer afresh; buffers are averaged in A and move with the
images in C. Up to round L - 1 this is FedAvg: of 100 rounds, a ``length`` of 10 leaves more to C.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from gptfl_bench.core import groups as g
from gptfl_bench.core.errors import Refusal
from gptfl_bench.core.groups import Groups, Tree
from gptfl_bench.core.ranges import above_zero, at_least
from gptfl_bench.data.samples import Samples
from gptfl_bench.engine.cohort import Cohort, Weighting
from gptfl_bench.engine.method import Generates, Need, methods
from gptfl_bench.engine.server import Server
from gptfl_bench.training.distill import distill
from gptfl_bench.training.fit import Plan
from gptfl_bench.training.work import Amounts, Work, train
from gptfl_methods.fedavg import FedAvg
from gptfl_methods.parts.augment import Augmentation
from gptfl_methods.parts.matching import Matching


@methods.register(
    "dynafed",
    title="Fine-tuning on images distilled from the global model's course",
    source="Pi et al., CVPR 2023, arXiv 2211.10878",
    year=2023,
)
@dataclass(frozen=True)
class DynaFed(FedAvg):
    """FedAvg, later with a synthetic set that imitates the global model's course.

    Attributes:
        length: L, the number of models in the course, 2 or more.
        matching: How images are made from it.
        finetune: Training on them in each later round; AdamW without weight decay is Adam.
        memory_limit_gib: GiB that making them may take by estimate; refused above.
    """

    needs = frozenset({Need.IMAGES, Need.SMALL_MODEL})
    generates = (Generates("images, once, whose pixels are trained", during_fl=True, at=""),)
    ablation: ClassVar[Mapping[str, object]] = {"finetune.steps": 0}

    weighting: Weighting = "uniform"
    length: int = 25
    matching: Matching = field(default_factory=Matching)
    finetune: Plan = Plan(epochs=20, batch_size=256, lr=1e-4, optimizer="adamw")
    memory_limit_gib: float = 8.0

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        at_least(self, {"length": 2})
        above_zero(self, "memory_limit_gib")

    def work(self, amounts: Amounts) -> tuple[Work, ...]:
        """Return that of FedAvg, making the images once, and training on them ever after."""
        later = max(amounts.rounds - self.length + 1, 0)
        images = self.matching.images_per_class * amounts.num_classes
        # A step that is differentiated through costs about as much as two.
        inner = 2 * self.matching.outer_steps * self.matching.inner_steps if later else 0
        made = Work("train", images, inner)
        return (*super().work(amounts), made, *train(self.finetune, images, later))

    def prepare(self, server: Server) -> Groups:
        """Return the start weights, a trajectory of one and a synthetic set of noise."""
        state = super().prepare(server)
        shape = server.input_shape
        if self.matching.augmentations and len(shape) != 3:
            raise Refusal(
                f"dynafed augments images of channels, height and width, not samples of {shape}; "
                "set its matching.augmentations=[] to run it all the same."
            )
        rng = server.rng("trajectory matching")
        synthetic = self.matching.start(shape, server.num_classes, rng)
        gib = self.matching.memory(server.new_model(state), synthetic["x"].to(server.device))
        if gib > self.memory_limit_gib:
            raise Refusal(
                f"dynafed needs about {gib:.2g} GiB to differentiate through "
                f"{self.matching.inner_steps} training steps of this model, more than its "
                f"memory_limit_gib={self.memory_limit_gib:g}; choose a smaller model, lower "
                "matching.images_per_class or matching.inner_steps, or raise the limit."
            )
        trajectory = g.combine(lambda weight: weight[None], state["model"])
        return {**state, "trajectory": trajectory, "synthetic": synthetic}

    def aggregate(self, state: Groups, cohort: Cohort, server: Server) -> Groups:
        """Return the average, followed up as the round has it: recorded, imitated or fine-tuned."""
        averaged = super().aggregate(state, cohort, server)
        if server.round >= self.length:
            return {**averaged, **self._finetuned(averaged, server)}
        # Concatenating copies: a snapshot must not be the memory of weights that go on changing.
        trajectory = g.combine(
            lambda past, now: torch.cat([past, now[None]]), state["trajectory"], averaged["model"]
        )
        if server.round < self.length - 1:
            return {**averaged, "trajectory": trajectory}
        synthetic = self.matching.synthesise(
            server.new_model(averaged),
            trajectory,
            state["synthetic"],
            server.rng("trajectory matching"),
        )
        # It has served; in the state it would be stored after every round.
        spent = g.combine(lambda past: past[:0], trajectory)
        return {**averaged, "trajectory": spent, "synthetic": synthetic}

    def pictures(self, state: Groups) -> Tree:
        """Return the images of the synthetic set, once they have been trained."""
        trained = not len(next(iter(state["trajectory"].values())))
        made = state["synthetic"]
        return {"x": made["x"], "labels": made["y"].argmax(1)} if trained else {}

    def _finetuned(self, averaged: Groups, server: Server) -> Groups:
        """Return weights and buffers after training on the synthetic set."""
        synthetic = g.to(averaged, server.device)["synthetic"]
        rows = torch.arange(len(synthetic["x"]))
        images = Samples(synthetic["x"], rows, transform=Augmentation(self.matching.augmentations))
        model = server.new_model(averaged)
        targets = synthetic["y"].softmax(1)
        # Adam doesn't care that this loss is C times the authors', who take the mean over classes.
        rng = server.rng("synthetic", "batches")
        distill(model, images, targets, self.finetune, rng, round=server.round)
        return g.stored(model)

"""GPT-FL: start any method from a model trained on a pre-trained generator's output.

Zhang, Feng, Alam, Dimitriadis, Lee, Zhang, Narayanan, Avestimehr, "GPT-FL: Generative Pre-trained
Model-Assisted Federated Learning", arXiv 2306.02210 (sections 3.1 to 3.5).

    round 0:  discover label names, write prompts, generate, train centrally on the output
    then:     the wrapped method, unchanged, from those weights

Sent: label discovery once, in round 0, from every client; then as the wrapped method. The trained
model goes out as the first round's ordinary downlink.

Differs from the released code: samples carry their label explicitly instead of in a file's name,
label discovery runs, and no ImageNet weights are loaded.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from torch import Tensor, nn

from gptfl_bench.core.groups import Groups, Tree
from gptfl_bench.engine.client import Client
from gptfl_bench.engine.cohort import Cohort, Weighting
from gptfl_bench.engine.method import Generates, Method, Need, methods
from gptfl_bench.engine.server import Server
from gptfl_bench.synthesis.synthesis import Synthesis
from gptfl_bench.training.central import EarlyStop
from gptfl_bench.training.fit import Plan
from gptfl_bench.training.work import Amounts, Work, train
from gptfl_methods.fedavg import FedAvg

OWN = Generates("samples of a pre-trained generator", during_fl=False, at="server")


@methods.register(
    "gptfl",
    title="Pre-train on generated data, then fine-tune federatedly",
    source="Zhang et al., arXiv 2306.02210",
    year=2023,
)
@dataclass(frozen=True)
class GptFl(Method):
    """Warm start of another method.

    Attributes:
        inner: The method that fine-tunes.
        pretrain: Central training on synthetic data. The paper asks for a large weight decay and a
            small step size, since synthetic data over-fit (section 3.4).
        stop: When pre-training ends earlier; no real sample has a say in it.
    """

    wraps: ClassVar[str] = "fedavg"

    inner: Method = FedAvg()
    pretrain: Plan = Plan(epochs=20, lr=1e-3, optimizer="adamw", weight_decay=0.1)
    stop: EarlyStop = EarlyStop()

    @property
    def needs(self) -> frozenset[Need]:
        """A generator, and what the wrapped method needs."""
        return self.inner.needs | {Need.GENERATOR}

    def architectures(self) -> tuple[str, ...]:
        """As the wrapped method."""
        return self.inner.architectures()

    @property
    def generates(self) -> tuple[Generates, ...]:
        """Samples of a pre-trained generator, and what the wrapped method generates."""
        return (OWN, *self.inner.generates)

    def ablated(self) -> Self:
        """Return the same start of the wrapped method without what sets that apart."""
        return replace(self, inner=self.inner.ablated())

    def network(self, template: nn.Module) -> nn.Module:
        """As the wrapped method."""
        return self.inner.network(template)

    def pictures(self, state: Groups) -> Tree:
        """As the wrapped method."""
        return self.inner.pictures(state)

    def weightings(self) -> tuple[Weighting, ...]:
        """As the wrapped method."""
        return self.inner.weightings()

    def work(self, amounts: Amounts) -> tuple[Work, ...]:
        """Return pre-training to its plan's end, and that of the wrapped method."""
        held_out = int(self.stop.share * amounts.synthetic)
        pretraining = tuple(
            replace(part, network=network, shared=True)
            for network in ("", *self.architectures())
            for part in train(self.pretrain, amounts.synthetic - held_out)
        )
        return pretraining + self.inner.work(amounts)

    def prepare(self, server: Server) -> Groups:
        """Discover labels, generate, pre-train, and prepare the wrapped method from there."""
        synthesis = server.resource(Synthesis)
        samples = synthesis.samples(synthesis.labels())
        start = synthesis.pretrained(samples, self.pretrain, self.stop)
        small = {
            name: synthesis.pretrained(samples, self.pretrain, self.stop, name)
            for name in self.inner.architectures()
        }
        return self.inner.prepare(replace(server, start=start, small_starts=small))

    def once(self, state: Groups, server: Server) -> Groups:
        """As the wrapped method."""
        return self.inner.once(state, server)

    def downlink(self, state: Groups, client_id: int) -> Groups:
        """As the wrapped method."""
        return self.inner.downlink(state, client_id)

    def client_update(self, received: Groups, client: Client) -> Groups:
        """As the wrapped method."""
        return self.inner.client_update(received, client)

    def aggregate(self, state: Groups, cohort: Cohort, server: Server) -> Groups:
        """As the wrapped method."""
        return self.inner.aggregate(state, cohort, server)

    def predict(self, state: Groups, server: Server, x: Tensor) -> Tensor:
        """As the wrapped method."""
        return self.inner.predict(state, server, x)

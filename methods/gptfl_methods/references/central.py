"""Central: train one model on all clients' samples put together, which federated learning avoids.

    each round:  x <- SGD from x on the pooled samples, as many of them as a cohort would see

Sent: nothing. With a warm start it is central training that goes on from synthetic samples.

The step size is constant and batches come from a new order of all samples each round, so a round
differs from FedAvg's in nothing but who holds the samples: same network, start and amount of work.
"""

import math
from dataclasses import dataclass, replace

import torch

from gptfl_bench.core import groups as g
from gptfl_bench.core.groups import Groups
from gptfl_bench.data.samples import Samples
from gptfl_bench.engine.cohort import Cohort
from gptfl_bench.engine.method import methods
from gptfl_bench.engine.server import Server
from gptfl_bench.training.fit import fit
from gptfl_methods.references.reference import Reference


@methods.register("central", title="Central training on all clients' samples", listed=False)
@dataclass(frozen=True)
class Central(Reference):
    """Central training on the pooled samples."""

    def prepare(self, server: Server) -> Groups:
        """Return the start weights as the state."""
        return dict(server.start)

    def aggregate(self, state: Groups, cohort: Cohort, server: Server) -> Groups:
        """Return the state after as many samples as the cohort's local training would see."""
        steps = self.plan.steps
        if steps is None:
            steps = math.ceil(self.plan.epochs * cohort.examples / self.plan.batch_size)
        else:
            steps *= len(cohort.clients)
        model = server.new_model(state)
        plan, rng = replace(self.plan, steps=steps), server.rng("batches")
        fit(model, pooled(server), plan, rng, round=server.round)
        return g.stored(model)

    def predict(self, state: Groups, server: Server, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of the model."""
        return server.predict(state, x)


def pooled(server: Server) -> Samples:
    """Return all clients' samples as one view, which copies nothing."""
    first, *_ = clients = server.federation.clients
    held = [client.rows(torch.arange(len(client))) for client in clients]
    return replace(first, indices=torch.cat(held), known="")

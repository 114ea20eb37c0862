"""Local: clients that train alone, each on its own samples, from the same start.

Zhang et al., arXiv 2306.02210, Table 4: ten random clients, as many local epochs as GPT-FL has
rounds, mean accuracy over the ten.

    each round:  y_k <- SGD from y_k on client k's samples, for the same few k

Sent: nothing; the start weights are taken to be there. What is tested is a client drawn at random
for each test sample, whose expected accuracy and loss are the means over the clients; macro F1 is
that of all their predictions together.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from gptfl_bench.core import groups as g
from gptfl_bench.core.groups import Groups
from gptfl_bench.engine.cohort import Cohort
from gptfl_bench.engine.method import methods
from gptfl_bench.engine.server import Server
from gptfl_bench.training.fit import fit
from gptfl_methods.references.reference import Reference


@methods.register(
    "local",
    title="Clients that train alone, mean over them",
    source="Zhang et al., arXiv 2306.02210, Table 4",
    year=2023,
    listed=False,
)
@dataclass(frozen=True)
class Local(Reference):
    """Training in isolation.

    Attributes:
        clients: How many clients, drawn once among those that hold samples.
    """

    clients: int = 10

    def __post_init__(self) -> None:
        """Refuse a number of clients that leaves nothing to test.

        Raises:
            ValueError: If it is less than 1.
        """
        if self.clients < 1:
            raise ValueError(f"clients={self.clients} must be 1 or more")

    def prepare(self, server: Server) -> Groups:
        """Return the start weights once for each client that is drawn, named by its id."""
        held = [k for k, samples in enumerate(server.federation.clients) if len(samples)]
        order = torch.randperm(len(held), generator=server.rng("clients"))
        drawn = sorted(held[i] for i in order[: self.clients].tolist())
        return {f"{group} {k}": dict(server.start[group]) for k in drawn for group in server.start}

    def aggregate(self, state: Groups, cohort: Cohort, server: Server) -> Groups:
        """Return each client's weights after its local training."""
        following: Groups = {}
        for k, own in _by_client(state).items():
            model = server.new_model(own)
            rng = server.rng("client", k)
            fit(model, server.federation.clients[k], self.plan, rng, round=server.round)
            following |= {f"{group} {k}": tree for group, tree in g.stored(model).items()}
        return following

    def predict(self, state: Groups, server: Server, x: Tensor) -> Tensor:
        """Return the logits of a client that is drawn for each sample."""
        models = list(_by_client(state).values())
        drawn = torch.randint(len(models), (len(x),)).to(x.device)
        logits = x.new_zeros(len(x), server.num_classes)
        for i, own in enumerate(models):
            rows = (drawn == i).nonzero().flatten()
            if len(rows):
                logits[rows] = server.predict(own, x[rows]).to(logits.dtype)
        return logits


def _by_client(state: Groups) -> dict[int, Groups]:
    """Return the groups ``model`` and ``buffers`` of each client by its id."""
    found: dict[int, Groups] = {}
    for name, tree in state.items():
        group, _, client = name.partition(" ")
        found.setdefault(int(client), {})[group] = tree
    return found

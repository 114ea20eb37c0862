"""What a client's visit costs without its training steps, and what follows in a round.

Of one visit (broadcast, network, reply), of aggregation with the checks of a round, and of a
checkpoint. Beside them one pass over the model's memory, the unit that a ratio can be compared in.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch

from gptfl_bench.architectures.network import models
from gptfl_bench.cells.checkpoint import Checkpoint
from gptfl_bench.core import groups as g
from gptfl_bench.data.samples import Samples
from gptfl_bench.engine.channel import Channel
from gptfl_bench.engine.client_store import ClientStore
from gptfl_bench.engine.federation import Federation
from gptfl_bench.engine.method import methods
from gptfl_bench.engine.networks import Networks
from gptfl_bench.training.fit import Plan

CASES = [
    ("convnet", "fedavg", 20, 6),
    ("convnet", "scaffold", 20, 6),
    ("resnet18", "fedavg", 5, 4),
    ("vgg19", "fedavg", 3, 3),
]
"""Network, method, clients and rounds."""


@dataclass(frozen=True)
class Cost:
    """Milliseconds, the least of all rounds but the first.

    Attributes:
        visit: Of one client's visit.
        aggregate: Of aggregation and a round's checks.
        checkpoint: Of a checkpoint.
        once: Of one pass over the model's memory.
    """

    visit: float
    aggregate: float
    checkpoint: float
    once: float

    @property
    def passes(self) -> float:
        """A visit in passes over the model."""
        return self.visit / self.once


def cost(
    network: str,
    method: str,
    clients: int,
    rounds: int,
    folder: Path,
    device: torch.device,
    now: Callable[[], float],
) -> Cost:
    """Return what visits cost.

    Args:
        network: A registered network.
        method: A registered method.
        clients: Clients in a round.
        rounds: Rounds, 2 or more.
        folder: Where clients and checkpoints are kept.
        device: Where networks are.
        now: Tells seconds.
    """
    networks = Networks.build(models.get(network), (3, 32, 32), 10, {}, 0, device)
    data = Samples(torch.rand(16, 3, 32, 32), torch.randint(0, 10, (16,))).to(device)
    store = ClientStore(folder / "clients")
    names = tuple("0123456789")
    federation = Federation([data] * clients, names, Channel(), store, networks, 0)
    kind: Any = methods.get(method)
    own = replace(kind(), plan=Plan(batch_size=4, steps=0, lr=0.01))
    server = cast(Any, SimpleNamespace(start=networks.start, networks=networks, num_clients=100))
    spent: list[tuple[float, float, float]] = []
    state = own.prepare(server)
    for number in range(1, rounds + 1):
        began = now()
        cohort = federation.exchange(
            number, range(clients), partial(own.downlink, state), own.client_update
        )
        visited = now()
        state = own.aggregate(state, cohort, server)
        assert all(g.is_finite(tree) for tree in state.values())
        assert cohort.gradient_diversity is None or cohort.gradient_diversity >= 0
        added = now()
        Checkpoint(number, state, 0, {}).write(folder / "checkpoint")
        spent.append(((visited - began) / clients, added - visited, now() - added))
    visit, aggregate, checkpoint = (1e3 * min(column) for column in zip(*spent[1:], strict=True))
    return Cost(visit, aggregate, checkpoint, _pass(networks, now))


def _pass(networks: Networks, now: Callable[[], float]) -> float:
    """Return the milliseconds of one copy of the model's weights, the least of several."""
    spent = []
    for _ in range(5):
        began = now()
        for tensor in networks.start["model"].values():
            tensor.clone()
        spent.append(now() - began)
    return 1e3 * min(spent)

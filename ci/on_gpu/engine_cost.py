"""What the engine adds to training: a federated round against a bare PyTorch loop.

Protocol: a network on 32x32 colour images, 100 clients by Dirichlet(0.1), ten a round that hold
1,200 to 1,800 samples, one local epoch, batch 32, SGD. After every federated round the very same
batches go through a bare loop in the same process. The first pair is warm-up.
"""

import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch.nn import functional as F

from gptfl_bench.architectures.network import models
from gptfl_bench.core.randomness import torch_rng
from gptfl_bench.data.partition import partitions
from gptfl_bench.data.samples import Samples
from gptfl_bench.engine.channel import Channel
from gptfl_bench.engine.client_store import ClientStore
from gptfl_bench.engine.federation import Federation
from gptfl_bench.engine.networks import Networks
from gptfl_bench.engine.server import Server
from gptfl_bench.training.fit import Plan
from gptfl_methods.fedavg import FedAvg

SEED = 0
BATCH = 32
LR = 0.1
_NO_SERVER = cast(Server, None)
"""FedAvg asks nothing of the server when it aggregates."""

Round = tuple[int, list[int]]
"""Number of a round and the ids of its clients."""


def clock(device: torch.device) -> Callable[[], float]:
    """Return what tells seconds: of the processor, whatever else it does; of the wall on a GPU."""
    if device.type == "cpu":
        return time.process_time

    def wall() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return wall


def federation(name: str, folder: Path, device: torch.device) -> Federation:
    """Return the clients of the protocol with a registered network."""
    rng = torch.Generator().manual_seed(SEED)
    x = torch.rand(50_000, 3, 32, 32, generator=rng)
    y = torch.randint(0, 10, (50_000,), generator=rng)
    partition = partitions.get("dirichlet")(
        y.numpy().astype(np.int64), None, num_clients=100, seed=SEED, alpha=0.1, min_size=10
    )
    data = Samples(x, y).to(device)
    networks = Networks.build(models.get(name), (3, 32, 32), 10, {}, SEED, device)
    clients = [data.select(torch.tensor(indices)) for indices in partition.clients]
    names = tuple(str(number) for number in range(10))
    return Federation(clients, names, Channel(), ClientStore(folder), networks, SEED)


def rounds(clients: Federation, count: int) -> list[Round]:
    """Return rounds whose cohort of ten holds 1,200 to 1,800 samples."""
    found: list[Round] = []
    number = 0
    while len(found) < count:
        number += 1
        cohort = clients.sample_cohort(number, 10)
        if 1_200 <= sum(len(clients.clients[c]) for c in cohort) <= 1_800:
            found.append((number, cohort))
    return found


def bare_loop(
    clients: Federation, number: int, cohort: Sequence[int], *, restart: bool = False
) -> None:
    """Train one network on the batches of a round, as one writes it without an engine.

    Args:
        clients: What :func:`federation` made.
        number: The round.
        cohort: Its clients.
        restart: Whether each client begins with the start weights, as in every federated round. A
            step from there can cost more than one of a network that learned on.
    """
    start = {name: t for tree in clients.networks.start.values() for name, t in tree.items()}
    model = clients.networks.new(clients.networks.start)
    optimizer = torch.optim.SGD(model.parameters(), LR)
    for client in cohort:
        if restart:
            model.load_state_dict(start)
        data = clients.clients[client]
        rng = torch_rng(SEED, "batches", "round", number, "client", client)
        order = data.rows(torch.randperm(len(data), generator=rng))
        for rows in torch.split(order, BATCH):
            optimizer.zero_grad()
            F.cross_entropy(model(data.x[rows]), data.y[rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()


def spent(
    clients: Federation,
    numbered: Sequence[Round],
    now: Callable[[], float],
    enough: Callable[[], bool] = lambda: False,
    loops: Sequence[Callable[[Federation, int, Sequence[int]], None]] = (bare_loop,),
) -> list[tuple[float, ...]]:
    """Return the seconds of each round and of the loops after it; the first round is warm-up.

    Args:
        clients: What :func:`federation` made.
        numbered: What :func:`rounds` gave.
        now: What :func:`clock` gave.
        enough: Whether to stop after a round.
        loops: What a round is compared with.
    """
    method = FedAvg(plan=Plan(batch_size=BATCH, lr=LR))
    state = {group: dict(tree) for group, tree in clients.networks.start.items()}
    found = []
    for number, cohort in numbered:
        times = [now()]
        replies = clients.exchange(
            number, cohort, lambda c: method.downlink(state, c), method.client_update
        )
        method.aggregate(state, replies, _NO_SERVER)
        clients.channel.settle()
        times.append(now())
        for loop in loops:
            loop(clients, number, cohort)
            times.append(now())
        found.append(tuple(after - before for before, after in pairwise(times)))
        if len(found) > 1 and enough():
            break
    return found

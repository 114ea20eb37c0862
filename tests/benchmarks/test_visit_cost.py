"""What a client's visit costs without its training steps, and what follows in a round.

CPU milliseconds: of one visit (broadcast, network, reply), of aggregation with the checks of a
round, and of a checkpoint. Beside them one pass over the model's memory on this machine, the unit
that a ratio can be compared in. Reproduce with ``ci/bench``.
"""

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from gptfl_bench.architectures.network import models
from gptfl_bench.cells.checkpoint import Checkpoint
from gptfl_bench.core import groups as g
from gptfl_bench.core.memory import keep_freed_memory
from gptfl_bench.data.samples import Samples
from gptfl_bench.engine.channel import Channel
from gptfl_bench.engine.client_store import ClientStore
from gptfl_bench.engine.federation import Federation
from gptfl_bench.engine.method import methods
from gptfl_bench.engine.networks import Networks
from gptfl_bench.training.fit import Plan

CASES = [
    ("convnet", "fedavg", 20, 6, 60),
    ("convnet", "scaffold", 20, 6, 150),
    ("resnet18", "fedavg", 5, 4, 40),
    ("vgg19", "fedavg", 3, 3, 30),
]
"""Network, method, clients, rounds, and the highest cost of a visit in passes over the model."""


@pytest.mark.slow
@pytest.mark.parametrize(("network", "method", "clients", "rounds", "most"), CASES)
def test_a_visit_costs_a_few_passes_over_the_model(
    network: str,
    method: str,
    clients: int,
    rounds: int,
    most: float,
    benchmark: BenchmarkFixture,
    tmp_path: Path,
) -> None:
    keep_freed_memory()
    networks = Networks.build(models.get(network), (3, 32, 32), 10, {}, 0, torch.device("cpu"))
    data = Samples(torch.rand(16, 3, 32, 32), torch.randint(0, 10, (16,)))
    store = ClientStore(tmp_path / "clients")
    names = tuple("0123456789")
    federation = Federation([data] * clients, names, Channel(), store, networks, 0)
    kind: Any = methods.get(method)
    own = replace(kind(), plan=Plan(batch_size=4, steps=0, lr=0.01))
    server = cast(Any, SimpleNamespace(start=networks.start, networks=networks, num_clients=100))
    costs: list[tuple[float, float, float]] = []

    def run() -> None:
        state = own.prepare(server)
        for number in range(1, rounds + 1):
            began = time.process_time()
            cohort = federation.exchange(
                number, range(clients), partial(own.downlink, state), own.client_update
            )
            visited = time.process_time()
            state = own.aggregate(state, cohort, server)
            assert all(g.is_finite(tree) for tree in state.values())
            assert cohort.gradient_diversity is None or cohort.gradient_diversity >= 0
            added = time.process_time()
            Checkpoint(number, state, 0, {}).write(tmp_path / "checkpoint")
            written = time.process_time()
            costs.append(((visited - began) / clients, added - visited, written - added))

    benchmark.pedantic(run, rounds=1, iterations=1)  # type: ignore[no-untyped-call]
    visit, aggregate, checkpoint = (1e3 * min(column) for column in zip(*costs[1:], strict=True))
    once = _pass(networks)
    benchmark.extra_info |= {
        "visit_ms": visit, "aggregate_ms": aggregate, "checkpoint_ms": checkpoint,
        "pass_ms": once, "passes": visit / once,
    }  # fmt: skip
    print(
        f"\n{network}, {method}: a visit {visit:.2f} ms ({visit / once:.1f} passes of "
        f"{once:.2f} ms), aggregate {aggregate:.1f} ms, checkpoint {checkpoint:.1f} ms"
    )
    assert visit / once <= most


def _pass(networks: Networks) -> float:
    """Return the CPU milliseconds of one copy of the model's weights, the least of several."""
    tree = networks.start["model"]
    spent = []
    for _ in range(5):
        began = time.process_time()
        for tensor in tree.values():
            tensor.clone()
        spent.append(time.process_time() - began)
    return 1e3 * min(spent)

"""What the engine adds to training: CPU time over a bare PyTorch loop, and cost by population.

The protocol is that of ``ci/on_gpu/engine_cost.py``; ratios are of CPU seconds. Both sides keep
freed memory, as every command does. Reproduce with ``ci/bench``; ``ci/cost`` runs those that take
seconds.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from on_gpu import engine_cost  # type: ignore[import-not-found]  # ci/, on the path by conftest.py
from pytest_benchmark.fixture import BenchmarkFixture

from gptfl_bench.architectures.network import models
from gptfl_bench.core.memory import keep_freed_memory
from gptfl_bench.data.samples import Samples
from gptfl_bench.engine.channel import Channel
from gptfl_bench.engine.client_store import ClientStore
from gptfl_bench.engine.federation import Federation
from gptfl_bench.engine.method import methods
from gptfl_bench.engine.networks import Networks
from gptfl_bench.engine.server import Server
from gptfl_bench.training.fit import Plan

ROUNDS = 11
CPU = torch.device("cpu")
NETWORKS = {"cnn_mcmahan": (2_156_490, 1.05), "linear": (30_730, 1.2), "convnet": (320_010, 1.05)}
"""Scalars of each network, and the highest median ratio that is accepted beside other work."""
LOOPS: dict[str, Callable[..., None]] = {
    "loop that loads weights for each client": partial(engine_cost.bare_loop, restart=True),
    "bare loop": engine_cost.bare_loop,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_federated_round_costs_little_more_than_the_loop_one_writes(
    name: str, benchmark: BenchmarkFixture, tmp_path: Path
) -> None:
    """A round is compared with the loop that does its work: each client begins with the weights.

    A bare loop that trains one network on is measured beside it. It can be cheaper by more than
    the engine costs: max-pooling and ReLU branch on values, so a step's time hangs on the weights.
    """
    keep_freed_memory()
    federation = engine_cost.federation(name, tmp_path, CPU)
    start = federation.networks.start["model"].values()
    assert sum(tensor.numel() for tensor in start) == NETWORKS[name][0]
    spent: list[tuple[float, ...]] = []

    def rounds() -> None:
        numbered = engine_cost.rounds(federation, ROUNDS)
        now, loops = engine_cost.clock(CPU), tuple(LOOPS.values())
        spent.extend(engine_cost.spent(federation, numbered, now, loops=loops))

    benchmark.pedantic(rounds, rounds=1, iterations=1)  # type: ignore[no-untyped-call]
    benchmark.extra_info["threads"] = torch.get_num_threads()
    for number, loop in enumerate(LOOPS, start=1):
        ratios = sorted(times[0] / times[number] for times in spent[1:])
        more = median(times[0] - times[number] for times in spent[1:])
        benchmark.extra_info[loop] = ratios
        print(
            f"\n{name}: engine over {loop} min {ratios[0]:.3f}, median {median(ratios):.3f}, max "
            f"{ratios[-1]:.3f}; {1e3 * more:.1f} ms a round more"
        )
    # Whatever else the machine does meanwhile falls on all parts of most rounds.
    own_work = next(iter(LOOPS))
    assert median(benchmark.extra_info[own_work]) <= NETWORKS[name][1]


POPULATIONS = (100, 10_000)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fedavg", "scaffold"])
def test_a_round_costs_the_same_in_a_population_a_hundred_times_as_large(
    method: str, benchmark: BenchmarkFixture, tmp_path: Path
) -> None:
    """All clients took part before, and each holds 32 samples; ten train in a round."""
    keep_freed_memory()
    networks = Networks.build(models.get("linear"), (3, 32, 32), 10, {}, 0, torch.device("cpu"))
    kind: Any = methods.get(method)
    own = replace(kind(), plan=Plan(batch_size=8, lr=0.01))
    server = cast(Server, SimpleNamespace(start=networks.start, num_clients=100))
    data = Samples(torch.rand(1_000, 3, 32, 32), torch.randint(0, 10, (1_000,)))
    federations = []
    for clients in POPULATIONS:
        shown = [data.select(torch.arange(32) + k % 900) for k in range(clients)]
        store = ClientStore(tmp_path / str(clients))
        if method == "scaffold":
            for client in range(clients):
                store.write(client, {}, 1)
        names = tuple("0123456789")
        federations.append(Federation(shown, names, Channel(), store, networks, 0))
    states = [own.prepare(server) for _ in POPULATIONS]
    spent: list[tuple[float, ...]] = []

    def round_of(which: int, number: int) -> float:
        began = time.process_time()
        federation, state = federations[which], states[which]
        cohort = federation.exchange(
            number,
            federation.sample_cohort(number, 10),
            partial(own.downlink, state),
            own.client_update,
        )
        states[which] = own.aggregate(state, cohort, server)
        federation.channel.settle()
        federation.store.prune({})
        assert federation.store.nbytes >= 0
        return time.process_time() - began

    def pairs() -> None:
        for number in range(2, 43):
            spent.append(tuple(round_of(which, number) for which in (0, 1)))

    benchmark.pedantic(pairs, rounds=1, iterations=1)  # type: ignore[no-untyped-call]
    ratios = sorted(large / small for small, large in spent[1:])
    benchmark.extra_info["cpu_ratios"] = ratios
    print(
        f"\n{method}: {POPULATIONS[1]:,} clients over {POPULATIONS[0]}: engine over small "
        f"population min {ratios[0]:.3f}, median {median(ratios):.3f}, max {ratios[-1]:.3f}"
    )
    assert median(ratios) <= 1.1

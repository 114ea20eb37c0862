"""How much memory a run holds at most: in models beside what Python and PyTorch take themselves.

A process of its own for each figure. VGG19 on 32x32 images has 140 million scalars, 0.52 GiB, and
its clients' states go to disk. Reproduce with ``ci/bench``.
"""

import subprocess
import sys

import pytest

_PEAK = """
import resource, sys, tempfile, torch
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
torch.set_num_threads(1)
from gptfl_bench.architectures.network import models
from gptfl_bench.cells.checkpoint import Checkpoint
from gptfl_bench.core.memory import keep_freed_memory
from gptfl_bench.data.samples import Samples
from gptfl_bench.engine.channel import Channel
from gptfl_bench.engine.client_store import ClientStore
from gptfl_bench.engine.federation import Federation
from gptfl_bench.engine.method import methods
from gptfl_bench.engine.networks import Networks
from gptfl_bench.training.fit import Plan
keep_freed_memory()
method, network, cohort, population = *sys.argv[1:3], *map(int, sys.argv[3:])
own = replace(methods.get(method)(), plan=Plan(batch_size=4, steps=2, lr=0.001))

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

before = peak()
networks = Networks.build(models.get(network), (3, 32, 32), 10, {}, 0, torch.device("cpu"))
data = Samples(torch.rand(8, 3, 32, 32), torch.randint(0, 10, (8,)))
with tempfile.TemporaryDirectory() as folder:
    names, store = tuple("0123456789"), ClientStore(Path(folder) / "clients")
    federation = Federation([data] * population, names, Channel(), store, networks, 0)
    server = SimpleNamespace(start=networks.start, networks=networks, num_clients=population)
    state = own.prepare(server)
    for round in range(1, 3):
        replies = federation.exchange(
            round, range(cohort), partial(own.downlink, state), own.client_update
        )
        state = own.aggregate(state, replies, server)
        replies.gradient_diversity
        del replies
        store.prune({})
        Checkpoint(round, state, 0, {}).write(Path(folder) / "checkpoint")
print(peak(), before)
"""


def _peak_mib(method: str, network: str, cohort: int, population: int) -> tuple[float, float]:
    """Return a run's peak, and what the process had taken before it, in MiB."""
    words = [sys.executable, "-c", _PEAK, method, network, str(cohort), str(population)]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    peak, before = map(float, said.split())
    return peak, before


@pytest.mark.slow
def test_memory_does_not_grow_with_the_cohort() -> None:
    small, _ = _peak_mib("fedavg", "cnn_mcmahan", 2, 40)
    large, _ = _peak_mib("fedavg", "cnn_mcmahan", 40, 40)
    # Forty kept replies of 8.2 MiB each would be 310 MiB more.
    assert large - small < 25, (small, large)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "population", "models", "gib"), [("fedavg", 10, 7, 6.1), ("scaffold", 100, 13, 8.0)]
)
def test_ten_clients_with_vgg19_fit(
    method: str, population: int, models: float, gib: float
) -> None:
    """FedAvg holds start, state, a client's model and gradients, and the two sums of updates."""
    peak, before = _peak_mib(method, "vgg19", 10, population)
    held = (peak - before) / (139_611_210 * 4 / 2**20)
    print(f"\nvgg19, {method}: peak {peak / 1024:.2f} GiB, {held:.1f} models over the engine")
    assert held <= models
    assert peak / 1024 <= gib

"""What a client's visit costs without its training steps, and what follows in a round.

CPU milliseconds by the protocol of ``ci/on_gpu/visit_cost.py``. Reproduce with ``ci/bench``.
"""

from pathlib import Path

import pytest
import torch
from on_gpu import engine_cost, visit_cost  # type: ignore[import-not-found]  # ci/, see conftest.py
from pytest_benchmark.fixture import BenchmarkFixture

from gptfl_bench.core.memory import keep_freed_memory

MOST = (60, 150, 40, 30)
"""The highest cost of a visit of each case, in passes over the model."""
CASES = [(*case, most) for case, most in zip(visit_cost.CASES, MOST, strict=True)]


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
    cpu = torch.device("cpu")
    given = (network, method, clients, rounds, tmp_path, cpu, engine_cost.clock(cpu))
    cost = benchmark.pedantic(visit_cost.cost, given, rounds=1, iterations=1)  # type: ignore[no-untyped-call]
    benchmark.extra_info |= {
        "visit_ms": cost.visit, "aggregate_ms": cost.aggregate, "checkpoint_ms": cost.checkpoint,
        "pass_ms": cost.once, "passes": cost.passes,
    }  # fmt: skip
    print(
        f"\n{network}, {method}: a visit {cost.visit:.2f} ms ({cost.passes:.1f} passes of "
        f"{cost.once:.2f} ms), aggregate {cost.aggregate:.1f} ms, checkpoint "
        f"{cost.checkpoint:.1f} ms"
    )
    assert cost.passes <= most

"""What becomes of the statistics of batch normalisation."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from gptfl_bench.architectures.network import models
from gptfl_bench.engine.networks import Networks
from gptfl_bench.synthesis.source import SyntheticSettings
from gptfl_bench.training.central import EarlyStop
from gptfl_bench.training.fit import Plan
from gptfl_methods.fedavg import FedAvg
from gptfl_methods.gptfl import GptFl
from gptfl_methods.scaffold import Scaffold

RunCell = Callable[..., Any]
PLAN = Plan(epochs=1, batch_size=4, lr=0.05)
NETWORK: dict[str, Any] = {
    "model": "cnn_small",
    "model_args": {"norm": "batch", "width": 2, "hidden": 4},
    "rounds": 2,
}


def start() -> Networks:
    args = NETWORK["model_args"]
    return Networks.build(models.get("cnn_small"), (1, 4, 4), 3, args, 0, torch.device("cpu"))


def traffic(outcome: Any) -> dict[tuple[str, str], int]:
    return {(e.direction, e.group): e.scalars for e in outcome.cell.traffic if e.round == 1}


def test_mean_sends_and_averages_them(run_cell: RunCell) -> None:
    """Clients of 3 and 5 samples take 1 and 2 steps: the counter is (3 * 1 + 5 * 2) / 8, so 2."""
    outcome = run_cell(FedAvg(plan=PLAN), **{**NETWORK, "rounds": 1}, cohort_size=6, buffers="mean")
    counts = {
        int(tensor)
        for name, tensor in outcome.state["buffers"].items()
        if name.endswith("num_batches_tracked")
    }
    # Steps of all six: 1, 2, 2, 3, 4 and 5, weighted by 3, 5, 8, 11, 14 and 19 samples: 213 / 60.
    assert counts == {round((3 + 10 + 16 + 33 + 56 + 95) / 60)}
    means = [t for name, t in outcome.state["buffers"].items() if name.endswith("running_mean")]
    assert any(tensor.abs().max() > 1e-3 for tensor in means)
    # Two layers of 2 and 4 channels: 2 * (2 + 4) statistics and 2 counters.
    assert traffic(outcome)["up", "buffers"] == traffic(outcome)["down", "buffers"] == 6 * 14
    assert outcome.cell.record["model"]["buffers"] == 14


@pytest.mark.parametrize("policy", ["none", "local", "recompute"])
def test_statistics_travel_under_no_other_policy(run_cell: RunCell, policy: str) -> None:
    method = Scaffold(plan=PLAN)
    outcome = run_cell(method, **NETWORK, buffers=policy)
    assert outcome.cell.ending.status == "finished"
    assert not any("buffers" in key for key in traffic(outcome))


def test_none_keeps_the_start_everywhere(run_cell: RunCell) -> None:
    outcome = run_cell(FedAvg(plan=PLAN), **NETWORK, buffers="none")
    for name, tensor in start().start["buffers"].items():
        assert torch.equal(outcome.state["buffers"][name], tensor)
    assert outcome.clients == {}
    assert not torch.equal(
        outcome.state["model"]["head.weight"], start().start["model"]["head.weight"]
    )


def test_local_keeps_each_clients_own(run_cell: RunCell) -> None:
    """A client's counter adds up over its visits; the server's stays at zero."""
    outcome = run_cell(FedAvg(plan=PLAN), **NETWORK, cohort_size=6, buffers="local")
    for name, tensor in start().start["buffers"].items():
        assert torch.equal(outcome.state["buffers"][name], tensor)
    counters = [
        {int(t) for name, t in kept["buffers"].items() if name.endswith("tracked")}
        for kept in outcome.clients.values()
    ]
    assert counters == [{2 * steps} for steps in (1, 2, 2, 3, 4, 5)]
    assert outcome.cell.events[-2].__class__.__name__ == "RoundEvaluated"


def test_local_statistics_and_control_variates_live_side_by_side(run_cell: RunCell) -> None:
    outcome = run_cell(Scaffold(plan=PLAN), **NETWORK, cohort_size=6, buffers="local")
    assert {frozenset(kept) for kept in outcome.clients.values()} == {
        frozenset({"buffers", "control"})
    }


def test_recompute_renews_them_from_synthetic_data(run_cell: RunCell) -> None:
    outcome = run_cell(FedAvg(plan=PLAN), **NETWORK, buffers="recompute")
    before, after = start().start["buffers"], outcome.state["buffers"]
    assert all(not torch.equal(before[n], after[n]) for n in before if n.endswith("mean"))
    # 30 samples are one batch: three passes after each of two rounds.
    assert {int(t) for n, t in after.items() if n.endswith("tracked")} == {6}


def test_recompute_depends_on_the_synthetic_data_and_so_does_the_cell(
    run_cell: RunCell, make_spec: Callable[..., Any]
) -> None:
    """Other synthetic data give other results, so the run's id must differ."""
    settings = [SyntheticSettings("fake", multiplier=0.5, seed=seed) for seed in (0, 1)]
    cells = [
        run_cell(FedAvg(plan=PLAN), **NETWORK, buffers="recompute", synthetic=synthetic)
        for synthetic in settings
    ]
    assert cells[0].bits != cells[1].bits
    assert cells[0].cell.record["run_id"] != cells[1].cell.record["run_id"]


def test_pretraining_gives_its_statistics_to_the_first_round(run_cell: RunCell) -> None:
    method = GptFl(
        inner=FedAvg(plan=PLAN), pretrain=replace(PLAN, epochs=2), stop=EarlyStop(0, None)
    )
    outcome = run_cell(method, **{**NETWORK, "rounds": 0})
    # 30 samples in batches of 4 are 8 steps, twice.
    counters = [t for name, t in outcome.state["buffers"].items() if name.endswith("tracked")]
    assert {int(t) for t in counters} == {16}
